"""What the compiled core has packed is to a real Kafka and a real Redis what the Python form says record by record."""

from collections.abc import Callable
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition

from stream.kafka.transaction import PACKED_BYTES, TransactionalStore
from stream.projection import calls
from stream.projection.calls import calls_of_commit
from stream.projection.replica import RedisReplica
from stream.settings.kafka import KafkaAccess
from stream.settings.redis import redis_client
from stream.storage.keys import Keys
from stream.tables.batch import Batch
from stream.tables.compiled import CompiledState, Packing
from stream.tables.partition import PartitionState
from stream.tables.rules import CountingRules
from stream.tables.state import State
from stream.worker.attempts import Attempts
from tests.support.kafka import RunningKafka, create_topic, settled, unique_name
from tests.support.partition_log import INCARNATION
from tests.support.records import Received
from tests.support.redis_server import RunningRedis
from tests.unit.core.test_agreement import EVENT
from tests.unit.tables.test_partition_properties import log_of

pytestmark = pytest.mark.usefixtures("core")

RULES = CountingRules(delta_floor=2)
PARTITION = 0


def records() -> list[Received]:
    made: list[Received] = log_of(
        [({"id": f"e{n}", "user_id": f"u{n % 7}", "user_name": "é"} | EVENT, 1, 0) for n in range(200)]
    )
    made[9] = Received(b"{", [("h", b"1")], made[9].timestamp, b"k", 109, 0)
    return made


def packing(group: str) -> Packing:
    return Packing(Keys(group).prefix, PACKED_BYTES, calls.CALL_BYTES, calls.OPERATION_LIMIT)


def forms(group: str) -> dict[str, Callable[[], State]]:
    return {
        "python": lambda: PartitionState(PARTITION, RULES),
        "compiled": lambda: CompiledState(PARTITION, RULES, packing(group)),
    }


def begin(state: Any) -> None:
    state.begin(incarnation=INCARNATION, first_offset=100, partitions=1)


async def test_the_changelog_and_the_dead_letters_are_the_same(kafka: RunningKafka) -> None:
    found = {}
    for form, make in forms("g").items():
        # Given a partition counted by each form, in two commits
        changelog, dead = unique_name("state-changelog"), unique_name("dead")
        for topic in (changelog, dead):
            await create_topic(kafka.bootstrap, topic)
        store = TransactionalStore(
            kafka=KafkaAccess(kafka.bootstrap),
            group=unique_name("group"),
            partition=PARTITION,
            changelog=changelog,
            dead_letters=dead,
            source="source",
            timeout_seconds=30,
        )
        state, log = make(), records()
        begin(state)
        await store.fence()
        for part in (log[:120], log[120:]):
            state.apply(Batch(part, part[0].offset, part[-1].offset + 1))
            await store.commit(state.encode(), Attempts())
        # When the changelog and the dead letters are read, record by record
        await store.read(lambda _done, _all: None)
        await store.close()
        found[form] = [await everything(kafka, topic) for topic in (changelog, dead)]
        assert len(found[form][0]) > 20
    # Then both have left the same
    assert found["compiled"] == found["python"]


async def everything(kafka: RunningKafka, topic: str) -> list[tuple[Any, ...]]:
    """All committed records of a topic's partition, up to its end."""
    await settled(kafka.bootstrap, topic)
    consumer = AIOKafkaConsumer(bootstrap_servers=kafka.bootstrap, isolation_level="read_committed")
    await consumer.start()
    tp = TopicPartition(topic, PARTITION)
    consumer.assign([tp])
    end = (await consumer.end_offsets([tp]))[tp]
    consumer.seek(tp, 0)
    found: list[tuple[Any, ...]] = []
    while await consumer.position(tp) < end:
        for some in (await consumer.getmany(tp, timeout_ms=500)).values():
            found += [(record.offset, record.key, record.value, record.headers) for record in some]
    await consumer.stop()
    return found


async def test_redis_holds_the_same(each_redis: RunningRedis) -> None:
    held = {}
    client = redis_client(each_redis.url, timeout_seconds=10)
    for form in ("python", "compiled"):
        # Given one claim each, on a Redis that lost its scripts, as after a restart
        group = unique_name("group")
        keys, state, log = Keys(group), forms(group)[form](), records()
        begin(state)
        replica = RedisReplica(client, keys)
        await replica.claim(PARTITION, INCARNATION, "aa")
        await client.script_flush()
        # When two commits are sent
        number = 0
        for part in (log[:120], log[120:]):
            state.apply(Batch(part, part[0].offset, part[-1].offset + 1))
            for call in calls_of_commit(keys, PARTITION, state.encode()):
                number += 1
                assert await replica.project(PARTITION, "aa", number, call)
        held[form] = await content(client, keys.prefix)
        assert len(held[form]) > 4
    await client.aclose()
    # Then both hold the same, but for the words that tell one change from another
    assert held["compiled"] == held["python"]


async def content(client: Any, prefix: str) -> dict[bytes, Any]:
    found: dict[bytes, Any] = {}
    async for key in client.scan_iter(match=f"{prefix}*"):
        name = key.removeprefix(prefix.encode())
        if await client.type(key) == b"zset":
            found[name] = await client.zrange(key, 0, -1)
        else:
            value = await client.hgetall(key)
            found[name] = {f: v.split()[1:] for f, v in value.items()} if name.startswith(b"days:") else value
    return found
