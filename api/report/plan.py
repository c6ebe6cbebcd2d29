"""Plans which UTC days a view reads, and where each is cut: a local day is the end of one and the start of the next."""

from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from api.query.periods import quarter_text
from api.query.question import View
from stream.model.time import QUARTERS_A_DAY


class DayPlan(NamedTuple):
    """One UTC day in pieces; piece i ends at quarter `cuts[i]` of the day, the last at 96."""

    day: int
    cuts: tuple[int, ...]
    columns: tuple[int, ...]
    """Where each piece counts: in its bucket, or in the earlier one beside a bucket, or in that of what is outside."""
    also: tuple[tuple[int, int], ...]
    """(piece, column) of pieces that count a second time: two years, and those a year before."""
    window: tuple[int, int]
    """[first, end) quarters of the day that lie in the range itself; (0, 0) where none do."""


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class Plan:
    """The days of a view in ascending order, and its buckets as texts. A plan is equal to itself alone."""

    days: Mapping[int, DayPlan]
    """By the day, ascending."""
    buckets: int
    starts: tuple[str, ...]
    ends: tuple[str, ...]
    earlier_starts: tuple[str, ...] = ()
    """One beside each bucket, or none where nothing is compared."""
    earlier_ends: tuple[str, ...] = ()

    @property
    def compared(self) -> bool:
        return bool(self.earlier_starts)

    @property
    def earlier_columns(self) -> slice:
        """Of the earlier buckets, behind the buckets'."""
        return slice(self.buckets, self.buckets + len(self.earlier_starts))

    @property
    def columns(self) -> int:
        """The buckets, the earlier ones, and what is outside."""
        return self.buckets + len(self.earlier_starts) + 1


def plan_of(view: View) -> Plan:
    """The plan of a view."""
    return plan_of_bounds(view.query.timezone, view.bounds, view.earlier_bounds)


def size_of_plan(plan: Plan) -> int:
    """Bytes in memory: of a day 460 in one piece, and 600 for its names and what is wanted of it (`sums.Range`); of
    each further piece 140, and two texts a bucket.
    """
    pieces = sum(len(day.cuts) for day in plan.days.values())
    return 500 + 920 * len(plan.days) + 140 * pieces + 220 * (len(plan.starts) + len(plan.earlier_starts))


def plan_of_bounds(zone_name: str, bounds: tuple[int, ...], earlier: tuple[int, ...]) -> Plan:
    """The plan of bounds and, where something is compared, of earlier ones."""
    texts = [quarter_text(zone_name, quarter) for quarter in bounds]
    before = [quarter_text(zone_name, quarter) for quarter in earlier]
    return Plan(
        _days(bounds, earlier),
        len(bounds) - 1,
        tuple(texts[:-1]),
        tuple(texts[1:]),
        tuple(before[:-1]),
        tuple(before[1:]),
    )


def _days(bounds: tuple[int, ...], earlier: tuple[int, ...]) -> dict[int, DayPlan]:
    buckets, outside = len(bounds) - 1, len(bounds) - 1 + max(0, len(earlier) - 1)
    boundaries = sorted({*bounds, *earlier})
    plans = {}
    for day in sorted({*_days_of(bounds), *_days_of(earlier)}):
        start, end = day * QUARTERS_A_DAY, (day + 1) * QUARTERS_A_DAY
        inside = boundaries[bisect_right(boundaries, start) : bisect_right(boundaries, end - 1)]
        begins = (start, *inside)
        window = (max(bounds[0], start) - start, min(bounds[-1], end) - start)
        own = [_place(bounds, quarter, 0) for quarter in begins]
        before = [_place(earlier, quarter, buckets) for quarter in begins]
        plans[day] = DayPlan(
            day,
            tuple(quarter - start for quarter in (*inside, end)),
            tuple(_first(*columns, outside) for columns in zip(own, before, strict=True)),
            tuple((i, column) for i, column in enumerate(before) if column is not None and own[i] is not None),
            window if window[0] < window[1] else (0, 0),
        )
    return plans


def _place(bounds: tuple[int, ...], quarter: int, first: int) -> int | None:
    """The column of the bucket that a quarter lies in, where that of the first bucket is `first`."""
    return first + bisect_right(bounds, quarter) - 1 if bounds and bounds[0] <= quarter < bounds[-1] else None


def _first(*columns: int | None) -> int:
    return next(column for column in columns if column is not None)


def _days_of(bounds: tuple[int, ...]) -> range:
    if not bounds or bounds[0] == bounds[-1]:
        return range(0)
    return range(bounds[0] // QUARTERS_A_DAY, (bounds[-1] - 1) // QUARTERS_A_DAY + 1)
