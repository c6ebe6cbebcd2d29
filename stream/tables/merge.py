"""Merges a delta into its base.

Small bases are merged in plain Python, large ones with numpy: both give the same bytes. A base that would be larger
than its limit is cut into several, by series; all but the last are never touched again.
"""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence
from typing import Final

import msgspec
import numpy as np
import numpy.typing as npt

from stream.model.dimensions import activity_of, kind_of, source_number_of
from stream.model.time import QUARTERS_A_DAY
from stream.storage import day_parts as packed

PLAIN_CELLS: Final = 200
"""Up to this many cells plain Python is quicker: at 34 cells it takes half the time of numpy, at 800 twice it."""

_EMPTY: Final = np.empty(0, np.int64)
_FRAME_BYTES: Final = 64
"""What msgpack and the columns add to a base, at most."""

Numbers = npt.NDArray[np.int64]


class Base(msgspec.Struct, frozen=True, gc=False):
    """A base, packed."""

    head: bytes
    cells: bytes
    summary: bytes
    cell_count: int

    @property
    def size_bytes(self) -> int:
        return len(self.head) + len(self.cells)


class Addition(msgspec.Struct, frozen=True, gc=False):
    """What is to be added to a base: a delta, unpacked."""

    written_at: int
    cells: Mapping[int, int]
    """Counts by key; keys continue those of the base."""
    kinds: list[int]
    """Of all series, those of the base too."""
    new_sources: Sequence[str]
    new_users: Sequence[str | None]


def merge(head: bytes | None, cells: bytes | None, addition: Addition, limit_bytes: int) -> list[Base]:
    """Adds a delta to a base, or to nothing. Returns one base, or several where it would reach the limit; each is below
    it where it has more than one series."""
    old = packed.split_head(head) if head is not None else _NOTHING
    sources = [*old.sources, *addition.new_sources]
    users = packed.extend_array(old.users, addition.new_users)
    stored = packed.decode_cells(cells) if cells is not None else packed.Cells(array("H"), array("B"))
    if len(stored.keys) + len(addition.cells) <= PLAIN_CELLS:
        base = _plain(addition.written_at, sources, addition.kinds, users, *_sum_plain(stored, addition.cells))
        if base.size_bytes < limit_bytes:
            return [base]
    keys, counts = _sum(stored, addition.cells)
    kinds = np.array(addition.kinds, np.int64)
    base = _quick(addition.written_at, sources, kinds, users, keys, counts)
    if base.size_bytes < limit_bytes:
        return [base]
    return _cut(addition.written_at, sources, kinds, _TEXTS.decode(users), keys, counts, limit_bytes)


def summarize(head: bytes, cells: bytes) -> bytes:
    """The summary of a base: the same cells without their users."""
    series = packed.decode_head(head)
    stored = packed.decode_cells(cells)
    if len(stored.keys) <= PLAIN_CELLS:
        return _summary_plain(series.sources, series.kinds.tolist(), stored.keys.tolist(), stored.counts.tolist())
    return _summary(series.sources, _numbers(series.kinds), _numbers(stored.keys), _numbers(stored.counts))


# In plain Python: keys and counts as lists.


def _sum_plain(stored: packed.Cells, more: Mapping[int, int]) -> tuple[list[int], list[int]]:
    merged = dict(zip(stored.keys, stored.counts, strict=True))
    for key, count in more.items():
        merged[key] = merged.get(key, 0) + count
    keys = sorted(merged)
    return keys, [merged[key] for key in keys]


def _plain(
    written_at: int, sources: list[str], kinds: list[int], users: msgspec.Raw, keys: list[int], counts: list[int]
) -> Base:
    column = packed.encode_column
    cell_counts, totals = _by_series(keys, counts, len(kinds))
    head = packed.encode_head(written_at, sources, column(kinds), users, column(cell_counts), column(totals))
    cells = packed.encode_cells(column(keys, 2), column(counts))
    return Base(head, cells, _summary_plain(sources, kinds, keys, counts), len(keys))


def _by_series(keys: list[int], counts: list[int], series: int) -> tuple[list[int], list[int]]:
    """How many cells each series has, and their sum."""
    cell_counts, totals = [0] * series, [0] * series
    for key, count in zip(keys, counts, strict=True):
        number = key // QUARTERS_A_DAY
        cell_counts[number] += 1
        totals[number] += count
    return cell_counts, totals


