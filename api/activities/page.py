"""The activity table: rows found through the cells, a page at a time or all of them in a stream.

The cells say how many rows pass the filters on each day, and, where they are few, in which quarter-hours they lie; so
a rare user in a million rows takes no look at most of them, and `total` is exact and never capped.
"""

from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from hashlib import blake2b
from typing import NamedTuple
from zoneinfo import ZoneInfo

import msgspec

from api import wire as answers
from api.errors import Fault, Faults, Unavailable
from api.query.cursor import NO_CURSOR, VERSION, Cursor, decode_cursor, encode_cursor
from api.query.periods import Dates, TooManyBuckets, now_mark
from api.query.question import (
    DEFAULT_ACTIVITIES,
    ActivityQuery,
    Batches,
    Order,
    View,
    too_many_buckets,
    view_of_dates,
)
from api.query.zones import zone
from api.read.parts import Parts
from api.read.redis import Moved, RowRange, Snapshot
from api.report.days import KindSums, kind_sums, kind_sums_of_users
from api.report.pieces import in_pieces
from api.report.service import TOTALS, Reading, Reports, Stamp, chosen, query_answer
from api.report.sums import Chosen
from stream.model.activity import ACTIVITIES, Activity
from stream.model.time import NANOSECONDS, QUARTERS_A_DAY, date_of, day_of
from stream.storage.keys import rows_from_of
from stream.storage.row import Row, decode_row, key_after, key_of, occurred_at_of, quarter_bounds

ROWS_A_PAGE = 20_000
"""How many rows a page looks at, at most: folded imports and the rows of one import may need many."""

ROWS_A_READ = 1_000
ROWS_A_LOOK = 4_000
SPANS_A_READ = 32
DAYS_A_SEARCH = 8
"""So many days' cells are searched for the quarters of rare rows at once."""

RARE = 8
"""Rows are rare where less than one in so many passes the filters: then quarters are looked for first."""

FEW_ROWS = 500
"""A day of so few rows is read without searching."""

TRIES = 8
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


class Look(NamedTuple):
    """Rows that pass, each with its key, of so many that were looked at; `end` is the key of the last of those."""

    rows: list[tuple[Row, bytes]]
    number: int
    end: bytes | None


@dataclass(frozen=True, slots=True)
class Filter:
    """Which rows pass."""

    activity: int | None
    sources: Chosen
    users: Chosen
    batch: str | None

    @classmethod
    def of(cls, query: ActivityQuery) -> "Filter":
        activity = None if query.activity is None else ACTIVITIES.index(query.activity)
        return cls(activity, chosen(query.query.sources), chosen(query.query.users), query.batch)

    def passes(self, row: Row) -> bool:
        return (
            (self.activity is None or row.activity == self.activity)
            and (self.sources is None or row.source in self.sources)
            and (self.users is None or row.user_id in self.users)
            and (self.batch is None or row.batch_id == self.batch)
        )

    def count(self, sums: KindSums, piece: int, pieces: int) -> int:
        """How many of a piece's rows pass, as far as cells tell: an import they do not know."""
        return sum(
            count
            for (activity, source), count in zip(sums.kinds, sums.counts[piece::pieces], strict=True)
            if (self.activity is None or activity == self.activity) and (self.sources is None or source in self.sources)
        )

    def sieve(self) -> Callable[[bytes], bool]:
        """A quick look at a packed row that never refuses one that passes."""
        needles = [self.batch.encode()] if self.batch is not None else []
        if self.users is not None and len(self.users) == 1:
            needles += [user.encode() for user in self.users if user is not None]
        if not needles:
            return lambda _packed: True
        return lambda packed: all(needle in packed for needle in needles)


