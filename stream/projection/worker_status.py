"""What each worker tells of itself in Redis, for `contacts-report status` and the API: a key of its own that expires.

    ops             zset   the workers, with the time (ms since 1970) at which each told its status last
    ops:<worker>    JSON   its status; gone EXPIRES_SECONDS after the worker

Nothing is counted by it. Where Redis is away it is not told, and the next one will do.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec
from redis.asyncio import Redis
from redis.exceptions import RedisError

from stream.storage.keys import Keys

log = logging.getLogger(__name__)

EVERY_SECONDS: Final = 2.0
EXPIRES_SECONDS: Final = 10
LONGEST_SECONDS: Final = 1.0
"""That a telling may take: a worker that ends waits for the last one."""
FORGET_MS: Final = 60_000
"""After so long a worker that tells nothing leaves the list."""


class WorkerStatus:
    """The telling of one worker."""

    def __init__(self, client: Redis, keys: Keys, worker: str, facts: Callable[[], Mapping[str, Any]]) -> None:
        self._client, self._keys, self._worker, self._facts = client, keys, worker, facts

    async def watch(self) -> None:
        """Tell it every few seconds, for ever."""
        while True:
            await self._quietly(self._tell)
            await asyncio.sleep(EVERY_SECONDS)

    async def withdraw(self) -> None:
        """The worker ends: it is in the list no more."""
        await self._quietly(self._forget)

    async def _tell(self) -> None:
        now = int(time.time() * 1000)
        status = msgspec.json.encode({**self._facts(), "worker": self._worker, "told_ms": now})
        async with self._client.pipeline(transaction=True) as pipe:
            pipe.set(self._keys.ops_of(self._worker), status, ex=EXPIRES_SECONDS)
            pipe.zadd(self._keys.ops, {self._worker: now})
            pipe.zremrangebyscore(self._keys.ops, "-inf", now - FORGET_MS)
            await pipe.execute()

    async def _forget(self) -> None:
        async with self._client.pipeline(transaction=True) as pipe:
            pipe.unlink(self._keys.ops_of(self._worker))
            pipe.zrem(self._keys.ops, self._worker)
            await pipe.execute()

    async def _quietly(self, act: Callable[[], Any]) -> None:
        try:
            async with asyncio.timeout(LONGEST_SECONDS):
                await act()
        except (RedisError, OSError) as error:  # a timeout is one
            log.debug("the status was not told: %s", error)


async def read_worker_statuses(client: Redis, keys: Keys) -> list[dict[str, Any]]:
    """What the workers told last, by their names; those that are gone are left out. Raises RedisError."""
    listed: Any = await client.zrange(keys.ops, 0, -1)
    names = [name.decode() for name in listed]
    told = await client.mget([keys.ops_of(name) for name in names]) if names else []
    found = [msgspec.json.decode(status) for status in told if status is not None]
    return sorted(found, key=lambda status: str(status["worker"]))
