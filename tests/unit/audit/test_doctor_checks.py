"""What `doctor` says of a Redis, and of certificates."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from stream.audit.certificates import check_kafka_certificates, check_redis_files
from stream.audit.finding import Finding
from stream.audit.kafka_checks import MEANINGS, judge_releases
from stream.audit.redis_checks import check_redis
from stream.kafka.topics import PARTITIONS, REPLICATION, wanted_topics
from stream.kafka.versions import Release, release_of
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
    found = [one for one in check_kafka_certificates(config) if one.subject.startswith("kafka_ca_file")]
    assert [one.good for one in found] == [True, False, False]
    assert "ends in 29 days" in found[1].found
    assert "has ended" in found[2].found
    # A broker that shows none is a finding of its own.
    assert "cannot be seen" in list(check_kafka_certificates(config))[-1].found
    file.write_bytes(b"nothing of the kind")
    assert "cannot be read" in next(iter(check_kafka_certificates(config))).found


def test_without_tls_there_is_nothing_to_look_at() -> None:
    assert list(check_kafka_certificates(WorkerConfig())) == []


def test_files_that_the_url_of_redis_names_are_looked_at(tmp_path: Path) -> None:
    file = tmp_path / "ca.pem"
    file.write_bytes(certificate(29))
    config = WorkerConfig(redis=f"rediss://localhost:6379/0?ssl_ca_certs={file}&ssl_certfile={tmp_path}/none.pem")
    found = {one.subject: one for one in check_redis_files(config)}
    assert "ends in 29 days" in found[f"ssl_ca_certs {file}"].found
    assert "Redis cannot be reached" in (found[f"ssl_ca_certs {file}"].meaning or "")
    assert "cannot be read" in found[f"ssl_certfile {tmp_path}/none.pem"].found
    assert list(check_redis_files(WorkerConfig())) == []


@pytest.mark.parametrize(
    ("releases", "good", "found"),
    [
        ({"a:1": (4, 1), "b:1": (4, 1)}, True, "2 brokers run 4.1"),
        ({"a:1": (4, 1), "b:1": (4, 0)}, False, "differ: a:1 4.1, b:1 4.0"),
        ({"a:1": (3, 9)}, False, "a:1 3.9"),
        ({"a:1": (4, 1), "b:1": None}, False, "differ: a:1 4.1, b:1 not told"),
        ({"a:1": None}, True, "are not told by these brokers"),
    ],
)
def test_brokers_are_of_one_release(releases: dict[str, Release | None], good: bool, found: str) -> None:
    said = judge_releases(releases)
    assert (said.good, said.found) == (good, found)


@pytest.mark.parametrize(
    ("level", "release"), [(None, None), (6, None), (7, (3, 3)), (25, (4, 0)), (26, (4, 1)), (27, (4, 1)), (99, (4, 5))]
)
def test_a_release_is_told_by_the_newest_level_that_it_knows(level: int | None, release: Release | None) -> None:
    assert release_of(level) == release


def test_each_setting_of_a_topic_has_its_meaning() -> None:
    named = {name for topic in wanted_topics(WorkerConfig()) for name in topic.settings}
    assert MEANINGS.keys() == named | {PARTITIONS, REPLICATION}
