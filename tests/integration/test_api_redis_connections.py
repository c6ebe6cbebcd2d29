"""The API's connections to Redis: how many there are, who waits for one, and what becomes of one that was closed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import hiredis
import pytest
from redis.asyncio import Redis

from api.errors import Unavailable
from api.read import connection as rooms
from api.read.connection import Connection
from tests.support.redis_server import RunningRedis, own_redis

__all__ = ["own_redis"]

Read = asyncio.Task[list[object]]


@asynccontextmanager
async def connected(redis: RunningRedis, monkeypatch: pytest.MonkeyPatch, at_once: int) -> AsyncIterator[Connection]:
    monkeypatch.setattr(rooms, "READS_AT_ONCE", at_once)
    connection = Connection(redis.url, 20.0)
    try:
        yield connection
    finally:
        await connection.close()


def begin_reads(connection: Connection, number: int) -> list[Read]:
    return [asyncio.create_task(connection.transaction([("ECHO", f"{n}")])) for n in range(number)]


async def let_them_begin(connection: Connection, waiting: int) -> None:
    while len(connection._waiting) < waiting:
        await asyncio.sleep(0.001)


async def open_connections(redis: RunningRedis) -> int:
    """How many the server has but that which asks."""
    async with Redis.from_url(redis.url) as other:
        return len(await other.client_list()) - 1


async def test_reads_wait_for_one_of_so_many_connections(
    own_redis: RunningRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with connected(own_redis, monkeypatch, 2) as connection:
        # Given two connections, when more reads begin than there are, and one of them is given up
        with own_redis.paused():
            reads = begin_reads(connection, 6)
            await let_them_begin(connection, 4)
            reads[3].cancel()
        found = await asyncio.gather(*reads, return_exceptions=True)
        # Then all others have their own replies, over those two
        assert [reply for reply in found if not isinstance(reply, BaseException)] == [
            [b"%d" % number] for number in (0, 1, 2, 4, 5)
        ]
        assert isinstance(found[3], asyncio.CancelledError)
        assert await open_connections(own_redis) == 2
        assert len(connection._idle) == 2


async def test_a_read_that_is_given_up_as_its_turn_comes_leaves_the_turn_to_the_next(
    own_redis: RunningRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with connected(own_redis, monkeypatch, 1) as connection:
        await connection.transaction([("PING",)])
        place = connection._idle.pop()
        first, second = begin_reads(connection, 2)
        await let_them_begin(connection, 2)
        connection._give_back(place)
        first.cancel()
        assert await second == [b"1"]
        with pytest.raises(asyncio.CancelledError):
            await first
        assert connection._idle == [place]


@pytest.mark.parametrize("at_once", [1, 3])
async def test_a_place_that_no_connection_was_made_for_is_free_again(
    own_redis: RunningRedis, monkeypatch: pytest.MonkeyPatch, at_once: int
) -> None:
    async with connected(own_redis, monkeypatch, at_once) as connection:
        own_redis.stop()
        found = await asyncio.gather(*begin_reads(connection, 5), return_exceptions=True)
        assert [type(error) for error in found] == [Unavailable] * 5
        own_redis.start()
        assert await asyncio.gather(*begin_reads(connection, 5)) == [[b"%d" % number] for number in range(5)]


@pytest.mark.parametrize("noticed", [False, True])
async def test_connections_that_the_server_has_closed_are_made_anew(
    own_redis: RunningRedis, monkeypatch: pytest.MonkeyPatch, noticed: bool
) -> None:
    async with connected(own_redis, monkeypatch, 2) as connection, Redis.from_url(own_redis.url) as other:
        with own_redis.paused():
            reads = begin_reads(connection, 2)
            await asyncio.sleep(0)
        await asyncio.gather(*reads)
        await other.client_kill_filter(_type="normal", skipme=True)
        while noticed and any(one is not None and one.is_ready for one in connection._idle):
            await asyncio.sleep(0.001)
        assert await asyncio.gather(*begin_reads(connection, 3)) == [[b"0"], [b"1"], [b"2"]]


@pytest.mark.parametrize("answered", [False, True])
async def test_a_read_that_is_given_up_leaves_nothing_of_its_replies_to_others(
    own_redis: RunningRedis, monkeypatch: pytest.MonkeyPatch, answered: bool
) -> None:
    async with connected(own_redis, monkeypatch, 1) as connection:
        await connection.transaction([("PING",)])
        with own_redis.paused():
            [read] = begin_reads(connection, 1)
            await asyncio.sleep(0.01)
            read.cancel()
            with pytest.raises(asyncio.CancelledError):
                await read
            [one] = connection._idle
            assert one is not None
            assert not one.is_ready
            if not answered:
                other = begin_reads(connection, 1)
                await asyncio.sleep(0.01)
        # Its connection is the next one's once the replies are there, and is made anew where they are not yet
        while answered and not one.is_ready:
            await asyncio.sleep(0.001)
        if not answered:
            assert await asyncio.gather(*other) == [[b"0"]]
        assert await connection.transaction([("ECHO", "another")]) == [b"another"]
        assert await open_connections(own_redis) == 1


async def test_an_error_among_the_replies_is_told_and_the_connection_goes_on(
    own_redis: RunningRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with connected(own_redis, monkeypatch, 1) as connection:
        await connection.transaction([("SET", "text", "a")])
        [one] = connection._idle
        for refused in (("HGET", "text", "a"), ("NOTHING", "text"), hiredis.pack_command(("GET",))):
            with pytest.raises(Unavailable):
                await connection.transaction([("PING",), refused, ("PING",)])
            assert await connection.transaction([("GET", "text")]) == [b"a"]
            assert connection._idle == [one]
