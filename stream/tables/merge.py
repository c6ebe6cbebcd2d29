"""Merges a delta into its base.

A base that would be larger than its limit is cut into several, by series; all but the last are never touched again.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Final

import msgspec

from stream.model.dimensions import Series, kinds_of, numbers_of_kinds
from stream.model.time import QUARTERS_A_DAY
from stream.storage import day_parts as packed

_FRAME_BYTES: Final = 64
"""What msgpack and the columns add to a base, at most."""

CountsOf = dict[Series, dict[int, int]]
"""The counts of each series by quarter of the day; the series in the order of their numbers."""


class Base(msgspec.Struct, frozen=True):
    """A base, packed."""

    head: bytes
    cells: bytes
    summary: bytes

    @property
    def size_bytes(self) -> int:
        return len(self.head) + len(self.cells)


class Delta(msgspec.Struct, frozen=True):
    """What is to be added to a base, or to nothing."""

    written_at: int
    new_sources: list[str]
    new_series: list[Series]
    cells: Mapping[int, int]
    """Counts by key; the numbers of series go on from those of the base."""


def merge(base: bytes | None, delta: Delta, limit_bytes: int) -> list[Base]:
    """Returns one base, or several where it would reach the limit; each is below it where it has more than one
    series."""
    sources, counts = unpack(*packed.decode_base(base)) if base is not None else ([], {})
    sources += delta.new_sources
    counts |= {series: {} for series in delta.new_series}
    by_number = list(counts.values())
    for key, count in delta.cells.items():
        number, quarter = divmod(key, QUARTERS_A_DAY)
        by_number[number][quarter] = by_number[number].get(quarter, 0) + count
    whole = _pack(delta.written_at, sources, counts)
    if whole.size_bytes < limit_bytes:
        return [whole]
    return [_pack(delta.written_at, _sources_of(part), part) for part in _cut(sources, counts, limit_bytes)]


def unpack(head: bytes, cells: bytes) -> tuple[list[str], CountsOf]:
    """The sources and the counts of a base."""
    stored, of_cells = packed.decode_head(head), packed.decode_cells(cells)
    kinds = kinds_of(stored.sources)
    series: list[Series] = [(*kinds[kind], user) for kind, user in zip(stored.kinds, stored.users, strict=True)]
    counts: CountsOf = {one: {} for one in series}
    by_number = list(counts.values())
    for key, count in zip(of_cells.keys, of_cells.counts, strict=True):
        number, quarter = divmod(key, QUARTERS_A_DAY)
        by_number[number][quarter] = count
    return stored.sources, counts


def summarize(head: bytes, cells: bytes) -> bytes:
    """The summary of a base: the same cells without their users."""
    return _summarize(*unpack(head, cells))


def _pack(written_at: int, sources: list[str], counts: CountsOf) -> Base:
    numbers = numbers_of_kinds(sources)
    kinds, *sums = _series_columns([numbers[activity, source] for activity, source, _ in counts], counts.values())
    head = packed.Head(written_at, sources, kinds, [user for _, _, user in counts], *sums)
    cells = packed.Cells(*_cell_columns(counts.values()))
    return Base(packed.encode(head), packed.encode(cells), _summarize(sources, counts))


def _summarize(sources: list[str], counts: CountsOf) -> bytes:
    numbers = numbers_of_kinds(sources)
    by_kind: dict[int, dict[int, int]] = {}
    for (activity, source, _), own in counts.items():
        summed = by_kind.setdefault(numbers[activity, source], {})
        for quarter, count in own.items():
            summed[quarter] = summed.get(quarter, 0) + count
    kinds = sorted(by_kind)
    in_order = [by_kind[kind] for kind in kinds]
    return packed.encode(packed.Summary(sources, *_series_columns(kinds, in_order), *_cell_columns(in_order)))


def _series_columns(kinds: list[int], counts: Collection[dict[int, int]]) -> list[packed.Column]:
    """Of each series its kind, the number of its cells, and their sum."""
    return [packed.make_column(c) for c in (kinds, [len(own) for own in counts], [sum(own.values()) for own in counts])]


def _cell_columns(counts: Collection[dict[int, int]]) -> list[packed.Column]:
    """Of each cell its key and its count."""
    assert all(counts), "a series without a cell"
    cells = [
        (number * QUARTERS_A_DAY + quarter, count)
        for number, own in enumerate(counts)
        for quarter, count in sorted(own.items())
    ]
    return [packed.make_column([key for key, _ in cells], 2), packed.make_column([count for _, count in cells])]


def _cut(sources: list[str], counts: CountsOf, limit_bytes: int) -> Iterator[CountsOf]:
    """The series one after the other: each time as many as are certainly below the limit, or one."""
    numbers, each = numbers_of_kinds(sources), list(counts.values())
    greatest_kind = max(numbers[activity, source] for activity, source, _ in counts)
    greatest_key = (len(each) - 1) * QUARTERS_A_DAY + max(each[-1])
    cell_bytes = _item_bytes(greatest_key, 2) + _item_bytes(max(max(own.values()) for own in each))
    series_bytes = _item_bytes(greatest_kind) + _item_bytes(max(sum(own.values()) for own in each)) + 1
    part, size, seen = CountsOf(), _FRAME_BYTES, set[str | None]()
    for series, own in counts.items():
        _, source, user = series
        needed = series_bytes + len(packed.encode_text(user)) + len(own) * cell_bytes
        text = len(packed.encode_text(source)) if source is not None else 0
        if part and size + needed + (0 if source in seen else text) >= limit_bytes:
            yield part
            part, size, seen = CountsOf(), _FRAME_BYTES, set()
        part[series] = own
        size += needed + (0 if source in seen else text)
        seen.add(source)
    yield part


def _item_bytes(greatest: int, at_least: int = 1) -> int:
    """Of one item of a column."""
    return packed.make_column([greatest], at_least).itemsize


def _sources_of(counts: CountsOf) -> list[str]:
    """Those that occur, in the order in which they do."""
    return [source for source in dict.fromkeys(source for _, source, _ in counts) if source is not None]
