"""An answer whose body is known leaves in one write, byte for byte as uvicorn's own `send` writes it in two."""

import asyncio
import logging
import re
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext
from typing import Any

import pytest
import uvicorn

from api.http.request import Answer, Request, respond
from cli import connections
from cli.api import server_config
from tests.support.writes import noted_writes

LARGE = b"x" * 8_000_000
ANSWERS = {
    "/body": Answer(200, [(b"etag", b'W/"1"')], b"some", "text/plain"),
    "/compressible": Answer(200, [], b"some " * 1_000, "text/plain"),
    "/large": Answer(200, [], LARGE, "text/plain"),
    "/empty": Answer(200, [], b"", "text/plain"),
    "/unchanged": Answer(304, [(b"etag", b'W/"1"')]),
    "/nothing": Answer(204),
    "/problem": Answer(503, [(b"retry-after", b"1")], b"{}", "application/problem+json"),
    "/tab": Answer(200, [(b"a", b"b\tc")], b"", "text/plain"),
}


class Site:
    """A server of ANSWERS, and what was written to its connections. `own`: whether whole answers may leave our way."""

    def __init__(self, own: bool, written: list[bytes]) -> None:
        self.own = own
        self.written = written
        self.may_answer = asyncio.Event()
        self.may_answer.set()
        self.asked = asyncio.Event()
        self.server = uvicorn.Server(server_config(self, 100, None))
        self.server.capture_signals = nullcontext  # type: ignore[method-assign]
        self.port = 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        if not self.own:
            scope["extensions"] = {}
        self.asked.set()
        await self.may_answer.wait()
        answer = Answer(200, [], _pieces()) if scope["path"] == "/stream" else ANSWERS[scope["path"]]
        await respond(Request(scope), answer, receive, send)

    async def until_answered(self, requests: int) -> None:
        async with asyncio.timeout(20):
            while self.server.server_state.total_requests < requests:
                await asyncio.sleep(0.005)

    async def until_idle(self) -> None:
        """Until nothing of the application runs any more."""
        async with asyncio.timeout(20):
            while self.server.server_state.tasks:
                await asyncio.sleep(0.005)


async def _pieces() -> AsyncIterator[bytes]:
    yield b"a"


@asynccontextmanager
async def running(own: bool = True) -> AsyncIterator[Site]:
    with noted_writes() as written, socket.create_server(("127.0.0.1", 0)) as listener:
        site = Site(own, written)
        site.port = listener.getsockname()[1]
        task = asyncio.create_task(site.server.serve(sockets=[listener]))
        try:
            async with asyncio.timeout(20):
                while not site.server.started:
                    await asyncio.sleep(0.005)
            yield site
        finally:
            site.may_answer.set()
            site.server.should_exit = True
            await task


