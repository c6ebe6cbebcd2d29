"""`contacts-report verify` on a real Kafka and Redis: what is right, missing, extra or unverifiable."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
import redis
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete
from aiokafka.structs import TopicPartition

from cli.main import main
from stream.kafka.changelog import read_changelog
from stream.model.time import day_number
from stream.projection.projector import Projector
from stream.projection.replica import RedisReplica
from stream.settings.redis import redis_client
from stream.settings.worker import WorkerConfig
from stream.storage.keys import Keys
from stream.tables.counts import DELTA_SLOT, key_of
from stream.tables.partition import PartitionState
from stream.tables.rules import CountingRules
from stream.worker.new_partitions import SystemClock
from tests.integration.test_trace import AT, one
from tests.support.counting import count, make_topics, published, send, settle
from tests.support.kafka import RunningKafka, unique_name
from tests.support.redis_server import RunningRedis

Capture = pytest.CaptureFixture[str]
TODAY, BEFORE = AT.date(), (AT - timedelta(days=5)).date()


@pytest.fixture
def config(kafka: RunningKafka, shared_redis: RunningRedis) -> WorkerConfig:
    made = WorkerConfig(
        kafka=kafka.bootstrap, redis=shared_redis.url, topic=unique_name("activity"), group=unique_name("group")
    )
    asyncio.run(make_topics(made, 1))
    return made


def verified(config: WorkerConfig, capsys: Capture, *words: str) -> tuple[int, dict[str, Any]]:
    environ = {
        "CONTACTS_KAFKA": config.kafka,
        "CONTACTS_REDIS": config.redis,
        "CONTACTS_TOPIC": config.topic,
        "CONTACTS_GROUP": config.group,
    }
    code = main(["verify", "--json", *words], environ)
    return code, json.loads(capsys.readouterr().out)


def wrong(answer: dict[str, Any]) -> list[tuple[Any, ...]]:
    return [
        (d["in"], d["workspace_id"], d["day"], d["missing"], d["extra"], d["unverifiable"])
        for d in answer["differences"]
    ]


async def read_tables(config: WorkerConfig) -> dict[bytes, bytes]:
    return await read_changelog(
        config.access, config.changelog_topic, config.dead_letter_topic, 0, lambda _done, _all: None
    )


async def show(config: WorkerConfig) -> None:
    """Send Redis all that is committed, as an owner does."""
    state = PartitionState.recover(0, CountingRules(), await read_tables(config))
    keys = Keys(config.group)
    async with redis_client(config.redis, timeout_seconds=10) as client:
        projector = Projector(
            0,
            keys=keys,
            replica=RedisReplica(client, keys),
            rows=None,
            clock=SystemClock(),
            worker="test",
            future_tolerance_seconds=300,
        )
        projector.note_end(state.position.next_offset, 0)
        assert await projector.resync(state, state.position.next_offset)


async def write(config: WorkerConfig, key: bytes, value: bytes | None) -> None:
    """Put a record into the changelog that no commit has written; then a position behind it, as each commit does."""
    position = (await read_tables(config))[b"p"]
    producer = AIOKafkaProducer(bootstrap_servers=config.kafka, transactional_id=unique_name("txn"))
    await producer.start()
    async with producer.transaction():
        await producer.send_and_wait(config.changelog_topic, value, key, 0)
        await producer.send_and_wait(config.changelog_topic, position, b"p", 0)
    await producer.stop()
    await settle(config, 0)


def day_key(day: Any, workspace: str = "w") -> bytes:
    return key_of(workspace, day_number(day), DELTA_SLOT)


def publish_some(config: WorkerConfig) -> None:
    """Events of two days and workspaces with a copy and a rejected one, counted and shown."""

    async def publish() -> None:
        old = {"occurred_at": f"{BEFORE}T{(AT.hour + 12) % 24:02}:00:00Z"}  # of another quarter than that of today
        await send(
            config,
            [
                published(one("a")),
                published(one("a")),
                published(one("b", user_id=None, source="user")),
                published(one("c", **old)),
                published(one("d", workspace_id="v", type="contact.deleted", **old)),
                published(b"{"),
                published(None),
            ],
        )
        await count(config)
        await show(config)

    asyncio.run(publish())


def test_what_is_right_is_said_to_be_right_while_events_wait(config: WorkerConfig, capsys: Capture) -> None:
    publish_some(config)
    asyncio.run(send(config, [published(one("waits"))]))
    code, answer = verified(config, capsys)
    assert (code, answer["right"], wrong(answer), answer["problems"]) == (0, True, [], [])
    [partition] = answer["partitions"]
    assert partition == {
        "partition": 0,
        "position": 7,
        "offsets_read": 7,
        "counted": 4,
        "compared_with_redis": 3,
        "in_motion": 0,
        "judged_otherwise_today": {"now_counted": 0, "now_not_counted": 0, "offsets": []},
    }
    assert (
        main(["verify", "--no-redis", "--kafka", config.kafka, "--topic", config.topic, "--group", config.group], {})
        == 0
    )
    assert "all counts are right" in capsys.readouterr().out


def test_tables_that_lost_or_gained_are_named_by_workspace_and_day(config: WorkerConfig, capsys: Capture) -> None:
    publish_some(config)
    # Given tables in which one day's counts are those of another day,
    tables = asyncio.run(read_tables(config))
    asyncio.run(write(config, day_key(BEFORE), tables[day_key(TODAY)]))
    # then each count that is not there, and each that should not be, is told.
    code, answer = verified(config, capsys, "--no-redis")
    assert code == 1
    assert wrong(answer) == [("tables", "w", str(BEFORE), 1, 2, 0)]
    # From a later day on there is nothing wrong,
    assert verified(config, capsys, "--no-redis", "--from", str(TODAY))[0] == 0
    # and Redis, which has what was committed before, differs from the tables too.
    code, answer = verified(config, capsys)
    assert ("redis", "w", str(BEFORE), 2, 1, 0) in wrong(answer)


def test_a_changelog_that_lost_a_record_cannot_be_recovered(config: WorkerConfig, capsys: Capture) -> None:
    publish_some(config)
    asyncio.run(write(config, day_key(TODAY), None))
    code, answer = verified(config, capsys)
    assert code == 1
    assert "it lost records" in answer["problems"][0]


@pytest.mark.parametrize("what", ["a delta", "a day", "a whole workspace", "all"])
def test_what_redis_lacks_is_missing(config: WorkerConfig, capsys: Capture, what: str) -> None:
    publish_some(config)
    keys, day = Keys(config.group), day_number(TODAY)
    with redis.Redis.from_url(config.redis) as client:
        if what == "a delta":
            assert client.hdel(keys.cells("w", day), keys.delta_field(day, 0))
        elif what == "a day":
            assert client.hdel(keys.days("w"), str(day))
        elif what == "a whole workspace":
            client.delete(keys.days("w"), keys.cells("w", day), keys.cells("w", day - 5))
        else:
            client.delete(keys.positions)
    code, answer = verified(config, capsys)
    assert code == 1
    found = wrong(answer)
    if what == "all":
        assert "Redis shows nothing of it" in answer["problems"][0]
    elif what == "a whole workspace":
        assert found == [("redis", "w", str(BEFORE), 1, 0, 0), ("redis", "w", str(TODAY), 2, 0, 0)]
    else:
        assert found == [("redis", "w", str(TODAY), 2, 0, 0)]


def test_what_redis_has_too_much_is_extra(config: WorkerConfig, capsys: Capture) -> None:
    publish_some(config)
    keys, day = Keys(config.group), day_number(BEFORE)
    with redis.Redis.from_url(config.redis) as client:
        delta = client.hget(keys.cells("w", day), keys.delta_field(day, 0))
        assert delta is not None
        client.hset(keys.days("x"), mapping={"all": "c", str(day): "c 0:0"})
        client.hset(keys.cells("x", day), keys.delta_field(day, 0), delta)
        client.zadd(keys.workspaces, {"x": 0})
    code, answer = verified(config, capsys)
    assert (code, wrong(answer)) == (1, [("redis", "x", str(BEFORE), 0, 1, 0)])


def test_what_the_topic_has_lost_is_unverifiable_and_no_fault(config: WorkerConfig, capsys: Capture) -> None:
    publish_some(config)

    async def lose() -> None:
        admin = AIOKafkaAdminClient(bootstrap_servers=config.kafka)
        await admin.start()
        await admin.delete_records({TopicPartition(config.topic, 0): RecordsToDelete(2)})
        await admin.close()

    asyncio.run(lose())
    code, answer = verified(config, capsys)
    assert code == 0
    assert wrong(answer) == [("tables", "w", str(TODAY), 0, 0, 1)]
    assert answer["partitions"][0]["offsets_read"] == 5


def test_what_today_s_settings_would_judge_otherwise_is_told_apart(config: WorkerConfig, capsys: Capture) -> None:
    async def publish() -> None:
        await send(config, [published(one("a")), published(one("b", contact_name="x" * 400)), published(one("a"))])
        await count(replace(config, max_event_bytes=500))
        await show(config)

    asyncio.run(publish())
    code, answer = verified(config, capsys)
    assert (code, wrong(answer)) == (0, [])
    otherwise = answer["partitions"][0]["judged_otherwise_today"]
    assert otherwise == {"now_counted": 1, "now_not_counted": 0, "offsets": [1]}
    # Counted is what was counted, whatever today's limit is.
    code, answer = verified(config, capsys, "--max-event-bytes", "10")
    assert (code, wrong(answer)) == (0, [])
    assert answer["partitions"][0]["judged_otherwise_today"]["now_not_counted"] == 1


def test_in_shares_the_same_is_found(config: WorkerConfig, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    publish_some(config)
    monkeypatch.setattr("stream.audit.verify.SHARE_BYTES", 50)
    code, answer = verified(config, capsys)
    assert (code, answer["partitions"][0]["counted"], answer["partitions"][0]["offsets_read"]) == (0, 4, 7)
    tables = asyncio.run(read_tables(config))
    asyncio.run(write(config, day_key(BEFORE), tables[day_key(TODAY)]))
    assert wrong(verified(config, capsys, "--no-redis")[1]) == [("tables", "w", str(BEFORE), 1, 2, 0)]


def test_servers_that_are_away_are_said(config: WorkerConfig, capsys: Capture) -> None:
    publish_some(config)
    words = ["verify", "--topic", config.topic, "--group", config.group]
    assert main([*words, "--kafka", "127.0.0.1:1"], {}) == 2
    assert main([*words, "--kafka", config.kafka, "--redis", "redis://127.0.0.1:1/0"], {}) == 2
    said = capsys.readouterr().err
    assert "cannot reach Kafka" in said
    assert "Redis does not answer (" in said
