"""Whether Redis is full is one question, whoever asks it."""

from __future__ import annotations

from typing import Any, cast

import pytest
from redis.asyncio import Redis

from stream.projection.checks import ask_server
from stream.projection.shown import ask_redis
from stream.storage.keys import Keys


class Told:
    """A Redis that says this of its memory, and is empty."""

    def __init__(self, **memory: Any) -> None:
        self._memory = memory

    async def info(self, _section: str = "") -> dict[str, Any]:
        return self._memory

    async def time(self) -> tuple[int, int]:
        return 0, 0

    async def hgetall(self, _key: str) -> dict[bytes, bytes]:
        return {}

    async def zrange(self, *_: Any, **__: Any) -> list[bytes]:
        return []


@pytest.mark.parametrize(
    ("used", "not_counted", "policy", "full"),
    [
        (101, 0, "noeviction", True),
        (100, 0, "noeviction", False),
        (101, 1, "noeviction", False),  # it holds for its replicas what it does not count
        (101, 0, "volatile-lru", True),
        (101, 0, "allkeys-lru", False),  # it evicts, and takes writes
    ],
)
async def test_full_is_what_refuses_writes(used: int, not_counted: int, policy: str, full: bool) -> None:
    memory = {"used_memory": used, "mem_not_counted_for_evict": not_counted, "maxmemory_policy": policy}
    for maxmemory in (100, 0):
        client = cast("Redis", Told(maxmemory=maxmemory, **memory))
        found = (await ask_server(client)).full, (await ask_redis(client, Keys("g"))).full
        assert found == (full and maxmemory > 0,) * 2
