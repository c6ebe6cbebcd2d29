"""The activity rows that Redis lacks, read again from the topic, newest first.

A record's row is written if the record counted, by the verdict that was given then: what did not count is remembered by
offset. So the rules of today (a window,
a limit, a retention that was set anew) judge nothing here. What the topic no longer has cannot come back, and moves
`rows_from`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec

from stream.ingest.event import LOG_APPEND_TIME, EventRules, LeftOut, Record, parse
from stream.model.activity import ContactActivity
from stream.model.time import DAY_MILLISECONDS, HOUR_MILLISECONDS, day_of
from stream.ports import Call, KafkaAway, ReadTooLarge, Source
from stream.projection.calls import calls_of_rows
from stream.storage.keys import MISSING_ROWS_SLACK_MS, Keys, MissingRows
from stream.storage.row import encode_row
from stream.tables.state import State

# How many offsets are read and written between two commits: some 20 ms of work, so that counting goes on.
STEP_OFFSETS = 2_000

# Successful reads until twice as many offsets are tried again.
READS_UNTIL_DOUBLED = 8

# The window of recent ids allows for as much (stream/tables/recent_ids.py).
CLOCKS_DIFFER_MS = HOUR_MILLISECONDS

# Every record that counted once is readable under these.
LENIENT = EventRules(max_event_bytes=1 << 30, future_tolerance_seconds=1 << 40, retention_days=None)


class BackfillStep(msgspec.Struct):
    """Rows to write, the rows that are still missing after them, and fields of the position that change with it."""

    rows: dict[tuple[str, int], list[bytes]]
    left: MissingRows
    fields: dict[str, str]

    def calls(self, keys: Keys, partition: int) -> Iterator[Call]:
        return calls_of_rows(keys, partition, ((workspace, day, rows) for (workspace, day), rows in self.rows.items()))


class Found(msgspec.Struct):
    """What one read of the topic found: records that may have rows, the missing rows before and after it, and
    fields that change.
    """

    missing_rows: MissingRows
    records: Sequence[Record]
    left: MissingRows
    fields: dict[str, str]


class RowBackfill:
    def __init__(self, source: Source, partition: int, future_tolerance_seconds: int) -> None:
        self._source, self._partition = source, partition
        self._tolerance_ms = future_tolerance_seconds * 1000
        self._halvings = self._read_since = 0
        self.rows_from: int | None = None

    async def find(self, missing_rows: MissingRows) -> Found:
        """Read the newest offsets whose rows are missing. Raises KafkaAway; the next time it reads half as many then,
        for offsets may be few and their records large.
        """
        try:
            found = await self._read(missing_rows)
        except KafkaAway:
            self._halvings, self._read_since = min(self._halvings + 1, STEP_OFFSETS.bit_length()), 0
            raise
        self._read_since += 1
        if self._halvings and self._read_since % READS_UNTIL_DOUBLED == 0:
            self._halvings -= 1
        return found

    def make_step(self, found: Found, state: State, counts_from: int | None) -> BackfillStep:
        """The rows of what was found, from a UTC day on: that of the last commit. What was applied since may have moved
        it on, and readers do not know yet.
        """
        return BackfillStep(
            rows=self._rows(found.records, state, counts_from or 0), left=found.left, fields=found.fields
        )

    async def _read(self, missing_rows: MissingRows) -> Found:
        after, upto, greatest_ms = missing_rows[-1]
        low = max(after, upto - max(STEP_OFFSETS >> self._halvings, 1))
        first, end = await self._source.bounds()
        fields: dict[str, str] = {}
        records: Sequence[Record] = ()
        if first > low + 1:
            # What lies before the topic's first offset is gone for good.
            low, records = await self._newest(first - 1, upto) if first <= upto else (first - 1, ())
            fields = await self._note_gone(first, end, greatest_ms)
            left = tuple((a, u, g) for a, u, g in missing_rows[:-1] if u >= first)
            left = left if low < first else (*left, (first - 1, low, greatest_ms))
        else:
            low, records = await self._newest(low, upto)
            if records and records[0].timestamp_type == LOG_APPEND_TIME:
                # What is left is older, as far as the brokers' clocks agree.
                newest_ms = records[0].timestamp + CLOCKS_DIFFER_MS + self._tolerance_ms - MISSING_ROWS_SLACK_MS
                greatest_ms = min(greatest_ms, newest_ms)
            left = missing_rows[:-1] if low == after else (*missing_rows[:-1], (after, low, greatest_ms))
        return Found(missing_rows, records, left, fields)

    async def _newest(self, after: int, upto: int) -> tuple[int, Sequence[Record]]:
        """The records of offsets in (after, upto], or from a later one on where these are too large to be read at once;
        and after which offset they begin.
        """
        while True:
            try:
                return after, await self._source.read(after + 1, upto + 1)
            except ReadTooLarge:
                after = upto - max((upto - after) // 2, 1)

    async def _note_gone(self, first: int, end: int, greatest_ms: int) -> dict[str, str]:
        """Rows are complete from the day after the newest record that is gone.

        Brokers differ by less than an hour, so its time is at most so much above that of the first that is left. Of a
        time that a publisher set nothing follows.
        """
        left = await self._source.read(first, first + 1) if first < end else ()
        latest_ms = greatest_ms + MISSING_ROWS_SLACK_MS
        if left and left[0].timestamp_type == LOG_APPEND_TIME:
            latest_ms = min(latest_ms, left[0].timestamp + CLOCKS_DIFFER_MS + self._tolerance_ms)
        day = latest_ms // DAY_MILLISECONDS + 1
        self.rows_from = max(day, self.rows_from or 0)
        return {"rows_from": str(self.rows_from)}

    def _rows(self, records: Sequence[Record], state: State, counts_from: int) -> dict[tuple[str, int], list[bytes]]:
        rows: dict[tuple[str, int], list[bytes]] = {}
        for record in records:
            if not state.was_counted(record.offset):
                continue
            if isinstance(record.value, LeftOut):
                continue  # of a version that read batches of any size; there is no row of it any more
            event = parse(record, LENIENT)
            assert isinstance(event, ContactActivity), f"offset {record.offset} counted, and cannot be read"
            day = day_of(event.occurred_at)
            if day >= counts_from:
                rows.setdefault((event.workspace_id, day), []).append(encode_row(event, self._partition, record.offset))
        return rows
