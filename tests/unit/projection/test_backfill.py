"""What the topic no longer has of the missing rows, and what readers are told of it."""

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import pytest

import stream.projection.backfill
from stream.ports import ReadTooLarge
from stream.projection.backfill import RowBackfill

DAY_MS = 86_400_000
NOON = 20_000 * DAY_MS + DAY_MS // 2


class Topic:
    """A partition that holds `records`, from `first` to `end`; where it ends, nobody answers."""

    def __init__(self, first: int, end: int, timestamps: dict[int, int], clock: int = 1) -> None:
        self.clock = clock
        self._first, self._end, self._timestamps = first, end, timestamps

    async def bounds(self) -> tuple[int, int]:
        return self._first, self._end

    async def partitions(self) -> int:
        return 1

    async def read(self, start: int, end: int) -> Sequence[Any]:
        assert self._first <= start <= end <= self._end, f"nobody answers for [{start}, {end})"
        return [
            SimpleNamespace(offset=o, timestamp=t, timestamp_type=self.clock)
            for o, t in self._timestamps.items()
            if start <= o < end
        ]


async def read_once(topic: Topic, missing_rows: tuple[tuple[int, int, int], ...]) -> tuple[Any, dict[str, str]]:
    found = await RowBackfill(topic, 0, 300).find(missing_rows)
    return found.left, found.fields


async def test_a_topic_that_has_lost_all_is_not_waited_for() -> None:
    # Given a topic from which everything has gone, and missing rows
    topic = Topic(first=10, end=10, timestamps={})
    # When they are asked for
    left, fields = await read_once(topic, ((-1, 9, NOON),))
    # Then they are gone for good, up to the day of the newest of them
    assert (left, fields) == ((), {"rows_from": "20001"})


async def test_brokers_clocks_may_differ_by_an_hour() -> None:
    # Given a head that has gone, and a first record that is left, written just after midnight by a broker whose
    # clock is late
    midnight = 20_000 * DAY_MS
    topic = Topic(first=5, end=8, timestamps={5: midnight - 30 * 60_000})
    # When the rows of what has gone are asked for
    left, fields = await read_once(topic, ((-1, 3, NOON),))
    # Then what has gone may have been written up to an hour later by a broker whose clock is right
    assert (left, fields) == ((), {"rows_from": "20001"})


async def test_what_has_gone_is_no_newer_than_the_newest_that_was_counted() -> None:
    # Given missing rows of a quiet partition, whose newest record is a day older than the first that is left
    topic = Topic(first=5, end=8, timestamps={5: NOON})
    # When they are asked for
    left, fields = await read_once(topic, ((-1, 3, NOON - DAY_MS),))
    # Then rows are complete from the day after that record
    assert (left, fields) == ((), {"rows_from": "20000"})


async def test_what_is_still_missing_is_told_to_be_as_old_as_it_is() -> None:
    # Given a range of three days, of which the newest offsets are written
    topic = Topic(first=0, end=10, timestamps={offset: NOON - (9 - offset) * DAY_MS for offset in range(10)})
    rows = RowBackfill(topic, 0, 300)
    with patch.object(stream.projection.backfill, "STEP_OFFSETS", 4):
        found = await rows.find(((-1, 9, NOON),))
    # Then what is left is no newer than the oldest that was read, and an hour between brokers
    assert found.left == ((-1, 5, NOON - 3 * DAY_MS + 3_600_000),)


async def test_the_clocks_of_publishers_say_nothing_of_what_is_still_missing() -> None:
    topic = Topic(first=0, end=10, timestamps={offset: NOON - (9 - offset) * DAY_MS for offset in range(10)}, clock=0)
    with patch.object(stream.projection.backfill, "STEP_OFFSETS", 4):
        assert await read_once(topic, ((-1, 9, NOON),)) == (((-1, 5, NOON),), {})


class LargeRecords(Topic):
    """One whose records are too large to read more than `at_once` of them."""

    at_once = 3

    async def read(self, start: int, end: int) -> Sequence[Any]:
        if end - start > max(self.at_once, 1):
            raise ReadTooLarge
        return await super().read(start, end)


@pytest.mark.parametrize("at_once", [0, 1, 3])
@pytest.mark.parametrize("first", [0, 4])
async def test_large_records_are_read_a_few_at_a_time_until_all_are_written(at_once: int, first: int) -> None:
    # Given rows of records that are too large to be read together, perhaps without the oldest of them
    topic = LargeRecords(first=first, end=10, timestamps=dict.fromkeys(range(first, 10), NOON))
    topic.at_once = at_once
    rows, missing_rows, read = RowBackfill(topic, 0, 300), ((-1, 9, NOON),), list[int]()
    # When they are written
    while missing_rows:
        found = await rows.find(missing_rows)
        read = [record.offset for record in found.records] + read
        missing_rows = found.left  # type: ignore[assignment]
    # Then each is read once, the newest first
    assert read == list(range(first, 10))
