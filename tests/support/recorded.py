"""What an earlier version wrote to changelog and Redis, recorded: each later one reads it, and goes on with it.

`python -m tests.support.recorded KAFKA FILE`, run where that version's code is, publishes `records()` to a topic of one
partition, lets its worker count them, with a stop in between, and writes down what it left.
"""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import redis
from aiokafka import AIOKafkaProducer

from stream.kafka.topics import ensure_topics, open_topics, wanted_topics
from stream.settings.worker import WorkerConfig
from tests.support.kafka import read_partition, unique_name
from tests.support.records import Received
from tests.support.stack import RedisServer, Worker, eventually

FOLDER = Path(__file__).parents[1] / "recorded"
FIRST = datetime(2026, 11, 20, 10, tzinfo=UTC)
RECORDED, BEFORE_THE_STOP = 1_200, 700
RETENTION_DAYS = 30
WORKSPACES = ("w_1", "w.2:x", "w~3")
SOURCES = ("user", "contact_import", "developer_api", None, "Fax", "incoming_message", "none")
NAMES = ("Ada", "Bo \u00fc", None, "\u05d0\u05d1", "")


def records(first: int = 0, end: int = RECORDED) -> list[Received]:
    """Records of the partition, by offset, the same whenever and wherever they are made: events of three workspaces,
    copies, what cannot be counted, and tombstones."""
    return [_record(offset) for offset in range(first, end)]


def _record(offset: int) -> Received:
    at = FIRST + timedelta(seconds=40 * offset)
    stamp = round(at.timestamp() * 1000)
    headers = (("trace", b"%d" % offset),) if offset % 11 == 0 else ()
    if offset % 97 == 96:
        return Received(None, timestamp=stamp, key=b"k", offset=offset, timestamp_type=0)
    value = _value(offset, at)
    if offset % 29 == 28:
        value = (b"{", json.dumps({"id": f"e{offset}"}).encode())[offset % 2]
    return Received(value, headers, stamp, b"k", offset, timestamp_type=0)


def _value(offset: int, at: datetime) -> bytes:
    number = offset - 5 if offset % 17 == 16 else offset  # a copy, of which only the identity is told again
    late = timedelta(hours=(offset * 7) % 60) if offset % 7 == 0 else timedelta(seconds=offset % 50)
    event: dict[str, Any] = {
        "id": f"e{number}",
        "type": ("contact.added", "contact.added", "contact.deleted")[offset % 3],
        "workspace_id": WORKSPACES[number % 3],
        "contact_id": f"c{offset % 40}" if offset % 5 else offset,
        "contact_name": NAMES[offset % 4],
        "source": SOURCES[offset % 7],
        "user_id": None if offset % 13 == 0 else f"u{offset % 12}",
        "user_name": NAMES[offset % 5],
        "occurred_at": (at - late).isoformat().replace("+00:00", "Z"),
        "batch_id": "import" if offset % 9 == 0 else None,
    }
    return json.dumps(event, ensure_ascii=False).encode()


@dataclass(frozen=True)
class Recording:
    """What was left, of the group whose keys begin with `prefix`."""

    prefix: str
    changelog: Mapping[bytes, bytes]
    hashes: Mapping[str, Mapping[bytes, bytes]]
    sorted_sets: Mapping[str, Sequence[tuple[bytes, float]]]
    """By the rest of their keys."""

    def restore(self, client: redis.Redis, prefix: str) -> None:
        """Put it into a Redis, under another group's prefix."""
        for key, fields in self.hashes.items():
            client.hset(prefix + key, mapping=dict(fields))
        for key, members in self.sorted_sets.items():
            client.zadd(prefix + key, dict(members))


