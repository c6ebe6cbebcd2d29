"""Limits the rows of the activity table in Redis: deletes the oldest first, and tells readers.

Three reasons: rows older than the set number of days, more rows of a workspace than the set number; and Redis
nearly full, since counts must find room. Whole days go, but for the oldest day that a workspace's limit reaches into:
its newest rows stay, and since it is not complete, readers are told of the day after it. The worker that owns partition
0 sees to it for the whole deployment. Nothing else depends on it: rows of a day that has gone, late ones and ones that
are read again, may lie there for a while, and count for nothing. They go with the next look that has a reason: it takes
all days before its own.

The day from which a workspace's rows are complete stands behind the version in its field `all`, in `days:<workspace>`.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import RedisError

from stream.model.time import DAY_SECONDS, date_of
from stream.storage.keys import ALL, Keys, rows_from_of

log = logging.getLogger(__name__)

WORKSPACES_A_LOOK = 500
DAYS_A_STEP = 7
LOOKS_A_ROUND = 720
"""An hour of the worker's looks."""
ROWS_A_CUT = 20_000
"""Redis answers no other client while it removes them from a sorted set: some 10 ms."""
FREEING_SECONDS = 0.05
FREEING_LOOKS = 200

# KEYS days, rows of each day · ARGV version, rows_from, how many of the oldest rows go of each day ("": all). It must
# run where Redis is full, which refuses other scripts.
FORGET = """#!lua flags=allow-oom
local gone = 0
for i = 2, #KEYS do
  if ARGV[3] == '' then
    gone = gone + redis.call('ZCARD', KEYS[i])
    redis.call('UNLINK', KEYS[i])
  else
    gone = gone + redis.call('ZREMRANGEBYRANK', KEYS[i], 0, tonumber(ARGV[3]) - 1)
  end
end
local stored = redis.call('HGET', KEYS[1], 'all')
local before = stored and tonumber(string.match(stored, ' (%d+)$'))
local from = math.max(before or 0, tonumber(ARGV[2]))
if gone > 0 or from ~= before then redis.call('HSET', KEYS[1], 'all', ARGV[1] .. string.format(' %d', from)) end
return gone
"""


@dataclass(frozen=True, slots=True)
class Limits:
    """None: no such limit."""

    row_days: int | None = None
    row_limit: int | None = None
    memory_share: float = 0.8


class Dropped(StrEnum):
    """Why rows go."""

    DAYS = "days"
    """CONTACTS_ROW_DAYS."""
    LIMIT = "limit"
    """CONTACTS_ROW_LIMIT."""
    MEMORY = "memory"
    """Redis is nearly full."""


