"""Partitions are added while readers read: no answer waits for them, whatever Kafka says to it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import pytest
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaConnectionError, PolicyViolationError

from api.read.freshness import READ_FIELDS, Positions, read_positions
from cli.main import main
from stream.kafka.changelog import read_changelog
from stream.kafka.topics import ensure_topics, open_topics, wanted_topics
from stream.settings.redis import redis_client
from stream.settings.worker import WorkerConfig
from stream.storage.keys import Keys
from stream.tables.position import KEY, decode_position
from tests.integration.test_topics_in_kafka import environ, partitions
from tests.support.kafka import RunningKafka, unique_name
from tests.support.redis_server import RunningRedis


@pytest.fixture
def config(kafka: RunningKafka, shared_redis: RunningRedis) -> WorkerConfig:
    """A deployment of two partitions."""
    made = WorkerConfig(
        kafka=kafka.bootstrap, redis=shared_redis.url, topic=unique_name("activity"), group=unique_name("group")
    )

    async def make() -> None:
        async with open_topics(made.access) as topics:
            await ensure_topics(topics, wanted_topics(made), partitions_if_new=2)

    asyncio.run(make())
    return made


def raise_to(config: WorkerConfig, number: int) -> int:
    return main(["topics", "--partitions", str(number)], environ(config, config.redis))


def read(config: WorkerConfig) -> tuple[int, Positions]:
    """How many partitions readers know, and what they know of each."""

    async def ask() -> tuple[int, Positions]:
        keys = Keys(config.group)
        async with redis_client(config.redis, timeout_seconds=5) as redis:
            number = int(await redis.hget(keys.positions, "partitions") or 0)
            fields = [keys.position_field(p, name) for p in range(number) for name in READ_FIELDS]
            return number, read_positions(number, await redis.hmget(keys.positions, fields) if fields else [])

    return asyncio.run(ask())


def counted(config: WorkerConfig) -> None:
    """What two workers would have told: each of the two partitions has a position."""

    async def tell() -> None:
        keys = Keys(config.group)
        async with redis_client(config.redis, timeout_seconds=5) as redis:
            told: Mapping[str, str] = {"partitions": "2"} | {
                keys.position_field(p, name): "1" for p in range(2) for name in ("position", "as_of", "moved")
            }
            await redis.hset(keys.positions, mapping=dict(told))

    asyncio.run(tell())


def test_readers_have_a_position_of_each_new_partition_before_it_is_there(config: WorkerConfig) -> None:
    counted(config)
    assert raise_to(config, 4) == 0
    number, positions = read(config)
    assert number == 4
    assert positions.complete
    assert asyncio.run(partitions(config)) == [4, 4, 4]
    # Once more does nothing, and neither does what an attempt that was broken off has left.
    assert raise_to(config, 4) == 0
    assert read(config) == (4, positions)


def test_a_worker_goes_on_from_the_first_position(config: WorkerConfig) -> None:
    assert raise_to(config, 3) == 0
    # What a worker reads when it comes to own the partition:
    stored = asyncio.run(
        read_changelog(config.access, config.changelog_topic, config.dead_letter_topic, 2, lambda _done, _all: None)
    )
    assert set(stored) == {KEY}
    position = decode_position(stored[KEY])
    # It says that there were two: Kafka might have refused more, and a topic with fewer than were seen is another one.
    assert (position.next_offset, position.first_offset, position.fingerprint, position.partitions) == (0, 0, None, 2)


def test_what_kafka_would_refuse_is_asked_before_anything_is_changed(
    config: WorkerConfig, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    counted(config)
    before = read(config)
    create = AIOKafkaAdminClient.create_partitions

    async def refuse(self: AIOKafkaAdminClient, wanted: Mapping[str, object], **more: object) -> object:
        if config.topic in wanted:
            raise PolicyViolationError("no more than two")
        return await create(self, wanted, **more)

    monkeypatch.setattr(AIOKafkaAdminClient, "create_partitions", refuse)
    assert raise_to(config, 4) == 2
    assert "no more than two" in capsys.readouterr().err
    assert read(config) == before
    assert asyncio.run(partitions(config)) == [2, 2, 2]


@pytest.mark.parametrize(
    ("failure", "announced"),
    [(PolicyViolationError("no"), 2), (KafkaConnectionError("the connection broke"), 4)],
    ids=["refused: taken back", "not known: it stays, and each has a position"],
)
def test_where_kafka_does_not_raise_the_topic_at_last_readers_go_on(
    config: WorkerConfig, monkeypatch: pytest.MonkeyPatch, failure: Exception, announced: int
) -> None:
    counted(config)
    create = AIOKafkaAdminClient.create_partitions

    async def fail(self: AIOKafkaAdminClient, wanted: Mapping[str, object], **more: object) -> object:
        if config.topic in wanted and not more.get("validate_only"):
            raise failure
        return await create(self, wanted, **more)

    monkeypatch.setattr(AIOKafkaAdminClient, "create_partitions", fail)
    assert raise_to(config, 4) == 2
    number, positions = read(config)
    assert (number, positions.complete) == (announced, True)
    monkeypatch.undo()
    # A smaller number than was tried is good too, as far as the other topics allow it;
    assert raise_to(config, 3) == 2
    # and the same again succeeds.
    assert raise_to(config, 4) == 0
    number, positions = read(config)
    assert (number, positions.complete) == (4, True)