class Activities:
    """The activity table of workspaces. Raises Unavailable, Faults (of the cursor), FormatError."""

    def __init__(self, reports: Reports) -> None:
        self._reports = reports

    async def page(self, workspace_id: str, query: ActivityQuery) -> answers.ActivitiesAnswer:
        """One page, of one state. Begins again where that moved between two reads."""
        cursor = None if query.cursor is None else read_cursor(query.cursor, workspace_id, query)
        for attempt in range(TRIES):
            try:
                # A page that looks at fewer rows, later on, is there before the next event.
                return await self._page(workspace_id, query, cursor, attempt)
            except Moved:
                continue
        raise Unavailable("busy", "The counts move faster than they can be read.")

    async def stream(
        self, workspace_id: str, query: ActivityQuery
    ) -> tuple[Stamp, answers.QueryAnswer, AsyncIterator[list[Row]]]:
        """All rows (after the cursor, if there is one), in pieces. Each is of its own moment: no state stays still for
        as long as any number of rows takes. The pieces raise Unavailable where rows go meanwhile: a file that ends well
        is whole."""
        cursor = None if query.cursor is None else read_cursor(query.cursor, workspace_id, query)
        reading = await self._read(workspace_id, query, cursor)
        walk = _Walk(self._reports, workspace_id, query, reading, None if cursor is None else cursor.key, None)

        async def pieces() -> AsyncIterator[list[Row]]:
            while look := await walk.look(ROWS_A_READ):
                yield [row for row, _ in look.rows]

        return reading.stamp, query_answer(reading.stamp.view), pieces()

    async def _page(
        self, workspace_id: str, query: ActivityQuery, cursor: Cursor | None, attempt: int
    ) -> answers.ActivitiesAnswer:
        reading = await self._read(workspace_id, query, cursor, attempt)
        walk = _Walk(
            self._reports, workspace_id, query, reading, None if cursor is None else cursor.key, reading.snapshot
        )
        limit = query.limit or DEFAULT_ACTIVITIES
        page = _Page(limit, query.batches is Batches.FOLD, query.order is Order.ASC)
        await page.fill(walk, max(ROWS_A_PAGE >> attempt, ROWS_A_READ))
        of, here = reading.stamp.view, zone(query.query.timezone)
        next_cursor = None
        if page.end is not None:
            question = _question(workspace_id, query)
            next_cursor = encode_cursor(Cursor(VERSION, question, of.dates.first, of.dates.last, page.end))
        state = reading.snapshot.state
        rows_from = max(state.positions.rows_from or 0, rows_from_of(state.change) or 0) or None
        return answers.ActivitiesAnswer(
            query_answer(of),
            reading.stamp.freshness,
            None if query.batch is not None else _total(reading, query),
            [
                _folded(rows, here) if page.folds and rows[0].batch_id else activity_row(rows[0], here)
                for rows in page.rows
            ],
            next_cursor,
            None if rows_from is None else _day_text(rows_from),
            reading.warnings,
        )

    async def _read(self, workspace_id: str, query: ActivityQuery, cursor: Cursor | None, attempt: int = 0) -> Reading:
        """A later attempt looks at less, so its answer may be another one."""
        of: View | None = None
        if cursor is not None:
            try:
                of = view_of_dates(query.query, Dates(cursor.first, cursor.last), now_mark(self._reports.clock()))
            except TooManyBuckets as problem:
                raise too_many_buckets(problem) from None
        more = revision_key(query) + (b" %d" % attempt if attempt else b"")
        return await self._reports.read(workspace_id, query.query, TOTALS, of, more)


