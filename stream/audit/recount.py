"""A partition counted again from its topic, by the verdicts that were kept; and what today's rules would say instead.

Which offsets count is what was committed (`was_counted`): a recount judges nothing anew, for windows, limits, clocks
and settings may have been others then. Beside it each record is judged by the rules of today, from one dedupe window
before on: what comes out otherwise is told apart, and is no fault.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from stream.audit.cells import Cells, SeriesNumbers
from stream.audit.rules import BELIEVING
from stream.ingest.event import Record, Rejected, parse
from stream.model.activity import ContactActivity
from stream.tables.recent_ids import RecentIds

EXAMPLES: Final = 5


class Otherwise(msgspec.Struct):
    """Records that today's rules would judge in another way."""

    now_counted: int = 0
    now_not_counted: int = 0
    examples: list[int] = msgspec.field(default_factory=list)
    """Offsets of the first ones."""

    def note(self, offset: int, counts: bool) -> None:
        if counts:
            self.now_counted += 1
        else:
            self.now_not_counted += 1
        if len(self.examples) < EXAMPLES:
            self.examples.append(offset)


class Judge:
    """The rules of today, over the records of one partition in their order."""

    def __init__(self, window_hours: int, max_ids: int, judge_from_ms: int) -> None:
        """`judge_from_ms`: what is older only fills the dedupe window."""
        self.otherwise = Otherwise()
        self._ids = RecentIds(window_hours, max_ids)
        self._from_ms = judge_from_ms

    def take(
        self,
        records: Sequence[Record],
        read: Sequence[ContactActivity | Rejected | None],
        was_counted: Callable[[int], bool],
    ) -> None:
        for record, event in zip(records, read, strict=True):
            counts = isinstance(event, ContactActivity) and self._ids.remember(
                event.workspace_id, event.event_id, record.timestamp
            )
            if record.timestamp >= self._from_ms and counts != was_counted(record.offset):
                self.otherwise.note(record.offset, counts)


class Recount:
    """The cells of those workspaces that are in this share of all."""

    def __init__(self, numbers: SeriesNumbers, from_day: int, share: int, shares: int) -> None:
        self.aggregates: dict[tuple[str, int], Cells] = {}
        self.counted = 0
        self.unreadable = 0
        """Records that counted, and cannot be read as events any more."""
        self._numbers, self._from_day, self._share, self._shares = numbers, from_day, share, shares

    def has(self, workspace_id: str, day: int) -> bool:
        """Whether a day aggregate is one of this share."""
        return day >= self._from_day and share_of(workspace_id, self._shares) == self._share

    def take(
        self,
        records: Sequence[Record],
        read: Sequence[ContactActivity | Rejected | None],
        was_counted: Callable[[int], bool],
    ) -> None:
        for record, event in zip(records, read, strict=True):
            if not was_counted(record.offset):
                continue
            if not isinstance(event, ContactActivity):
                event = parse(record, BELIEVING)  # the settings may have been others then
            if isinstance(event, ContactActivity):
                self._count(event)
            else:
                self.unreadable += 1

    def _count(self, event: ContactActivity) -> None:
        day, cell = self._numbers.day_and_cell(event)
        if self.has(event.workspace_id, day):
            cells = self.aggregates.setdefault((event.workspace_id, day), {})
            cells[cell] = cells.get(cell, 0) + 1
            self.counted += 1


def share_of(workspace_id: str, shares: int) -> int:
    """In which of so many shares a workspace is."""
    return zlib.crc32(workspace_id.encode()) % shares
