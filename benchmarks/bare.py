"""The reference of all that the API answers: `python -m benchmarks.bare PORT`, under the server and the settings that
`contacts-report api` has.

/listen   a stream, which goes on for ever
/tell     a piece of PIECE_BYTES goes to all streams; answered before they have it
others    200 and nothing else
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import uvicorn

from cli.api import listening_socket, server_config

BODY = b'{"ok":true}'
START = {
    "type": "http.response.start",
    "status": 200,
    "headers": [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(BODY))],
}


PIECE_BYTES = 6_000
"""About a report of thirty days."""

PIECE = b"event: report\ndata: %s\n\n" % (b"." * PIECE_BYTES)


class Bare:
    """The application."""

    def __init__(self) -> None:
        self._told = asyncio.Event()

    async def __call__(self, scope: Any, _receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        if scope["path"] == "/listen":
            await self._listen(send)
        if scope["path"] == "/tell":
            told, self._told = self._told, asyncio.Event()
            told.set()
        await send(START)
        await send({"type": "http.response.body", "body": BODY})

    async def _listen(self, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/event-stream")]})
        while True:
            await send({"type": "http.response.body", "body": PIECE, "more_body": True})
            await self._told.wait()


if __name__ == "__main__":
    with listening_socket("127.0.0.1", int(sys.argv[1])) as listener:
        uvicorn.Server(server_config(Bare(), 20_000, None)).run(sockets=[listener])
