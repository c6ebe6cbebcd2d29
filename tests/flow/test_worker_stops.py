"""When a worker must not count it ends with a reason; when something is only away it says so and goes on as soon as it
is back.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions

from stream.kafka.topics import ensure_topics, open_topics, wanted_topics
from stream.settings.kafka import KafkaAccess
from stream.settings.worker import WorkerConfig
from tests.support.kafka import KafkaCluster, unique_name
from tests.support.ports import free_port
from tests.support.stack import RedisServer, Worker, eventually


class Site:
    """A broker and a Redis; workers are made as a test needs them."""

    def __init__(self, folder: Path, bootstrap: str) -> None:
        self.folder, self.bootstrap = folder, bootstrap
        self.topic, self.group = unique_name("contacts"), unique_name("group")
        self.redis = RedisServer(folder / "redis")
        self.redis.start()
        self.workers: list[Worker] = []

    def topics(self, partitions: int = 2) -> None:
        config = WorkerConfig(kafka=self.bootstrap, topic=self.topic, group=self.group, partitions=partitions)

        async def make() -> None:
            async with open_topics(KafkaAccess(self.bootstrap)) as topics:
                await ensure_topics(topics, wanted_topics(config), partitions_if_new=partitions)

        asyncio.run(make())

    def worker(self, **more: str) -> Worker:
        environ = {
            "CONTACTS_KAFKA": self.bootstrap,
            "CONTACTS_REDIS": self.redis.url,
            "CONTACTS_TOPIC": self.topic,
            "CONTACTS_GROUP": self.group,
            "CONTACTS_SESSION_TIMEOUT_SECONDS": "6",
        }
        worker = Worker(self.folder, unique_name("worker"), environ | more)
        self.workers.append(worker)
        worker.start()
        return worker

    def worker_that_counted(self, events: int) -> Worker:
        """Of new topics, all events in partition 0."""
        self.topics()
        worker = self.worker()
        self.publish(events)
        eventually("counted", lambda: self.projected() == events)
        return worker

    def publish(self, count: int, partition: int = 0) -> None:
        async def send() -> None:
            producer = AIOKafkaProducer(bootstrap_servers=self.bootstrap)
            await producer.start()
            for _ in range(count):
                event = {
                    "id": unique_name("e"),
                    "type": "contact.added",
                    "workspace_id": "w",
                    "contact_id": "c",
                    "occurred_at": "2026-01-01T00:00:00Z",
                }
                await producer.send_and_wait(self.topic, json.dumps(event).encode(), partition=partition)
            await producer.stop()

        asyncio.run(send())

    def make_anew(self, partitions: int = 2) -> None:
        async def again() -> None:
            admin = AIOKafkaAdminClient(bootstrap_servers=self.bootstrap)
            await admin.start()
            await admin.delete_topics([self.topic])
            await admin.close()

        asyncio.run(again())
        eventually("the topic made anew", lambda: self._made(partitions))

    def _made(self, partitions: int) -> bool:
        self.topics(partitions)
        return True

    def projected(self, partition: int = 0) -> int:
        """The position of a partition in Redis."""
        value = self.redis.client.hget(f"cr1:{self.group}:{{0}}:positions", f"{partition}.position")
        return int(value or 0)  # type: ignore[arg-type]

    def close(self) -> None:
        for worker in self.workers:
            worker.kill()
        self.redis.kill()


@pytest.fixture
def site(tmp_path: Path, kafka: KafkaCluster) -> Iterator[Site]:
    made = Site(tmp_path, kafka.bootstrap)
    yield made
    made.close()


def ends_saying(worker: Worker, *words: str) -> None:
    assert worker.wait() == 1, worker.tail()
    said = worker.tail()
    assert "Traceback" not in said
    assert [word for word in words if word not in said] == [], said


def test_without_its_topics_a_worker_names_them_and_the_command(site: Site) -> None:
    ends_saying(site.worker(), "there is no topic", f"{site.topic}.dlq", "contacts-report topics")


def test_with_fewer_changelog_partitions_than_the_source_a_worker_names_the_topic(site: Site) -> None:
    # Given a source that was raised by hand, before the others,
    site.topics(1)

    async def raise_source() -> None:
        admin = AIOKafkaAdminClient(bootstrap_servers=site.bootstrap)
        await admin.start()
        await admin.create_partitions({site.topic: NewPartitions(total_count=3)})
        await admin.close()

    asyncio.run(raise_source())
    # then
    ends_saying(site.worker(), f"{site.group}-state-changelog", "has 1 partitions", "--partitions 3")


def test_a_topic_made_anew_and_shorter_stops_the_worker(site: Site) -> None:
    worker = site.worker_that_counted(5)
    worker.stop()
    # When the topic is deleted and made anew,
    site.make_anew()
    # then its end lies below the position.
    ends_saying(site.worker(), "ends at 0", "counted up to 5", "CONTACTS_GROUP")


def test_a_topic_made_anew_and_longer_is_known_by_its_fingerprint(site: Site) -> None:
    worker = site.worker_that_counted(5)
    worker.stop()
    site.make_anew()
    site.publish(9)
    ends_saying(site.worker(), "another record at offset 4", "CONTACTS_GROUP")


def test_a_topic_made_anew_under_a_running_worker_stops_it(site: Site) -> None:
    worker = site.worker_that_counted(5)
    site.make_anew()
    ends_saying(worker, "CONTACTS_GROUP")


def test_an_aborted_transaction_at_the_end_is_nothing_that_waits(site: Site) -> None:
    site.topics()
    worker = site.worker(CONTACTS_TRANSACTION_TIMEOUT_SECONDS="4", CONTACTS_STALL_SECONDS="5")
    site.publish(3)
    eventually("counted", lambda: site.projected() == 3)

    async def abort() -> None:
        producer = AIOKafkaProducer(bootstrap_servers=site.bootstrap, transactional_id=site.group + "-publisher")
        await producer.start()
        await producer.begin_transaction()
        await producer.send_and_wait(site.topic, b"never", partition=0)
        await producer.abort_transaction()
        await producer.stop()

    # When the last that a partition has is an aborted record and its marker,
    asyncio.run(abort())
    # then the worker has counted all there is, and goes on
    eventually("the end is reached", lambda: worker.facts()["partitions"]["0"]["position"] == 5)
    assert worker.facts()["partitions"]["0"]["lag"] == 0
    time.sleep(8)
    assert worker.running, worker.tail()
    site.publish(1)
    eventually("counted", lambda: site.projected() == 6)


def test_a_redis_that_is_full_of_rows_gets_room_while_the_owner_repairs(site: Site) -> None:
    worker = site.worker_that_counted(3)
    # Given rows of an old day that fill Redis, so that it refuses the next counts,
    client, prefix, old_day = site.redis.client, f"cr1:{site.group}:{{0}}:", 20_000
    client.hset(f"{prefix}days:w", str(old_day), "first 0:0")
    client.zadd(f"{prefix}rows1:w:{old_day}", {f"{number:01000}": 0 for number in range(20_000)})
    used: int = client.info("memory")["used_memory"]  # type: ignore[index]
    client.config_set("maxmemory", used - (1 << 20))
    site.publish(1)
    eventually("refused", lambda: "maxmemory" in worker.tail(20_000))
    # then they make room, and counting goes on.
    eventually("counted", lambda: site.projected() == 4)
    assert not client.exists(f"{prefix}rows1:w:{old_day}")


def test_redis_of_another_incarnation_stops_the_worker(site: Site) -> None:
    site.topics()
    site.redis.client.hset(f"cr1:{site.group}:{{0}}:positions", "0.history", "00" * 16)
    ends_saying(site.worker(), "incarnation id", "rebuild-redis")


def test_redis_ahead_of_what_is_committed_stops_the_worker(site: Site) -> None:
    worker = site.worker_that_counted(5)
    worker.stop()
    site.redis.client.hset(f"cr1:{site.group}:{{0}}:positions", "0.position", "7")
    ends_saying(site.worker(), "Redis is at offset 7", "5 is committed")


def test_a_taken_port_is_named(site: Site) -> None:
    site.topics()
    first = site.worker()
    eventually("ready", first.ready)
    ends_saying(site.worker(CONTACTS_WORKER_PORT=str(first.port)), f"port {first.port}")


def test_kafka_that_is_away_at_the_start_is_waited_for(tmp_path: Path, site: Site) -> None:
    port = free_port()
    worker = site.worker(CONTACTS_KAFKA=f"127.0.0.1:{port}")
    eventually("the line about Kafka", lambda: f"cannot reach Kafka at 127.0.0.1:{port}" in worker.tail())
    assert f"127.0.0.1:{port}: Connection refused; retrying" in worker.tail()
    assert "Traceback" not in worker.tail()
    assert worker.stop() == 0


def test_redis_that_is_away_at_the_start_and_while_running_costs_nothing(site: Site) -> None:
    # Given a worker without a Redis,
    site.topics()
    site.redis.kill()
    worker = site.worker()
    site.publish(3)
    # for which it waits, as the look at what it depends on tells too,
    eventually("what it waits for", lambda: "the worker joins its group after that" in worker.tail(20_000))
    eventually("the line of the look", lambda: "faults: Redis does not answer" in worker.tail(20_000))
    # when it comes, is lost again, and comes back empty,
    site.redis.start()
    eventually("counted", lambda: site.projected() == 3)
    site.redis.kill()
    site.publish(4)
    eventually("the partition's line", lambda: "partition 0: Redis does not answer" in worker.tail(20_000))
    site.redis.start()
    # then all is there.
    eventually("counted again", lambda: site.projected() == 7)
    rows = f"cr1:{site.group}:{{0}}:rows1:w:20454"
    eventually("every row", lambda: site.redis.client.zcard(rows) == 7)
    # Each fault is told from its beginning to its end, and each copy with its reason.
    for line in (
        "partition 0: counting again after",
        "Redis answers again after",
        "this worker begins with the partition",
        "a call to Redis failed",
    ):
        eventually(line, lambda line=line: line in worker.tail(20_000))
    assert "Traceback" not in worker.tail(20_000)
    assert worker.stop() == 0


def test_a_worker_that_was_paused_for_too_long_says_so_last(site: Site) -> None:
    site.topics()
    worker = site.worker(CONTACTS_TRANSACTION_TIMEOUT_SECONDS="4", CONTACTS_STALL_SECONDS="5")
    eventually("ready", worker.ready)
    worker.pause()
    time.sleep(7)
    worker.wake()
    assert worker.wait() == 1
    last = worker.tail().splitlines()[-1]
    assert "the worker ends: its event loop has not run for " in last
    assert last.endswith("CONTACTS_STALL_SECONDS (5) is how long that may take")


def test_partitions_that_are_raised_while_workers_run_are_counted(site: Site) -> None:
    site.topics(1)
    worker = site.worker()
    site.publish(2)
    eventually("counted", lambda: site.projected() == 2)

    async def raise_all() -> None:
        config = WorkerConfig(kafka=site.bootstrap, topic=site.topic, group=site.group)
        async with open_topics(KafkaAccess(site.bootstrap)) as topics:
            await ensure_topics(topics, wanted_topics(config), partitions_if_new=1, raise_to=3)

    asyncio.run(raise_all())
    site.publish(4, partition=2)
    eventually("the new partition counted", lambda: site.projected(2) == 4, seconds=120)
    assert worker.stop() == 0


def test_a_redis_that_may_evict_counts_lets_no_worker_start(site: Site) -> None:
    site.topics()
    site.redis.client.config_set("maxmemory-policy", "allkeys-lru")
    ends_saying(site.worker(), "maxmemory-policy allkeys-lru", "noeviction")
