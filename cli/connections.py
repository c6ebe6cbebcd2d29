"""Limits connections, which uvicorn does not: how long one may be silent, how much it may send, how many are open. And
sends answers whose body is known in one write, where uvicorn takes two.

a connection is made       ─> its first head is to be whole within HEAD_SECONDS
a head is whole            ─> an answer takes as long as it takes; live streams for ever
an answer was written      ─> the next head is to be whole within HEAD_SECONDS, and begun within uvicorn's keep-alive
a reader takes nothing     ─> after TAKE_SECONDS without a byte the connection is broken off
"""

import asyncio
import math
import resource
from collections.abc import Sequence
from typing import Any, Protocol, cast

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from api.http.problems import MEDIA_TYPE, encode, problem
from api.http.request import SEND_WHOLE, Header

HEAD_SECONDS = 10.0
TAKE_SECONDS = 60.0
MESSAGE_BYTES_LIMIT = 131_072
"""Of a request with its head, its body and what may follow it. The API reads no bodies, and refuses smaller heads than
this with an answer; the parser would keep a header of any length until it ends."""

TIMER_SECONDS = 0.001
"""Timers of a loop go off in steps of it, so up to half of one too early."""

PIPELINED_REQUESTS_LIMIT = 16
"""Requests of one connection that wait for the answer to another one; a packet of 256 KB has room for 13,000."""

_CONTROLS = bytes(set(range(32)) - set(b"\t")) + b"\x7f"
"""What no header may have, as uvicorn has it: CR or LF would begin another one."""

SPARE_FILES = 100
"""File descriptors for all that is no connection to a reader."""


class Transport(Protocol):
    """What is used of uvloop's transport."""

    def abort(self) -> None: ...
    def close(self) -> None: ...
    def is_closing(self) -> bool: ...
    def get_write_buffer_size(self) -> int: ...
    def write(self, data: bytes) -> None: ...


class TooMuch(Exception):
    """A connection says more than anybody has reason to."""