class _Walk:
    """Goes through the rows that pass, in order, some at a time."""

    def __init__(
        self,
        reports: Reports,
        workspace_id: str,
        query: ActivityQuery,
        reading: Reading,
        after: bytes | None,
        expected: Snapshot | None,
    ) -> None:
        self._reports = reports
        self._workspace_id = workspace_id
        self._filter = Filter.of(query)
        self._sieve = self._filter.sieve()
        self._descending = query.order is Order.DESC
        self._expected = expected
        self._reading = reading
        self._first_day = min(reading.plan.days, default=0)
        self._days = self._days_with_rows(reading, after)
        self._after = after
        self._spans: list[Span] = []

    async def look(self, wanted: int, at_most: int = ROWS_A_LOOK) -> Look | None:
        """Look at the next rows, for so many that pass (more may), but not at more than `at_most`; None: no more."""
        while self._spans or await self._find_spans(wanted):
            batch, limits = self._batch(wanted, at_most)
            ranges = [
                RowRange(span.day, span.low, span.high, limit, self._descending)
                for span, limit in zip(batch, limits, strict=True)
            ]
            days = sorted({span.day for span in batch})
            replies = await self._reports.reader.rows(
                self._workspace_id, ranges, self._reading.snapshot.state, self._expected, days, self._first_day
            )
            look = self._taken(batch, limits, replies)
            if look.end is not None:
                return look
        return None

    def _batch(self, wanted: int, at_most: int) -> tuple[list[Span], list[int]]:
        """The spans to be read at once, and how many rows of each."""
        batch: list[Span] = []
        limits: list[int] = []
        expected = 0
        for span in self._spans[:SPANS_A_READ]:
            limit = min(_rows_to_read(span, wanted), at_most)
            if batch and (expected >= wanted or sum(limits) + limit > at_most):
                break
            batch.append(span)
            limits.append(limit)
            expected += span.expected
        return batch, limits

    def _taken(self, batch: Sequence[Span], limits: Sequence[int], replies: Sequence[Sequence[bytes]]) -> Look:
        """What was found, up to the first span of which there may be more, where the next look begins."""
        rows: list[tuple[Row, bytes]] = []
        number, end = 0, None
        self._spans, following = self._spans[len(batch) :], self._spans
        for i, (span, limit, reply) in enumerate(zip(batch, limits, replies, strict=True)):
            rows.extend(self._passing(reply))
            number += len(reply)
            end = key_of(reply[-1]) if reply else end
            if len(reply) == limit:
                assert end is not None
                rest = span._replace(high=end) if self._descending else span._replace(low=key_after(end))
                self._spans = [rest, *following[i + 1 :]]
                break
        return Look(rows, number, end)

    def _passing(self, reply: Sequence[bytes]) -> Iterator[tuple[Row, bytes]]:
        for packed in filter(self._sieve, reply):
            row = decode_row(packed)
            if self._filter.passes(row):
                yield row, key_of(packed)

    def _days_with_rows(self, reading: Reading, after: bytes | None) -> list[DayRows]:
        """The days that have rows that pass, in the order of the table."""
        last = None if after is None else day_of(occurred_at_of(after))
        days = []
        for of in reading.plan.days.values():
            sums = reading.days.get(of.day)
            if sums is None or (last is not None and (of.day > last if self._descending else of.day < last)):
                continue
            # Of the range as one bucket, which is column 0.
            pieces = [piece for piece, column in enumerate(of.columns) if column == 0]
            passing = sum(self._filter.count(sums, piece, len(of.columns)) for piece in pieces)
            present = sum(sum(sums.counts[piece :: len(of.columns)]) for piece in pieces)
            if passing:
                days.append(DayRows(of.day, passing, present, of.window))
        return days[::-1] if self._descending else days

    async def _find_spans(self, wanted: int) -> bool:
        """Spans of the next days; whether there are any."""
        while self._days and not self._spans:
            spans = await self._spans_of(self._next_days(wanted))
            self._spans = [span for span in map(self._from_cursor, spans) if span.low < span.high]
        return bool(self._spans)

    def _next_days(self, wanted: int) -> list[DayRows]:
        """Enough days for so many rows, or DAYS_A_SEARCH of them."""
        days: list[DayRows] = []
        while self._days and len(days) < DAYS_A_SEARCH and sum(day.passing for day in days) < wanted:
            days.append(self._days.pop(0))
        return days

    async def _spans_of(self, days: Sequence[DayRows]) -> list[Span]:
        rare = [of.day for of in days if self._is_rare(of)]
        by_quarter = await self._by_quarter(rare) if rare else {}
        spans: list[Span] = []
        for of in days:
            if of.day in by_quarter:
                spans.extend(self._quarter_spans(of, by_quarter[of.day]))
            else:
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
        wanted = Parts.SUMMARIES if users is None else Parts.HEADS | Parts.CELLS

        def of_days(layouts: Mapping[int, bytes | None]) -> Mapping[int, Parts]:
            return dict.fromkeys(layouts, wanted)

        snapshot = await self._reports.reader.snapshot(self._workspace_id, sorted(days), of_days, ())
        if self._expected is not None:
            layouts = self._expected.layouts
            if any(snapshot.layouts.get(day) != layouts.get(day) for day in days):
                raise Moved
        if users is None:
            return {day: kind_sums(parts, _EVERY_QUARTER) for day, parts in snapshot.parts.items()}
        return {
            day: await in_pieces(kind_sums_of_users(parts, _EVERY_QUARTER, users))
            for day, parts in snapshot.parts.items()
        }

    def _quarter_spans(self, of: DayRows, sums: KindSums) -> list[Span]:
        spans = []
        for quarter in range(*of.window):
            count = self._filter.count(sums, quarter, QUARTERS_A_DAY)
            if count:
                start = of.day * QUARTERS_A_DAY + quarter
                spans.append(Span(of.day, *quarter_bounds(start, start + 1), count, ROWS_A_READ * count))
        return spans[::-1] if self._descending else spans

    def _from_cursor(self, span: Span) -> Span:
        if self._after is None:
            return span
        if self._descending:
            return span._replace(high=min(span.high, self._after))
        return span._replace(low=max(span.low, key_after(self._after)))


