"""Connections that are silent, say too much or take nothing; how many there may be; and the port of metrics."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
import redis

from cli import connections
from cli.local.ports import listens
from stream.settings.api import ApiConfig
from tests.support.api import BASE, serving, shared_redis
from tests.support.ports import free_port
from tests.support.redis_data import Event, Positions, RedisData
from tests.support.redis_server import RunningRedis
from tests.support.writes import noted_writes

__all__ = ["shared_redis"]

NOW = datetime(2026, 11, 23, 13, 3, tzinfo=UTC).timestamp()
GET = b"GET /livez HTTP/1.1\r\nHost: a\r\n\r\n"


class Wire:
    """A connection that says what a test wants it to say."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def say(self, text: bytes) -> None:
        self.writer.write(text)
        await self.writer.drain()

    async def hear_until_closed(self) -> bytes:
        heard = b""
        async with asyncio.timeout(20):
            try:
                while piece := await self.reader.read(65_536):
                    heard += piece
            except ConnectionResetError:
                pass
        return heard

    async def answer(self) -> bytes:
        """One answer with its head and body."""
        async with asyncio.timeout(20):
            head = await self.reader.readuntil(b"\r\n\r\n")
            [length] = [line for line in head.split(b"\r\n") if line.lower().startswith(b"content-length")]
            return head + await self.reader.readexactly(int(length.split(b":")[1]))


@asynccontextmanager
async def wired(client: httpx.AsyncClient, receive_bytes: int | None = None) -> AsyncIterator[Wire]:
    connection = socket.socket()
    if receive_bytes is not None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
    connection.setblocking(False)
    await asyncio.get_running_loop().sock_connect(connection, (client.base_url.host, client.base_url.port))
    limit = 65_536 if receive_bytes is None else 1
    reader, writer = await asyncio.open_connection(sock=connection, limit=limit)
    try:
        yield Wire(reader, writer)
    finally:
        writer.close()


