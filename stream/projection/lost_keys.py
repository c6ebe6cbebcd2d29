"""A reader misses keys in Redis that must be there: the workers send everything again; until then answers are 503."""

from importlib.resources import files
from typing import Final

from redis.asyncio import Redis

from stream.storage.keys import Keys

SCRIPT: Final = files("stream.projection").joinpath("replica.lua")

LOST_AGAIN_SECONDS: Final = (15, 300)
"""All is sent again at most so often: at first, and at most. The wait doubles each time that something is missed again
soon, since sending it once more has not mended that."""


async def report_lost_keys(client: Redis, keys: Keys) -> bool:
    """Let the positions go, so that each owner sends all that it has. False where that was done a short while ago.

    May run twice. Raises RedisError, also where this user of Redis may not write.
    """
    script = client.register_script(SCRIPT.read_text())
    return bool(await script(keys=[keys.positions], args=["lost", *LOST_AGAIN_SECONDS]))
