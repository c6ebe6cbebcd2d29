"""The worker's probes and metrics, on a port of their own.

/livez     200 while the process does its work; 503 once it is ending
/readyz    200 once the consumer group has given this worker its partitions and each of them is counting; a spare
worker, which was given none, is ready too. Else 503 with what it waits for. `?verbose` shows each partition's phase
and position, and how far a recovery is
/metrics   Prometheus' text
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson
from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest


class Health:
    def __init__(self, registry: CollectorRegistry, facts: Callable[[], dict[str, Any]]) -> None:
        """`facts` tells: `live` and `ready`, both bool; `reason`, str or None; and `partitions`, for `?verbose`."""
        self._registry, self._facts = registry, facts
        self._runner: web.AppRunner | None = None

    async def start(self, host: str, port: int) -> None:
        """Raises OSError where the port is taken."""
        app = web.Application()
        app.add_routes(
            [web.get("/livez", self._livez), web.get("/readyz", self._readyz), web.get("/metrics", self._metrics)]
        )
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
        await self._runner.setup()
        await web.TCPSite(self._runner, host, port).start()

    async def stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    async def _livez(self, request: web.Request) -> web.Response:
        facts = self._facts()
        return answer(facts["live"], facts, request)

    async def _readyz(self, request: web.Request) -> web.Response:
        facts = self._facts()
        return answer(facts["live"] and facts["ready"], facts, request)

    async def _metrics(self, request: web.Request) -> web.Response:
        return web.Response(body=generate_latest(self._registry), headers={"Content-Type": CONTENT_TYPE_LATEST})


def answer(good: bool, facts: dict[str, Any], request: web.Request) -> web.Response:
    status = 200 if good else 503
    if "verbose" in request.query:
        return web.Response(
            status=status, body=orjson.dumps(facts, option=orjson.OPT_INDENT_2), content_type="application/json"
        )
    return web.Response(status=status, text="ok\n" if good else f"{facts['reason'] or 'not ready'}\n")
