"""Two workers on a real Apache Kafka and a real Redis, through crashes and losses of each: what the API tells equals
what was published.
"""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition

from stream.config import WorkerConfig
from stream.topics import ensure_topics, open_topics, wanted_topics
from tests.support.comparison import differences
from tests.support.kafka import KafkaCluster, read_partition, unique_name
from tests.support.publisher import Workload, publish
from tests.support.stack import Api, RedisServer, Worker, eventually

PARTITIONS = 8
EVENTS = int(os.environ.get("TEST_EVENTS", "100000"))
SESSION_SECONDS = 6


class Deployment:
    """A broker, a Redis, two workers and an API."""

    def __init__(self, folder: Path, kafka: KafkaCluster) -> None:
        self.kafka, self.topic, self.group = kafka, unique_name("contacts"), unique_name("group")
        self.redis = RedisServer(folder / "redis")
        self.redis.start()
        self.environ = {
            "CONTACTS_KAFKA": kafka.bootstrap,
            "CONTACTS_REDIS": self.redis.url,
            "CONTACTS_TOPIC": self.topic,
            "CONTACTS_GROUP": self.group,
            "CONTACTS_SESSION_TIMEOUT_SECONDS": str(SESSION_SECONDS),
        }
        asyncio.run(self._make_topics())
        self.workers = [Worker(folder, f"worker-{n}", self.environ) for n in range(2)]
        self.api = Api(folder, "api", self.environ)
        for process in (*self.workers, self.api):
            process.start()
        eventually("a worker that counts", lambda: any(w.ready() for w in self.workers))

    async def _make_topics(self) -> None:
        config = WorkerConfig(kafka=self.kafka.bootstrap, topic=self.topic, group=self.group, partitions=PARTITIONS)
        async with open_topics(config.kafka) as topics:
            await ensure_topics(topics, wanted_topics(config), partitions_if_new=PARTITIONS)

    def close(self) -> None:
        for process in (*self.workers, self.api):
            process.kill()
        self.redis.kill()

    def revive(self) -> None:
        """What a supervisor does: start the workers that have ended."""
        for worker in self.workers:
            if not worker.running:
                worker.start()

    def caught_up(self) -> bool:
        """Whether the numbers hold all that was published until now."""
        self.revive()
        status, answer = self.api.get("/v1/workspaces/w_0/reports/contacts/summary?compare=none")
        if status != 200 or answer["freshness"]["state"] != "live":
            return False
        as_of = datetime.fromisoformat(answer["freshness"]["as_of"])
        return as_of.timestamp() > self._asked_at and self._rows_are_paid()

    def wait_until_caught_up(self) -> None:
        self._asked_at = time.time()
        eventually("caught up", self.caught_up, seconds=180, every=0.5)

    def _rows_are_paid(self) -> bool:
        owed = self.redis.client.hmget(f"cr1:{self.group}:{{0}}:positions", [f"{p}.owed" for p in range(PARTITIONS)])
        return all(value in (None, b"", b"[]") for value in owed)


@pytest.fixture
def deployment(tmp_path: Path, kafka_cluster: Callable[..., KafkaCluster]) -> Iterator[Deployment]:
    made = Deployment(tmp_path, kafka_cluster())
    try:
        yield made
    finally:
        made.close()


class InBackground:
    """A publisher at work while the test breaks things."""

    def __init__(self, deployment: Deployment, workload: Workload, events: int) -> None:
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, args=(deployment, workload, events))
        self._thread.start()

    def _run(self, deployment: Deployment, workload: Workload, events: int) -> None:
        try:
            asyncio.run(publish(deployment.kafka.bootstrap, deployment.topic, workload, events, rest_seconds=0.05))
        except BaseException as error:  # noqa: BLE001  told to the test by `end`
            self._failure = error

    def end(self) -> None:
        self._thread.join(300)
        assert not self._thread.is_alive(), "the publisher hangs"
        if self._failure is not None:
            raise self._failure


@pytest.mark.timeout(900)
def test_every_cell_and_row_equals_a_recount_whatever_is_killed_paused_or_lost(deployment: Deployment) -> None:
    now = datetime.now(UTC)
    workload = Workload(7, now)
    one, two = deployment.workers
    share = EVENTS // 6

    # Given events under way, when a worker is killed, twice,
    publisher = InBackground(deployment, workload, share)
    time.sleep(1.0)
    one.kill()
    deployment.revive()
    publisher.end()
    publisher = InBackground(deployment, workload, share)
    time.sleep(1.0)
    two.kill()
    deployment.revive()
    publisher.end()
    deployment.wait_until_caught_up()
    kept = deployment.redis.snapshot()

    # and one is paused beyond its session and woken, when another has its partitions,
    publisher = InBackground(deployment, workload, share)
    eventually("two workers", lambda: all(w.ready() for w in deployment.workers))
    one.pause()
    time.sleep(SESSION_SECONDS + 4)
    one.wake()
    publisher.end()

    # and Redis is emptied,
    publisher = InBackground(deployment, workload, share)
    time.sleep(0.5)
    deployment.redis.client.flushall()
    publisher.end()
    deployment.wait_until_caught_up()

    # and is stopped, and started from an older snapshot,
    publisher = InBackground(deployment, workload, share)
    time.sleep(0.5)
    deployment.redis.kill()
    time.sleep(2.0)
    deployment.redis.go_back(kept)
    publisher.end()

    # and Kafka is restarted with events waiting,
    asyncio.run(publish(deployment.kafka.bootstrap, deployment.topic, workload, EVENTS - 5 * share))
    deployment.kafka.nodes[0].restart()
    deployment.wait_until_caught_up()

    # Then nothing is missing and nothing extra, in any cell or row,
    assert len(workload.expected.rows) > EVENTS * 0.9
    first, last = (now - timedelta(days=32)).date(), (now + timedelta(days=1)).date()
    assert differences(deployment.api, workload.expected.rows, first, last) == []
    # and each rejected event is one dead letter with its reason,
    assert asyncio.run(dead_letters(deployment)) == workload.expected.dead
    # and monitors see how far the group is.
    eventually("the group's offsets at the ends", lambda: asyncio.run(group_offsets_are_at_the_ends(deployment)))


async def dead_letters(deployment: Deployment) -> Counter[str]:
    reasons: Counter[str] = Counter()
    for partition in range(PARTITIONS):
        for record in await read_partition(
            deployment.kafka.bootstrap, f"{deployment.topic}.dlq", partition, isolation_level="read_committed"
        ):
            reasons[dict(record.headers)["contacts.reason"].decode()] += 1
    return reasons


async def group_offsets_are_at_the_ends(deployment: Deployment) -> bool:
    partitions = [TopicPartition(deployment.topic, p) for p in range(PARTITIONS)]
    consumer = AIOKafkaConsumer(
        bootstrap_servers=deployment.kafka.bootstrap, group_id=deployment.group, enable_auto_commit=False
    )
    await consumer.start()
    try:
        consumer.assign(partitions)
        ends = await consumer.end_offsets(partitions)
        # A marker of a transaction at the end of a partition is no event, and needs no commit.
        return all([ends[p] - (await consumer.committed(p) or 0) <= 2 for p in partitions])
    finally:
        await consumer.stop()