class RowLimits:
    def __init__(
        self,
        client: Redis,
        keys: Keys,
        limits: Limits,
        note: Callable[[Dropped, int], None] = lambda _why, _rows: None,
    ) -> None:
        """`note` hears how many rows have gone, and why."""
        self._client, self._keys, self._limits, self._note = client, keys, limits, note
        self._forget = client.register_script(FORGET)
        self._looks = 0
        self._kept_from: int | None = None
        self._versions: dict[str, bytes] = {}

    async def keep_now(self, now_ms: int) -> None:
        """Look once, by our clock and that of Redis: days go for good, so neither alone decides. Raises RedisError, and
        is tried again.
        """
        seconds, _ = await self._client.time()
        await self.keep(min(now_ms // 1000, seconds) // DAY_SECONDS)

    async def keep(self, today: int) -> None:
        """Look once; `today` is a UTC day. Raises RedisError, and is tried again."""
        self._looks += 1
        if self._looks % LOOKS_A_ROUND == 0:
            self._kept_from = None  # Redis may have been lost since, and filled again
        if self._limits.row_days is not None:
            await self._keep_days(today - self._limits.row_days)
        if self._limits.row_limit is not None:
            await self._keep_rows(self._limits.row_limit)
        await self._keep_memory()

    async def _keep_days(self, kept_from: int) -> None:
        if self._kept_from is not None and kept_from <= self._kept_from:
            return
        async for workspace, days, _ in self._days():
            await self._forget_before(Dropped.DAYS, workspace, days, kept_from)
        self._kept_from = kept_from

    async def _keep_rows(self, limit: int) -> None:
        async for workspace, days, _ in self._days(changed=True):
            left = limit
            pipe = self._client.pipeline(transaction=False)
            for day in sorted(days, reverse=True):
                pipe.zcard(self._keys.rows(workspace, day))
            for day, rows in zip(sorted(days, reverse=True), await pipe.execute(), strict=True):
                if rows > left:
                    await self._forget_before(Dropped.LIMIT, workspace, days, day if left else day + 1)
                    await self._cut(workspace, day, rows - left if left else 0)
                    break
                left -= rows

    async def _keep_memory(self) -> None:
        """Forget the oldest days of all workspaces until Redis is below its share, today's too where it must be; first
        what came late to days that were forgotten before. The day before the complete ones may be kept in part."""
        if not await self._too_full():
            return
        kept: list[int] = []
        async for workspace, days, rows_from in self._days():
            await self._forget_before(Dropped.MEMORY, workspace, days, rows_from - 1)
            kept += (day for day in days if day >= rows_from - 1)
        if not kept or not await self._too_full():
            return
        present = sorted(set(kept))
        for kept_from in dict.fromkeys((*(day + 1 for day in present[::DAYS_A_STEP]), present[-1] + 1)):
            async for workspace, days, _ in self._days():
                await self._forget_before(Dropped.MEMORY, workspace, days, kept_from)
            if not await self._too_full():
                log.warning(
                    "Redis is nearly full: dropped activity rows before %s; counts are complete", date_of(kept_from)
                )
                return

    async def _too_full(self) -> bool:
        """Is Redis above its share? Asked when it has freed what was forgotten, which it does after it has answered
        (https://redis.io/docs/latest/commands/unlink/): a day too many would go otherwise. At most ten seconds."""
        info = await self._client.info("memory")
        for _ in range(FREEING_LOOKS):
            if not info.get("lazyfree_pending_objects"):
                break
            await asyncio.sleep(FREEING_SECONDS)
            info = await self._client.info("memory")
        return bool(info["maxmemory"]) and info["used_memory"] > self._limits.memory_share * info["maxmemory"]

    async def _forget_before(self, why: Dropped, workspace: str, days: Iterable[int], kept_from: int) -> None:
        gone = [day for day in days if day < kept_from]
        if gone:
            keys = [self._keys.days(workspace), *(self._keys.rows(workspace, day) for day in gone)]
            self._note(why, int(await self._forget(keys=keys, args=[secrets.token_hex(8), kept_from, ""])))

    async def _cut(self, workspace: str, day: int, rows: int) -> None:
        """Delete this many of a day's oldest rows; the first call tells readers."""
        for at in range(0, rows, ROWS_A_CUT):
            keys = [self._keys.days(workspace), self._keys.rows(workspace, day)]
            cut = min(ROWS_A_CUT, rows - at)
            gone = await self._forget(keys=keys, args=[secrets.token_hex(8), day + 1, cut])
            self._note(Dropped.LIMIT, int(gone))

    async def _days(self, *, changed: bool = False) -> AsyncIterator[tuple[str, list[int], int]]:
        """Workspaces with their days, and the day from which their rows are complete; `changed`: only those that
        changed since the last look. Rows may lie on every day: late ones and ones that are read again on earlier ones
        too."""
        low, present = "-", set[str]()
        while True:
            found: list[Any] = await self._client.zrangebylex(self._keys.workspaces, low, "+", 0, WORKSPACES_A_LOOK)
            names = [bytes(name).decode() for name in found]
            present.update(names)
            for workspace, values in zip(names, await self._ask_days(names), strict=True):
                version = values.pop(ALL.encode(), b"")
                if not changed or self._versions.get(workspace) != version:
                    yield workspace, [int(day) for day in values], rows_from_of(version) or 0
                    if changed:  # it was looked after
                        self._versions[workspace] = version
            if len(names) < WORKSPACES_A_LOOK:
                for gone in self._versions.keys() - present:
                    del self._versions[gone]
                return
            low = f"({names[-1]}"

    async def _ask_days(self, workspaces: list[str]) -> list[dict[bytes, Any]]:
        pipe = self._client.pipeline(transaction=False)
        for workspace in workspaces:
            pipe.hgetall(self._keys.days(workspace))
        return list(await pipe.execute())


async def keep_quietly(limits: RowLimits, now_ms: int) -> None:
    try:
        await limits.keep_now(now_ms)
    except (RedisError, OSError) as error:
        log.debug("rows were not looked after: %s", error)