def recording(version: str) -> Recording:
    stored = json.loads((FOLDER / f"{version}.json").read_text())

    def raw(text: str) -> bytes:
        return bytes.fromhex(text)

    return Recording(
        stored["prefix"],
        {raw(key): raw(value) for key, value in stored["changelog"]},
        {key: {raw(f): raw(v) for f, v in fields} for key, fields in stored["hashes"].items()},
        {key: [(raw(m), score) for m, score in members] for key, members in stored["sorted_sets"].items()},
    )


async def make_topics(config: WorkerConfig) -> None:
    """The topics of one partition, the activity topic with publishers' times: so that a replay has those of the
    recording."""
    wanted = [
        topic
        if topic.name != config.topic
        else type(topic)(
            topic.name, topic.role, topic.replicas, {**topic.settings, "message.timestamp.type": "CreateTime"}
        )
        for topic in wanted_topics(config)
    ]
    async with open_topics(config.access) as topics:
        await ensure_topics(topics, wanted, partitions_if_new=1)


async def publish(kafka: str, topic: str, what: Sequence[Received]) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=kafka, acks="all")
    await producer.start()
    for record in what:
        sent = await producer.send(
            topic,
            record.value,
            record.key,
            partition=0,
            timestamp_ms=record.timestamp,
            headers=list(record.headers),
        )
        if record is what[-1]:
            await sent
    await producer.stop()


def environ_of(kafka: str, redis_url: str, topic: str, group: str) -> dict[str, str]:
    return {
        "CONTACTS_KAFKA": kafka,
        "CONTACTS_REDIS": redis_url,
        "CONTACTS_TOPIC": topic,
        "CONTACTS_GROUP": group,
        "CONTACTS_RETENTION_DAYS": str(RETENTION_DAYS),
    }


def position_of(client: redis.Redis, group: str) -> int:
    return int(client.hget(f"cr1:{group}:{{0}}:positions", "0.position") or 0)


def record_to(kafka: str, file: Path) -> None:
    topic, group = unique_name("recorded"), unique_name("recorded")
    asyncio.run(make_topics(WorkerConfig(kafka=kafka, topic=topic, group=group, partitions=1)))
    with tempfile.TemporaryDirectory() as folder:
        server = RedisServer(Path(folder) / "redis")
        server.start()
        worker = Worker(Path(folder), "worker", environ_of(kafka, server.url, topic, group))
        for first, end in ((0, BEFORE_THE_STOP), (BEFORE_THE_STOP, RECORDED)):
            # In parts, as they would come: each is a commit of its own.
            worker.start()
            eventually("a worker that counts", worker.ready)
            for at in range(first, end, 50):
                upto = min(at + 50, end)
                asyncio.run(publish(kafka, topic, records(at, upto)))
                eventually("counted", lambda upto=upto: position_of(server.client, group) >= upto)
            worker.stop()
        changelog: dict[bytes, bytes] = {}
        for record in asyncio.run(
            read_partition(kafka, f"{group}-state-changelog", 0, isolation_level="read_committed")
        ):
            if record.value is None:
                changelog.pop(record.key, None)
            else:
                changelog[record.key] = record.value
        file.write_text(json.dumps(_dump(server.client, f"cr1:{group}:{{0}}:", changelog), indent=0) + "\n")
        server.kill()


def _dump(client: redis.Redis, prefix: str, changelog: Mapping[bytes, bytes]) -> dict[str, Any]:
    hashes: dict[str, Any] = {}
    sorted_sets: dict[str, Any] = {}
    for key in sorted(client.keys("*")):
        name = key.decode().removeprefix(prefix)
        if client.type(key) == b"hash":
            hashes[name] = sorted((f.hex(), v.hex()) for f, v in client.hgetall(key).items())
        else:
            sorted_sets[name] = [(member.hex(), score) for member, score in client.zrange(key, 0, -1, withscores=True)]
    table = sorted((key.hex(), value.hex()) for key, value in changelog.items())
    return {"prefix": prefix, "changelog": table, "hashes": hashes, "sorted_sets": sorted_sets}


if __name__ == "__main__":
    record_to(sys.argv[1], Path(sys.argv[2]))
