"""Reads one partition's counts from Redis, part by part, for comparison with the committed ones."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, Final

import msgspec
from redis.asyncio import Redis

from stream.storage.keys import ALL, Keys, parse_manifest

DAYS_A_READ: Final = 100
TRIES: Final = 20
"""A read is done again where the manifest moved between two of them."""


class StoredAggregate(msgspec.Struct, frozen=True):
    """One partition's part of a workspace-day."""

    position: int
    """The partition's position in Redis, read together with the rest."""
    bases: tuple[tuple[bytes | None, bytes | None, bytes | None], ...]
    """Head, cells and summary of each base that the manifest names; None: it is not there."""
    delta: bytes | None


class StoredWorkspace(msgspec.Struct, frozen=True):
    """All of a workspace of one partition."""

    position: int | None
    """None: Redis shows nothing of the partition."""
    aggregates: Mapping[int, StoredAggregate]
    """By UTC day; a day that is not here has nothing."""
    counts_from: int = 0
    """Of one day: the day before which retention has dropped the partition's counts."""


class StoredCounts:
    """Reads of one deployment. Each raises RedisError."""

    def __init__(self, client: Redis, keys: Keys) -> None:
        self._client, self._keys = client, keys

    async def position(self, partition: int) -> int | None:
        """The next offset that is not shown; None where nothing of the partition is."""
        value = await self._client.hget(self._keys.positions, self._keys.position_field(partition, "position"))
        return int(value) if value else None

    async def workspaces(self) -> AsyncIterator[str]:
        """Each workspace that is listed; perhaps one twice."""
        async for member, _ in self._client.zscan_iter(self._keys.workspaces, count=1000):
            yield member.decode()

    async def read(self, partition: int, workspace_id: str) -> StoredWorkspace:
        """A workspace as it is, day by day each in one state."""
        position, manifests = await self._manifests(partition, workspace_id)
        aggregates: dict[int, StoredAggregate] = {}
        if position is not None:
            days = sorted(manifests)
            for at in range(0, len(days), DAYS_A_READ):
                aggregates |= await self._aggregates(partition, workspace_id, days[at : at + DAYS_A_READ], manifests)
        return StoredWorkspace(position, aggregates)

    async def read_day(self, partition: int, workspace_id: str, day: int) -> StoredWorkspace:
        """One day of a workspace, with the position as it was read together with it, and what retention had dropped by
        then.
        """
        async with self._client.pipeline(transaction=True) as pipe:
            pipe.hget(self._keys.positions, self._keys.position_field(partition, "position"))
            pipe.hget(self._keys.positions, self._keys.position_field(partition, "counts_from"))
            pipe.hget(self._keys.days(workspace_id), str(day))
            position, kept_from, value = await pipe.execute()
        if not position:
            return StoredWorkspace(None, {})
        counts_from, manifests = int(kept_from or 0), _bases(partition, {day: value})
        if not manifests:
            return StoredWorkspace(int(position), {}, counts_from)
        aggregates = await self._aggregates(partition, workspace_id, [day], manifests)
        at = next((aggregate.position for aggregate in aggregates.values()), int(position))
        return StoredWorkspace(at, aggregates, counts_from)

    async def _manifests(self, partition: int, workspace_id: str) -> tuple[int | None, dict[int, int]]:
        """The position, and the number of bases of each day of which the partition has something."""
        async with self._client.pipeline(transaction=True) as pipe:
            pipe.hget(self._keys.positions, self._keys.position_field(partition, "position"))
            pipe.hgetall(self._keys.days(workspace_id))
            position, values = await pipe.execute()
        found = {int(day): value for day, value in values.items() if day.decode() != ALL}
        return (int(position) if position else None), _bases(partition, found)

    async def _aggregates(
        self, partition: int, workspace_id: str, days: Sequence[int], manifests: Mapping[int, int]
    ) -> dict[int, StoredAggregate]:
        known = {day: manifests[day] for day in days}
        for _ in range(TRIES):
            asked = {day: self._keys.aggregate_fields(day, partition, bases) for day, bases in known.items()}
            async with self._client.pipeline(transaction=True) as pipe:
                pipe.hget(self._keys.positions, self._keys.position_field(partition, "position"))
                pipe.hmget(self._keys.days(workspace_id), [str(day) for day in days])
                for day, fields in asked.items():
                    pipe.hmget(self._keys.cells(workspace_id, day), fields)
                position, values, *parts = await pipe.execute()
            now = _bases(partition, dict(zip(days, values, strict=True)))
            if position is None or now == known:
                at = int(position or 0)
                return {day: _aggregate(at, found) for day, found in zip(asked, parts, strict=True)}
            known = now
            if not known:
                return {}
        raise TimeoutError(f"the days of {workspace_id} move faster than they can be read")


def _bases(partition: int, values: Mapping[int, bytes | None]) -> dict[int, int]:
    manifests = {day: parse_manifest(value).bases for day, value in values.items() if value}
    return {day: bases[partition] for day, bases in manifests.items() if partition in bases}


def _aggregate(position: int, found: Sequence[Any]) -> StoredAggregate:
    delta, *rest = found
    return StoredAggregate(position, tuple(zip(rest[::3], rest[1::3], rest[2::3], strict=True)), delta)
