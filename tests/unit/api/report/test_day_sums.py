"""Sums of days: a range takes those that the folds of other ranges have, and reads the others."""

from collections.abc import Mapping
from weakref import ref

import pytest

from api.cache import Memory
from api.query.periods import Compare, Dates, Interval, Weekday
from api.query.question import Query, view_of_dates
from api.read.freshness import Positions
from api.read.manifests import Known, Seen
from api.read.parts import HEADS, SUMMARIES, PartitionDay, Parts
from api.read.snapshot import Snapshot, State
from api.report.form import Form, PythonForm
from api.report.plan import Plan, plan_of
from api.report.sums import FOLDS_ASKED, Range, Sums, UserFolds
from stream.model.time import date_of
from stream.storage.day_parts import Summary, encode, make_column
from tests.support.day_parts import day_parts
from tests.support.user_columns import base_of

DAY = 20_780
STATE = State(Positions(((0, 0),), True, None, None, (), 0.0, 0.0), b"1")
ONE = encode(Summary([], *[make_column(column) for column in ([0], [2], [2], [0, 95], [1, 1])]))
HEAD, OF_HEAD = base_of(["u"])
PART = PartitionDay([ONE], [HEAD], [OF_HEAD])
"""Two added, by one user."""


def plan(first: int, last: int, zone: str = "UTC") -> Plan:
    query = Query(None, None, zone, Interval.DAY, Weekday.MONDAY, None, None, Compare.NONE)
    return plan_of(view_of_dates(query, Dates(date_of(DAY + first), date_of(DAY + last)), (DAY + 100) * 96))


class Ranges:
    """Sums of ranges by one form, with one memory."""

    def __init__(self, limit_bytes: int = 10**7) -> None:
        self.memory = Memory(limit_bytes)
        self.form: Form = PythonForm("")
        self.users = UserFolds()
        self.plans: list[Plan] = []
        """Held, as what asks for ranges holds them."""

    def sums(self, of: Plan) -> Sums:
        self.plans.append(of)
        return Sums(
            self.memory, self.form, "w", Range(of), self.users,
            kinds=True, users=True, chosen_sources=None, chosen_users=None, every=False,
        )  # fmt: skip

    async def read(self, of: Plan, manifests: Mapping[int, bytes]) -> Mapping[int, Parts]:
        """What had to be read for a range with these days; its counts are right."""
        sums = self.sums(of)
        places = {day: place for place, day in enumerate(of.days)}
        values = list(map(manifests.get, of.days))
        lacking = sums.lacking(Seen(sums.days, Known(), list(of.days), values, places, False))
        parts = day_parts({day: [PART] for day in lacking})
        snapshot = Snapshot(STATE, list(of.days), values, parts, (), (), lacking, {})
        assert not sums.lacks(snapshot)
        await sums.take(snapshot)
        assert sum(sums.kinds.counts.added) == 2 * of.buckets
        assert sums.users.everyone == (1, 2 * of.buckets, 0)
        return lacking


def days(first: int, last: int, manifest: bytes = b"1") -> dict[int, bytes]:
    return dict.fromkeys(range(DAY + first, DAY + last + 1), manifest)


async def test_a_range_takes_the_days_that_other_ranges_have_and_reads_the_others() -> None:
    ranges = Ranges()
    both = SUMMARIES | HEADS
    assert await ranges.read(plan(0, 9), days(0, 9)) == dict.fromkeys(days(0, 9), both)
    assert await ranges.read(plan(20, 29), days(20, 29)) == dict.fromkeys(days(20, 29), both)
    # Some of each, what lies between, and one day that has changed
    changed = days(5, 24) | {DAY + 7: b"2"}
    assert await ranges.read(plan(5, 24), changed) == dict.fromkeys([DAY + 7, *days(10, 19)], both)
    # ... and now all of it is known, the changed day as it is now and as it was
    assert await ranges.read(plan(0, 29), days(0, 29) | {DAY + 7: b"2"}) == {}
    assert await ranges.read(plan(1, 28), days(1, 28)) == {}
    # ... but days that are cut in another way are not
    assert list(await ranges.read(plan(3, 4, "Asia/Kolkata"), days(2, 4))) == list(days(2, 4))


async def test_what_is_forgotten_gives_no_days() -> None:
    ranges = Ranges()
    await ranges.read(plan(0, 9), days(0, 9))
    for key in list(ranges.memory._entries):
        if "folds" not in key:  # type: ignore[operator]
            ranges.memory.forget(key)
    assert len(await ranges.read(plan(0, 8), days(0, 8))) == 9


async def test_what_is_forgotten_goes_with_its_plan() -> None:
    """A plan of many buckets takes a megabyte, which the memory counts no longer."""
    ranges = Ranges()
    known = [plan(0, 9), plan(2, 3)]
    for of in known:
        await ranges.read(of, days(0, 9))
    held = list(map(ref, known))
    # When the folds of one of them are forgotten
    ranges.plans.clear()
    del of, known
    for key in list(ranges.memory._entries):
        if held[0]() in key:  # type: ignore[operator]
            ranges.memory.forget(key)
    del key
    # Then that plan is gone, and the other one is not
    assert [plan_of() is None for plan_of in held] == [True, False]


@pytest.mark.parametrize("others", [1, 3 * FOLDS_ASKED])
async def test_a_range_that_others_take_days_from_is_asked_as_long_as_they_do(others: int) -> None:
    ranges = Ranges()
    await ranges.read(plan(0, 60), days(0, 60))
    for first in range(others):
        assert await ranges.read(plan(first, first + 30), days(first, first + 30)) == {}
    donors = ranges.sums(plan(0, 0))._donors("kinds")
    assert len(donors._plans) <= FOLDS_ASKED