@asynccontextmanager
async def connected(
    site: Site, receive_bytes: int | None = None
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    connection = socket.socket()
    if receive_bytes is not None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
    connection.setblocking(False)
    await asyncio.get_running_loop().sock_connect(connection, ("127.0.0.1", site.port))
    reader, writer = await asyncio.open_connection(sock=connection, limit=2**16 if receive_bytes is None else 1)
    try:
        yield reader, writer
    finally:
        writer.close()


def get(path: str, method: str = "GET", version: str = "1.1", **headers: str) -> bytes:
    lines = [f"{method} {path} HTTP/{version}", "Host: a", *(f"{name}: {value}" for name, value in headers.items())]
    return "\r\n".join([*lines, "", ""]).encode()


CASES = {
    "a body": [get("/body")],
    "a compressed body": [get("/compressible", **{"Accept-Encoding": "gzip"})],
    "a body of a size that is not compressed": [get("/compressible")],
    "an empty body": [get("/empty")],
    "a problem": [get("/problem")],
    "a tab in a header": [get("/tab")],
    "304": [get("/unchanged")],
    "204": [get("/nothing")],
    "HEAD": [get("/body", "HEAD")],
    "HEAD of a compressed body": [get("/compressible", "HEAD", **{"Accept-Encoding": "gzip"})],
    "HEAD of a 304": [get("/unchanged", "HEAD")],
    "HEAD of a stream": [get("/stream", "HEAD")],
    "HTTP/1.0": [get("/body", version="1.0")],
    "a client that closes": [get("/body", Connection="close")],
    "a client that waits to send its body": [get("/body", "POST", Expect="100-continue", **{"Content-Length": "3"})],
    "one after the other": [get("/body"), get("/unchanged"), get("/body", "HEAD"), get("/body", Connection="close")],
}


@pytest.mark.parametrize("pipelined", [False, True])
@pytest.mark.parametrize("case", CASES)
async def test_an_answer_is_what_uvicorn_sends_in_one_write(
    caplog: pytest.LogCaptureFixture, case: str, pipelined: bool
) -> None:
    caplog.set_level(logging.WARNING)
    seen: dict[bool, tuple[list[bytes], bytes, bool]] = {}
    for own in (True, False):
        async with running(own) as site, connected(site) as (reader, writer):
            if pipelined:
                writer.write(b"".join(CASES[case]))
            else:
                for number, request in enumerate(CASES[case], 1):
                    writer.write(request)
                    await site.until_answered(number)
            await site.until_answered(len(CASES[case]))
            sent = b"".join(site.written)
            heard = await asyncio.wait_for(reader.readexactly(len(sent)), 20)
            assert heard == sent
            closes = b"connection: close" in heard
            if closes:
                assert await asyncio.wait_for(reader.read(), 20) == b""
            seen[own] = site.written, _without_dates(heard), closes
    assert seen[True][1:] == seen[False][1:]
    assert len(seen[True][0]) == len(CASES[case])
    assert not caplog.records


def _without_dates(sent: bytes) -> bytes:
    """What was sent, each date (of which each answer has one) as the same."""
    found, times = re.subn(rb"\r\ndate: [A-Z][^\r]*GMT\r\n", b"\r\ndate: now\r\n", sent)
    assert times == sent.count(b"HTTP/1.1 ")
    return found


@pytest.mark.parametrize("injected", [b"a\r\nset-cookie: b", b"a\nb", b"a\rb", b"a\0b", b"\r\n\r\n<script>", b"a\x7f"])
@pytest.mark.parametrize("of_name", [False, True])
async def test_a_header_that_would_become_two_is_a_500(
    monkeypatch: pytest.MonkeyPatch, injected: bytes, of_name: bool
) -> None:
    header = (injected, b"a") if of_name else (b"link", injected)
    monkeypatch.setitem(ANSWERS, "/injected", Answer(200, [header, (b"etag", b"1")], b"body", "text/plain"))
    async with running() as site, connected(site) as (reader, writer):
        writer.write(get("/injected"))
        heard = await asyncio.wait_for(reader.read(), 20)
    assert heard.startswith(b"HTTP/1.1 500 ")
    assert heard.endswith(b"\r\n\r\nInternal Server Error")
    assert injected not in heard
    assert b"etag" not in heard


async def test_who_takes_nothing_is_sent_one_answer_and_let_go(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    # Given a reader who asks for three large answers and takes none
    monkeypatch.setattr(connections, "TAKE_SECONDS", 0.3)
    async with running() as site, connected(site, receive_bytes=4_096) as (_, writer):
        writer.write(get("/large") * 3)
        await site.until_answered(1)
        await asyncio.sleep(0.1)
        # then the second one waits for its turn, outside of the connection's buffer,
        assert len(site.written) == 1
        assert len(site.server.server_state.tasks) == 1
        # and after a while the connection is broken off, and it is not sent any more
        await site.until_idle()
        assert not site.server.server_state.connections
        assert len(site.written) == 1
    assert not caplog.records


async def test_who_reads_slowly_gets_all_answers() -> None:
    async with running() as site, connected(site, receive_bytes=4_096) as (reader, writer):
        writer.write(get("/large") + get("/large", Connection="close"))
        heard = await asyncio.wait_for(reader.read(), 60)
    assert heard.count(LARGE) == 2
    assert len(site.written) == 2


async def test_who_has_gone_is_sent_nothing(caplog: pytest.LogCaptureFixture) -> None:
    async with running() as site:
        site.may_answer.clear()
        async with connected(site) as (_, writer):
            writer.write(get("/body"))
            await asyncio.wait_for(site.asked.wait(), 20)
        async with asyncio.timeout(20):
            while site.server.server_state.connections:
                await asyncio.sleep(0.005)
        site.may_answer.set()
        await site.until_idle()
    assert not site.written
    assert not caplog.records


async def test_a_server_that_stops_closes_after_the_answer_under_way() -> None:
    async with running() as site, connected(site) as (idle, other), connected(site) as (reader, writer):
        # Given a connection that is kept, and one whose answer is under way
        other.write(get("/body"))
        await site.until_answered(1)
        site.may_answer.clear()
        writer.write(get("/body"))
        async with asyncio.timeout(20):
            while not site.server.server_state.tasks:
                await asyncio.sleep(0.005)
        # When the server is told to stop, then the first is closed
        site.server.should_exit = True
        assert b"connection: close" not in await asyncio.wait_for(idle.read(), 20)
        # and the second after its answer, which says so
        site.may_answer.set()
        heard = await asyncio.wait_for(reader.read(), 20)
        assert heard.startswith(b"HTTP/1.1 200 OK\r\n")
        assert b"\r\nconnection: close\r\n" in heard
        assert heard.endswith(b"\r\n\r\nsome")
