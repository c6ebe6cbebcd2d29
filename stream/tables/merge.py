"""Merges a delta into its base.

A base that would be larger than its limit is cut into several, by series; all but the last are never touched again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from typing import Final, NamedTuple

from stream.model.dimensions import Series, kinds_of, numbers_of_kinds
from stream.model.time import QUARTERS_A_DAY
from stream.storage import day_parts as packed

_FRAME_BYTES: Final = 64
"""What msgpack and the columns add to a base, at most."""

CountsOf = dict[Series, Counter[int]]
"""The counts of each series by quarter of the day; the series in the order of their numbers."""


class Base(NamedTuple):
    """A base, packed."""

    head: bytes
    cells: bytes
    summary: bytes

    @property
    def size_bytes(self) -> int:
        return len(self.head) + len(self.cells)


def merge(base: bytes | None, delta: CountsOf, written_at: int, limit_bytes: int) -> list[Base]:
    """Adds a delta to a base, or to nothing. Returns one base, or several where it would reach the limit; each is below
    it where it has more than one series."""
    sources, counts = unpack(*packed.decode_base(base)) if base is not None else ([], {})
    for series, own in delta.items():
        counts.setdefault(series, Counter()).update(own)
    whole = _pack(written_at, sources_of(counts, sources), counts)
    if whole.size_bytes < limit_bytes:
        return [whole]
    return [_pack(written_at, sources_of(part), part) for part in _cut(whole, counts, limit_bytes)]


def unpack(head: bytes, cells: bytes) -> tuple[list[str], CountsOf]:
    """The sources and the counts of a base."""
    stored, of_cells = packed.decode_head(head), packed.decode_cells(cells)
    counts: CountsOf = {series: Counter() for series in series_of(stored)}
    by_number = list(counts.values())
    for key, count in zip(of_cells.keys, of_cells.counts, strict=True):
        number, quarter = divmod(key, QUARTERS_A_DAY)
        by_number[number][quarter] = count
    return stored.sources, counts


def series_of(head: packed.Head) -> list[Series]:
    """The series of a base, by their number."""
    kinds = kinds_of(head.sources)
    return [(*kinds[kind], user_id) for kind, user_id in zip(head.kinds, head.users, strict=True)]


def sources_of(series: Iterable[Series], known: Collection[str] = ()) -> list[str]:
    """The sources that are known, then the others that occur, in the order in which they do."""
    return list(dict.fromkeys([*known, *(source for _, source, _ in series if source is not None)]))


def summarize(head: bytes, cells: bytes) -> bytes:
    """The summary of a base: the same cells without their users."""
    return _summarize(*unpack(head, cells))


def _pack(written_at: int, sources: list[str], counts: CountsOf) -> Base:
    numbers = numbers_of_kinds(sources)
    kinds = [numbers[activity, source] for activity, source, _ in counts]
    kind_column, cell_counts, totals, keys, of_cells = _columns(kinds, counts.values())
    users = [user_id for _, _, user_id in counts]
    head = packed.Head(written_at, sources, kind_column, users, cell_counts, totals)
    return Base(packed.encode(head), packed.encode(packed.Cells(keys, of_cells)), _summarize(sources, counts))


def _summarize(sources: list[str], counts: CountsOf) -> bytes:
    numbers = numbers_of_kinds(sources)
    by_kind: dict[int, Counter[int]] = {}
    for (activity, source, _), own in counts.items():
        by_kind.setdefault(numbers[activity, source], Counter()).update(own)
    kinds = sorted(by_kind)
    return packed.encode(packed.Summary(sources, *_columns(kinds, [by_kind[kind] for kind in kinds])))


def _columns(kinds: list[int], counts: Collection[Counter[int]]) -> list[packed.Column]:
    """Of each series its kind, the number of its cells, and their sum; of each cell its key and its count."""
    assert all(counts), "a series without a cell"
    cells = [
        (number * QUARTERS_A_DAY + quarter, count)
        for number, own in enumerate(counts)
        for quarter, count in sorted(own.items())
    ]
    return [
        packed.make_column(kinds),
        packed.make_column([len(own) for own in counts]),
        packed.make_column([own.total() for own in counts]),
        packed.make_column([key for key, _ in cells], 2),
        packed.make_column([count for _, count in cells]),
    ]


def _cut(whole: Base, counts: CountsOf, limit_bytes: int) -> Iterator[CountsOf]:
    """The series one after the other: each time as many as are certainly below the limit, or one."""
    head, cells = packed.decode_head(whole.head), packed.decode_cells(whole.cells)
    series_bytes = head.kinds.itemsize + head.cell_counts.itemsize + head.totals.itemsize
    cell_bytes = cells.keys.itemsize + cells.counts.itemsize
    part, size, seen = CountsOf(), _FRAME_BYTES, set[str | None]()
    for series, own in counts.items():
        _, source, user_id = series
        needed = series_bytes + len(packed.encode_text(user_id)) + len(own) * cell_bytes
        text = len(packed.encode_text(source)) if source is not None else 0
        if part and size + needed + (0 if source in seen else text) >= limit_bytes:
            yield part
            part, size, seen = CountsOf(), _FRAME_BYTES, set()
        part[series] = own
        size += needed + (0 if source in seen else text)
        seen.add(source)
    yield part
