"""The rows of a quiet day lie in one piece of memory, in Redis and in Valkey, as this repository starts them."""

from __future__ import annotations

from pathlib import Path
from random import Random

import yaml
from redis.asyncio import Redis

from cli.local.redis import LISTPACK_VALUE_BYTES
from stream.model.activity import Activity, ContactActivity
from stream.projection.calls import calls_of_rows
from stream.projection.replica import RedisReplica
from stream.storage.keys import Keys
from stream.storage.row import encode_row
from tests.support.kafka import unique_name
from tests.support.redis_server import RunningRedis

DAY = 20_782
IN_ONE_PIECE = 128
"""Redis' own default of zset-max-listpack-entries."""


def row(number: int) -> bytes:
    return encode_row(
        ContactActivity(
            event_id=f"{number:032x}",
            activity=Activity.ADDED,
            workspace_id="w",
            contact_id=str(number),
            contact_name=f"Contact {number}",
            source="user",
            user_id=f"u_{number % 7}",
            user_name=f"Member u_{number % 7}",
            occurred_at=(DAY * 86_400 + number) * 1_000_000_000,
            fraction_digits=0,
            batch_id=None,
        ),
        0,
        number,
    )


async def test_rows_of_a_quiet_day_lie_in_one_piece_and_in_order(each_redis: RunningRedis) -> None:
    client, keys = Redis.from_url(each_redis.url), Keys(unique_name("small"))
    key, rows = keys.rows("w", DAY), [row(number) for number in range(IN_ONE_PIECE + 1)]
    replica = RedisReplica(client, keys)
    await replica.claim(0, bytes(16), "t")
    # Given as many rows as lie in one piece, in calls of one row each, in any order
    last = rows.pop(50)
    for number, one in enumerate(Random(1).sample(rows, IN_ONE_PIECE), 1):
        [call] = calls_of_rows(keys, 0, [("w", DAY, [one])])
        assert await replica.project(0, "t", number, call)
    # Then they take little more than their own bytes
    assert await client.object("encoding", key) == b"listpack"
    assert await client.memory_usage(key, samples=0) < 1.3 * sum(map(len, rows))
    assert await client.zrangebylex(key, "-", "+") == rows
    # When there is one more, then they are members by themselves, in the same order
    [call] = calls_of_rows(keys, 0, [("w", DAY, [last])])
    assert await replica.project(0, "t", IN_ONE_PIECE + 1, call)
    assert await client.object("encoding", key) == b"skiplist"
    assert await client.zrangebylex(key, "-", "+") == sorted([*rows, last])
    await client.aclose()


async def test_rows_that_were_written_before_redis_was_told_so_are_read_and_added_to(own_redis: RunningRedis) -> None:
    client, keys = Redis.from_url(own_redis.url), Keys(unique_name("small"))
    replica = RedisReplica(client, keys)
    await replica.claim(0, bytes(16), "t")
    # Given a day of a server with its own default
    await client.config_set("zset-max-listpack-value", 64)
    rows = [row(number) for number in range(10)]
    [call] = calls_of_rows(keys, 0, [("w", DAY, rows[::2])])
    assert await replica.project(0, "t", 1, call)
    assert await client.object("encoding", keys.rows("w", DAY)) == b"skiplist"
    # When it is told to keep small days in one piece, then that day goes on as it was
    await client.config_set("zset-max-listpack-value", LISTPACK_VALUE_BYTES)
    [call] = calls_of_rows(keys, 0, [("w", DAY, rows[1::2])])
    assert await replica.project(0, "t", 2, call)
    assert await client.zrangebylex(keys.rows("w", DAY), "-", "+") == rows
    await client.aclose()


def test_the_redis_of_the_compose_file_is_told_so_too() -> None:
    compose = yaml.safe_load((Path(__file__).parents[2] / "docker-compose.yml").read_text(encoding="utf-8"))
    assert f"--zset-max-listpack-value {LISTPACK_VALUE_BYTES}" in compose["services"]["redis"]["command"]
