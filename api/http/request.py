"""Requests and answers of HTTP as the endpoints see them, and how an answer is sent: compressed, in pieces, or not at
all where the reader has gone.

All answers share this path from the request on, whether Litestar's router has found an endpoint or the question is
known (docs/decisions/0019-one-path-from-request-to-answer.md).
"""

import asyncio
import gzip
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from functools import lru_cache, partial
from itertools import chain
from typing import Any, Protocol

from msgspec import Struct

Receive = Callable[[], Awaitable[Any]]
Send = Callable[[Any], Awaitable[None]]

Header = tuple[bytes, bytes]
"""As it is sent: the name in lower case."""

SendWhole = Callable[[int, Sequence[Header], bytes], Awaitable[None]]
"""Sends the status, the headers and the body of an answer at once."""

SEND_WHOLE = "contacts.send_whole"
"""The ASGI extension of our server (cli/connections.py) that is a SendWhole. Elsewhere, and where somebody adds headers
to what is sent, an answer goes by the messages of ASGI."""

COMPRESS_FROM_BYTES = 1_024
"""Below it a packet is a packet."""

COMPRESSION_LEVEL = 3
"""Of a whole report of 22 KB it makes 3.0 KB in 38 us; level 5 makes 2.6 KB in 88 us, level 1 3.4 KB in 36."""

REMEMBERED_CHARACTERS = 256
"""Of a header; no browser's Accept is longer. With the 256 headers that are remembered it bounds them to 3 MB."""

HEADERS_BYTES_LIMIT = 16_384
"""Names and values together: twice the longest token that is read, for what browsers and proxies add."""

SECURITY_HEADERS: tuple[Header, ...] = ((b"x-content-type-options", b"nosniff"), (b"referrer-policy", b"no-referrer"))
CACHE_CONTROL: Header = (b"cache-control", b"private, no-cache")


class Request:
    """One request."""

    __slots__ = ("headers", "headers_bytes", "method", "path", "query_string", "root_path", "scope")

    def __init__(self, scope: Any) -> None:
        self.scope = scope
        self.method: str = scope["method"]
        self.path: str = scope["path"]
        self.root_path: str = scope.get("root_path", "")
        self.query_string: bytes = scope.get("query_string", b"")
        given: Sequence[Header] = scope["headers"]
        self.headers_bytes = sum(map(len, chain.from_iterable(given)))
        """Of names and values together."""
        self.headers = dict(given)
        """By their names in lower case; of repeated ones all values, comma-separated."""
        if len(self.headers) < len(given):
            self.headers = _combine(given)

    @property
    def parameters(self) -> Mapping[str, Any]:
        """Of its address."""
        parameters: Mapping[str, Any] = self.scope.get("path_params", {})
        return parameters

    @property
    def port(self) -> int | None:
        """At which it came."""
        address: tuple[str, int | None] = self.scope.get("server") or ("", None)
        return address[1]

    @property
    def accept(self) -> str:
        return self.header(b"accept") or "*/*"

    def header(self, name: bytes) -> str:
        """A header's value; empty where there is none."""
        return self.headers.get(name, b"").decode("latin-1")

    def accepts_encoding(self, name: str) -> bool:
        """Whether a body may be compressed in this way."""
        header = self.header(b"accept-encoding")
        return (_recall_accepted if len(header) <= REMEMBERED_CHARACTERS else accepts_encoding)(header, name)


def _combine(given: Sequence[Header]) -> dict[bytes, bytes]:
    values: dict[bytes, list[bytes]] = {}
    for name, value in given:
        values.setdefault(name, []).append(value)
    return {name: b", ".join(of) for name, of in values.items()}


class Streamed(Protocol):
    """A body that writes itself, and ends when the reader goes."""

    async def run(self, receive: Receive, send: Send) -> None: ...


