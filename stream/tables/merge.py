"""Packs what is counted in a day aggregate: as a delta, or merged into the base that it continues.

A base that would be larger than its limit is cut into several, by series; all but the last are never touched again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import groupby
from typing import Final, TypeVar

from stream.model.dimensions import Series, kinds_of, numbers_of_kinds
from stream.model.time import QUARTERS_A_DAY
from stream.storage import day_parts as packed

T = TypeVar("T")

_FRAME_BYTES: Final = 64
"""What msgpack and the columns add to a base, at most."""

CellCounts = Counter[tuple[Series, int]]
"""The count of each cell, by series and quarter of the day; series are numbered in the order in which they occur."""


def merge(base: bytes, delta: CellCounts, written_at: int, limit_bytes: int) -> list[bytes]:
    """Adds a delta to a base; both as the changelog has them. Returns one base, or several where its head and cells
    would reach the limit; those of each are below it where it has more than one series."""
    counts = _unpack(*packed.decode_base(base)) + delta
    whole = _pack(written_at, counts)
    if sum(map(len, whole)) < limit_bytes:
        return [packed.encode_base(*whole)]
    return [packed.encode_base(*_pack(written_at, part)) for part in _cut(*whole, limit_bytes)]


def unpack_delta(head: packed.Head, value: bytes) -> CellCounts:
    """The counts of a delta, given the head of its base."""
    delta = packed.decode_delta(value)
    continued = len(head.users), len(head.sources)
    assert (delta.first_series, delta.first_source) == continued, "a delta continues the series and sources of its base"
    kinds = kinds_of([*head.sources, *delta.new_sources])
    kind_of = {key // QUARTERS_A_DAY: kinds[kind] for key, kind in zip(delta.keys, delta.kinds, strict=True)}
    new_series = [(*kind_of[number], user_id) for number, user_id in enumerate(delta.new_users, delta.first_series)]
    return _count_cells([*series_of(head), *new_series], delta.keys, delta.counts)


def pack_delta(head: packed.Head, delta: CellCounts, written_at: int) -> bytes:
    """The changelog's value of a delta, given the head of its base."""
    series = list(dict.fromkeys([*series_of(head), *(of for of, _ in delta)]))
    sources = sources_of(series, head.sources)
    new_sources, new_series = sources[len(head.sources) :], series[len(head.users) :]
    keys, counts = _cell_columns(series, delta)
    numbers = numbers_of_kinds(sources)
    kinds = packed.make_column([numbers[series[key // QUARTERS_A_DAY][:2]] for key in keys])
    users = [user_id for _, _, user_id in new_series]
    first = len(head.users), len(head.sources)
    return packed.encode(packed.Delta(written_at, *first, new_sources, users, keys, counts, kinds))


def series_of(head: packed.Head) -> list[Series]:
    """The series of a base, by their number."""
    kinds = kinds_of(head.sources)
    return [(*kinds[kind], user_id) for kind, user_id in zip(head.kinds, head.users, strict=True)]


def sources_of(series: Iterable[Series], known: Collection[str] = ()) -> list[str]:
    """The sources that are known, then the others that occur, in the order in which they do."""
    return list(dict.fromkeys([*known, *(source for _, source, _ in series if source is not None)]))


def summarize(head: bytes, cells: bytes) -> bytes:
    """The summary of a base: the same cells without their users."""
    of_series, of_cells = packed.decode_head(head), packed.decode_cells(cells)
    counts = _count_cells(of_series.kinds, of_cells.keys, of_cells.counts)
    kinds = sorted(set(of_series.kinds))
    return packed.encode(packed.Summary(of_series.sources, packed.make_column(kinds), *_columns(kinds, counts)))


def _unpack(head: bytes, cells: bytes) -> CellCounts:
    """The counts of a base."""
    of_cells = packed.decode_cells(cells)
    return _count_cells(series_of(packed.decode_head(head)), of_cells.keys, of_cells.counts)


def _count_cells(order: Sequence[T], keys: packed.Column, counts: packed.Column) -> Counter[tuple[T, int]]:
    """Adds up the counts of cells by what their series stand for, in the order of their numbers, and by quarter."""
    found: Counter[tuple[T, int]] = Counter()
    for key, count in zip(keys, counts, strict=True):
        number, quarter = divmod(key, QUARTERS_A_DAY)
        found[order[number], quarter] += count
    return found


def _pack(written_at: int, counts: CellCounts) -> tuple[bytes, bytes]:
    """Head and cells of a base."""
    series = list(dict.fromkeys(of for of, _ in counts))
    sources = sources_of(series)
    numbers = numbers_of_kinds(sources)
    kinds = packed.make_column([numbers[activity, source] for activity, source, _ in series])
    users = [user_id for _, _, user_id in series]
    cell_counts, totals, *cells = _columns(series, counts)
    head = packed.Head(written_at, sources, kinds, users, cell_counts, totals)
    return packed.encode(head), packed.encode(packed.Cells(*cells))


def _columns(order: Sequence[T], counts: Counter[tuple[T, int]]) -> list[packed.Column]:
    """Of each series, or kind, in this order the number of its cells, and their sum; of each cell its key and its
    count."""
    cell_counts = Counter(of for of, _ in counts)
    totals: Counter[T] = Counter()
    for (of, _), count in counts.items():
        totals[of] += count
    return [
        packed.make_column([cell_counts[of] for of in order]),
        packed.make_column([totals[of] for of in order]),
        *_cell_columns(order, counts),
    ]


def _cell_columns(order: Sequence[T], counts: Counter[tuple[T, int]]) -> list[packed.Column]:
    """Of each cell its key and its count, by ascending key."""
    numbers = {of: number for number, of in enumerate(order)}
    cells = sorted((numbers[of] * QUARTERS_A_DAY + quarter, count) for (of, quarter), count in counts.items())
    return [packed.make_column([key for key, _ in cells], 2), packed.make_column([count for _, count in cells])]


def _cut(head: bytes, cells: bytes, limit_bytes: int) -> Iterator[CellCounts]:
    """The series of a base one after the other: each time as many as are certainly below the limit, or one."""
    of_series, of_cells = packed.decode_head(head), packed.decode_cells(cells)
    series_bytes = of_series.kinds.itemsize + of_series.cell_counts.itemsize + of_series.totals.itemsize
    cell_bytes = of_cells.keys.itemsize + of_cells.counts.itemsize
    part, size, seen = CellCounts(), _FRAME_BYTES, set[str | None]()
    for (_, source, user_id), own in groupby(_unpack(head, cells).items(), lambda cell: cell[0][0]):
        counts = dict(own)
        needed = series_bytes + len(packed.encode_text(user_id)) + len(counts) * cell_bytes
        text = len(packed.encode_text(source)) if source is not None else 0
        if part and size + needed + (0 if source in seen else text) >= limit_bytes:
            yield part
            part, size, seen = CellCounts(), _FRAME_BYTES, set()
        part.update(counts)
        size += needed + (0 if source in seen else text)
        seen.add(source)
    yield part


NO_BASE: Final = packed.encode_base(*_pack(-1, CellCounts()))
"""What the first delta of a day continues."""
