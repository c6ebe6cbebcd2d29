"""Reads from Redis what readers see of a deployment, and what its workers report."""

from __future__ import annotations

from typing import Any

import msgspec
from redis.asyncio import Redis
from redis.exceptions import RedisError

from stream.projection.worker_status import read_worker_statuses
from stream.settings.redis_words import describe_redis
from stream.storage.keys import PARTITIONS, Keys


class ShownPartition(msgspec.Struct):
    """What readers see of a partition."""

    position: int | None = None
    as_of_ms: int | None = None
    owner: str | None = None


class RedisPart(msgspec.Struct):
    """What Redis says; `failure` where it could not be asked."""

    failure: str | None = None
    policy: str | None = None
    full: bool = False
    """Whether it holds more than `maxmemory`, and so refuses writes."""
    partitions: int = 0
    """How many readers look for."""
    shown: dict[int, ShownPartition] = {}
    workers: list[dict[str, Any]] = []


async def ask_redis(client: Redis, keys: Keys) -> RedisPart:
    """Never raises: what fails is said."""
    part = RedisPart()
    try:
        fields: Any = await client.hgetall(keys.positions)
        part.workers = await read_worker_statuses(client, keys)
        memory = await client.info("memory")
    except (RedisError, OSError) as error:
        part.failure = describe_redis(error)
        return part
    part.policy = memory.get("maxmemory_policy")
    part.full = 0 < int(memory.get("maxmemory", 0)) < int(memory.get("used_memory", 0))
    part.partitions = int(fields.get(PARTITIONS.encode(), b"0"))
    for partition in range(part.partitions):
        told = [fields.get(keys.position_field(partition, name).encode()) for name in ("position", "as_of", "worker")]
        position, as_of, owner = told
        part.shown[partition] = ShownPartition(
            int(position) if position else None, int(as_of) if as_of else None, owner.decode() if owner else None
        )
    return part
