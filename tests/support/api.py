"""The API's application under a clock that a test sets, over a real Redis."""

import asyncio
import itertools
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
import redis
import uvicorn

from api.app import create_app
from cli.connections import make_guarded_protocol
from stream.core import CoreChoice
from stream.settings.api import ApiConfig
from stream.tracing import NO_TRACER, Tracer
from tests.support.redis_data import Event, Positions, RedisData
from tests.support.redis_server import RunningRedis, own_redis, running_redis, shared_redis

__all__ = ["Api", "api_over", "each_sum_form", "own_redis", "running_redis", "serving", "shared_redis"]

_numbers = itertools.count()

FORM = CoreChoice.PYTHON
"""Of the sums, where a test does not ask for both."""

BASE = "/v1/workspaces/w/reports/contacts"


@pytest.fixture(params=["python", pytest.param("compiled", marks=pytest.mark.slow)])
def each_sum_form(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Runs a test once with an API of each form of the sums."""
    form: str = request.param
    if form == "compiled":
        request.getfixturevalue("core")
    monkeypatch.setattr("tests.support.api.FORM", CoreChoice(form))
    return form


class Clock:
    """Seconds since 1970, as a test sets them."""

    def __init__(self, now: float) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


class Api:
    """A client of an application, and the data that it reads."""

    def __init__(self, client: httpx.AsyncClient, data: RedisData, clock: Clock, app: Any) -> None:
        self.client = client
        self.data = data
        self.clock = clock
        self.app = app

    def write(
        self,
        events: Sequence[Event],
        as_of: float | None = None,
        partitions: int = 1,
        fields: dict[str, Any] | None = None,
    ) -> None:
        """Positions (with other `fields`) and events; by default all is counted up to now."""
        at = self.clock.now if as_of is None else as_of
        self.data.positions(Positions(at, partitions=partitions, fields=fields or {}))
        self.data.write(events)

    async def get(self, path: str = "", headers: dict[str, str] | None = None, **parameters: Any) -> httpx.Response:
        """An answer about the workspace `w`; `from_` stands for `from`."""
        asked = {name.rstrip("_"): value for name, value in parameters.items()}
        return await self.client.get(BASE + path, params=asked, headers=headers)

    async def json(self, path: str = "", **parameters: Any) -> Any:
        answer = await self.get(path, **parameters)
        assert answer.status_code == 200, answer.text
        return answer.json()


@asynccontextmanager
async def api_over(
    server: RunningRedis, now: float, *, tracer: Tracer = NO_TRACER, **settings: Any
) -> AsyncIterator[Api]:
    """An application of its own group; without memory of positions unless `positions_cache_ms` is set."""
    group = f"test-{next(_numbers)}"
    clock = Clock(now)
    config = ApiConfig(**{"redis": server.url, "group": group, "positions_cache_ms": 0, "core": FORM} | settings)
    app = create_app(config, clock, tracer=tracer)
    with redis.Redis.from_url(server.url) as redis_client:
        async with app.lifespan():
            transport = httpx.ASGITransport(app, raise_app_exceptions=True)
            async with httpx.AsyncClient(transport=transport, base_url="http://api") as client:
                yield Api(client, RedisData(redis_client, group), clock, app)


@asynccontextmanager
async def serving(server: RunningRedis, now: float, **settings: Any) -> AsyncIterator[tuple[Api, httpx.AsyncClient]]:
    """An application behind a real server, which streams."""
    async with api_over(server, now, **settings) as api:
        listener = socket.create_server(("127.0.0.1", 0))
        config = uvicorn.Config(
            api.app,
            http=make_guarded_protocol(settings.get("api_connections", 1_000), None),
            lifespan="off",
            access_log=False,
            log_config=None,
            timeout_graceful_shutdown=1,
        )
        http_server = uvicorn.Server(config)
        http_server.install_signal_handlers = lambda: None  # type: ignore[attr-defined]
        task = asyncio.create_task(http_server.serve(sockets=[listener]))
        try:
            address = f"http://127.0.0.1:{listener.getsockname()[1]}"
            async with httpx.AsyncClient(base_url=address, timeout=30) as client:
                yield api, client
        finally:
            api.app.state.hub.close()
            http_server.should_exit = True
            await task
