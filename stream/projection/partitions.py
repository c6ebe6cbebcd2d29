"""Tells readers how many partitions the topic has, before any worker has reported the new ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import RedisError

from stream.ports import ReplicaAway
from stream.settings.redis_words import describe_redis
from stream.storage.keys import PARTITIONS, Keys

_RAISE = """
local known = tonumber(redis.call('HGET', KEYS[1], ARGV[1]) or '0')
for i = 3, #ARGV do
  if redis.call('HEXISTS', KEYS[1], ARGV[i] .. '.position') == 0 then return -1 end
end
if tonumber(ARGV[2]) > known then redis.call('HSET', KEYS[1], ARGV[1], ARGV[2]) end
return known
"""
_LOWER = """
if redis.call('HGET', KEYS[1], ARGV[1]) ~= ARGV[2] then return 0 end
if ARGV[3] == '0' then redis.call('HDEL', KEYS[1], ARGV[1]) else redis.call('HSET', KEYS[1], ARGV[1], ARGV[3]) end
return 1
"""


class Announcements:
    """The number of partitions that readers wait for. Each call raises ReplicaAway."""

    def __init__(self, redis: Redis, keys: Keys) -> None:
        self._redis, self._keys = redis, keys

    async def announce(self, partitions: int, begun: Sequence[int] = ()) -> int:
        """Announce this many partitions, unless more are known: readers answer only when each has a position.

        `begun`: those that have one, as far as the caller knows. Where Redis has lost one since, nothing is said, and
        ReplicaAway is raised. Returns how many were known before, 0 where none. May run twice.
        """
        known = int(await self._run(_RAISE, partitions, *begun))
        if known < 0:
            raise ReplicaAway("it has lost the first position of a new partition")
        return known

    async def withdraw(self, announced: int, partitions: int) -> bool:
        """Take an announcement back to this number; False where another number was announced meanwhile."""
        return bool(await self._run(_LOWER, announced, partitions))

    async def _run(self, script: str, *numbers: int) -> Any:
        try:
            return await self._redis.register_script(script)(keys=[self._keys.positions], args=[PARTITIONS, *numbers])
        except (RedisError, OSError) as error:
            raise ReplicaAway(describe_redis(error)) from error
