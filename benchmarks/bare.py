"""The reference of all that the API answers: `python -m benchmarks.bare PORT REDIS_URL`, under the server and the
settings that `contacts-report api` has.

/redis    200 and REPORT_BYTES, after the one transaction that an unchanged report of the workspace `month` needs, by
          redis-py as anybody would write it: what an API in Python that asks Redis once takes as the libraries come
/listen   a stream, which goes on for ever
/tell     a piece of PIECE_BYTES goes to all streams; answered before they have it
others    200 and nothing else
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import uvicorn
from redis.asyncio import Redis

from api.read.freshness import READ_FIELDS
from benchmarks.filling import GROUP
from cli.api import listening_socket, server_config
from stream.storage.keys import ALL, PARTITIONS, Keys

BODY = b'{"ok":true}'
REPORT_BYTES = 7_000
"""About a timeline of thirty days and the thirty before."""

REPORT = b'"%s"' % (b"." * (REPORT_BYTES - 2))
KEYS = Keys(GROUP)
FIELDS = [PARTITIONS, *(Keys.position_field(0, name) for name in READ_FIELDS)]


def start_of(body: bytes) -> dict[str, Any]:
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    return {"type": "http.response.start", "status": 200, "headers": headers}


START, REPORT_START = start_of(BODY), start_of(REPORT)

PIECE_BYTES = 6_000
"""About a report of thirty days."""

PIECE = b"event: report\ndata: %s\n\n" % (b"." * PIECE_BYTES)


class Bare:
    """The application."""

    def __init__(self, redis_url: str) -> None:
        self._redis = Redis.from_url(redis_url)
        self._told = asyncio.Event()

    async def __call__(self, scope: Any, _receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        if scope["path"] == "/listen":
            await self._listen(send)
        if scope["path"] == "/redis":
            await self._read(send)
            return
        if scope["path"] == "/tell":
            told, self._told = self._told, asyncio.Event()
            told.set()
        await send(START)
        await send({"type": "http.response.body", "body": BODY})

    async def _read(self, send: Any) -> None:
        async with self._redis.pipeline(transaction=True) as pipe:
            pipe.hmget(KEYS.positions, FIELDS)
            pipe.hmget(KEYS.days("month"), [ALL])
            _, [version] = await pipe.execute()
        assert version, "the workspace is there"
        await send(REPORT_START)
        await send({"type": "http.response.body", "body": REPORT})

    async def _listen(self, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/event-stream")]})
        while True:
            await send({"type": "http.response.body", "body": PIECE, "more_body": True})
            await self._told.wait()


if __name__ == "__main__":
    with listening_socket("127.0.0.1", int(sys.argv[1])) as listener:
        uvicorn.Server(server_config(Bare(sys.argv[2]), 20_000, None)).run(sockets=[listener])
