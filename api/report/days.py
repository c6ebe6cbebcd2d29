"""Sums one UTC day of a workspace: packed parts -> counts by kind and piece, or by user.

A day is the sum of its source partitions; each of them is bases and a delta (stream/storage/day_parts.py). What needs
no user is read from summaries, what needs whole days of users from heads alone. All loops here run once a series, a
kind or a delta's cell: in a report of sixty busy days that is tens of thousands of times, so they are kept bare.
"""

from bisect import bisect_left
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import accumulate
from operator import add
from typing import NamedTuple

from api.cache import Shared, size_of_texts
from api.read.parts import PartitionDay
from stream.model.dimensions import Kind, kind_count, kinds_of, sources_of
from stream.model.steps import Steps
from stream.model.time import QUARTERS_A_DAY
from stream.storage.day_parts import Delta, Head, decode_cells, decode_delta, decode_head, decode_summary
from stream.storage.formats import FormatError

WHOLE_DAY = (QUARTERS_A_DAY,)
"""The cuts of a day in one piece."""

COUNT_BYTES = 40
"""A number and its place."""


class KindSums(NamedTuple):
    """Counts of some kinds: of each kind as many, one after the other, as the day has pieces.

    Equal `kinds` are one object, so whoever adds up many days looks them up once.
    """

    kinds: tuple[Kind, ...]
    counts: tuple[int, ...]

    @property
    def size_bytes(self) -> int:
        """Without the kinds, which other sums share."""
        return 150 + COUNT_BYTES * len(self.counts)

    @property
    def shared(self) -> Shared:
        return self.kinds, _size_of_table


def kind_sums(parts: Iterable[PartitionDay], cuts: tuple[int, ...]) -> KindSums:
    """Sums without regard to users. Needs summaries and deltas."""
    found: list[KindSums] = []
    for part in parts:
        sources: list[str] = []
        counts: list[int] = []
        for number, packed in enumerate(part.summaries):
            if number:
                found.append(_kind_sums(sources, counts))
            summary = decode_summary(packed)
            sources = summary.sources
            counts = [0] * (kind_count(len(sources)) * len(cuts))
            _add_series(counts, summary.kinds, summary.cell_counts, summary.totals, summary.keys, summary.counts, cuts)
        if part.delta is not None:
            delta = decode_delta(part.delta)
            if not delta.first_source and sources:
                found.append(_kind_sums(sources, counts))
                sources, counts = [], []
            sources = sources_with(sources, delta)
            counts.extend([0] * (kind_count(len(sources)) * len(cuts) - len(counts)))
            _add_delta(counts, delta, cuts)
        if counts:
            found.append(_kind_sums(sources, counts))
    return _merge(found, len(cuts))


def kind_sums_of_users(
    parts: Iterable[PartitionDay], cuts: tuple[int, ...], users: frozenset[str | None]
) -> Steps[KindSums]:
    """Sums of some users. Needs heads and deltas, and cells where the day is cut. Each base is a piece of work: it may
    have thousands of users.
    """
    found: list[KindSums] = []
    width = len(cuts)
    for part in parts:
        head: Head | None = None
        for number, packed in enumerate(part.heads):
            head = decode_head(packed)
            chosen = [i for i, user in enumerate(head.users) if user in users]
            if chosen:
                counts = [0] * (kind_count(len(head.sources)) * width)
                cells = part.cells[number] if width > 1 else b""
                for i, pieces in zip(chosen, _sum_chosen_pieces(head, cells, chosen, cuts), strict=True):
                    at = head.kinds[i] * width
                    counts[at : at + width] = map(add, counts[at : at + width], pieces)
                found.append(_kind_sums(head.sources, counts))
            yield
        if part.delta is not None:
            delta = decode_delta(part.delta)
            user_of = _users_with(head, delta)
            series_on = [user in users for user in user_of]
            if any(series_on):
                sources = sources_with(head.sources if head else [], delta)
                counts = [0] * (kind_count(len(sources)) * width)
                _add_delta(counts, delta, cuts, series_on)
                found.append(_kind_sums(sources, counts))
            yield
    return _merge(found, width)


