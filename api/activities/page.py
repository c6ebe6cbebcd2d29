"""The activity table: rows found through the cells, a page at a time or all of them in a stream.

The cells say how many rows pass the filters on each day, and, where they are few, in which quarter-hours they lie; so
a rare user in a million rows takes no look at most of them, and `total` is exact and never capped.
"""

from collections.abc import AsyncIterator, Sequence
from typing import NamedTuple

from api import wire as answers
from api.activities.cursor import read_cursor, revision_key, write_cursor
from api.activities.filter import Filter
from api.activities.lines import activity_row, fold_row
from api.activities.spans import ROWS_A_READ, Span, Spans
from api.errors import Unavailable
from api.query.cursor import Cursor
from api.query.periods import Dates, TooManyBuckets, now_quarter
from api.query.question import DEFAULT_ACTIVITIES, ActivityQuery, Batches, Order, View, too_many_buckets, view_of_dates
from api.query.zones import zone
from api.read.redis import Reader
from api.read.snapshot import Moved, RowRange, Snapshot
from api.report.form import KindFold
from api.report.plan import Plan
from api.report.service import TOTALS, GuessRows, Reading, Reports, Stamp, query_answer
from stream.model.activity import Activity
from stream.model.time import date_of
from stream.storage.row import Row, decode_row, key_after, key_of

ROWS_A_PAGE = 20_000
"""How many rows a page looks at, at most: folded imports and the rows of one import may need many."""

ROWS_A_LOOK = 4_000
SPANS_A_READ = 32
TRIES = 8


class Look(NamedTuple):
    """Rows that pass, each beside its packed form; how many rows were examined; `end` is the key of the last of
    those.
    """

    rows: list[tuple[Row, bytes]]
    number: int
    end: bytes | None


class Activities:
    """The activity table of workspaces. Raises Unavailable, ValidationErrors (of the cursor), FormatError."""

    def __init__(self, reports: Reports, reader: Reader) -> None:
        self._reports = reports
        self._reader = reader

    async def page(self, workspace_id: str, query: ActivityQuery) -> answers.ActivitiesAnswer:
        """One page, of one state. Begins again where that moved between two reads."""
        cursor = None if query.cursor is None else read_cursor(query.cursor, workspace_id, query)
        for attempt in range(TRIES):
            try:
                # A page that looks at fewer rows, later on, is there before the next event.
                return await self._page(workspace_id, query, cursor, attempt)
            except Moved:
                continue
        raise Unavailable("busy", "Counts change faster than the API can read them.")

    async def stream(
        self, workspace_id: str, query: ActivityQuery
    ) -> tuple[Stamp, answers.QueryAnswer, AsyncIterator[list[Row]]]:
        """All rows (after the cursor, if there is one), in pieces. Each is of its own moment: no state stays still for
        as long as any number of rows takes. The pieces raise Unavailable where rows go meanwhile: a file that ends well
        is whole."""
        cursor = None if query.cursor is None else read_cursor(query.cursor, workspace_id, query)
        reading = await self._read(workspace_id, query, cursor)
        walk = _Walk(self._reader, workspace_id, query, reading, None if cursor is None else cursor.key, None)

        async def pieces() -> AsyncIterator[list[Row]]:
            while look := await walk.look(ROWS_A_READ):
                yield [row for row, _ in look.rows]

        return reading.stamp, query_answer(reading.stamp.view), pieces()

    async def _page(
        self, workspace_id: str, query: ActivityQuery, cursor: Cursor | None, attempt: int
    ) -> answers.ActivitiesAnswer:
        page = _Page(query.limit or DEFAULT_ACTIVITIES, query.batches is Batches.FOLD, query.order is Order.ASC)
        after, at_most = None if cursor is None else cursor.key, max(ROWS_A_PAGE >> attempt, ROWS_A_READ)

        def guess(plan: Plan, kinds: KindFold) -> list[RowRange]:
            """The ranges that the page begins with, where the days sum to what they did."""
            rows, descending, wanted = Filter.of(query), query.order is Order.DESC, page.rows_wanted
            spans = Spans(self._reader, workspace_id, rows, plan, kinds, after, descending, None).guess(wanted)
            return [of for _, of in _ranges_of(rows, spans, wanted, min(at_most, ROWS_A_LOOK), descending)]

        reading = await self._read(workspace_id, query, cursor, attempt, guess)
        walk = _Walk(self._reader, workspace_id, query, reading, after, reading.snapshot)
        await page.fill(walk, at_most)
        of, here = reading.stamp.view, zone(query.query.timezone)
        next_cursor = None
        if page.end is not None:
            next_cursor = write_cursor(workspace_id, query, of.dates, page.end)
        rows_from = reading.snapshot.state.rows_from
        return answers.ActivitiesAnswer(
            query_answer(of),
            reading.stamp.freshness,
            None if query.batch is not None else _total(reading, query),
            [
                fold_row(rows, here) if page.folds and rows[0].batch_id else activity_row(rows[0], here)
                for rows in page.rows
            ],
            next_cursor,
            None if rows_from is None else _day_text(rows_from),
            reading.warnings,
        )

    async def _read(
        self,
        workspace_id: str,
        query: ActivityQuery,
        cursor: Cursor | None,
        attempt: int = 0,
        guess: GuessRows | None = None,
    ) -> Reading:
        """A later attempt looks at less, so its answer may be another one."""
        of: View | None = None
        if cursor is not None:
            try:
                of = view_of_dates(query.query, Dates(cursor.first, cursor.last), now_quarter(self._reports.clock()))
            except TooManyBuckets as problem:
                raise too_many_buckets(problem) from None
        more = revision_key(query) + (b" %d" % attempt if attempt else b"")
        return await self._reports.read(workspace_id, query.query, TOTALS, of, more, guess)


