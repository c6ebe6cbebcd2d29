"""Counts cell by cell, out of packed day aggregates and out of events, in one form that can be compared."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from stream.model.activity import ContactActivity
from stream.model.dimensions import Series, kinds_of
from stream.model.time import QUARTER_NANOSECONDS, QUARTERS_A_DAY
from stream.storage import day_parts as packed
from stream.storage.formats import FormatError
from stream.tables.merge import series_of

Cells = dict[int, int]
"""Of one workspace and UTC day: number of the series * 96 + quarter of the day -> count."""


class Difference(msgspec.Struct):
    """How counts differ from what they should be, in events."""

    missing: int = 0
    extra: int = 0

    def __bool__(self) -> bool:
        return bool(self.missing or self.extra)


class SeriesNumbers:
    """A number for each (activity, source, user) that was seen: what makes cells of different origin comparable."""

    def __init__(self) -> None:
        self._numbers: dict[Series, int] = {}

    def of(self, series: Series) -> int:
        return self._numbers.setdefault(series, len(self._numbers))

    def day_and_cell(self, event: ContactActivity) -> tuple[int, int]:
        """The UTC day in which an event counts, and its cell."""
        day, quarter = divmod(event.occurred_at // QUARTER_NANOSECONDS, QUARTERS_A_DAY)
        return day, self.of((event.activity, event.source, event.user_id)) * QUARTERS_A_DAY + quarter

    def unpack(self, bases: Iterable[tuple[bytes, bytes]], delta: bytes | None) -> Cells:
        """The cells of a day aggregate: head and cells of each base, and its delta. Raises FormatError."""
        found: Cells = {}
        sources: Sequence[str] = ()
        users: Sequence[str | None] = ()
        for head_value, cells_value in bases:
            head, cells = packed.decode_head(head_value), packed.decode_cells(cells_value)
            sources, users, numbers = head.sources, head.users, [self.of(series) for series in series_of(head)]
            for key, count in zip(cells.keys, cells.counts, strict=True):
                series, quarter = divmod(key, QUARTERS_A_DAY)
                _add(found, numbers[series] * QUARTERS_A_DAY + quarter, count)
        if delta is not None:
            self._unpack_delta(packed.decode_delta(delta), sources, users, found)
        return found

    def _unpack_delta(
        self, delta: packed.Delta, sources: Sequence[str], users: Sequence[str | None], found: Cells
    ) -> None:
        if delta.first_series != len(users) or delta.first_source != len(sources):
            raise FormatError("a delta does not go on where its base ends")
        kinds, users = kinds_of([*sources, *delta.new_sources]), [*users, *delta.new_users]
        for key, count, kind in zip(delta.keys, delta.counts, delta.kinds, strict=True):
            series, quarter = divmod(key, QUARTERS_A_DAY)
            number = self.of((*kinds[kind], users[series]))
            _add(found, number * QUARTERS_A_DAY + quarter, count)


def compare(right: Mapping[int, int], found: Mapping[int, int]) -> Difference:
    """How `found` differs from what is right."""
    difference = Difference()
    for cell, count in right.items():
        apart = found.get(cell, 0) - count
        difference.missing += max(-apart, 0)
        difference.extra += max(apart, 0)
    difference.extra += sum(count for cell, count in found.items() if cell not in right)
    return difference


def _add(cells: Cells, cell: int, count: int) -> None:
    cells[cell] = cells.get(cell, 0) + count
