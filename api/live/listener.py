"""One stream of a live report: the body of an answer, as server-sent events."""

import asyncio
import time
from collections.abc import Callable

from api.http.request import Receive, Send, wait_until_gone
from api.live.access import Access
from api.live.group import Group, Shard
from api.metrics import Metrics

RETRY_MS = 2_000
SEND_SECONDS = 10.0
"""Drop a listener whose connection takes nothing for this long."""

RENEW_SECONDS = 60.0
"""A stream's token is looked at again so often: it may have been taken out of the file, or its key withdrawn."""


class Listener:
    """One stream: the body of an answer."""

    def __init__(
        self,
        group: Group,
        shard: Shard,
        revision: str | None,
        access: Access,
        metrics: Metrics,
        clock: Callable[[], float],
        leave: Callable[[], None],
    ) -> None:
        """`leave` is called once, when the stream has ended."""
        self._group = group
        self._shard = shard
        self._revision = revision
        self._freshness = group.freshness
        self._access = access
        self._metrics = metrics
        self._clock = clock
        self._leave = leave
        self._renew_at = time.monotonic() + RENEW_SECONDS

    async def run(self, receive: Receive, send: Send) -> None:
        gone = asyncio.ensure_future(wait_until_gone(receive))
        try:
            await self._send(send, b"retry: %d\n\n" % RETRY_MS)
            while not (gone.done() or self._group.ended) and await self._may_go_on():
                changed = self._shard.changed
                await self._send_news(send)
                await asyncio.wait({changed, gone}, timeout=self._left(), return_when=asyncio.FIRST_COMPLETED)
            if not gone.done():
                await self._send(send, b"", last=True)
        except TimeoutError:
            self._metrics.live_dropped.inc()
        finally:
            gone.cancel()
            self._leave()

    async def _send_news(self, send: Send) -> None:
        group = self._group
        news = b""
        if group.report is not None and group.revision != self._revision:
            self._revision = group.revision
            news += group.report
        if group.freshness is not None and group.freshness is not self._freshness:
            self._freshness = group.freshness
            news += group.freshness
        if news:
            await self._send(send, news)

    async def _send(self, send: Send, piece: bytes, last: bool = False) -> None:
        async with asyncio.timeout(SEND_SECONDS):
            await send({"type": "http.response.body", "body": piece, "more_body": not last})

    async def _may_go_on(self) -> bool:
        """Whether the token is still good, as asked once a minute."""
        if time.monotonic() >= self._renew_at:
            self._renew_at = time.monotonic() + RENEW_SECONDS
            if not await self._access.renew():
                return False
        return self._left() > 0

    def _left(self) -> float:
        """Seconds until the token expires, or is to be looked at again."""
        left = max(0.001, self._renew_at - time.monotonic())
        ends_at = self._access.principal.expires_at
        return left if ends_at is None else min(ends_at - self._clock(), left)
