"""Reads from Redis what readers see of a deployment, and what its workers report."""

from __future__ import annotations

from typing import Any

import msgspec
from redis.asyncio import Redis
from redis.exceptions import RedisError

from stream.projection.memory import counted_bytes, is_above_limit, is_full, may_evict
from stream.projection.worker_status import read_listed_workers, read_worker_statuses
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
    above_limit: bool = False
    """Whether it holds more than `maxmemory`: then it refuses writes, or evicts."""
    partitions: int = 0
    """How many readers look for."""
    shown: dict[int, ShownPartition] = {}
    workers: list[dict[str, Any]] = []
    gone: dict[str, int] = {}
    """Workers that report no more, and have not said that they stop: when (ms since 1970) each reported last."""

    @property
    def evicts(self) -> bool:
        """Whether it takes what it likes of our keys when it is full, in place of refusing writes."""
        return may_evict(self.policy)

    @property
    def full(self) -> bool:
        """Whether it refuses writes."""
        return is_full(self.above_limit, self.policy)


async def ask_redis(client: Redis, keys: Keys) -> RedisPart:
    """Never raises: what fails is said."""
    part = RedisPart()
    try:
        fields: Any = await client.hgetall(keys.positions)
        listed = await read_listed_workers(client, keys)
        part.workers = await read_worker_statuses(client, keys)
        memory = await client.info("memory")
    except (RedisError, OSError) as error:
        part.failure = describe_redis(error)
        return part
    reporting = {one["worker"] for one in part.workers}
    part.gone = {name: told_ms for name, told_ms in listed.items() if name not in reporting}
    part.policy = memory.get("maxmemory_policy")
    part.above_limit = is_above_limit(int(memory.get("maxmemory", 0)), counted_bytes(memory))
    part.partitions = int(fields.get(PARTITIONS.encode(), b"0"))
    for partition in range(part.partitions):
        told = [fields.get(keys.position_field(partition, name).encode()) for name in ("position", "as_of", "worker")]
        position, as_of, owner = told
        part.shown[partition] = ShownPartition(
            int(position) if position else None, int(as_of) if as_of else None, owner.decode() if owner else None
        )
    return part
