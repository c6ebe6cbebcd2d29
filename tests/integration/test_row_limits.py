"""Rows go by whole days, the oldest first, and readers are told from where on they are complete. On a real Redis."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis

from stream.projection.row_retention import Limits, RowLimits
from stream.storage.keys import Keys, rows_from_of
from tests.support.kafka import unique_name
from tests.support.redis_server import RunningRedis

TODAY = 20_782


class Rows:
    """Workspaces with so many rows on each of their days."""

    def __init__(self, client: Redis, keys: Keys) -> None:
        self.client, self.keys = client, keys

    async def write(self, workspace: str, rows: dict[int, int], size: int = 20) -> None:
        await self.client.zadd(self.keys.workspaces, {workspace: 0})
        for day, count in rows.items():
            await self.client.hset(self.keys.days(workspace), mapping={"all": "first", str(day): "first 0:0"})
            await self.client.zadd(self.keys.rows(workspace, day), {f"{n:0{size}}": 0 for n in range(count)})

    async def left(self, workspace: str) -> tuple[dict[int, int], int | None]:
        """Rows by day, and the day from which they are said to be complete."""
        days = sorted(int(d) for d in await self.client.hkeys(self.keys.days(workspace)) if d != b"all")
        rows = {day: await self.client.zcard(self.keys.rows(workspace, day)) for day in days}
        return rows, rows_from_of(await self.client.hget(self.keys.days(workspace), "all"))


@pytest.fixture
async def rows(own_redis: RunningRedis) -> AsyncIterator[Rows]:
    client = Redis.from_url(own_redis.url)
    yield Rows(client, Keys(unique_name("group")))
    await client.aclose()


async def test_without_limits_nothing_goes(rows: Rows) -> None:
    await rows.write("a", {TODAY - 400: 3, TODAY: 2})
    await RowLimits(rows.client, rows.keys, Limits()).keep(TODAY)
    assert await rows.left("a") == ({TODAY - 400: 3, TODAY: 2}, None)


async def test_rows_older_than_the_days_go_and_a_workspace_without_any_is_not_touched(rows: Rows) -> None:
    await rows.write("a", {TODAY - 31: 1, TODAY - 30: 2, TODAY: 3})
    await rows.write("b", {TODAY - 30: 4})
    dropped = Counter[str]()
    limits = RowLimits(rows.client, rows.keys, Limits(row_days=30), lambda why, gone: dropped.update({why: gone}))
    await limits.keep(TODAY)
    assert dropped == {"days": 1}
    assert await rows.left("a") == ({TODAY - 31: 0, TODAY - 30: 2, TODAY: 3}, TODAY - 30)
    assert await rows.left("b") == ({TODAY - 30: 4}, None)


async def test_above_the_rows_of_a_workspace_its_oldest_days_go(rows: Rows) -> None:
    await rows.write("a", {TODAY - 2: 5, TODAY - 1: 5, TODAY: 5})
    await rows.write("b", {TODAY - 2: 5, TODAY: 5})
    limits = RowLimits(rows.client, rows.keys, Limits(row_limit=10))
    await limits.keep(TODAY)
    assert await rows.left("a") == ({TODAY - 2: 0, TODAY - 1: 5, TODAY: 5}, TODAY - 1)
    assert await rows.left("b") == ({TODAY - 2: 5, TODAY: 5}, None)
    # What is not changed is not looked at again, what is changed is.
    await rows.write("b", {TODAY - 1: 5})
    await rows.client.hset(rows.keys.days("b"), "all", "second")
    await limits.keep(TODAY)
    assert await rows.left("b") == ({TODAY - 2: 0, TODAY - 1: 5, TODAY: 5}, TODAY - 1)


async def test_the_newest_rows_stay_whatever_a_day_holds(rows: Rows, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stream.projection.row_retention.ROWS_A_CUT", 7)
    # Given a day with more rows than the limit: today, yesterday, and neither alone
    await rows.write("a", {TODAY - 1: 5, TODAY: 25})
    await rows.write("b", {TODAY - 2: 1, TODAY - 1: 25})
    await rows.write("c", {TODAY - 2: 4, TODAY - 1: 6, TODAY: 7})
    await rows.write("d", {TODAY - 1: 6, TODAY: 10})
    dropped = Counter[str]()
    limits = RowLimits(rows.client, rows.keys, Limits(row_limit=10), lambda why, gone: dropped.update({why: gone}))
    await limits.keep(TODAY)
    assert dropped == {"limit": 20 + 16 + 7 + 6}
    # Then as many as the limit are left, and the day that is not complete is not said to be
    assert await rows.left("a") == ({TODAY - 1: 0, TODAY: 10}, TODAY + 1)
    assert await rows.left("b") == ({TODAY - 2: 0, TODAY - 1: 10}, TODAY)
    assert await rows.left("c") == ({TODAY - 2: 0, TODAY - 1: 3, TODAY: 7}, TODAY)
    assert await rows.left("d") == ({TODAY - 1: 0, TODAY: 10}, TODAY)
    newest = await rows.client.zrange(rows.keys.rows("a", TODAY), 0, -1)
    assert newest == [f"{n:020}".encode() for n in range(15, 25)]
    # And what is there is left alone, until more come: then the oldest go
    change = await rows.client.hget(rows.keys.days("a"), "all")
    await limits.keep(TODAY)
    assert await rows.client.hget(rows.keys.days("a"), "all") == change
    await rows.client.zadd(rows.keys.rows("a", TODAY), {f"{n:020}": 0 for n in range(25, 28)})
    await rows.client.hset(rows.keys.days("a"), "all", f"second {TODAY + 1}")
    await limits.keep(TODAY)
    assert await rows.left("a") == ({TODAY - 1: 0, TODAY: 10}, TODAY + 1)
    assert (await rows.client.zrange(rows.keys.rows("a", TODAY), 0, 0)) == [f"{18:020}".encode()]


async def test_a_late_row_behind_the_limit_goes_and_takes_no_newer_one_along(rows: Rows) -> None:
    # Given a day of which only the newest rows are kept
    await rows.write("a", {TODAY - 1: 5, TODAY: 25})
    limits = RowLimits(rows.client, rows.keys, Limits(row_limit=10))
    await limits.keep(TODAY)
    # When a row comes late to a day before it
    await rows.client.zadd(rows.keys.rows("a", TODAY - 1), {"late": 0})
    await rows.client.hset(rows.keys.days("a"), "all", f"second {TODAY + 1}")
    await limits.keep(TODAY)
    # Then it alone goes
    assert await rows.left("a") == ({TODAY - 1: 0, TODAY: 10}, TODAY + 1)


async def test_where_redis_is_nearly_full_a_day_that_is_kept_in_part_goes_in_its_turn(rows: Rows) -> None:
    # Given a workspace of which only the newest rows of today are kept, and another with older days
    await rows.write("a", {TODAY - 1: 5, TODAY: 25})
    await RowLimits(rows.client, rows.keys, Limits(row_limit=10)).keep(TODAY)
    await rows.write("b", {TODAY - 20: 8000}, size=400)
    # When Redis is nearly full, then the older days go, and no more
    used = (await rows.client.info("memory"))["used_memory"]
    await rows.client.config_set("maxmemory", used)
    await RowLimits(rows.client, rows.keys, Limits(memory_share=0.9)).keep(TODAY)
    assert await rows.left("b") == ({TODAY - 20: 0}, TODAY - 19)
    assert await rows.left("a") == ({TODAY - 1: 0, TODAY: 10}, TODAY + 1)


async def test_where_redis_is_nearly_full_the_oldest_days_of_all_go(rows: Rows) -> None:
    await rows.write("a", {TODAY - 20: 4000, TODAY: 10}, size=400)
    await rows.write("b", {TODAY - 19: 4000, TODAY: 10}, size=400)
    used = (await rows.client.info("memory"))["used_memory"]
    await rows.client.config_set("maxmemory", used)
    dropped = Counter[str]()
    limits = RowLimits(rows.client, rows.keys, Limits(memory_share=0.9), lambda why, gone: dropped.update({why: gone}))
    await limits.keep(TODAY)
    left, kept_from = await rows.left("a")
    assert left == {TODAY - 20: 0, TODAY: 10}
    assert kept_from is not None
    assert TODAY - 20 < kept_from <= TODAY
    left_of_b = (await rows.left("b"))[0]
    assert left_of_b[TODAY] == 10
    assert dropped == {"memory": 8020 - sum(left.values()) - sum(left_of_b.values())}


async def test_a_day_that_readers_were_told_of_never_goes_back(rows: Rows) -> None:
    await rows.write("a", {TODAY - 5: 1, TODAY: 1})
    await RowLimits(rows.client, rows.keys, Limits(row_days=3)).keep(TODAY)
    await RowLimits(rows.client, rows.keys, Limits(row_days=4)).keep(TODAY)
    assert (await rows.left("a"))[1] == TODAY - 3


async def test_rows_that_come_late_to_a_forgotten_day_go_with_the_next_one(rows: Rows) -> None:
    await rows.write("a", {TODAY - 31: 1, TODAY: 1})
    limits = RowLimits(rows.client, rows.keys, Limits(row_days=30))
    await limits.keep(TODAY)
    await rows.client.zadd(rows.keys.rows("a", TODAY - 31), {"late": 0})
    await limits.keep(TODAY + 1)
    assert await rows.left("a") == ({TODAY - 31: 0, TODAY: 1}, TODAY - 29)


async def test_where_redis_is_nearly_full_late_rows_of_forgotten_days_go_before_newer_ones(rows: Rows) -> None:
    # Given days that were forgotten, to which rows came again, as after a loss
    await rows.write("a", {TODAY - 20: 1, TODAY - 1: 10, TODAY: 10})
    await RowLimits(rows.client, rows.keys, Limits(row_days=2)).keep(TODAY)
    await rows.client.zadd(rows.keys.rows("a", TODAY - 20), {f"{n:0400}": 0 for n in range(8000)})
    # When Redis is nearly full
    used = (await rows.client.info("memory"))["used_memory"]
    await rows.client.config_set("maxmemory", used)
    await RowLimits(rows.client, rows.keys, Limits(memory_share=0.9)).keep(TODAY)
    # Then they alone go
    assert await rows.left("a") == ({TODAY - 20: 0, TODAY - 1: 10, TODAY: 10}, TODAY - 2)


async def test_memory_that_redis_still_frees_is_waited_for(rows: Rows, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a Redis that frees what was forgotten only after it was asked twice
    await rows.write("a", {TODAY - 20: 10, TODAY - 1: 10, TODAY: 10})
    full = {"maxmemory": 100, "used_memory": 90, "lazyfree_pending_objects": 0}
    freeing = {**full, "lazyfree_pending_objects": 1}
    answers = [full, full, freeing, freeing, {**full, "used_memory": 10}]

    async def info(_section: str) -> dict[str, int]:
        return answers.pop(0)

    monkeypatch.setattr(rows.client, "info", info)
    await RowLimits(rows.client, rows.keys, Limits(memory_share=0.8)).keep(TODAY)
    # Then no more than the oldest day went for it
    assert not answers
    assert (await rows.left("a"))[0] == {TODAY - 20: 0, TODAY - 1: 10, TODAY: 10}


async def test_where_one_day_fills_redis_it_goes_too(rows: Rows) -> None:
    # Given rows of today alone, and a late one of long ago
    await rows.write("a", {TODAY - 9_000: 1, TODAY: 8000}, size=400)
    used = (await rows.client.info("memory"))["used_memory"]
    await rows.client.config_set("maxmemory", used)
    # When Redis is nearly full, then counts come before rows
    await RowLimits(rows.client, rows.keys, Limits(memory_share=0.5)).keep(TODAY)
    assert await rows.left("a") == ({TODAY - 9_000: 0, TODAY: 0}, TODAY + 1)


async def test_rows_that_a_lost_redis_was_given_again_go_within_an_hour(
    rows: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stream.projection.row_retention.LOOKS_A_ROUND", 2)
    limits = RowLimits(rows.client, rows.keys, Limits(row_days=30))
    await limits.keep(TODAY)
    await rows.write("a", {TODAY - 31: 1, TODAY: 1})
    await limits.keep(TODAY)
    assert await rows.left("a") == ({TODAY - 31: 0, TODAY: 1}, TODAY - 30)


async def test_the_workspace_has_changed_whenever_rows_went_and_only_then(rows: Rows) -> None:
    await rows.write("a", {TODAY - 31: 1, TODAY: 1})
    days = rows.keys.days("a")

    async def after(limits: RowLimits) -> bytes | None:
        await limits.keep(TODAY)
        return await rows.client.hget(days, "all")

    first = await after(RowLimits(rows.client, rows.keys, Limits(row_days=30)))
    assert await after(RowLimits(rows.client, rows.keys, Limits(row_days=30))) == first
    await rows.client.zadd(rows.keys.rows("a", TODAY - 31), {"late": 0})
    second = await after(RowLimits(rows.client, rows.keys, Limits(row_days=30)))
    assert second != first
    assert rows_from_of(second) == rows_from_of(first) == TODAY - 30