SILENCES = {
    "from the start": ([], 0),
    "half a head": ([b"GET /livez HTTP/1.1\r\nHo"], 0),
    "half a header after an answer": ([GET, b"GET /livez HTTP/1.1\r\nHost: a\r\nAccept: x"], 1),
    "half a body": ([b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nabc"], 1),
}


@pytest.mark.parametrize("case", SILENCES)
async def test_who_falls_silent_is_let_go(
    shared_redis: RunningRedis, monkeypatch: pytest.MonkeyPatch, case: str
) -> None:
    monkeypatch.setattr(connections, "HEAD_SECONDS", 0.5)
    said, answers = SILENCES[case]
    async with serving(shared_redis, NOW) as (_, client), wired(client) as wire:
        for number, text in enumerate(said):
            await wire.say(text)
            if number < answers:
                await wire.answer()
        assert await wire.hear_until_closed() == b""


@pytest.mark.parametrize("piece", [b"a", b"A: b\r\n"])
async def test_who_says_a_byte_now_and_then_is_let_go_too(
    shared_redis: RunningRedis, monkeypatch: pytest.MonkeyPatch, piece: bytes
) -> None:
    monkeypatch.setattr(connections, "HEAD_SECONDS", 0.5)
    async with serving(shared_redis, NOW) as (_, client), wired(client) as wire:
        closed = asyncio.create_task(wire.hear_until_closed())
        await wire.say(b"GET /livez HTTP/1.1\r\n")
        until = time.monotonic() + 20
        while not closed.done() and time.monotonic() < until:
            try:
                await wire.say(piece)
            except OSError:
                break
            await asyncio.sleep(0.05)
        assert await closed == b""


async def test_a_connection_is_kept_for_as_long_as_the_next_request_begins_in_time(
    shared_redis: RunningRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a keep-alive of three seconds
    made = connections.GuardedProtocol.connection_made

    def made_with_less(self: connections.GuardedProtocol, transport: Any) -> None:
        self.timeout_keep_alive = 3
        made(self, transport)

    monkeypatch.setattr(connections.GuardedProtocol, "connection_made", made_with_less)
    async with serving(shared_redis, NOW) as (_, client), wired(client) as wire:
        # Whoever asks again before it ends is answered, however long that goes on,
        for _ in range(5):
            await wire.say(GET)
            assert b"200 OK" in await wire.answer()
            await asyncio.sleep(0.8)
        # so is a request that began in time,
        await wire.say(GET[:20])
        await asyncio.sleep(3.3)
        await wire.say(GET[20:])
        assert b"200 OK" in await wire.answer()
        # and who says nothing more is let go, long before a head is to be whole
        begun = time.monotonic()
        assert await wire.hear_until_closed() == b""
        assert time.monotonic() - begun < connections.HEAD_SECONDS


async def test_a_stream_outlives_all_of_these_limits(
    shared_redis: RunningRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "HEAD_SECONDS", 0.2)
    monkeypatch.setattr(connections, "TAKE_SECONDS", 0.2)
    async with serving(shared_redis, NOW) as (api, client):
        api.write([Event(int(NOW) * 10**9, "1")])
        async with client.stream("GET", f"{BASE}/live") as answer:
            pieces = answer.aiter_text()
            text = await anext(pieces)
            await asyncio.sleep(1)
            api.write([Event(int(NOW) * 10**9, str(number), offset=number) for number in range(2)])
            async with asyncio.timeout(20):
                while '"added":{"count":2' not in text:
                    text += await anext(pieces)


async def test_a_stream_ends_with_its_reader_though_other_requests_wait_behind_it(shared_redis: RunningRedis) -> None:
    async with serving(shared_redis, NOW) as (api, client):
        api.write([Event(int(NOW) * 10**9, "1")])
        async with wired(client) as wire:
            await wire.say(f"GET {BASE}/live HTTP/1.1\r\nHost: a\r\n\r\n".encode() + GET)
            async with asyncio.timeout(20):
                await wire.reader.readuntil(b'"added":{"count":1')
            assert api.app.state.metrics.streams() == 1
        async with asyncio.timeout(20):
            while api.app.state.metrics.streams():
                await asyncio.sleep(0.01)


TOO_MUCH = {
    "a header without an end": [b"GET / HTTP/1.1\r\nA: ", *[b"a" * 65_536] * 40],
    "headers without an end": [b"GET / HTTP/1.1\r\n", *[b"A: b\r\n" * 8_192] * 40],
    "an address without an end": [b"GET /", *[b"a" * 65_536] * 40],
    "a body": [b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 900000000\r\n\r\n", *[b"a" * 65_536] * 100],
    "what follows a body": [
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n",
        *[b"A: b\r\n" * 8_192] * 100,
    ],
    "requests that do not wait": [GET * 10_000],
}


@pytest.mark.parametrize("case", TOO_MUCH)
async def test_who_says_too_much_is_let_go(shared_redis: RunningRedis, case: str) -> None:
    async with serving(shared_redis, NOW) as (api, client):
        api.write([])
        async with wired(client) as wire:
            heard = asyncio.create_task(wire.hear_until_closed())
            try:
                for piece in TOO_MUCH[case]:
                    await wire.say(piece)
            except OSError:
                pass
            answers = (await heard).count(b"HTTP/1.1 ")
            assert answers <= connections.PIPELINED_REQUESTS_LIMIT + 2
        assert (await client.get("/livez")).status_code == 200


async def test_a_head_that_never_ends_is_a_431(shared_redis: RunningRedis) -> None:
    async with serving(shared_redis, NOW) as (_, client), wired(client) as wire:
        await wire.say(GET)
        await wire.answer()
        await wire.say(b"GET / HTTP/1.1\r\nA: ")
        await asyncio.sleep(0.2)  # so that what follows comes by itself
        await wire.say(b"a" * (connections.MESSAGE_BYTES_LIMIT + 1))
        answer = await wire.answer()
        assert answer.startswith(b"HTTP/1.1 431 ")
        assert b'"code":"headers_too_large"' in answer


async def test_who_takes_nothing_of_an_answer_is_let_go(
    shared_redis: RunningRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "HEAD_SECONDS", 0.3)
    monkeypatch.setattr(connections, "TAKE_SECONDS", 0.3)
    async with serving(shared_redis, NOW) as (api, client):
        api.write([Event(int(NOW) * 10**9, str(i), name="n" * 500, offset=i) for i in range(20_000)])
        lost = asyncio.Event()
        before = connections.GuardedProtocol.connection_lost

        def connection_lost(self: Any, error: Exception | None) -> None:
            before(self, error)
            lost.set()

        monkeypatch.setattr(connections.GuardedProtocol, "connection_lost", connection_lost)
        async with wired(client, receive_bytes=4_096) as wire:
            await wire.say(f"GET {BASE}/activities.ndjson HTTP/1.1\r\nHost: a\r\n\r\n".encode())
            async with asyncio.timeout(30):
                await lost.wait()


ORIGIN = "https://app.example"


async def test_an_answer_leaves_in_one_write_unless_headers_for_its_origin_are_added(
    shared_redis: RunningRedis,
) -> None:
    with noted_writes() as written:
        async with serving(shared_redis, NOW, api_cors_origins=(ORIGIN,)) as (api, client):
            api.write([Event(int(NOW) * 10**9, "1")])
            etag = (await client.get(BASE)).headers["etag"]
            for path, sent, status in (
                (f"{BASE}/summary", {}, 200),  # by the router,
                (f"{BASE}/summary", {}, 200),  # and as a question that is known
                (BASE, {"If-None-Match": etag}, 304),
                (f"{BASE}/summary.csv", {}, 200),
                (f"{BASE}/summary?perid=x", {}, 400),
                ("/livez", {}, 200),
                ("/page/main.js", {}, 200),
                ("/v1/timezones", {"Cookie": "c" * 20_000}, 431),
            ):
                written.clear()
                plain = await client.get(path, headers=sent)
                assert (path, plain.status_code, len(written)) == (path, status, 1)
                from_elsewhere = await client.get(path, headers={**sent, "Origin": ORIGIN})
                assert from_elsewhere.status_code == status
                assert from_elsewhere.headers.get("access-control-allow-origin") == (ORIGIN if status < 431 else None)
                for answer in (plain, from_elsewhere):
                    assert [name for name, _ in answer.headers.multi_items() if name == "vary"] == ["vary"]
                    assert answer.headers["vary"].endswith("Origin")


async def test_above_the_limit_of_connections_there_is_a_503(
    shared_redis: RunningRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "HEAD_SECONDS", 120.0)
    async with (
        serving(shared_redis, NOW, api_connections=10, live_streams=5) as (api, client),
        AsyncExitStack() as stack,
    ):
        api.write([Event(int(NOW) * 10**9, "1")])
        # Given as many streams as there may be, then probes still get through
        statuses = []
        for _ in range(6):
            wire = await stack.enter_async_context(wired(client))
            await wire.say(f"GET {BASE}/live HTTP/1.1\r\nHost: a\r\n\r\n".encode())
            async with asyncio.timeout(20):
                statuses.append((await wire.reader.readline()).split(b" ")[1])
        assert statuses == [b"200"] * 5 + [b"503"]
        assert (await client.get("/livez")).status_code == 200
        # Given as many connections, then one more is a 503
        others = [await stack.enter_async_context(wired(client)) for _ in range(5)]
        async with wired(client) as wire:
            answer = await wire.hear_until_closed()
            assert answer.startswith(b"HTTP/1.1 503 ")
            assert b'"code":"connections_full"' in answer
        # and once some are gone, another one is taken
        for wire in others:
            wire.writer.close()
        last = GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
        async with asyncio.timeout(20):
            while True:
                async with wired(client) as wire:
                    await wire.say(last)
                    if b"200 OK" in await wire.hear_until_closed():
                        break


@contextmanager
def running_api(server: RunningRedis, group: str, **settings: str) -> Iterator[None]:
    environ = os.environ | {"CONTACTS_REDIS": server.url, "CONTACTS_GROUP": group}
    environ |= {f"CONTACTS_{name.upper()}": value for name, value in settings.items()}
    api = subprocess.Popen([sys.executable, "-m", "cli.main", "api"], env=environ)
    try:
        deadline = time.monotonic() + 30
        while not listens(int(settings["api_port"])):
            assert api.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)
        yield
    finally:
        api.send_signal(signal.SIGTERM)
        api.wait(30)


def test_metrics_may_have_a_port_of_their_own(shared_redis: RunningRedis) -> None:
    data = RedisData(redis.Redis.from_url(shared_redis.url), "own-port")
    data.positions(Positions(time.time()))
    port, other = free_port(), free_port()
    with running_api(shared_redis, "own-port", api_port=str(port), api_metrics_port=str(other)):
        main, own = (httpx.Client(base_url=f"http://127.0.0.1:{each}", timeout=30) for each in (port, other))
        for path in ("/livez", "/readyz", "/healthz"):
            assert (main.get(path).status_code, own.get(path).status_code) == (200, 200)
        assert (main.get("/metrics").status_code, own.get("/metrics").status_code) == (404, 200)
        assert main.get("/readyz?verbose").json() == {"status": "ready"}
        assert "tzdata" in own.get("/readyz?verbose").json()
        # by what it is connected to, not by what it calls itself
        assert main.get("/metrics", headers={"Host": f"127.0.0.1:{other}"}).status_code == 404
        for path in ("/", BASE, "/docs", "/openapi.json", "/v1/workspaces"):
            assert (main.get(path).status_code, own.get(path).status_code) == (200, 404)


def test_limits_that_do_not_go_together_are_conflicts() -> None:
    config = ApiConfig()
    assert list(config.conflicts()) == []
    assert [name for name, _ in replace(config, live_streams=12_000).conflicts()] == ["api_connections"]
    assert [name for name, _ in replace(config, api_metrics_port=8080).conflicts()] == ["api_metrics_port"]
