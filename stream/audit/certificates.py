"""Checks when certificates end: those of the files that are set, of the brokers, and of Redis. Changes nothing."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Final
from urllib.parse import parse_qs

from cryptography.x509 import load_der_x509_certificate, load_pem_x509_certificates

from stream.audit.finding import Finding, bad, good
from stream.settings.redis_url import RedisAddress
from stream.settings.worker import WorkerConfig

CERTIFICATE_DAYS: Final = 30
ANSWER_SECONDS: Final = 5.0
REDIS_FILES: Final = ("ssl_ca_certs", "ssl_certfile")
"""Parameters of CONTACTS_REDIS that name a file with certificates."""


def check_kafka_certificates(config: WorkerConfig) -> Iterator[Finding]:
    """Those of the files that are set, and of the brokers; none without TLS."""
    if not config.kafka_security.tls:
        return
    for name, path in (("kafka_ca_file", config.kafka_ca_file), ("kafka_cert_file", config.kafka_cert_file)):
        if path is not None:
            yield from _check_file(name, path, "Kafka")
    for server in config.kafka.split(","):
        yield _check_broker(config, server.strip())


def check_redis_files(config: WorkerConfig) -> Iterator[Finding]:
    """Those that CONTACTS_REDIS names."""
    parameters = parse_qs(RedisAddress.parse(config.redis).options)
    for name in REDIS_FILES:
        for path in parameters.get(name, ()):
            yield from _check_file(name, Path(path), "Redis")


def check_redis_certificate(shown: bytes) -> Finding:
    """That of the server, as a connection shows it."""
    return _check_end("certificate of Redis", load_der_x509_certificate(shown).not_valid_after_utc, "Redis")


def _check_file(name: str, path: Path, server: str) -> Iterator[Finding]:
    try:
        certificates = load_pem_x509_certificates(path.read_bytes())
    except (OSError, ValueError) as error:
        yield bad(f"{name} {path}", f"cannot be read: {error}", f"{server} cannot be reached with it.")
        return
    for certificate in certificates:
        yield _check_end(f"{name} {path}", certificate.not_valid_after_utc, server)


def _check_broker(config: WorkerConfig, server: str) -> Finding:
    subject = f"certificate of {server}"
    host, _, port = server.rpartition(":")
    host = host.strip("[]")
    context = config.access.ssl_context()
    assert context is not None, "there is TLS"
    try:
        with (
            contextlib.closing(socket.create_connection((host, int(port)), timeout=ANSWER_SECONDS)) as plain,
            context.wrap_socket(plain, server_hostname=host) as secured,
        ):
            shown = secured.getpeercert(binary_form=True)
    except OSError as error:
        return bad(subject, f"cannot be seen: {error}", "No client of ours gets in there.")
    assert shown is not None, "a broker that was let in has shown its certificate"
    return _check_end(subject, load_der_x509_certificate(shown).not_valid_after_utc, "Kafka")


def _check_end(subject: str, ends: datetime, server: str) -> Finding:
    days = (ends - datetime.now(UTC)).days
    if days < 0:
        return bad(subject, f"has ended on {ends:%Y-%m-%d}", f"{server} cannot be reached with it.")
    if days < CERTIFICATE_DAYS:
        return bad(
            subject, f"ends in {days} days, on {ends:%Y-%m-%d}", f"From then on {server} cannot be reached. Renew it."
        )
    return good(subject, f"is good for {days} days")