class Answer(Struct):
    """What is sent. A body that is an iterator is sent piece by piece, in constant memory."""

    status: int = 200
    headers: list[Header] = []
    body: bytes | AsyncIterator[bytes] | Streamed = b""
    media_type: str | None = None
    encoding: str | None = None
    """How the body is compressed already; none: it is compressed on its way where the reader accepts that."""


async def respond(request: Request, answer: Answer, receive: Receive, send: Send, *more: Header) -> None:
    """Send an answer, with these headers too."""
    headers = [*answer.headers, *SECURITY_HEADERS, *more]
    if answer.media_type is not None:
        headers.append((b"content-type", answer.media_type.encode()))
    if answer.encoding is not None:
        headers.append((b"content-encoding", answer.encoding.encode()))
    body = answer.body
    if isinstance(body, bytes):
        if len(body) >= COMPRESS_FROM_BYTES and answer.encoding is None and request.accepts_encoding("gzip"):
            body = gzip.compress(body, COMPRESSION_LEVEL, mtime=0)
            headers.append(_GZIPPED)
        if answer.status not in (204, 304):
            headers.append((b"content-length", b"%d" % len(body)))
    if request.method == "HEAD":
        body = b""
    if isinstance(body, bytes):
        send_whole: SendWhole | None = request.scope.get("extensions", {}).get(SEND_WHOLE)
        await (send_whole or partial(_send_messages, send))(answer.status, headers, body)
        return
    if isinstance(body, AsyncIterator) and answer.encoding is None and request.accepts_encoding("gzip"):
        body = _gzip_pieces(body)
        headers.append(_GZIPPED)
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    if isinstance(body, AsyncIterator):
        await _send_pieces(body, receive, send)
    else:
        await body.run(receive, send)


_GZIPPED: Header = (b"content-encoding", b"gzip")


async def _send_messages(send: Send, status: int, headers: Sequence[Header], body: bytes) -> None:
    """A SendWhole by the messages of ASGI."""
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def wait_until_gone(receive: Receive) -> None:
    """Return when the reader has gone."""
    while (await receive())["type"] != "http.disconnect":
        pass


def accepts_encoding(header: str, name: str) -> bool:
    """Whether an Accept-Encoding has the name (or `*`) with a quality above 0."""
    qualities = dict(weighted(header))
    return qualities.get(name, qualities.get("*", 0.0)) > 0


_recall_accepted = lru_cache(maxsize=256)(accepts_encoding)
"""Of short headers, such as programs send."""


def weighted(header: str) -> list[tuple[str, float]]:
    """The items of an Accept-like header, lower-cased and without other parameters, each with its quality."""
    items = []
    for item in header.split(","):
        name, *parameters = (part.strip().lower() for part in item.split(";"))
        if name:
            items.append((name, _quality(parameters)))
    return items


def etag_matches(header: str, revision: str) -> bool:
    """Whether an If-None-Match names the revision (or is `*`)."""
    if header == f'W/"{revision}"':  # as it was given
        return True
    tags = [tag.strip().removeprefix("W/") for tag in header.split(",")]
    return "*" in tags or f'"{revision}"' in tags


def _quality(parameters: Sequence[str]) -> float:
    for parameter in parameters:
        if parameter.startswith("q="):
            with suppress(ValueError):
                return min(max(float(parameter[2:]), 0.0), 1.0)
            return 0.0
    return 1.0


async def _send_pieces(pieces: AsyncIterator[bytes], receive: Receive, send: Send) -> None:
    gone = asyncio.ensure_future(wait_until_gone(receive))
    try:
        async for piece in pieces:
            if gone.done():
                return
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b""})
    finally:
        gone.cancel()
        close = getattr(pieces, "aclose", None)
        if close is not None:
            await close()


async def _gzip_pieces(pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    packer = zlib.compressobj(COMPRESSION_LEVEL, zlib.DEFLATED, 16 + zlib.MAX_WBITS)
    async for piece in pieces:
        packed = packer.compress(piece)
        if packed:
            yield packed
    yield packer.flush()
