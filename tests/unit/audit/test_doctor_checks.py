"""What `doctor` says of a Redis, and of certificates."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from stream.audit.finding import Finding
from stream.audit.kafka_checks import check_certificates
from stream.audit.redis_checks import check_redis
from stream.projection.checks import ServerFacts
from stream.settings.kafka import Security
from stream.settings.worker import WorkerConfig

GOOD = ServerFacts("7.2.4", "master", "noeviction", 100, 50, "append-only file", 20)


def wrong(findings: list[Finding]) -> list[str]:
    return [one.subject for one in findings if not one.good]


@pytest.mark.parametrize(
    ("changed", "subjects"),
    [
        ({}, []),
        ({"version": "6.2.14"}, ["Redis version"]),
        ({"version": None}, ["Redis version"]),
        ({"policy": "allkeys-lru"}, ["Redis maxmemory-policy"]),
        ({"policy": "volatile-lru"}, []),
        ({"policy": None}, ["Redis maxmemory-policy"]),
        ({"role": "slave"}, ["Redis role"]),
        ({"used_memory": 90}, ["Redis memory"]),
        ({"used_memory": 89}, []),
        ({"maxmemory": 0, "used_memory": 90}, []),
        ({"persistence": "failing"}, ["Redis persistence"]),
        ({"ahead_ms": -60_000}, ["clocks"]),
        ({"ahead_ms": 59_999}, []),
    ],
)
def test_each_thing_that_counting_rests_on_is_looked_at(changed: dict[str, object], subjects: list[str]) -> None:
    found = list(check_redis(msgspec.structs.replace(GOOD, **changed)))
    assert wrong(found) == subjects
    assert all(one.meaning for one in found if not one.good)


def certificate(days: int) -> bytes:
    """One that ends in so many days."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "kafka")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=400))
        .not_valid_after(now + timedelta(days=days, hours=1))
        .sign(key, hashes.SHA256())
    )
    return made.public_bytes(serialization.Encoding.PEM)


def test_certificates_are_told_before_they_end(tmp_path: Path) -> None:
    file = tmp_path / "ca.pem"
    config = WorkerConfig(kafka="127.0.0.1:1", kafka_security=Security.SSL, kafka_ca_file=file)
    file.write_bytes(certificate(400) + certificate(29) + certificate(-2))
    found = [one for one in check_certificates(config) if one.subject.startswith("kafka_ca_file")]
    assert [one.good for one in found] == [True, False, False]
    assert "ends in 29 days" in found[1].found
    assert "has ended" in found[2].found
    # A broker that shows none is a finding of its own.
    assert "cannot be seen" in list(check_certificates(config))[-1].found
    file.write_bytes(b"nothing of the kind")
    assert "cannot be read" in next(iter(check_certificates(config))).found


def test_without_tls_there_is_nothing_to_look_at() -> None:
    assert list(check_certificates(WorkerConfig())) == []
