"""The API itself on a port, over a real Redis, for the browser."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

import uvicorn

from tests.browser.support.events import believable
from tests.browser.support.stand_in import NOW
from tests.support.api import BASE, Api, api_over
from tests.support.redis_data import Event
from tests.support.redis_server import RunningRedis

SECOND = 10**9


@dataclass
class Served:
    """The API on a port, and its client."""

    url: str
    api: Api

    async def address(self, parameters: list[tuple[str, str]]) -> str:
        return f"{self.url}/?{urlencode([('workspace', 'w'), *parameters])}"

    async def get(self, resource: str, parameters: list[tuple[str, str]]) -> Any:
        answer = await self.api.client.get(f"{BASE}{resource}", params=parameters)
        assert answer.status_code == 200, answer.text
        return answer.json()


@asynccontextmanager
async def serving(redis: RunningRedis, **settings: Any) -> AsyncIterator[Served]:
    """The real application on a free port of this machine; its clock stands at NOW."""
    async with api_over(redis, NOW, **settings) as api:
        server = uvicorn.Server(uvicorn.Config(api.app, "127.0.0.1", 0, lifespan="off", log_level="warning"))
        task = asyncio.create_task(server.serve())
        while not server.started:
            await asyncio.sleep(0.02)
        port = server.servers[0].sockets[0].getsockname()[1]
        yield Served(f"http://127.0.0.1:{port}", api)
        server.should_exit = server.force_exit = True
        await task


def stored() -> list[Event]:
    """Two months of believable events as the worker would have stored them, in two partitions."""
    return [
        Event(
            int(event.at * 1_000) * SECOND // 1_000,
            event.id,
            event.activity,
            event.source,
            event.user_id,
            event.user_name,
            event.contact_id,
            event.contact_name,
            event.batch_id,
            digits=3,
            partition=number % 2,
            offset=number,
        )
        for number, event in enumerate(believable(NOW))
    ]
