"""Reports this process in Redis, for `/v1/ops`. Where it may not write there, it is only missing from the list."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any

from redis.exceptions import RedisError

from stream.projection.worker_status import LONGEST_SECONDS, ApiStatus
from stream.settings.redis import redis_client
from stream.storage.keys import Keys


@asynccontextmanager
async def keep_listed(
    redis_url: str, keys: Keys, process: str, facts: Callable[[], Mapping[str, Any]]
) -> AsyncIterator[None]:
    """The process is listed as long as it is inside, and a few seconds more where it ends without a word."""
    client = redis_client(redis_url, timeout_seconds=LONGEST_SECONDS, retries=0)
    status = ApiStatus(client, keys, process, facts)
    task = asyncio.create_task(status.watch())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])
        await status.withdraw()
        with suppress(RedisError, OSError):
            await client.aclose()