class GuardedProtocol(HttpToolsProtocol):
    """One connection. Connections to `free_port` are not limited: probes come there."""

    connections_limit: int = 2**31
    free_port: int | None = None

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._wire = cast("Transport", transport)
        self._head_until = self._begun_until = math.inf
        """When the connection is to be closed: with a head that is not whole, and with none that has begun."""
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = math.inf
        self._taking: asyncio.TimerHandle | None = None
        self._message_bytes = 0
        self._in_message = False
        self._answered: RequestResponseCycle | None = None
        """The request that is being answered, or was last; `cycle` is the one that came last."""
        self._extensions: dict[str, Any] = {SEND_WHOLE: self._send_whole}
        _, port = self.server or (None, None)
        if len(self.connections) > self.connections_limit and port != self.free_port:
            self._wire.write(_full_answer())
            self._wire.close()
        self._head_until = self.loop.time() + HEAD_SECONDS
        self._set_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        for timer in (self._timer, self._taking):
            if timer is not None:
                timer.cancel()
        self._extensions.clear()  # so that nothing holds itself
        super().connection_lost(exc)
        if self._answered is not None:  # uvicorn tells the request that came last, which may wait behind it
            self._answered.disconnected = True
            self._answered.message_event.set()

    def data_received(self, data: bytes) -> None:
        self._begun_until = math.inf
        self._message_bytes += len(data)
        # What came before in this packet may belong to the message before; a packet has 256 KB at most.
        if self._in_message and self._message_bytes > MESSAGE_BYTES_LIMIT:
            self._refuse_length()
            return
        super().data_received(data)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._in_message, self._message_bytes = True, 0

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self._in_message = False

    def on_headers_complete(self) -> None:
        if len(self.pipeline) >= PIPELINED_REQUESTS_LIMIT:
            raise TooMuch
        self._head_until = math.inf
        super().on_headers_complete()
        self.scope["extensions"] = self._extensions
        if not self.pipeline:
            self._answered = self.cycle
        self.headers = []  # for those behind a body: nobody reads them

    def on_response_complete(self) -> None:
        """As uvicorn does it, without a timer for each answer."""
        self.server_state.total_requests += 1
        if self._wire.is_closing():
            return
        self.flow.resume_reading()
        if self.pipeline:
            self._answered, app = self.pipeline.pop()
            self._start_asgi_task(self._answered, app)
        else:
            now = self.loop.time()
            self._begun_until = now + self.timeout_keep_alive
            self._head_until = now + HEAD_SECONDS
            self._set_timer()

    async def _send_whole(self, status: int, headers: Sequence[Header], body: bytes) -> None:
        """As two messages to uvicorn's `send`, in one write. The headers say how long the body is, and nothing of the
        connection. Raises RuntimeError where one has a letter that uvicorn refuses, which might begin another header.
        """
        cycle = self._answered
        assert cycle is not None
        assert not cycle.response_started, "each request has one answer"
        if self.flow.write_paused and not cycle.disconnected:
            await self.flow.drain()
        if cycle.disconnected:
            return
        lines = [*cycle.default_headers, *headers]
        if not cycle.keep_alive:
            lines.append((b"connection", b"close"))
        head = STATUS_LINE[status] + b"\r\n".join(map(b": ".join, lines)) + b"\r\n\r\n"
        if len(head) - len(head.translate(None, _CONTROLS)) != 2 * (len(lines) + 2):
            raise RuntimeError("Invalid HTTP header.")
        cycle.response_started, cycle.waiting_for_100_continue = True, False
        self._wire.write(head + body)
        cycle.response_complete = True
        cycle.message_event.set()
        if not cycle.keep_alive:
            self._wire.close()
        cycle.on_response()

    def send_400_response(self, msg: str) -> None:
        if self._is_answering():
            self._wire.close()  # in the midst of an answer another one would be taken for a part of it
            return
        super().send_400_response(msg)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._await_taking(self._wire.get_write_buffer_size())

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._taking is not None and not self._wire.is_closing():
            self._taking.cancel()
            self._taking = None

    def _set_timer(self) -> None:
        """For whatever ends first. One that goes off too early is set again, and one a connection does for all of its
        requests: nearly all of them end it long before.
        """
        until = min(self._head_until, self._begun_until)
        if until < self._timer_at:
            if self._timer is not None:
                self._timer.cancel()
            self._timer_at = until
            self._timer = self.loop.call_at(until, self._look_at_time)

    def _look_at_time(self) -> None:
        self._timer, self._timer_at = None, math.inf
        if self.loop.time() >= min(self._head_until, self._begun_until) - TIMER_SECONDS:
            self._end_silence()
        else:
            self._set_timer()

    def _end_silence(self) -> None:
        left = self._wire.get_write_buffer_size()
        if left:
            self._await_taking(left)  # the answer is not taken yet
        if not self._wire.is_closing():
            self._wire.close()

    def _await_taking(self, left: int) -> None:
        if self._taking is not None:
            self._taking.cancel()
        self._taking = self.loop.call_later(TAKE_SECONDS, self._look_whether_taken, left)

    def _look_whether_taken(self, left_before: int) -> None:
        self._taking = None
        left = self._wire.get_write_buffer_size()
        if left >= left_before:
            self._wire.abort()
        elif left:
            self._await_taking(left)

    def _is_answering(self) -> bool:
        cycle: RequestResponseCycle | None = self.cycle
        return cycle is not None and not cycle.response_complete

    def _refuse_length(self) -> None:
        if not self._is_answering():
            self._wire.write(_answer("headers_too_large", "The request is larger than any that is read."))
        self._wire.close()
        self._in_message = False


def make_guarded_protocol(connections_limit: int, free_port: int | None) -> type[GuardedProtocol]:
    """The protocol of a server with these limits."""
    limits = {"connections_limit": connections_limit, "free_port": free_port}
    return type("GuardedProtocol", (GuardedProtocol,), limits)


def raise_file_limit(connections_limit: int) -> int:
    """Let the process open as many files as it may; returns how many connections there can be then."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = connections_limit + SPARE_FILES
    if soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return max(1, min(connections_limit, soft - SPARE_FILES))


def _full_answer() -> bytes:
    return _answer("connections_full", "As many connections are open as there may be.")


def _answer(code: str, detail: str) -> bytes:
    told = problem(code, detail)
    body = encode(told)
    head = (
        f"HTTP/1.1 {told.status} {told.title}\r\ncontent-type: {MEDIA_TYPE}\r\ncontent-length: {len(body)}\r\n"
        "cache-control: no-store\r\nretry-after: 10\r\nconnection: close\r\n\r\n"
    )
    return head.encode() + body
