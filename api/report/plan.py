"""Which UTC days a view reads, and where each is cut: a local day is the tail of one and the head of the next."""

from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

from api.periods import Comparison, Dates, Interval, Weekday, bucket_marks, mark_text
from api.query import View
from stream.quarters import QUARTERS_A_DAY


class DayPlan(NamedTuple):
    """One UTC day in pieces; piece i ends at quarter `cuts[i]` of the day, the last at 96."""

    day: int
    cuts: tuple[int, ...]
    columns: tuple[int, ...]
    """Where each piece counts: in its bucket, or in the column of the earlier side, or in that of what is outside."""
    also: tuple[tuple[int, int], ...]
    """(piece, column) of pieces that count a second time: two years, and those a year before."""
    window: tuple[int, int]
    """[first, end) quarters of the day that lie in the range itself; (0, 0) where none do."""


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """The days of a view in ascending order, and its buckets as texts. A plan is equal to itself alone."""

    days: Mapping[int, DayPlan]
    """By the day, ascending."""
    buckets: int
    starts: tuple[str, ...]
    ends: tuple[str, ...]

    @property
    def earlier(self) -> int:
        """The column of the earlier side, behind the buckets'."""
        return self.buckets

    @property
    def columns(self) -> int:
        """The buckets, the earlier side, and what is outside."""
        return self.buckets + 2


def plan_of(view: View) -> Plan:
    """The plan of a view; equal ranges share one."""
    return _plan(view.query.timezone, view.dates, view.interval, view.query.week_start, view.earlier)


@lru_cache(maxsize=128)
def range_plan(zone_name: str, start: int, end: int) -> Plan:
    """A range of marks as one bucket, without an earlier side."""
    texts = [mark_text(zone_name, mark) for mark in (start, end)]
    return Plan(_days((start, end), (0, 0)), 1, tuple(texts[:1]), tuple(texts[1:]))


@lru_cache(maxsize=128)
def _plan(zone_name: str, dates: Dates, interval: Interval, week_start: Weekday, earlier: Comparison | None) -> Plan:
    marks = bucket_marks(zone_name, dates, interval, week_start)
    texts = [mark_text(zone_name, mark) for mark in marks]
    side = (earlier.start, earlier.end) if earlier else (0, 0)
    return Plan(_days(marks, side), len(marks) - 1, tuple(texts[:-1]), tuple(texts[1:]))


def _days(marks: tuple[int, ...], side: tuple[int, int]) -> dict[int, DayPlan]:
    earlier = len(marks) - 1
    boundaries = sorted({*marks, *side})
    plans = {}
    for day in sorted({*_days_of(marks[0], marks[-1]), *_days_of(*side)}):
        start, end = day * QUARTERS_A_DAY, (day + 1) * QUARTERS_A_DAY
        inside = boundaries[bisect_right(boundaries, start) : bisect_right(boundaries, end - 1)]
        begins = (start, *inside)
        window = (max(marks[0], start) - start, min(marks[-1], end) - start)
        buckets = [bisect_right(marks, mark) - 1 if marks[0] <= mark < marks[-1] else None for mark in begins]
        before = [earlier if side[0] <= mark < side[1] else None for mark in begins]
        plans[day] = DayPlan(
            day,
            tuple(mark - start for mark in (*inside, end)),
            tuple(_first(bucket, column, earlier + 1) for bucket, column in zip(buckets, before, strict=True)),
            tuple((i, earlier) for i in range(len(begins)) if buckets[i] is not None and before[i] is not None),
            window if window[0] < window[1] else (0, 0),
        )
    return plans


def _first(*columns: int | None) -> int:
    return next(column for column in columns if column is not None)


def _days_of(start: int, end: int) -> range:
    return range(start // QUARTERS_A_DAY, (end - 1) // QUARTERS_A_DAY + 1) if start < end else range(0)
