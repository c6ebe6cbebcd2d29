"""Merges a delta into its base.

A base that would be larger than its limit is cut into several, by series; all but the last are never touched again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from stream.model.dimensions import activity_of, kind_of, source_number_of
from stream.model.time import QUARTERS_A_DAY
from stream.storage import day_parts as packed

_FRAME_BYTES: Final = 64
"""What msgpack and the columns add to a base, at most."""


class Base(msgspec.Struct, frozen=True):
    """A base, packed."""

    head: bytes
    cells: bytes
    summary: bytes
    cell_count: int

    @property
    def size_bytes(self) -> int:
        return len(self.head) + len(self.cells)


class Addition(msgspec.Struct, frozen=True):
    """What is to be added to a base: a delta, unpacked."""

    written_at: int
    cells: Mapping[int, int]
    """Counts by key; keys continue those of the base."""
    kinds: list[int]
    """Of all series, those of the base too."""
    new_sources: Sequence[str]
    new_users: Sequence[str | None]


class _Content(msgspec.Struct, frozen=True):
    """What a base holds."""

    written_at: int
    sources: list[str]
    kinds: list[int]
    users: list[str | None]
    cells: dict[int, int]
    """Counts by ascending key."""

    def pack(self) -> Base:
        column = packed.encode_column
        keys, counts = list(self.cells), list(self.cells.values())
        cell_counts, totals = _by_series(self.cells, len(self.kinds))
        assert all(cell_counts), "a series without a cell"
        head = packed.encode_head(
            self.written_at, self.sources, column(self.kinds), self.users, column(cell_counts), column(totals)
        )
        summary = _summarize(self.sources, self.kinds, self.cells)
        return Base(head, packed.encode_cells(column(keys, 2), column(counts)), summary, len(keys))


def merge(head: bytes | None, cells: bytes | None, addition: Addition, limit_bytes: int) -> list[Base]:
    """Adds a delta to a base, or to nothing. Returns one base, or several where it would reach the limit; each is below
    it where it has more than one series."""
    sources, users, merged = list(addition.new_sources), list(addition.new_users), dict(addition.cells)
    if head is not None and cells is not None:
        series = packed.decode_head(head)
        sources, users = [*series.sources, *sources], [*series.users, *users]
        for key, count in _counts_of(cells).items():
            merged[key] = merged.get(key, 0) + count
    content = _Content(addition.written_at, sources, addition.kinds, users, dict(sorted(merged.items())))
    base = content.pack()
    return [base] if base.size_bytes < limit_bytes else [part.pack() for part in _cut(content, limit_bytes)]


def summarize(head: bytes, cells: bytes) -> bytes:
    """The summary of a base: the same cells without their users."""
    series = packed.decode_head(head)
    return _summarize(series.sources, series.kinds, _counts_of(cells))


def _counts_of(cells: bytes) -> dict[int, int]:
    stored = packed.decode_cells(cells)
    return dict(zip(stored.keys, stored.counts, strict=True))


def _summarize(sources: list[str], kinds: Sequence[int], cells: Mapping[int, int]) -> bytes:
    column = packed.encode_column
    kinds_of = sorted(set(kinds))
    number_of = {kind: number for number, kind in enumerate(kinds_of)}
    summed: dict[int, int] = {}
    for key, count in cells.items():
        series, quarter = divmod(key, QUARTERS_A_DAY)
        key = number_of[kinds[series]] * QUARTERS_A_DAY + quarter
        summed[key] = summed.get(key, 0) + count
    keys = sorted(summed)
    cell_counts, totals = _by_series(summed, len(kinds_of))
    return packed.encode_summary(
        sources,
        column(kinds_of),
        column(cell_counts),
        column(totals),
        column(keys, 2),
        column([summed[key] for key in keys]),
    )


def _by_series(cells: Mapping[int, int], series: int) -> tuple[list[int], list[int]]:
    """How many cells each series has, and their sum."""
    cell_counts, totals = [0] * series, [0] * series
    for key, count in cells.items():
        number = key // QUARTERS_A_DAY
        cell_counts[number] += 1
        totals[number] += count
    return cell_counts, totals


def _cut(content: _Content, limit_bytes: int) -> list[_Content]:
    """Several of them, each of some of the series, in order."""
    cells = list(content.cells.items())
    cell_counts, _ = _by_series(content.cells, len(content.kinds))
    parts, first = [], 0
    for start, end in _find_cuts(content, limit_bytes):
        last = first + sum(cell_counts[start:end])
        moved = {key - start * QUARTERS_A_DAY: count for key, count in cells[first:last]}
        parts.append(_renumber_sources(content, content.kinds[start:end], content.users[start:end], moved))
        first = last
    return parts


def _find_cuts(content: _Content, limit_bytes: int) -> list[tuple[int, int]]:
    """Runs of series, first and end, that are certainly below the limit, or of one series."""
    cell_counts, totals = _by_series(content.cells, len(content.kinds))
    cell_bytes = _item_bytes(max(content.cells), 2) + _item_bytes(max(content.cells.values()))
    series_bytes = _item_bytes(max(content.kinds)) + _item_bytes(max(totals)) + 1
    cuts: list[tuple[int, int]] = []
    start, size, seen = 0, _FRAME_BYTES, set[int]()
    for number, (kind, user) in enumerate(zip(content.kinds, content.users, strict=True)):
        source = source_number_of(kind)
        own = series_bytes + len(packed.encode_text(user)) + cell_counts[number] * cell_bytes
        text = len(packed.encode_text(content.sources[source - 1])) if source else 0
        if number > start and size + own + (0 if source in seen else text) >= limit_bytes:
            cuts.append((start, number))
            start, size, seen = number, _FRAME_BYTES, set()
        size += own + (0 if source in seen else text)
        seen.add(source)
    return [*cuts, (start, len(content.users))]


def _item_bytes(greatest: int, at_least: int = 1) -> int:
    """Of one item of a column."""
    return len(packed.encode_column([greatest], at_least)) - 1


def _renumber_sources(content: _Content, kinds: list[int], users: list[str | None], cells: dict[int, int]) -> _Content:
    """A base of its own, with the sources that occur in it, in the order in which they do."""
    numbers: dict[int, int] = {0: 0}
    for kind in kinds:
        numbers.setdefault(source_number_of(kind), len(numbers))
    sources = [content.sources[source - 1] for source in numbers if source]
    own = [kind_of(numbers[source_number_of(kind)], activity_of(kind)) for kind in kinds]
    return _Content(content.written_at, sources, own, users, cells)
