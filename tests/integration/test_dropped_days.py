"""What Redis still holds of days that retention dropped while it was away goes, and nothing else. On a real Redis."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import redis
from redis.asyncio import Redis

from stream.projection.dropped_days import forget_dropped_days
from stream.storage.keys import Keys, rows_from_of
from tests.support.redis_data import Event, Positions, RedisData
from tests.support.redis_server import RunningRedis

DAY = 20_780
DAY_NS = 86_400 * 10**9


class Shown:
    """What Redis shows of one deployment."""

    def __init__(self, client: Redis, data: RedisData) -> None:
        self.client, self.data = client, data
        self.keys = Keys(data.prefix.split(":")[1])

    async def manifests(self) -> dict[int, list[int]]:
        """The partitions that each day is said to have."""
        held = await self.client.hgetall(self.keys.days("w"))
        parts = {int(day): value.split(b" ")[1:] for day, value in held.items() if day != b"all"}
        return {day: [int(part.split(b":")[0]) for part in of_day] for day, of_day in sorted(parts.items())}

    async def cells(self) -> set[tuple[int, int]]:
        """The days and partitions of which there are cells."""
        fields = [
            f for key in await self.client.keys(self.data.prefix + "cells:w:*") for f in await self.client.hkeys(key)
        ]
        return {(int(day), int(partition)) for day, partition, *_ in (field.split(b".") for field in fields)}

    async def rows(self) -> list[int]:
        return sorted(int(key.rsplit(b":", 1)[1]) for key in await self.client.keys(self.data.prefix + "rows1:w:*"))


@pytest.fixture
async def shown(own_redis: RunningRedis) -> AsyncIterator[Shown]:
    """Two partitions with events on three days; of the second day only the first has any."""
    client = Redis.from_url(own_redis.url)
    with redis.Redis.from_url(own_redis.url) as plain:
        made = Shown(client, RedisData(plain, "g"))
        places = [(DAY - 40, 0), (DAY - 40, 1), (DAY - 1, 0), (DAY, 0), (DAY, 1)]
        made.data.write([Event(day * DAY_NS, f"{day}{p}", partition=p, offset=day) for day, p in places])
        await client.hset(made.keys.days("w"), "all", f"word {DAY - 1}")
        yield made
    await client.aclose()


async def told(shown: Shown, **counts_from: int) -> None:
    """The positions, with the days from which partitions keep their counts."""
    fields = {f"{partition.removeprefix('p')}.counts_from": day for partition, day in counts_from.items()}
    shown.data.positions(Positions(1.0, partitions=2, fields=fields))


async def test_without_retention_nothing_goes(shown: Shown) -> None:
    await told(shown)
    assert await forget_dropped_days(shown.client, shown.keys) == 0
    assert await shown.manifests() == {DAY - 40: [0, 1], DAY - 1: [0], DAY: [0, 1]}


async def test_of_each_day_the_parts_go_of_partitions_that_have_dropped_it(shown: Shown) -> None:
    # Given a partition that has dropped what lies before a day, and another that has not yet
    await told(shown, p0=DAY)
    # When Redis is looked through, then what the first left there goes, and what the second has stays
    assert await forget_dropped_days(shown.client, shown.keys) == 2
    assert await shown.manifests() == {DAY - 40: [1], DAY: [0, 1]}
    assert await shown.cells() == {(DAY - 40, 1), (DAY, 0), (DAY, 1)}
    assert await shown.rows() == [DAY - 40, DAY]
    # When that one has too, then the day goes with its rows; readers see a change, and where rows begin as before
    change = await shown.client.hget(shown.keys.days("w"), "all")
    await told(shown, p0=DAY, p1=DAY - 39)
    assert await forget_dropped_days(shown.client, shown.keys) == 1
    assert await shown.manifests() == {DAY: [0, 1]}
    assert await shown.cells() == {(DAY, 0), (DAY, 1)}
    assert await shown.rows() == [DAY]
    after = await shown.client.hget(shown.keys.days("w"), "all")
    assert after != change
    assert rows_from_of(after) == DAY - 1
    # And it is done
    assert await forget_dropped_days(shown.client, shown.keys) == 0
    assert await shown.client.hget(shown.keys.days("w"), "all") == after


async def test_a_workspace_without_days_and_names_goes(shown: Shown) -> None:
    # Given workspaces without a day: one with names, one without, and one whose days are missing, as after an eviction
    await told(shown, p0=DAY, p1=DAY)
    for workspace in ("named", "empty", "lost"):
        await shown.client.zadd(shown.keys.workspaces, {workspace: 0})
    for workspace in ("named", "empty"):
        await shown.client.hset(shown.keys.days(workspace), "all", "word")
    await shown.client.hset(shown.keys.names("named"), "s:", "")
    # When Redis is looked through, then the one of which nothing is left is gone, with the key of its days
    await forget_dropped_days(shown.client, shown.keys)
    assert await shown.client.zrange(shown.keys.workspaces, 0, -1) == [b"lost", b"named", b"w"]
    assert not await shown.client.exists(shown.keys.days("empty"))
    assert await shown.client.exists(shown.keys.days("named"))
