"""A Kafka that is restored from a backup, as docs/operations.md tells: of one moment, of two, and as a copy with other
offsets. What is wrong is refused with its reason, and what docs say brings topic, changelog and Redis to agree again.
"""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient

from cli.main import main
from tests.flow.test_worker_stops import Site, ends_saying
from tests.support.kafka import KafkaCluster, RunningKafka, read_partition, unique_name
from tests.support.stack import eventually

Capture = pytest.CaptureFixture[str]
Start = Callable[..., KafkaCluster]


@pytest.fixture
def site(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Site]:
    """On a broker of its own, unless the test asks for the shared one."""
    kafka = request.getfixturevalue("broker")
    made = Site(tmp_path, kafka.bootstrap)
    yield made
    made.close()


@pytest.fixture
def broker(kafka_cluster: Start) -> KafkaCluster:
    return kafka_cluster()


def command(site: Site, *words: str, **changed: str) -> int:
    environ = {
        "CONTACTS_KAFKA": site.bootstrap,
        "CONTACTS_REDIS": site.redis.url,
        "CONTACTS_TOPIC": site.topic,
        "CONTACTS_GROUP": site.group,
    }
    return main(list(words), environ | changed)


def verify(site: Site, capsys: Capture, **changed: str) -> list[int]:
    """How many events `contacts-report verify` counts again of each partition, once it finds nothing wrong."""
    found: dict[str, Any] = {}

    def right() -> bool:
        capsys.readouterr()
        code = command(site, "verify", "--json", **changed)
        found.update(json.loads(capsys.readouterr().out))
        assert (code == 0) is found["right"]
        return code == 0

    try:
        eventually("verified", right, every=1)
    except AssertionError as error:
        raise AssertionError(found) from error
    return [one["counted"] for one in found["partitions"]]


def send(site: Site, *ids: str) -> None:
    async def publish() -> None:
        producer = AIOKafkaProducer(bootstrap_servers=site.bootstrap)
        await producer.start()
        for one in ids:
            event = {
                "id": one,
                "type": "contact.added",
                "workspace_id": "w",
                "contact_id": "c",
                "occurred_at": "2026-01-01T00:00:00Z",
            }
            await producer.send_and_wait(site.topic, json.dumps(event).encode(), key=b"w", partition=0)
        await producer.stop()

    asyncio.run(publish())


@contextmanager
def counting(site: Site, expected: int) -> Iterator[None]:
    """A worker, from when Redis is at this offset of partition 0."""
    worker = site.worker()
    eventually("counted", lambda: site.projected() == expected)
    yield
    assert worker.stop() == 0


def count(site: Site, expected: int) -> None:
    with counting(site, expected):
        pass


def back_up(broker: KafkaCluster, to: Path) -> Path:
    """The broker's disk, while it rests."""
    broker.stop()
    shutil.copytree(broker.nodes[0].folder / "data", to)
    broker.start()
    return to


def restore(broker: KafkaCluster, kept: Path, older: Path | None = None, topic: str = "") -> None:
    """Start the broker from a copy, with the partitions of one topic out of an older one."""
    broker.stop()
    data = broker.nodes[0].folder / "data"
    shutil.rmtree(data)
    shutil.copytree(kept, data)
    if older is not None:
        partitions = [path for path in older.iterdir() if path.name.rpartition("-")[0] == topic]
        assert len(partitions) == 2
        for partition in partitions:
            shutil.rmtree(data / partition.name)
            shutil.copytree(partition, data / partition.name)
    broker.start()


@pytest.mark.timeout(400)
def test_a_disk_of_one_moment_is_counted_on_and_a_redis_that_is_ahead_is_filled_again(
    site: Site, broker: KafkaCluster, tmp_path: Path, capsys: Capture
) -> None:
    # Given a copy of the broker's disk, of when workers and publishers rested,
    site.topics()
    send(site, "a", "b", "a", "c")
    count(site, 4)
    kept = back_up(broker, tmp_path / "kept")
    # and events that were counted after it.
    running = site.worker()
    send(site, "d", "e", "b")
    eventually("counted", lambda: site.projected() == 7)

    # When the broker starts from the copy,
    restore(broker, kept)
    # then no worker counts beside a Redis that shows what Kafka has lost, not even one that was not stopped, and each
    # says what to do.
    ahead = ("Redis is at offset 7 of partition 0, where 4 is committed", "rebuild-redis")
    ends_saying(running, *ahead)
    ends_saying(site.worker(), *ahead)
    # When that is done,
    assert command(site, "rebuild-redis") == 0
    with counting(site, 4):
        assert verify(site, capsys) == [3, 0]
    # then what was lost may be published again: its ids are unused, and those that the copy has are known.
    send(site, "b", "d", "e", "f")
    with counting(site, 8):
        assert verify(site, capsys) == [6, 0]


