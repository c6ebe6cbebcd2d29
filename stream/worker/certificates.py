"""Finds when the certificates of a worker and its brokers expire, as its connections have read them."""

from __future__ import annotations

from pathlib import Path

from cryptography.x509 import load_pem_x509_certificates

from stream.settings.worker import WorkerConfig


def certificate_ends(config: WorkerConfig) -> dict[str, float]:
    """By the setting that names the file: when the first certificate in it ends, in seconds since 1970. A file that
    cannot be read is left out: whoever connects with it says so.
    """
    if not config.kafka_security.tls:
        return {}
    files = {"kafka_ca_file": config.kafka_ca_file, "kafka_cert_file": config.kafka_cert_file}
    ends = {name: _first_end(path) for name, path in files.items() if path is not None}
    return {name: end for name, end in ends.items() if end is not None}


def _first_end(path: Path) -> float | None:
    try:
        certificates = load_pem_x509_certificates(path.read_bytes())
    except (OSError, ValueError):
        return None
    return min(certificate.not_valid_after_utc.timestamp() for certificate in certificates)
