"""Reads from Redis what readers see of a deployment, and what its workers report."""

from __future__ import annotations

from typing import Any

import msgspec
from redis.asyncio import Redis
from redis.exceptions import RedisError

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
        return self.policy is not None and self.policy.startswith("allkeys")

    @property
    def full(self) -> bool:
        """Whether it refuses writes."""
        return self.above_limit and not self.evicts


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
    # Redis itself leaves out of it what clients and replicas have not read yet.
    held = int(memory.get("used_memory", 0)) - int(memory.get("mem_not_counted_for_evict", 0))
    part.above_limit = 0 < int(memory.get("maxmemory", 0)) < held
    part.partitions = int(fields.get(PARTITIONS.encode(), b"0"))
    for partition in range(part.partitions):
        told = [fields.get(keys.position_field(partition, name).encode()) for name in ("position", "as_of", "worker")]
        position, as_of, owner = told
        part.shown[partition] = ShownPartition(
            int(position) if position else None, int(as_of) if as_of else None, owner.decode() if owner else None
        )
    return part
