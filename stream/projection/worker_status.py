"""Publishes the status of each process in Redis, in a key that expires, for `contacts-report status` and the API.

    ops, apis                      zset   the workers, and the processes of the API, with the time (ms since 1970) at
                                          which each told its status last
    ops:<worker>, apis:<process>   JSON   its status; gone EXPIRES_SECONDS after the process

Nothing is counted by it. Where Redis is away, or this user of Redis may not write it, it is not told.
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
"""That a telling may take: a process that ends waits for the last one."""
FORGET_MS: Final = 600_000
"""A process that has reported nothing for this long leaves the list, as one that stops does at once. Until then
`contacts-report status` says that it is gone."""


class _Status:
    """The telling of one process: its `status` lies at `own`, and its `name` in the list."""

    def __init__(
        self,
        client: Redis,
        listed: str,
        own: str,
        identity: Mapping[str, str],
        facts: Callable[[], Mapping[str, Any]],
        note: Callable[[Exception | None], None] = lambda _error: None,
    ) -> None:
        """`identity`: the field that names the process in its status, and the name. `note` hears of each telling why
        Redis did not take it, or None.
        """
        self._client, self._listed, self._own, self._identity, self._facts = client, listed, own, identity, facts
        self._note = note
        [self._name] = identity.values()

    async def watch(self) -> None:
        """Tell it every few seconds, for ever."""
        while True:
            self._note(await self._quietly(self._tell))
            await asyncio.sleep(EVERY_SECONDS)

    async def withdraw(self) -> None:
        """The process ends: it is in the list no more."""
        await self._quietly(self._forget)

    async def _tell(self) -> None:
        now = int(time.time() * 1000)
        status = msgspec.json.encode({**self._facts(), **self._identity, "told_ms": now})
        async with self._client.pipeline(transaction=True) as pipe:
            pipe.set(self._own, status, ex=EXPIRES_SECONDS)
            pipe.zadd(self._listed, {self._name: now})
            pipe.zremrangebyscore(self._listed, "-inf", now - FORGET_MS)
            await pipe.execute()

    async def _forget(self) -> None:
        async with self._client.pipeline(transaction=True) as pipe:
            pipe.unlink(self._own)
            pipe.zrem(self._listed, self._name)
            await pipe.execute()

    async def _quietly(self, act: Callable[[], Any]) -> Exception | None:
        try:
            async with asyncio.timeout(LONGEST_SECONDS):
                await act()
        except (RedisError, OSError) as error:  # a timeout is one
            log.debug("the status was not told: %s", error)
            return error
        return None


class WorkerStatus(_Status):
    """The telling of one worker."""

    def __init__(
        self,
        client: Redis,
        keys: Keys,
        worker: str,
        facts: Callable[[], Mapping[str, Any]],
        note: Callable[[Exception | None], None] = lambda _error: None,
    ) -> None:
        super().__init__(client, keys.ops, keys.ops_of(worker), {"worker": worker}, facts, note)


class ApiStatus(_Status):
    """The telling of one process of the API."""

    def __init__(self, client: Redis, keys: Keys, process: str, facts: Callable[[], Mapping[str, Any]]) -> None:
        super().__init__(client, keys.apis, keys.api_of(process), {"process": process}, facts)


async def read_listed_workers(client: Redis, keys: Keys) -> dict[str, int]:
    """The workers that have not said that they stop, and when (ms since 1970) each reported last. Raises RedisError."""
    listed: Any = await client.zrange(keys.ops, 0, -1, withscores=True)
    return {name.decode(): int(told) for name, told in listed}


async def read_worker_statuses(client: Redis, keys: Keys) -> list[dict[str, Any]]:
    """What the workers told last, by their names; those that are gone are left out. Raises RedisError."""
    listed: Any = await client.zrange(keys.ops, 0, -1)
    names = [name.decode() for name in listed]
    told = await client.mget([keys.ops_of(name) for name in names]) if names else []
    found = [msgspec.json.decode(status) for status in told if status is not None]
    return sorted(found, key=lambda status: str(status["worker"]))