def first_quarter(parts: Iterable[PartitionDay]) -> int | None:
    """The first quarter of the day that holds an event. Needs summaries and deltas."""
    quarters: list[int] = []
    for part in parts:
        for packed in part.summaries:
            quarters.extend(key % QUARTERS_A_DAY for key in decode_summary(packed).keys)
        if part.delta is not None:
            quarters.extend(key % QUARTERS_A_DAY for key in decode_delta(part.delta).keys)
    return min(quarters, default=None)


@lru_cache(maxsize=1_024)
def pieces_of(cuts: tuple[int, ...]) -> bytes:
    """The number of the piece that each quarter of the day lies in."""
    pieces = bytearray()
    for number, end in enumerate(cuts):
        pieces.extend([number] * (end - len(pieces)))
    return bytes(pieces)


class KindTables:
    """The kinds that a table of sources numbers, by their number; of equal tables one, as long as it is among the last.

    Others are no less right, only added up more slowly.
    """

    def __init__(self, names_limit: int) -> None:
        self.names = 0
        self._names_limit = names_limit
        self._tables: OrderedDict[tuple[str, ...], tuple[Kind, ...]] = OrderedDict()

    def __getitem__(self, sources: tuple[str, ...]) -> tuple[Kind, ...]:
        table = self._tables.get(sources)
        if table is not None:
            self._tables.move_to_end(sources)
            return table
        table = kinds_of(sources)
        names = len(sources) + 1
        if names <= self._names_limit // 4:
            self._tables[sources] = table
            self.names += names
            while self.names > self._names_limit:
                forgotten, _ = self._tables.popitem(last=False)
                self.names -= len(forgotten) + 1
        return table


_TABLES = KindTables(names_limit=16_384)
"""Some 6 MB where names are long: 250 bytes of pairs and places a name, and the name."""


def _kinds(sources: tuple[str, ...]) -> tuple[Kind, ...]:
    return _TABLES[sources]


def _size_of_table(kinds: tuple[Kind, ...]) -> int:
    """Each kind is a pair; each text is in two of them."""
    return 100 + 72 * len(kinds) + size_of_texts(sources_of(kinds))


def _kind_sums(sources: Sequence[str], counts: Sequence[int]) -> KindSums:
    return KindSums(_kinds(tuple(sources)), tuple(counts))


def _merge(found: Sequence[KindSums], width: int) -> KindSums:
    """The sum of several, whose tables of sources may differ."""
    if len(found) == 1:
        return found[0]
    if found and all(sums.kinds is found[0].kinds for sums in found):
        return KindSums(found[0].kinds, tuple(map(sum, zip(*(sums.counts for sums in found), strict=True))))
    merged: dict[Kind, list[int]] = {}
    for kinds, counts in found:
        for i, kind in enumerate(kinds):
            pieces = counts[i * width : (i + 1) * width]
            known = merged.get(kind)
            merged[kind] = list(pieces) if known is None else list(map(add, known, pieces))
    # Sources in the order of their names, so that days of many orders share a table.
    names = _kinds(tuple(sorted({source for _, source in merged if source is not None})))
    nothing = [0] * width
    return KindSums(names, tuple(count for kind in names for count in merged.get(kind, nothing)))


