"""What benchmarks run on: a real broker with production's JVM, a Redis, topics that are filled, and how much CPU a
process took.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from aiokafka import AIOKafkaProducer

from cli.local.redis import LISTPACK_VALUE_BYTES
from stream.kafka.topics import ensure_topics, open_topics, wanted_topics
from stream.settings.worker import WorkerConfig
from tests.support.kafka import STEADY, KafkaCluster, unique_name
from tests.support.stack import RedisServer, Worker

TICKS = os.sysconf("SC_CLK_TCK")


@dataclass
class Bench:
    kafka: KafkaCluster
    redis: RedisServer
    folder: Path

    def environ(self, topic: str, group: str, **more: str) -> dict[str, str]:
        return {
            "CONTACTS_KAFKA": self.kafka.bootstrap,
            "CONTACTS_REDIS": self.redis.url,
            "CONTACTS_TOPIC": topic,
            "CONTACTS_GROUP": group,
            **more,
        }

    def topics(self, partitions: int, topic: str | None = None, group: str | None = None) -> tuple[str, str]:
        """Topic and group with all that they need, of names that nothing else has unless they are given."""
        topic, group = topic or unique_name("bench"), group or unique_name("group")
        config = WorkerConfig(kafka=self.kafka.bootstrap, topic=topic, group=group, partitions=partitions)

        async def make() -> None:
            async with open_topics(config.access) as topics:
                await ensure_topics(topics, wanted_topics(config), partitions_if_new=partitions)

        asyncio.run(make())
        return topic, group

    def worker(self, environ: dict[str, str]) -> Worker:
        return Worker(self.folder, unique_name("worker"), environ)

    def server_pids(self) -> list[int]:
        return [*(node.pid for node in self.kafka.nodes), int(self.redis.client.info("server")["process_id"])]


@contextlib.contextmanager
def machine() -> Iterator[Bench]:
    with tempfile.TemporaryDirectory(prefix="contacts-bench-") as folder, KafkaCluster(jvm=STEADY) as kafka:
        redis = RedisServer(Path(folder) / "redis")
        redis.start()
        redis.client.config_set("zset-max-listpack-value", LISTPACK_VALUE_BYTES)  # as docs/operations.md says to run it
        try:
            yield Bench(kafka, redis, Path(folder))
        finally:
            redis.kill()


def fill(bootstrap: str, topic: str, records: Iterable[tuple[bytes, bytes]]) -> int:
    """Publish all of them; returns their number."""

    async def publish() -> int:
        producer = AIOKafkaProducer(bootstrap_servers=bootstrap, linger_ms=20, max_batch_size=1 << 19, acks=1)
        await producer.start()
        count, sent = 0, []
        for key, value in records:
            sent.append(await producer.send(topic, key=key, value=value))
            count += 1
            if len(sent) == 20_000:
                await asyncio.gather(*sent)
                sent = []
        await asyncio.gather(*sent)
        await producer.stop()
        return count

    return asyncio.run(publish())


def contact_added(workspace: str, event_id: str = "1") -> bytes:
    """An event of this moment."""
    event = {
        "id": event_id,
        "type": "contact.added",
        "workspace_id": workspace,
        "contact_id": "c",
        "occurred_at": datetime.now(UTC).isoformat(),
    }
    return json.dumps(event).encode()


def cpu_seconds(pid: int) -> float:
    """User and system time of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def applied(worker: Worker) -> int:
    """How many records a worker has committed, whatever their outcome."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{worker.port}/metrics", timeout=5) as answer:
            text = answer.read().decode()
    except OSError:
        return 0
    return round(
        sum(float(n) for n in re.findall(r'^contacts_events_total\{outcome="\w+"\} (\S+)', text, re.MULTILINE))
    )


@dataclass
class Run:
    """A stretch of work: how many events, in which time, for how much CPU."""

    events: int
    seconds: float
    cpu: float

    @property
    def rate(self) -> float:
        return self.events / self.seconds

    @property
    def cpu_us(self) -> float:
        return self.cpu / self.events * 1e6


def measured_catch_up(worker: Worker, total: int) -> Run:
    """From the first events that a started worker commits until it has applied all."""
    while not (first := applied(worker)):
        assert worker.running, worker.tail()
        time.sleep(0.01)
    started, cpu = time.monotonic(), cpu_seconds(worker.pid)
    while (now := applied(worker)) < total:
        assert worker.running, worker.tail()
        time.sleep(0.05)
    return Run(now - first, time.monotonic() - started, cpu_seconds(worker.pid) - cpu)


def say(*words: object) -> None:
    print(*words, file=sys.stderr, flush=True)