class _Page:
    """The rows of a page, imports folded or not, and where it ended."""

    def __init__(self, limit: int, folds: bool, ascending: bool) -> None:
        self.folds = folds
        self.end: bytes | None = None
        """The key of the last row that was looked at; None: there are no more."""
        self._limit = limit
        self._ascending = ascending
        self._groups: dict[tuple[object, int], list[Row]] = {}
        self._number = 0

    @property
    def rows(self) -> list[list[Row]]:
        """The rows of each line of the page; an import stands where its newest row does."""
        groups = list(self._groups.values())
        if self.folds and self._ascending:
            groups.sort(key=lambda rows: (rows[-1].occurred_at, rows[-1].event_id, rows[-1].partition, rows[-1].offset))
        return groups

    async def fill(self, walk: _Walk, at_most: int) -> None:
        """Take rows, looking at so many at most."""
        left = at_most
        end: bytes | None = None
        while look := await walk.look(self._rows_wanted(), min(left, ROWS_A_LOOK)):
            for row, key in look.rows:
                if not self._take(row):
                    self.end = end
                    return
                end = key
            end = look.end
            left -= look.number
            if left <= 0:
                self.end = end
                return

    def _rows_wanted(self) -> int:
        """One more than the page holds shows whether another one follows."""
        return ROWS_A_READ if self.folds else self._limit + 1 - len(self._groups)

    def _take(self, row: Row) -> bool:
        """Whether the row has a place on the page."""
        self._number += 1
        own: object = row.batch_id if self.folds and row.batch_id else self._number
        key = (own, row.activity)
        if key not in self._groups:
            if len(self._groups) == self._limit:
                return False
            self._groups[key] = []
        self._groups[key].append(row)
        return True


def revision_key(query: ActivityQuery) -> bytes:
    """What an answer depends on beside the report's query."""
    asked = (query.activity, query.order, query.limit, query.cursor, query.batches, query.batch)
    return msgspec.json.encode(asked)


def activity_row(row: Row, here: ZoneInfo) -> answers.ActivityRow:
    return answers.ActivityRow(
        time_text(row, here),
        row.contact_id,
        row.contact_name,
        ACTIVITIES[row.activity],
        row.source,
        row.user_id,
        row.user_name,
        row.event_id,
        row.batch_id,
    )


def time_text(row: Row, here: ZoneInfo) -> str:
    """`occurred_at` in a zone, with the digits of the second that it came with."""
    seconds, nanoseconds = divmod(row.occurred_at, NANOSECONDS)
    text = datetime.fromtimestamp(seconds, here).isoformat()
    if not row.fraction_digits:
        return text
    return f"{text[:19]}.{f'{nanoseconds:09d}'[: row.fraction_digits]}{text[19:]}"


def read_cursor(text: str, workspace_id: str, query: ActivityQuery) -> Cursor:
    """Raises Faults where it is no cursor, or one of other parameters (`limit` may differ)."""
    cursor = decode_cursor(text)
    of = query.query.dates
    if cursor is None or (of is not None and Dates(cursor.first, cursor.last) != of):
        raise Faults([Fault("cursor", NO_CURSOR)])
    if cursor.question != _question(workspace_id, query):
        raise Faults([Fault("cursor", "is of an answer to other parameters")])
    return cursor


def _question(workspace_id: str, query: ActivityQuery) -> bytes:
    """What a cursor is good for: everything that decides which rows there are, and in which order."""
    report = query.query
    dates = report.dates and (report.dates.first, report.dates.last)
    asked = (
        workspace_id,
        (dates, report.period, report.timezone, report.interval, report.week_start),
        (report.sources, report.users, report.compare),
        (query.activity, query.order, query.batches, query.batch),
    )
    return blake2b(msgspec.json.encode(asked), digest_size=9).digest()


def _total(reading: Reading, query: ActivityQuery) -> int:
    totals = {Activity.ADDED: sum(reading.counts.added), Activity.DELETED: sum(reading.counts.deleted)}
    return sum(totals.values()) if query.activity is None else totals[query.activity]


def _folded(rows: Sequence[Row], here: ZoneInfo) -> answers.ActivityRow:
    oldest, newest = sorted((rows[0], rows[-1]), key=lambda row: (row.occurred_at, row.event_id))
    one_source = len({row.source for row in rows}) == 1
    one_user = len({row.user_id for row in rows}) == 1
    return answers.ActivityRow(
        time_text(newest, here),
        None,
        None,
        ACTIVITIES[newest.activity],
        newest.source if one_source else None,
        newest.user_id if one_user else None,
        newest.user_name if one_user else None,
        None,
        newest.batch_id,
        len(rows),
        time_text(oldest, here),
        time_text(newest, here),
    )


def _rows_to_read(span: Span, wanted: int) -> int:
    """Enough for so many rows that pass, if they lie evenly; never more than ROWS_A_READ."""
    share = span.present / max(span.expected, 1)
    return min(int(wanted * share) + 16, ROWS_A_READ)


def _day_text(day: int) -> str:
    return f"{date_of(day)}T00:00:00Z"
