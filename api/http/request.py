"""Requests and answers of HTTP as the endpoints see them, and how an answer is sent: compressed, in pieces, or not at
all where the reader has gone.

All endpoints share this path from the request to the answer, whether Litestar's router has found them or, of a plain
report, `ReportAddresses` has (docs/decisions/0019-one-path-from-request-to-answer.md).
"""

import asyncio
import gzip
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Protocol

Receive = Callable[[], Awaitable[Any]]
Send = Callable[[Any], Awaitable[None]]

COMPRESS_FROM_BYTES = 1_024
"""Below it a packet is a packet."""

COMPRESSION_LEVEL = 5
REMEMBERED_CHARACTERS = 256
"""Of a header; no browser's Accept is longer. With the 256 headers that are remembered it bounds them to 3 MB."""

SECURITY_HEADERS = (("X-Content-Type-Options", "nosniff"), ("Referrer-Policy", "no-referrer"))
CACHE_CONTROL = ("Cache-Control", "private, no-cache")


class Request:
    """One request. Header names are lower case."""

    def __init__(self, scope: Any) -> None:
        self.scope = scope
        self.method: str = scope["method"]
        self.path: str = scope["path"]
        self.root_path: str = scope.get("root_path", "")
        self.port: int | None = (scope.get("server") or (None, None))[1]
        self.query_string: bytes = scope.get("query_string", b"")
        self.parameters: Mapping[str, Any] = scope.get("path_params", {})
        self.headers: dict[str, str] = {}
        """Of repeated ones all values, comma-separated."""
        for raw_name, raw_value in scope["headers"]:
            name, value = raw_name.decode("latin-1"), raw_value.decode("latin-1")
            self.headers[name] = f"{self.headers[name]}, {value}" if name in self.headers else value

    @property
    def accept(self) -> str:
        return self.headers.get("accept", "*/*") or "*/*"

    def accepts_encoding(self, name: str) -> bool:
        """Whether a body may be compressed in this way."""
        return accepts_encoding(self.headers.get("accept-encoding", ""), name)


class Streamed(Protocol):
    """A body that writes itself, and ends when the reader goes."""

    async def run(self, receive: Receive, send: Send) -> None: ...


@dataclass(slots=True)
class Answer:
    """What is sent. A body that is an iterator is sent piece by piece, in constant memory."""

    status: int = 200
    headers: list[tuple[str, str]] = field(default_factory=list)
    body: bytes | AsyncIterator[bytes] | Streamed = b""
    media_type: str | None = None
    encoding: str | None = None
    """How the body is compressed already; none: it is compressed on its way where the reader accepts that."""


async def respond(request: Request, answer: Answer, receive: Receive, send: Send) -> None:
    """Send an answer."""
    headers = [*answer.headers, *SECURITY_HEADERS]
    if answer.media_type is not None:
        headers.append(("Content-Type", answer.media_type))
    body = answer.body
    if answer.encoding is not None:
        headers.append(("Content-Encoding", answer.encoding))
    if isinstance(body, bytes):
        if len(body) >= COMPRESS_FROM_BYTES and _is_gzipped(request, answer):
            body = gzip.compress(body, COMPRESSION_LEVEL, mtime=0)
            headers.append(("Content-Encoding", "gzip"))
        if answer.status not in (204, 304):
            headers.append(("Content-Length", str(len(body))))
        await _start(send, answer.status, headers)
        await send({"type": "http.response.body", "body": b"" if request.method == "HEAD" else body})
        return
    if request.method == "HEAD":
        await _start(send, answer.status, headers)
        await send({"type": "http.response.body", "body": b""})
    elif isinstance(body, AsyncIterator):
        if _is_gzipped(request, answer):
            body = _gzip_pieces(body)
            headers.append(("Content-Encoding", "gzip"))
        await _start(send, answer.status, headers)
        await _send_pieces(body, receive, send)
    else:
        await _start(send, answer.status, headers)
        await body.run(receive, send)


async def send_empty(answer: Answer, send: Send, *more: tuple[bytes, bytes]) -> None:
    """Send an answer that has no body, as 304, with these headers too."""
    headers = [*_encode(answer.headers), *_SECURITY_HEADERS, *more]
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": b""})


def _is_gzipped(request: Request, answer: Answer) -> bool:
    """Whether the body is to be compressed on its way."""
    return answer.encoding is None and request.accepts_encoding("gzip")


async def wait_until_gone(receive: Receive) -> None:
    """Return when the reader has gone."""
    while (await receive())["type"] != "http.disconnect":
        pass


def accepts_encoding(header: str, name: str) -> bool:
    """Whether an Accept-Encoding has the name (or `*`) with a quality above 0."""
    qualities = qualities_of(header)
    return qualities.get(name, qualities.get("*", 0.0)) > 0


def qualities_of(header: str) -> Mapping[str, float]:
    """The items of an Accept-like header with their qualities. Short headers, such as programs send, are remembered."""
    return _recall_qualities(header) if len(header) <= REMEMBERED_CHARACTERS else dict(weighted(header))


@lru_cache(maxsize=256)
def _recall_qualities(header: str) -> Mapping[str, float]:
    return dict(weighted(header))


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


async def _start(send: Send, status: int, headers: Sequence[tuple[str, str]]) -> None:
    await send({"type": "http.response.start", "status": status, "headers": _encode(headers)})


def _encode(headers: Sequence[tuple[str, str]]) -> list[tuple[bytes, bytes]]:
    return [(_encode_name(name), value.encode("latin-1")) for name, value in headers]


@lru_cache(maxsize=64)
def _encode_name(name: str) -> bytes:
    """All names are ours, some twenty."""
    return name.lower().encode("latin-1")


_SECURITY_HEADERS = _encode(SECURITY_HEADERS)


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