@pytest.mark.timeout(400)
def test_topics_of_two_moments_are_told_apart(
    site: Site, broker: KafkaCluster, tmp_path: Path, capsys: Capture
) -> None:
    site.topics()
    send(site, "a", "b", "c")
    count(site, 3)
    older = back_up(broker, tmp_path / "older")
    send(site, "d", "a", "e")
    count(site, 6)
    newer = back_up(broker, tmp_path / "newer")

    # A topic of activity that is older than what was counted of it is refused: its next events would be lost.
    restore(broker, newer, older, site.topic)
    ends_saying(site.worker(), "partition 0 ends at 3, and was counted up to 6", "CONTACTS_GROUP")
    send(site, "x", "y", "z", "zz")
    ends_saying(site.worker(), "another record at offset 5", "CONTACTS_GROUP")

    # Where the changelog is the older one, what it lacks is counted again, from the topic; nothing is lost or doubled.
    restore(broker, newer, older, f"{site.group}-state-changelog")
    ends_saying(site.worker(), "Redis is at offset 6 of partition 0, where 3 is committed", "rebuild-redis")
    assert command(site, "rebuild-redis") == 0
    with counting(site, 6):
        assert verify(site, capsys) == [5, 0]

    # And where there is none of it left, all is counted from the beginning of the topic.
    asyncio.run(delete(site, f"{site.group}-state-changelog"))
    eventually("made", lambda: command(site, "topics") == 0, every=1)
    ends_saying(site.worker(), "incarnation id", "rebuild-redis")
    assert command(site, "rebuild-redis") == 0
    with counting(site, 6):
        assert verify(site, capsys) == [5, 0]


async def delete(site: Site, topic: str) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=site.bootstrap)
    await admin.start()
    await admin.delete_topics([topic])
    await admin.close()


class TestCopy:
    @pytest.fixture
    def broker(self, kafka: RunningKafka) -> RunningKafka:
        return kafka

    @pytest.mark.timeout(400)
    def test_a_copy_with_other_offsets_is_counted_by_a_new_group_alone(self, site: Site, capsys: Capture) -> None:
        site.topics()
        send(site, "a", "b", "a", "c")
        count(site, 4)
        # Given a copy of the topic of activity that has other offsets, as a mirror makes it,
        mirror = {"CONTACTS_TOPIC": unique_name("mirror")}
        assert command(site, "topics", "--partitions", "2", **mirror) == 0
        asyncio.run(copy(site, mirror["CONTACTS_TOPIC"]))
        # then the group that counted the first one refuses it,
        ends_saying(site.worker(**mirror), "another record at offset 3", "CONTACTS_GROUP")
        # and a new one counts it from its beginning.
        mirror["CONTACTS_GROUP"] = f"{site.group}-2"
        assert command(site, "topics", "--partitions", "2", **mirror) == 0
        worker = site.worker(**mirror)
        eventually("all of it", lambda: verify(site, capsys, **mirror) == [3, 0], every=1)
        assert worker.stop() == 0


async def copy(site: Site, to: str) -> None:
    """Every record, behind one that was aborted."""
    producer = AIOKafkaProducer(bootstrap_servers=site.bootstrap, transactional_id=unique_name("mirror"))
    await producer.start()
    await producer.begin_transaction()
    await producer.send_and_wait(to, b"never", partition=0)
    await producer.abort_transaction()
    await producer.begin_transaction()
    for partition in (0, 1):
        for record in await read_partition(site.bootstrap, site.topic, partition):
            await producer.send_and_wait(to, record.value, key=record.key, partition=partition)
    await producer.commit_transaction()
    await producer.stop()
