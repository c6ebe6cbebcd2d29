"""Finds where rows that pass lie: whole days, or, where they are rare, quarter-hours of them."""

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from api.activities.filter import Filter
from api.errors import Unavailable
from api.read.manifests import Days, Seen
from api.read.parts import CELLS, HEADS, SUMMARIES, Parts
from api.read.redis import Reader
from api.read.snapshot import Moved, Snapshot
from api.report.days import KindSums, kind_sums, kind_sums_of_users
from api.report.form import KindFold
from api.report.plan import Plan
from stream.model.time import QUARTERS_A_DAY, day_of
from stream.slices import run_in_slices
from stream.storage.row import key_after, occurred_at_of, quarter_bounds

ROWS_A_READ = 1_000
DAYS_A_SEARCH = 8
"""Days whose cells are searched for the quarters of rare rows at once."""

RARE = 8
"""Rows are rare where fewer than one in this many pass the filters: then their quarters are searched first."""

FEW_ROWS = 500
"""A day of so few rows is read without searching."""

TRIES = 12
_EVERY_QUARTER = tuple(range(1, QUARTERS_A_DAY + 1))


class Span(NamedTuple):
    """A stretch of one day, [low, high), in which rows that pass are expected."""

    day: int
    low: bytes
    high: bytes
    expected: int
    present: int
    """How many rows there are in it at least, whether they pass or not."""


class DayRows(NamedTuple):
    """A day of the range: how many of its rows pass, how many there are, and [first, end) of its quarters."""

    day: int
    passing: int
    present: int
    window: tuple[int, int]


class Spans:
    """The spans of the days of a plan, in the order of the table, by what they sum to. `after`: the key of the row that
    they follow; `expected`: the state that they must be of (Moved where it is another one), None for that of their own
    moment.
    """

    def __init__(
        self,
        reader: Reader,
        workspace_id: str,
        rows: Filter,
        plan: Plan,
        kinds: KindFold,
        after: bytes | None,
        descending: bool,
        expected: Snapshot | None,
    ) -> None:
        self._reader = reader
        self._workspace_id = workspace_id
        self._filter = rows
        self._descending = descending
        self._expected = expected
        self._after = after
        self._days = self._days_with_rows(plan, kinds, after)

    async def find(self, wanted: int) -> list[Span]:
        """The spans of the next days, for this many rows; empty after the last day."""
        while days := self._next_days(wanted):
            found = self._behind_cursor(await self._spans_of(days))
            if found:
                return found
        return []

    def guess(self, wanted: int) -> list[Span]:
        """The first spans for this many rows, where nothing must be read to find them; else none."""
        days = self._next_days(wanted)
        return [] if any(map(self._is_rare, days)) else self._behind_cursor(self._whole_spans(days))

    def _days_with_rows(self, plan: Plan, kinds: KindFold, after: bytes | None) -> Iterator[DayRows]:
        """The days that have rows that pass, in the order of the table. A page looks at few of them."""
        last = None if after is None else day_of(occurred_at_of(after))
        days = list(plan.days.values())
        for of in reversed(days) if self._descending else days:
            sums = kinds.sums_of(of.day)
            if sums is None or (last is not None and (of.day > last if self._descending else of.day < last)):
                continue
            # Of the range as one bucket, which is column 0.
            pieces = [piece for piece, column in enumerate(of.columns) if column == 0]
            passing = sum(self._filter.count(sums, piece, len(of.columns)) for piece in pieces)
            present = sum(sum(sums.counts[piece :: len(of.columns)]) for piece in pieces)
            if passing:
                yield DayRows(of.day, passing, present, of.window)

    def _next_days(self, wanted: int) -> list[DayRows]:
        """Days that hold this many rows, at most DAYS_A_SEARCH."""
        days: list[DayRows] = []
        passing = 0
        while len(days) < DAYS_A_SEARCH and passing < wanted and (day := next(self._days, None)) is not None:
            days.append(day)
            passing += day.passing
        return days

    async def _spans_of(self, days: Sequence[DayRows]) -> list[Span]:
        rare = [of.day for of in days if self._is_rare(of)]
        by_quarter = await self._by_quarter(rare) if rare else {}
        spans: list[Span] = []
        for of in days:
            spans += self._quarter_spans(of, by_quarter[of.day]) if of.day in by_quarter else self._whole_spans([of])
        return spans

    def _whole_spans(self, days: Sequence[DayRows]) -> list[Span]:
        spans = []
        for of in days:
            start = of.day * QUARTERS_A_DAY
            low, high = quarter_bounds(start + of.window[0], start + of.window[1])
            spans.append(Span(of.day, low, high, of.passing, of.present))
        return spans

    def _is_rare(self, of: DayRows) -> bool:
        if self._filter.users is not None:
            return True  # the sums are of these users alone, so nothing is known of the other rows
        return of.present > FEW_ROWS and of.passing * RARE < of.present

    async def _by_quarter(self, days: Sequence[int]) -> dict[int, KindSums]:
        users = self._filter.users
        wanted = SUMMARIES if users is None else HEADS | CELLS

        snapshot = await self._read(sorted(days), wanted)
        if users is None:
            return {day: kind_sums(parts, _EVERY_QUARTER) for day, parts in snapshot.parts.items()}
        return {
            day: await run_in_slices(kind_sums_of_users(parts, _EVERY_QUARTER, users))
            for day, parts in snapshot.parts.items()
        }

    async def _read(self, days: Sequence[int], parts: Parts) -> Snapshot:
        """These parts of all of these days."""
        asked = Days(days)
        seen: Seen | None = None
        for _ in range(TRIES):
            seen = self._reader.seen(self._workspace_id, asked, seen)
            prepared = self._reader.prepare(self._workspace_id, seen, dict.fromkeys(seen.found, parts))
            snapshot = await self._reader.read(self._workspace_id, seen, prepared)
            if self._expected is not None and not snapshot.has_days_of(self._expected, days):
                raise Moved
            if snapshot.holds(dict.fromkeys(snapshot.manifests, parts)):
                return snapshot
        raise Unavailable("busy", "Counts change faster than the API can read them.")

    def _quarter_spans(self, of: DayRows, sums: KindSums) -> list[Span]:
        spans = []
        for quarter in range(*of.window):
            count = self._filter.count(sums, quarter, QUARTERS_A_DAY)
            if count:
                start = of.day * QUARTERS_A_DAY + quarter
                spans.append(Span(of.day, *quarter_bounds(start, start + 1), count, ROWS_A_READ * count))
        return spans[::-1] if self._descending else spans

    def _behind_cursor(self, spans: Iterable[Span]) -> list[Span]:
        """What of them is left, without the empty ones."""
        return [span for span in map(self._from_cursor, spans) if span.low < span.high]

    def _from_cursor(self, span: Span) -> Span:
        if self._after is None:
            return span
        if self._descending:
            return span._replace(high=min(span.high, self._after))
        return span._replace(low=max(span.low, key_after(self._after)))
