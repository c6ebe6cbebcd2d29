"""When the missing rows are read again: one read at a time, which ends by itself."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from stream.ports import KafkaAway
from stream.retry import BackOff
from stream.worker import backfill_task as backfill
from stream.worker.backfill_task import BackfillTask


class Reads:
    """Reads that end when they are told to."""

    def __init__(self) -> None:
        self.under_way: list[asyncio.Future[Any]] = []
        self.woken = 0

    async def find(self) -> Any:
        self.under_way.append(asyncio.get_running_loop().create_future())
        return await self.under_way[-1]

    def wake(self) -> None:
        self.woken += 1

    def backfill(self) -> BackfillTask:
        return BackfillTask(self.find, self.wake, BackOff(0.2, 1.0))


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_there_is_one_read_at_a_time() -> None:
    reads = Reads()
    rows = reads.backfill()
    for _ in range(3):
        rows.begin(0.0)
        await settle()
        assert (len(reads.under_way), rows.ready, reads.woken) == (1, False, 0)
    reads.under_way[0].set_result("rows")
    await settle()
    # Nobody begins another before what it found was taken.
    rows.begin(0.0)
    await settle()
    assert (len(reads.under_way), rows.ready, reads.woken) == (1, True, 1)
    assert rows.take() == "rows"
    rows.begin(0.0)
    await settle()
    assert len(reads.under_way) == 2


async def test_who_fails_rests_for_longer_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(asyncio.get_running_loop(), "time", lambda: now)  # a slow machine's would go on
    reads = Reads()
    rows = reads.backfill()
    rests = []
    for _ in range(4):
        now = max(now, rows.due())
        rows.begin(now)
        await settle()
        reads.under_way[-1].set_exception(KafkaAway("a segment is damaged"))
        await settle()
        with pytest.raises(KafkaAway, match="damaged"):
            rows.take()
        rests.append(round(rows.due() - now, 1))
        rows.begin(now)
        await settle()
        assert len(reads.under_way) == len(rests)
    assert rests == [0.2, 0.4, 0.8, 1.0]


async def test_a_cancel_within_a_read_is_not_one_of_the_partition() -> None:
    reads = Reads()
    rows = reads.backfill()
    rows.begin(0.0)
    await settle()
    reads.under_way[0].cancel()
    await settle()
    with pytest.raises(KafkaAway, match="cancelled"):
        rows.take()


async def test_a_read_that_never_ends_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backfill, "READING_SECONDS", 0.01)
    reads = Reads()
    rows = reads.backfill()
    rows.begin(0.0)
    async with asyncio.timeout(10):
        while not rows.ready:
            await asyncio.sleep(0.01)
    with pytest.raises(KafkaAway, match="nothing came"):
        rows.take()
    assert reads.under_way[0].cancelled()


async def test_a_bug_is_no_failure_to_read() -> None:
    reads = Reads()
    rows = reads.backfill()
    rows.begin(0.0)
    await settle()
    reads.under_way[0].set_exception(AssertionError("offset 7 counted, and cannot be read"))
    await settle()
    with pytest.raises(AssertionError, match="offset 7"):
        rows.take()