class _Walk:
    """Goes through the rows that pass, in order, some at a time."""

    def __init__(
        self,
        reader: Reader,
        workspace_id: str,
        query: ActivityQuery,
        reading: Reading,
        after: bytes | None,
        expected: Snapshot | None,
    ) -> None:
        self._reader = reader
        self._workspace_id = workspace_id
        self._filter = Filter.of(query)
        self._sieve = self._filter.sieve()
        self._descending = query.order is Order.DESC
        self._expected = expected
        self._reading = reading
        self._first_day = min(reading.plan.days, default=0)
        self._found = Spans(
            reader, workspace_id, self._filter, reading.plan, reading.kinds, after, self._descending, expected
        )
        self._spans: list[Span] = []

    async def look(self, wanted: int, at_most: int = ROWS_A_LOOK) -> Look | None:
        """Examine rows until about this many pass, but at most `at_most` rows; None: no more rows."""
        while True:
            self._spans = self._spans or await self._found.find(wanted)
            if not self._spans:
                return None
            batch = _ranges_of(self._filter, self._spans, wanted, at_most, self._descending)
            look = self._take_first(batch, await self._read([of for _, of in batch]))
            if look.end is not None:
                return look

    async def _read(self, ranges: Sequence[RowRange]) -> Sequence[Sequence[bytes]]:
        """The rows of these ranges, of the expected state where there is one."""
        if self._expected is not None and self._expected.rows.keys() >= set(ranges):
            return [self._expected.rows[of] for of in ranges]
        days = sorted({of.day for of in ranges})
        return await self._reader.rows(
            self._workspace_id, ranges, self._reading.snapshot.state, self._expected, days, self._first_day
        )

    def _take_first(self, batch: Sequence[tuple[Span, RowRange]], replies: Sequence[Sequence[bytes]]) -> Look:
        """What was found, up to the first span of which there may be more, where the next look begins."""
        rows: list[tuple[Row, bytes]] = []
        number, end = 0, None
        self._spans, following = self._spans[len(batch) :], self._spans
        for i, ((span, of), reply) in enumerate(zip(batch, replies, strict=True)):
            rows.extend(self._pick_passing(reply))
            number += len(reply)
            end = key_of(reply[-1]) if reply else end
            if len(reply) == of.limit:
                assert end is not None
                rest = span._replace(high=end) if self._descending else span._replace(low=key_after(end))
                self._spans = [rest, *following[i + 1 :]]
                break
        return Look(rows, number, end)

    def _pick_passing(self, reply: Sequence[bytes]) -> list[tuple[Row, bytes]]:
        rows = [(decode_row(packed), packed) for packed in filter(self._sieve, reply)]
        return rows if self._filter.is_empty else [pair for pair in rows if self._filter.passes(pair[0])]


def _ranges_of(
    rows: Filter, spans: Sequence[Span], wanted: int, at_most: int, descending: bool
) -> list[tuple[Span, RowRange]]:
    """The first of the spans, those that are read at once, and what of each."""
    batch: list[tuple[Span, RowRange]] = []
    expected = number = 0
    for span in spans[:SPANS_A_READ]:
        limit = min(_rows_to_read(rows, span, wanted), at_most)
        if batch and (expected >= wanted or number + limit > at_most):
            break
        batch.append((span, RowRange(span.day, span.low, span.high, limit, descending)))
        expected += span.expected
        number += limit
    return batch


def _rows_to_read(rows: Filter, span: Span, wanted: int) -> int:
    """Rows to read for this many that pass, if those lie evenly; at most ROWS_A_READ."""
    if rows.batch is not None:
        return ROWS_A_READ  # the cells know of no import, so they do not say where its rows are
    if span.present == span.expected:
        return min(wanted, ROWS_A_READ)  # all pass
    return min(int(wanted * span.present / max(span.expected, 1)) + 16, ROWS_A_READ)


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
        """Take rows, examining at most this many."""
        left = at_most
        end: bytes | None = None
        while look := await walk.look(self.rows_wanted, min(left, ROWS_A_LOOK)):
            before: bytes | None = None
            for row, packed in look.rows:
                if not self._take(row):
                    self.end = end if before is None else key_of(before)
                    return
                before = packed
            end = look.end
            left -= look.number
            if left <= 0:
                self.end = end
                return

    @property
    def rows_wanted(self) -> int:
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


def _total(reading: Reading, query: ActivityQuery) -> int:
    added, deleted, _, _ = reading.kinds.totals()
    totals = {Activity.ADDED: added, Activity.DELETED: deleted}
    return sum(totals.values()) if query.activity is None else totals[query.activity]


def _day_text(day: int) -> str:
    return f"{date_of(day)}T00:00:00Z"
