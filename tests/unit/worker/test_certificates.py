"""When the certificates end that settings name: of a chain the first, and nothing without TLS."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding

from stream.settings.kafka import Security
from stream.settings.worker import WorkerConfig
from stream.worker.certificates import certificate_ends

NOW = datetime(2026, 11, 23, tzinfo=UTC)


def certificate(days: int) -> bytes:
    """One that ends so many days after NOW."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "broker")])
    made = x509.CertificateBuilder(name, name, key.public_key(), 7, NOW, NOW + timedelta(days=days))
    return made.sign(key, SHA256()).public_bytes(Encoding.PEM)


def test_the_first_certificate_of_a_file_that_ends_decides(tmp_path: Path) -> None:
    chain, broken = tmp_path / "ca.pem", tmp_path / "us.pem"
    chain.write_bytes(certificate(40) + certificate(10))
    broken.write_text("none")
    of_tls = WorkerConfig(kafka_security=Security.SSL, kafka_ca_file=chain, kafka_cert_file=broken)
    assert certificate_ends(of_tls) == {"kafka_ca_file": (NOW + timedelta(days=10)).timestamp()}
    assert certificate_ends(WorkerConfig(kafka_ca_file=chain)) == {}