def _add_series(
    sums: list[int],
    kinds: Sequence[int],
    cell_counts: Sequence[int],
    totals: Sequence[int],
    keys: Sequence[int],
    counts: Sequence[int],
    cuts: tuple[int, ...],
) -> None:
    """Add a summary's series, each of another kind; a whole day takes no look at a cell."""
    width = len(cuts)
    if width == 1:
        for kind, total in zip(kinds, totals, strict=True):
            sums[kind] += total
    elif width == 2:
        # The usual day: cut once, by a midnight. Summing up to the cut is half the work of running sums.
        low = base = 0
        for kind, cells, total in zip(kinds, cell_counts, totals, strict=True):
            high = low + cells
            before = sum(counts[low : bisect_left(keys, base + cuts[0], low, high)])
            sums[2 * kind] += before
            sums[2 * kind + 1] += total - before
            low = high
            base += QUARTERS_A_DAY
    else:
        _add_cut_series(sums, kinds, cell_counts, totals, keys, counts, cuts)


def _add_cut_series(
    sums: list[int],
    kinds: Sequence[int],
    cell_counts: Sequence[int],
    totals: Sequence[int],
    keys: Sequence[int],
    counts: Sequence[int],
    cuts: tuple[int, ...],
) -> None:
    width = len(cuts)
    running = list(accumulate(counts))
    running.append(0)  # what lies before the first cell, at index -1
    low = base = done = 0
    inner = cuts[:-1]
    for kind, cells, total in zip(kinds, cell_counts, totals, strict=True):
        high = low + cells
        at = kind * width
        end = done + total
        for cut in inner:
            here = running[bisect_left(keys, base + cut, low, high) - 1]
            sums[at] += here - done
            done = here
            at += 1
        sums[at] += end - done
        done = end
        low = high
        base += QUARTERS_A_DAY


def _add_delta(sums: list[int], delta: Delta, cuts: tuple[int, ...], series_on: Sequence[bool] | None = None) -> None:
    width = len(cuts)
    if series_on is not None:
        pieces = pieces_of(cuts)
        for key, count, kind in zip(delta.keys, delta.counts, delta.kinds, strict=True):
            if series_on[key // QUARTERS_A_DAY]:
                sums[kind * width + pieces[key % QUARTERS_A_DAY]] += count
    elif width == 1:
        for count, kind in zip(delta.counts, delta.kinds, strict=True):
            sums[kind] += count
    else:
        pieces = pieces_of(cuts)
        for key, count, kind in zip(delta.keys, delta.counts, delta.kinds, strict=True):
            sums[kind * width + pieces[key % QUARTERS_A_DAY]] += count


def _sum_chosen_pieces(head: Head, packed: bytes, chosen: Sequence[int], cuts: tuple[int, ...]) -> Iterator[list[int]]:
    """Of a few series the counts of each piece: only their own cells are summed."""
    if len(cuts) == 1:
        yield from ([head.totals[i]] for i in chosen)
        return
    cells = decode_cells(packed)
    ends = [0, *accumulate(head.cell_counts)]
    for i in chosen:
        at, high = ends[i], ends[i + 1]
        pieces = []
        for cut in cuts:
            end = bisect_left(cells.keys, i * QUARTERS_A_DAY + cut, at, high)
            pieces.append(sum(cells.counts[at:end]))
            at = end
        yield pieces


def _users_with(head: Head | None, delta: Delta) -> Sequence[str | None]:
    """The users of a delta's series, by number: the last base's, which it continues, then its own."""
    if not delta.first_series:
        return delta.new_users
    if head is None or len(head.users) != delta.first_series:
        raise FormatError(f"a delta continues {delta.first_series} series of a base that is not there")
    return head.users + delta.new_users


def sources_with(sources: list[str], delta: Delta) -> list[str]:
    """The sources that a delta's kinds number. It continues the last base, unless that one was frozen before it."""
    if not delta.first_source:
        return delta.new_sources
    if len(sources) != delta.first_source:
        raise FormatError(f"a delta continues {delta.first_source} sources of a base that is not there")
    return sources + delta.new_sources


def kinds_on(table: Sequence[str], sources: frozenset[str | None] | None) -> list[bool]:
    """Of each kind number whether its source is asked for."""
    return [sources is None or source in sources for _, source in kinds_of(table)]
