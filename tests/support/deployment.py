"""A deployment on a real Apache Kafka and a real Redis: two workers, an API, and a publisher in the background."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter
from datetime import datetime
from pathlib import Path

from stream.kafka.topics import ensure_topics, open_topics, wanted_topics
from stream.settings.worker import WorkerConfig
from tests.support.kafka import KafkaCluster, RunningKafka, read_partition, unique_name
from tests.support.publisher import Workload, publish
from tests.support.stack import Api, RedisServer, Worker, eventually

PARTITIONS = 8
SESSION_SECONDS = 6


class Deployment:
    """Brokers, a Redis, two workers and an API."""

    def __init__(
        self, folder: Path, kafka: KafkaCluster | RunningKafka, forms: tuple[str, str] = ("auto", "auto")
    ) -> None:
        """`forms`: of the counting, one for each worker (`CONTACTS_CORE`)."""
        replicas = len(kafka.nodes) if isinstance(kafka, KafkaCluster) else 1
        self.kafka, self.topic, self.group = kafka, unique_name("contacts"), unique_name("group")
        self.redis = RedisServer(folder / "redis")
        self.redis.start()
        self.environ = {
            "CONTACTS_KAFKA": kafka.bootstrap,
            "CONTACTS_REDIS": self.redis.url,
            "CONTACTS_TOPIC": self.topic,
            "CONTACTS_GROUP": self.group,
            "CONTACTS_SESSION_TIMEOUT_SECONDS": str(SESSION_SECONDS),
            "CONTACTS_REPLICATION_FACTOR": str(replicas),
        }
        asyncio.run(self._make_topics(replicas))
        self.workers = [
            Worker(folder, f"worker-{number}", {**self.environ, "CONTACTS_CORE": form})
            for number, form in enumerate(forms)
        ]
        self.api = Api(folder, "api", self.environ)
        for process in (*self.workers, self.api):
            process.start()
        eventually("a worker that counts", lambda: any(w.ready() for w in self.workers))

    async def _make_topics(self, replicas: int) -> None:
        config = WorkerConfig(
            kafka=self.kafka.bootstrap,
            topic=self.topic,
            group=self.group,
            partitions=PARTITIONS,
            replication_factor=replicas,
        )
        async with open_topics(config.access) as topics:
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
        return as_of.timestamp() > self._asked_at and self._rows_are_there()

    def wait_until_caught_up(self) -> None:
        self._asked_at = time.time()
        try:
            eventually("caught up", self.caught_up, seconds=180, every=0.5)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self._told()}") from None

    def _told(self) -> str:
        """What everybody says of where they are, for whom a failure puzzles."""
        positions = self.redis.client.hgetall(f"cr1:{self.group}:{{0}}:positions")
        lines = [f"{name!r}: {value!r}" for name, value in sorted(positions.items())]
        for worker in self.workers:
            lines += [f"{worker.log.name}: {worker.facts()}", worker.tail()]
        return "\n".join(lines)

    def _rows_are_there(self) -> bool:
        missing_rows = self.redis.client.hmget(
            f"cr1:{self.group}:{{0}}:positions", [f"{p}.owed" for p in range(PARTITIONS)]
        )
        return all(value in (None, b"", b"[]") for value in missing_rows)


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


async def dead_letters(deployment: Deployment) -> Counter[str]:
    reasons: Counter[str] = Counter()
    for partition in range(PARTITIONS):
        for record in await read_partition(
            deployment.kafka.bootstrap, f"{deployment.topic}.dlq", partition, isolation_level="read_committed"
        ):
            reasons[dict(record.headers)["contacts.reason"].decode()] += 1
    return reasons
