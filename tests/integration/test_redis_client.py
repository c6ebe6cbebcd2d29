"""CONTACTS_REDIS leads to the server it names, on Redis and Valkey, alone and behind Sentinels."""

import asyncio
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from redis.asyncio import Redis

from cli.local.ports import listens
from stream.settings.redis import redis_client
from tests.support.kafka import spawn
from tests.support.ports import free_port
from tests.support.redis_server import RunningRedis
from tests.support.servers import server_binary


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


async def test_a_cancel_is_never_lost(each_redis: RunningRedis) -> None:
    """The client's own way of writing forgets every third or so of a busy task, on Python before 3.12."""

    async def work(client: Redis) -> None:
        while True:
            await client.set("name", b"x" * 2_000)
            sum(range(3_000))

    async with redis_client(each_redis.url, timeout_seconds=5) as client:
        for _ in range(10):
            tasks = [asyncio.create_task(work(client)) for _ in range(8)]
            await asyncio.sleep(0.05)
            for task in tasks:
                task.cancel()
            _, going_on = await asyncio.wait(tasks, timeout=5)
            assert not going_on
