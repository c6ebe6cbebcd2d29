"""How do readers learn of partitions that no worker has reported yet?"""

from redis.asyncio import Redis

from stream.projection.keys import PARTITIONS, Keys

_RAISE = """
local known = tonumber(redis.call('HGET', KEYS[1], ARGV[1]) or '0')
if tonumber(ARGV[2]) > known then redis.call('HSET', KEYS[1], ARGV[1], ARGV[2]) end
"""


async def announce_partitions(redis: Redis, keys: Keys, partitions: int) -> None:
    """Say that there are so many partitions, unless more were known: readers answer only when each has a position.

    May run twice. Raises redis.RedisError.
    """
    await redis.register_script(_RAISE)(keys=[keys.positions], args=[PARTITIONS, partitions])
