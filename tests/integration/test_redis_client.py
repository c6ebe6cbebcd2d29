"""CONTACTS_REDIS leads to the server it names, on Redis and Valkey, alone and behind Sentinels."""

import asyncio
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import NoScriptError, ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

from cli.local.ports import listens
from stream.settings.redis import KeepingRedis, redis_client
from stream.settings.redis_words import is_refusal, name_trouble
from tests.support.authority import Authority
from tests.support.kafka import spawn
from tests.support.ports import free_port
from tests.support.redis_server import RunningRedis
from tests.support.servers import server_binary
from tests.support.tls_redis import TlsRedis


async def test_a_url_names_its_server_and_database(each_redis: RunningRedis) -> None:
    # Given a value in database 3
    url = f"redis://127.0.0.1:{each_redis.port}/3"
    async with redis_client(url, timeout_seconds=5) as client:
        await client.set("name", "three")
    # When another client of the same database, and one of another, ask for it
    async with redis_client(url, timeout_seconds=5) as same, redis_client(each_redis.url, timeout_seconds=5) as other:
        answers = [await same.get("name"), await other.get("name")]
    # Then only the first finds it, as bytes
    assert answers == [b"three", None]


@pytest.fixture
def sentinel(each_redis: RunningRedis, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[int]:
    """The port of a Sentinel that watches the server as `main`."""
    port = free_port()
    config = tmp_path / "sentinel.conf"
    config.write_text(
        f"port {port}\nbind 127.0.0.1\ndir {tmp_path}\nsentinel monitor main 127.0.0.1 {each_redis.port} 1\n"
    )
    binary = server_binary("redis" if "redis" in request.node.name.split("[")[-1] else "valkey")
    with (tmp_path / "sentinel.log").open("wb") as output:
        process: subprocess.Popen[bytes] = spawn([str(binary), str(config), "--sentinel"], output)
    try:
        deadline = time.monotonic() + 20
        while not listens(port):
            assert time.monotonic() < deadline, (tmp_path / "sentinel.log").read_text()
            time.sleep(0.02)
        yield port
    finally:
        process.kill()
        process.wait()


async def test_sentinels_are_asked_for_the_primary(each_redis: RunningRedis, sentinel: int) -> None:
    # Given two Sentinels in the address, the first of them away
    url = f"redis+sentinel://127.0.0.1:{free_port()},127.0.0.1:{sentinel}/main/2"
    # When something is written through them
    async with redis_client(url, timeout_seconds=5) as client:
        await client.set("through", "sentinel")
    # Then the server that they watch has it, in the database that the address names
    async with redis_client(f"redis://127.0.0.1:{each_redis.port}/2", timeout_seconds=5) as direct:
        assert await direct.get("through") == b"sentinel"


@pytest.mark.parametrize("kind", [Redis, KeepingRedis])
async def test_after_a_failover_the_sentinels_are_asked_again(
    each_redis: RunningRedis, own_redis: RunningRedis, sentinel: int, kind: type[Redis]
) -> None:
    async with redis_client(f"redis+sentinel://127.0.0.1:{sentinel}/main/2", timeout_seconds=5, kind=kind) as client:
        pool = client.connection_pool
        held: Any = await pool.get_connection()  # as the API reads
        assert await held.exchange([("PING",)]) == [b"PONG"]
        await client.set("name", "before")

        async def another() -> tuple[str, int]:
            return "127.0.0.1", own_redis.port

        # When the Sentinels name another primary, and the connections to the one before are closed
        pool.get_master_address = another  # type: ignore[attr-defined]
        async with redis_client(each_redis.url, timeout_seconds=5) as other:
            await other.client_kill_filter(_type="normal", skipme=True)
        await held.disconnect()
        # Then what is sent next goes to the new one
        assert await client.set("name", "after")
        assert await held.exchange([("SET", "other", "after")]) == [b"OK"]
        await pool.release(held)
    async with redis_client(f"redis://127.0.0.1:{own_redis.port}/2", timeout_seconds=5) as direct:
        assert await direct.mget("name", "other") == [b"after", b"after"]


@pytest.mark.parametrize("kind", [Redis, KeepingRedis])
async def test_a_cancel_is_never_lost(each_redis: RunningRedis, kind: type[Redis]) -> None:
    """The client's own way of writing forgets every third or so of a busy task, on Python before 3.12."""

    async def work(client: Redis) -> None:
        while True:
            await client.set("name", b"x" * 2_000)
            sum(range(3_000))

    async with redis_client(each_redis.url, timeout_seconds=5, kind=kind) as client:
        for _ in range(10):
            tasks = [asyncio.create_task(work(client)) for _ in range(8)]
            await asyncio.sleep(0.05)
            for task in tasks:
                task.cancel()
            _, going_on = await asyncio.wait(tasks, timeout=5)
            assert not going_on


async def test_a_redis_that_is_set_to_take_no_writes_is_told_as_that(own_redis: RunningRedis) -> None:
    async with redis_client(own_redis.url, timeout_seconds=5) as client:
        await client.config_set("min-replicas-to-write", 1)
        with pytest.raises(ResponseError) as refused:
            await client.set("name", "value")
        await client.config_set("min-replicas-to-write", 0)
    assert is_refusal(refused.value)
    assert name_trouble(refused.value) == (
        "Redis has fewer replicas than it must have to take writes (min-replicas-to-write)"
    )
    unsaved = ResponseError("MISCONF Redis is configured to save RDB snapshots, but it's currently unable to persist")
    assert name_trouble(unsaved) == "Redis cannot save its data (a full disk?), and is set to take no writes then"


# ---- connections that are kept -------------------------------------------------------------------------------


async def keeping(redis: RunningRedis, seconds: float = 5) -> AsyncIterator[Redis]:
    async with redis_client(redis.url, timeout_seconds=seconds, retries=0, kind=KeepingRedis) as client:
        yield client


async def connected(redis: RunningRedis) -> int:
    """How many connections the server has but that which asks."""
    async with redis_client(redis.url, timeout_seconds=5) as other:
        return len(await other.client_list()) - 1


async def test_commands_lend_as_many_connections_as_there_are_at_once(each_redis: RunningRedis) -> None:
    async for client in keeping(each_redis):
        pool, lent = client.connection_pool, 0
        lend = pool.get_connection

        async def noted(lend: Any = lend) -> Any:
            nonlocal lent
            lent += 1
            return await lend()

        pool.get_connection = noted
        for number in range(20):
            await client.set("name", number)
        assert lent == 1
        answers = await asyncio.gather(*(client.incrby("name", 1) for _ in range(3)))
        assert lent == 3
        assert sorted(answers) == [20, 21, 22]
        assert await connected(each_redis) == 3
    assert await connected(each_redis) == 0


async def test_commands_leave_connections_to_pipelines(each_redis: RunningRedis) -> None:
    """However many there were at once: the pool lends a hundred."""
    async for client in keeping(each_redis):
        await client.delete("commands")
        await asyncio.gather(*(client.incr("commands") for _ in range(300)))
        async with client.pipeline() as pipe:
            pipe.get("commands")
            assert await pipe.execute() == [b"300"]


async def test_a_kept_connection_that_the_server_has_closed_is_made_anew(each_redis: RunningRedis) -> None:
    async for client in keeping(each_redis):
        await client.set("name", "before")
        async with redis_client(each_redis.url, timeout_seconds=5) as other:
            await other.client_kill_filter(_type="normal", skipme=True)
        while not client._kept[0]._reader.at_eof():  # type: ignore[attr-defined]
            await asyncio.sleep(0.01)
        assert await client.get("name") == b"before"


async def test_a_command_that_is_not_answered_in_time_says_so_and_the_next_has_its_own_answer(
    each_redis: RunningRedis,
) -> None:
    async for client in keeping(each_redis, seconds=2):
        await client.set("name", "value")
        with each_redis.paused(), pytest.raises(RedisTimeoutError):
            await client.get("name")
        assert await client.get("name") == b"value"
        assert await client.incr("number") == 1


@pytest.mark.parametrize("kind", [Redis, KeepingRedis])
async def test_a_connection_that_is_not_made_in_time_is_told_as_that(
    each_redis: RunningRedis, kind: type[Redis]
) -> None:
    # TLS with a port that says nothing to it,
    silent = await asyncio.start_server(lambda reader, _: reader.read(), "127.0.0.1", 0)
    port = silent.sockets[0].getsockname()[1]
    url = f"rediss://127.0.0.1:{port}/0?ssl_cert_reqs=none"
    async with silent, redis_client(url, timeout_seconds=0.5, retries=0, kind=kind) as client:
        with pytest.raises(RedisTimeoutError) as late:
            await client.get("name")
        assert name_trouble(late.value).startswith("no connection to Redis in time: ")
    # and a Redis that lets us in and says nothing more
    async with redis_client(each_redis.url, timeout_seconds=0.5, retries=0, kind=kind) as client:
        with each_redis.paused(), pytest.raises(RedisTimeoutError) as late:
            await client.get("name")
        assert name_trouble(late.value) == "Redis does not answer"


async def test_a_refused_command_leaves_its_connection_usable(each_redis: RunningRedis) -> None:
    async for client in keeping(each_redis):
        await client.set("name", "value")
        with pytest.raises(ResponseError):
            await client.incr("name")
        with pytest.raises(NoScriptError):
            await client.evalsha("0" * 40, 0)
        assert await client.get("name") == b"value"
        assert await connected(each_redis) == 1


async def test_several_commands_are_exchanged_at_once_and_errors_are_left_among_their_replies(
    each_redis: RunningRedis,
) -> None:
    async with redis_client(each_redis.url, timeout_seconds=None) as client:
        connection: Any = await client.connection_pool.get_connection()  # type: ignore[no-untyped-call]
        # When one of several commands is refused
        commands = [("SET", "name", 7), ("INCRBY", "name", "x"), ("HGETALL", "nothing"), ("GET", "name")]
        ok, refused, nothing, seven = await connection.exchange(commands)
        # Then the others have their replies
        assert (ok, type(refused), len(nothing), seven) == (b"OK", ResponseError, 0, b"7")
        # When one is given up before its reply is there, then the next exchange does not read it
        waiting = asyncio.create_task(connection.exchange([("BLPOP", "never", 0)]))
        await asyncio.sleep(0.05)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert not connection.is_connected
        assert await connection.exchange([("GET", "name")]) == [b"7"]
        await client.connection_pool.release(connection)


async def test_an_exchange_is_given_up_at_its_time_and_survives_whatever_the_server_does(
    each_redis: RunningRedis,
) -> None:
    loop, value = asyncio.get_running_loop(), b"x" * 3_000_000
    async with redis_client(each_redis.url, timeout_seconds=None, retries=0) as client:
        connection: Any = await client.connection_pool.get_connection()  # type: ignore[no-untyped-call]
        # Replies larger than any buffer are read whole
        commands = [("SET", "name", value), ("GET", "name"), ("MGET", "name", "name", "nothing"), ("PING",)]
        assert await connection.exchange(commands) == [b"OK", value, [value, value, None], b"PONG"]
        # A time that passes is told, and the next exchange has its own replies
        with pytest.raises(TimeoutError):
            await connection.exchange([("BLPOP", "never", 0)], loop.time() + 0.05)
        assert not connection.is_connected
        assert await connection.exchange([("STRLEN", "name")], loop.time() + 60) == [len(value)]
        # which has its own time, sooner or later than that of the one before
        for before, now in ((60.0, 0.05), (0.05, 0.3)):
            assert await connection.exchange([("PING",)], loop.time() + before) == [b"PONG"]
            until = loop.time() + now
            with pytest.raises(TimeoutError):
                await connection.exchange([("BLPOP", "never", 0)], until)
            assert until - 0.01 < loop.time() < until + 20
            assert await connection.exchange([("PING",)], loop.time() + 60) == [b"PONG"]
        # A server that goes away is told at once: where it was waited for,
        async with redis_client(each_redis.url, timeout_seconds=5) as other:
            waiting = asyncio.create_task(connection.exchange([("BLPOP", "never", 0)], loop.time() + 60))
            while not (await other.info("clients"))["blocked_clients"]:
                await asyncio.sleep(0.01)
            await other.client_kill_filter(_type="normal", skipme=True)
            with pytest.raises(RedisConnectionError, match=r"Connection closed by server|broke"):
                await waiting
            # and, to whoever looks first, where it was not
            await connection.exchange([("PING",)])
            await other.client_kill_filter(_type="normal", skipme=True)
            while connection.is_ready:
                await asyncio.sleep(0.01)
        assert await connection.exchange([("PING",)]) == [b"PONG"]
        await client.connection_pool.release(connection)


async def test_what_the_server_says_unasked_is_no_reply(each_redis: RunningRedis) -> None:
    async with (
        redis_client(each_redis.url, timeout_seconds=None, retries=0) as client,
        redis_client(each_redis.url, timeout_seconds=5) as other,
    ):
        connection: Any = await client.connection_pool.get_connection()  # type: ignore[no-untyped-call]
        told_of_changes = [("HELLO", "3"), ("CLIENT", "TRACKING", "ON", "BCAST")]
        # Among the replies
        await connection.exchange(told_of_changes)
        assert await connection.exchange([("SET", "a", "1"), ("GET", "a")]) == [b"OK", b"1"]
        await connection.disconnect()
        # and after them
        await connection.exchange(told_of_changes)
        await other.set("a", "2")
        while connection.is_ready:
            await asyncio.sleep(0.01)
        assert await connection.exchange([("GET", "a")]) == [b"2"]
        await client.connection_pool.release(connection)


async def test_several_commands_are_exchanged_with_tls_too(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    server = TlsRedis(tmp_path, authority)
    try:
        server.wait()
        url = f"rediss://127.0.0.1:{server.port}/0?ssl_ca_certs={authority.file}"
        async with redis_client(url, timeout_seconds=None) as client:
            connection: Any = await client.connection_pool.get_connection()  # type: ignore[no-untyped-call]
            value = b"x" * 500_000
            assert await connection.exchange([("SET", "name", value), ("GET", "name")]) == [b"OK", value]
            await connection.disconnect()
            assert await connection.exchange([("GET", "name")]) == [value]
            await client.connection_pool.release(connection)
    finally:
        server.stop()
