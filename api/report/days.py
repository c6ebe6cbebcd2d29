"""Sums one UTC day of a workspace: packed parts -> counts by kind and piece.

A day is the sum of its source partitions; each of them is bases and a delta (stream/storage/day_parts.py). What needs
no user is read from summaries, what needs whole days of users from heads alone.
"""

from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from operator import add
from typing import NamedTuple

from api.cache import size_of_texts
from api.read.parts import PartitionDay
from stream.model.dimensions import Kind, kinds_of
from stream.model.steps import Steps
from stream.model.time import QUARTERS_A_DAY
from stream.storage.day_parts import Delta, decode_cells, decode_delta, decode_head, decode_summary
from stream.storage.formats import FormatError

WHOLE_DAY = (QUARTERS_A_DAY,)
"""The cuts of a day in one piece."""

COUNT_BYTES = 40
"""A number and its place."""
KIND_BYTES = 80
"""A kind and its place, without the text of its source."""


class KindSums(NamedTuple):
    """Counts of some kinds: of each kind as many, one after the other, as the day has pieces."""

    kinds: tuple[Kind, ...]
    counts: tuple[int, ...]

    def by_kind(self) -> Iterator[tuple[Kind, tuple[int, ...]]]:
        """Each kind with its count of each piece."""
        pieces = len(self.counts) // max(len(self.kinds), 1)
        for number, kind in enumerate(self.kinds):
            yield kind, self.counts[number * pieces : (number + 1) * pieces]

    @property
    def size_bytes(self) -> int:
        texts = size_of_texts(source for _, source in self.kinds)
        return 150 + COUNT_BYTES * len(self.counts) + KIND_BYTES * len(self.kinds) + texts


class _Sums:
    """Counts by kind and piece of a day, as parts are added."""

    def __init__(self, cuts: tuple[int, ...]) -> None:
        self.cuts = cuts
        self._pieces: defaultdict[Kind, list[int]] = defaultdict(lambda: [0] * len(cuts))

    def add(self, kind: Kind, pieces: Iterable[int]) -> None:
        self._pieces[kind] = list(map(add, self._pieces[kind], pieces))

    def add_cell(self, kind: Kind, quarter: int, count: int) -> None:
        self._pieces[kind][bisect_right(self.cuts, quarter)] += count

    def sum(self) -> KindSums:
        return KindSums(tuple(self._pieces), tuple(count for pieces in self._pieces.values() for count in pieces))


def kind_sums(parts: Iterable[PartitionDay], cuts: tuple[int, ...]) -> KindSums:
    """Sums without regard to users. Needs summaries and deltas."""
    sums = _Sums(cuts)
    for part in parts:
        sources: list[str] = []
        for packed in part.summaries:
            summary = decode_summary(packed)
            sources, kinds = summary.sources, kinds_of(summary.sources)
            for series, kind in enumerate(summary.kinds):
                sums.add(kinds[kind], pieces_of_series(series, summary.keys, summary.counts, cuts))
        if part.delta is not None:
            delta = decode_delta(part.delta)
            kinds = kinds_of(sources_with(sources, delta))
            for key, count, kind in zip(delta.keys, delta.counts, delta.kinds, strict=True):
                sums.add_cell(kinds[kind], key % QUARTERS_A_DAY, count)
    return sums.sum()


def kind_sums_of_users(
    parts: Iterable[PartitionDay], cuts: tuple[int, ...], users: frozenset[str | None]
) -> Steps[KindSums]:
    """Sums of some users. Needs heads and deltas, and cells where the day is cut. Each base is a piece of work: it may
    have thousands of users.
    """
    sums = _Sums(cuts)
    for part in parts:
        sources: list[str] = []
        base_users: list[str | None] = []
        for number, packed in enumerate(part.heads):
            head = decode_head(packed)
            sources, base_users, kinds = head.sources, head.users, kinds_of(head.sources)
            cells = None if cuts == WHOLE_DAY else decode_cells(part.cells[number])
            for series, user in enumerate(head.users):
                if user in users:
                    whole = [head.totals[series]]
                    pieces = whole if cells is None else pieces_of_series(series, cells.keys, cells.counts, cuts)
                    sums.add(kinds[head.kinds[series]], pieces)
            yield
        if part.delta is not None:
            delta = decode_delta(part.delta)
            kinds, of_series = kinds_of(sources_with(sources, delta)), users_with(base_users, delta)
            for key, count, kind in zip(delta.keys, delta.counts, delta.kinds, strict=True):
                series, quarter = divmod(key, QUARTERS_A_DAY)
                if of_series[series] in users:
                    sums.add_cell(kinds[kind], quarter, count)
            yield
    return sums.sum()


def first_quarter(parts: Iterable[PartitionDay]) -> int | None:
    """The first quarter of the day that holds an event. Needs summaries and deltas."""
    keys: list[int] = []
    for part in parts:
        for packed in part.summaries:
            keys += decode_summary(packed).keys
        if part.delta is not None:
            keys += decode_delta(part.delta).keys
    return min((key % QUARTERS_A_DAY for key in keys), default=None)


def pieces_of_series(series: int, keys: Sequence[int], counts: Sequence[int], cuts: tuple[int, ...]) -> list[int]:
    """What the cells of a series sum to in each piece of the day; the keys of all cells ascend."""
    start = series * QUARTERS_A_DAY
    ends = [bisect_left(keys, start + cut) for cut in (0, *cuts)]
    return [sum(counts[low:high]) for low, high in pairwise(ends)]


def users_with(users: list[str | None], delta: Delta) -> list[str | None]:
    """The users of a delta's series, by number: the last base's, which it continues, then its own."""
    _check_continues(delta.first_series, len(users), "series")
    return users[: delta.first_series] + delta.new_users


def sources_with(sources: list[str], delta: Delta) -> list[str]:
    """The sources that a delta's kinds number: the last base's, which it continues, then its own."""
    _check_continues(delta.first_source, len(sources), "sources")
    return sources[: delta.first_source] + delta.new_sources


def _check_continues(first: int, known: int, what: str) -> None:
    """A delta goes on where its base ends, or begins anew beside a base that was frozen before it."""
    if first not in (0, known):
        raise FormatError(f"a delta continues {first} {what} of a base that is not there")