def _summary_plain(sources: list[str], kinds: list[int], keys: list[int], counts: list[int]) -> bytes:
    column = packed.encode_column
    kinds_of = sorted(set(kinds))
    first_key = {kind: number * QUARTERS_A_DAY for number, kind in enumerate(kinds_of)}
    shifts = [first_key[kind] - number * QUARTERS_A_DAY for number, kind in enumerate(kinds)]
    summed: dict[int, int] = {}
    for key, count in zip(keys, counts, strict=True):
        key += shifts[key // QUARTERS_A_DAY]
        summed[key] = summed.get(key, 0) + count
    keys = sorted(summed)
    counts = [summed[key] for key in keys]
    cell_counts, totals = _by_series(keys, counts, len(kinds_of))
    return packed.encode_summary(
        sources, column(kinds_of), column(cell_counts), column(totals), column(keys, 2), column(counts)
    )


# With numpy: ascending keys and their counts.


def _sum(stored: packed.Cells, more: Mapping[int, int]) -> tuple[Numbers, Numbers]:
    return _fold(
        np.concatenate((_numbers(stored.keys), np.fromiter(more.keys(), np.int64, len(more)))),
        np.concatenate((_numbers(stored.counts), np.fromiter(more.values(), np.int64, len(more)))),
    )


def _fold(keys: Numbers, counts: Numbers) -> tuple[Numbers, Numbers]:
    """Ascending keys, each once, with the sums of its counts."""
    order = np.argsort(keys, kind="stable")
    keys = keys[order]
    firsts = _firsts(keys)
    return keys[firsts], np.add.reduceat(counts[order], firsts)


def _firsts(ascending: Numbers) -> npt.NDArray[np.intp]:
    """Where each value begins."""
    new = np.empty(len(ascending), np.bool_)
    new[0] = True
    np.not_equal(ascending[1:], ascending[:-1], out=new[1:])
    return new.nonzero()[0]


def _quick(
    written_at: int, sources: list[str], kinds: Numbers, users: msgspec.Raw, keys: Numbers, counts: Numbers
) -> Base:
    cell_counts, totals = _by_series_quick(keys, counts)
    assert len(cell_counts) == len(kinds), "a series without a cell"
    head = packed.encode_head(written_at, sources, _column(kinds), users, _column(cell_counts), _column(totals))
    cells = packed.encode_cells(_column(keys, 2), _column(counts))
    return Base(head, cells, _summary(sources, kinds, keys, counts), len(keys))


def _by_series_quick(keys: Numbers, counts: Numbers) -> tuple[Numbers, Numbers]:
    firsts = _firsts(keys // QUARTERS_A_DAY)
    return np.diff(firsts, append=len(keys)), np.add.reduceat(counts, firsts)


def _summary(sources: list[str], kinds: Numbers, keys: Numbers, counts: Numbers) -> bytes:
    kinds_of, number = np.unique(kinds, return_inverse=True)
    series, quarter = np.divmod(keys, QUARTERS_A_DAY)
    keys, counts = _fold(number[series] * QUARTERS_A_DAY + quarter, counts)
    cell_counts, totals = _by_series_quick(keys, counts)
    return packed.encode_summary(
        sources, _column(kinds_of), _column(cell_counts), _column(totals), _column(keys, 2), _column(counts)
    )


def _column(values: Numbers, at_least: int = 1) -> bytes:
    """As packed.encode_column."""
    greatest = int(values.max()) if len(values) else 0
    size = max(at_least, 1 if greatest < 1 << 8 else 2 if greatest < 1 << 16 else 4 if greatest < 1 << 32 else 8)
    return bytes((size,)) + values.astype(f"<u{size}").tobytes()


def _numbers(column: array[int]) -> Numbers:
    return np.frombuffer(column, f"u{column.itemsize}").astype(np.int64) if len(column) else _EMPTY


# Where one base would be too large.


def _cut(
    written_at: int,
    sources: list[str],
    kinds: Numbers,
    users: list[str | None],
    keys: Numbers,
    counts: Numbers,
    limit_bytes: int,
) -> list[Base]:
    """Several bases, each of some of the series, in order."""
    firsts = [*_firsts(keys // QUARTERS_A_DAY).tolist(), len(keys)]
    return [
        _part(
            written_at,
            sources,
            kinds[start:end],
            users[start:end],
            keys[firsts[start] : firsts[end]] - start * QUARTERS_A_DAY,
            counts[firsts[start] : firsts[end]],
        )
        for start, end in _cuts(sources, kinds, users, keys, counts, firsts, limit_bytes)
    ]


def _cuts(
    sources: list[str],
    kinds: Numbers,
    users: list[str | None],
    keys: Numbers,
    counts: Numbers,
    firsts: list[int],
    limit_bytes: int,
) -> list[tuple[int, int]]:
    """Runs of series, first and end, that are certainly below the limit, or of one series."""
    cell_bytes = len(_column(keys[-1:], 2)) + len(_column(counts.max(keepdims=True))) - 2
    totals = np.add.reduceat(counts, firsts[:-1])
    series_bytes = len(_column(kinds.max(keepdims=True))) + len(_column(totals.max(keepdims=True))) - 2 + 1
    cuts: list[tuple[int, int]] = []
    start, size, seen = 0, _FRAME_BYTES, set[int]()
    for number, (kind, user) in enumerate(zip(kinds.tolist(), users, strict=True)):
        source = source_number_of(kind)
        own = series_bytes + len(packed.encode_text(user)) + (firsts[number + 1] - firsts[number]) * cell_bytes
        text = len(packed.encode_text(sources[source - 1])) if source else 0
        if number > start and size + own + (0 if source in seen else text) >= limit_bytes:
            cuts.append((start, number))
            start, size, seen = number, _FRAME_BYTES, set()
        size += own + (0 if source in seen else text)
        seen.add(source)
    return [*cuts, (start, len(users))]


def _part(
    written_at: int, sources: list[str], kinds: Numbers, users: list[str | None], keys: Numbers, counts: Numbers
) -> Base:
    """A base of its own, with the sources that occur in it, in the order in which they do."""
    numbers: dict[int, int] = {0: 0}
    for kind in kinds.tolist():
        numbers.setdefault(source_number_of(kind), len(numbers))
    own_sources = [sources[source - 1] for source in numbers if source]
    own = [kind_of(numbers[source_number_of(kind)], activity_of(kind)) for kind in kinds.tolist()]
    return _quick(written_at, own_sources, np.array(own, np.int64), packed.extend_array(b"\x90", users), keys, counts)


_NOTHING: Final = packed.PackedHead(packed.VERSION, -1, [], b"\x01", msgspec.Raw(b"\x90"), b"\x01", b"\x01")
_TEXTS: Final = msgspec.msgpack.Decoder(list[str | None])
