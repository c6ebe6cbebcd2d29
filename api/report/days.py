"""What one UTC day of a workspace sums to: packed parts -> counts by kind and piece, or by user.

A day is the sum of its source partitions; each of them is bases and a tail (stream/tables/packed.py). What needs no
user is read from summaries, what needs whole days of users from heads alone.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate

from stream.quarters import QUARTERS_A_DAY
from stream.tables.formats import FormatError
from stream.tables.packed import Head, Tail, decode_cells, decode_head, decode_summary, decode_tail

Kind = tuple[int, str | None]
"""(activity, source); None: without a source."""

KindSums = dict[Kind, list[int]]
"""Counts by kind, one item a piece of the day."""

UserSums = dict[str | None, list[int]]
"""[added, deleted] by user."""

WHOLE_DAY = (QUARTERS_A_DAY,)
"""The cuts of a day in one piece."""


@dataclass(frozen=True, slots=True)
class PartitionDay:
    """The packed parts of one day of one source partition, as far as they were asked for.

    One item a base in each; `tail` is None where it is empty.
    """

    summaries: Sequence[bytes] = ()
    heads: Sequence[bytes] = ()
    cells: Sequence[bytes] = ()
    tail: bytes | None = None


def kind_sums(parts: Iterable[PartitionDay], cuts: tuple[int, ...]) -> KindSums:
    """Sums without regard to users. Needs summaries and tails."""
    sums: KindSums = {}
    for part in parts:
        sources: list[str] = []
        for packed in part.summaries:
            summary = decode_summary(packed)
            sources = summary.sources
            names = [(kind & 1, _source(sources, kind >> 1)) for kind in summary.kinds]
            series = _piece_counts(summary.cell_counts, summary.totals, summary.keys, summary.counts, cuts)
            _add(sums, zip(names, series, strict=True))
        if part.tail is not None:
            tail = decode_tail(part.tail)
            sources = _sources_with(sources, tail)
            _add_tail(sums, tail, sources, cuts, None)
    return sums


def kind_sums_of_users(parts: Iterable[PartitionDay], cuts: tuple[int, ...], users: frozenset[str | None]) -> KindSums:
    """Sums of some users. Needs heads and tails, and cells where the day is cut."""
    sums: KindSums = {}
    for part in parts:
        head: Head | None = None
        for number, packed in enumerate(part.heads):
            head = decode_head(packed)
            chosen = [i for i, user in enumerate(head.users) if user in users]
            if not chosen:
                continue
            names = [(head.kinds[i] & 1, _source(head.sources, head.kinds[i] >> 1)) for i in chosen]
            if len(cuts) == 1:
                _add(sums, zip(names, ([head.totals[i]] for i in chosen), strict=True))
            else:
                _add(sums, zip(names, _chosen_piece_counts(head, part.cells[number], chosen, cuts), strict=True))
        if part.tail is not None:
            tail = decode_tail(part.tail)
            _add_tail(
                sums, tail, _sources_with(head.sources if head else [], tail), cuts, _tail_users(head, tail, users)
            )
    return sums


def user_sums(
    parts: Iterable[PartitionDay], window: tuple[int, int], sources: frozenset[str | None] | None
) -> UserSums:
    """Sums by user over the quarters [first, end) of the day, of all sources or some.

    Needs heads and tails, and cells where the window is not the whole day.
    """
    sums: UserSums = {}
    whole = window == (0, QUARTERS_A_DAY)
    for part in parts:
        head: Head | None = None
        for number, packed in enumerate(part.heads):
            head = decode_head(packed)
            counts = head.totals if whole else _window_counts(head, part.cells[number], window)
            kinds_on = _kinds_on(head.sources, sources)
            for user, kind, count in zip(head.users, head.kinds, counts, strict=True):
                if count and kinds_on[kind]:
                    both = sums.get(user)
                    if both is None:
                        both = sums[user] = [0, 0]
                    both[kind & 1] += count
        if part.tail is not None:
            _add_tail_users(sums, decode_tail(part.tail), head, window, sources)
    return sums


def first_quarter(parts: Iterable[PartitionDay]) -> int | None:
    """The first quarter of the day that holds an event. Needs summaries and tails."""
    quarters: list[int] = []
    for part in parts:
        for packed in part.summaries:
            quarters.extend(key % QUARTERS_A_DAY for key in decode_summary(packed).keys)
        if part.tail is not None:
            quarters.extend(key % QUARTERS_A_DAY for key in decode_tail(part.tail).keys)
    return min(quarters, default=None)


@lru_cache(maxsize=4_096)
def pieces_of(cuts: tuple[int, ...]) -> bytes:
    """The number of the piece that each quarter of the day lies in."""
    pieces = bytearray()
    for number, end in enumerate(cuts):
        pieces.extend([number] * (end - len(pieces)))
    return bytes(pieces)


def _piece_counts(
    cell_counts: Sequence[int],
    totals: Sequence[int],
    keys: Sequence[int],
    counts: Sequence[int],
    cuts: tuple[int, ...],
) -> Iterator[list[int]]:
    """Of each series its count in each piece; a whole day takes no look at a cell."""
    if len(cuts) == 1:
        yield from ([total] for total in totals)
        return
    running = [0, *accumulate(counts)]
    low = base = 0
    inner = cuts[:-1]
    for cells, total in zip(cell_counts, totals, strict=True):
        high = low + cells
        done = start = running[low]
        pieces = []
        for cut in inner:
            here = running[bisect_left(keys, base + cut, low, high)]
            pieces.append(here - done)
            done = here
        pieces.append(start + total - done)
        yield pieces
        low = high
        base += QUARTERS_A_DAY


def _chosen_piece_counts(
    head: Head, packed: bytes, chosen: Sequence[int], cuts: tuple[int, ...]
) -> Iterator[list[int]]:
    """The same for a few series: only their own cells are summed."""
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


def _window_counts(head: Head, packed: bytes, window: tuple[int, int]) -> list[int]:
    cells = decode_cells(packed)
    running = [0, *accumulate(cells.counts)]
    counts = []
    low = base = 0
    first, end = window
    for number in head.cell_counts:
        high = low + number
        start = bisect_left(cells.keys, base + first, low, high)
        counts.append(running[bisect_left(cells.keys, base + end, start, high)] - running[start])
        low = high
        base += QUARTERS_A_DAY
    return counts


def _add(sums: KindSums, series: Iterable[tuple[Kind, list[int]]]) -> None:
    for kind, pieces in series:
        known = sums.get(kind)
        sums[kind] = pieces if known is None else [a + b for a, b in zip(known, pieces, strict=True)]


def _add_tail(
    sums: KindSums, tail: Tail, sources: list[str], cuts: tuple[int, ...], series_on: Callable[[int], bool] | None
) -> None:
    pieces = pieces_of(cuts)
    for key, count, kind in zip(tail.keys, tail.counts, tail.kinds, strict=True):
        series, quarter = divmod(key, QUARTERS_A_DAY)
        if series_on is not None and not series_on(series):
            continue
        name = (kind & 1, _source(sources, kind >> 1))
        known = sums.get(name)
        if known is None:
            known = sums[name] = [0] * len(cuts)
        known[pieces[quarter]] += count


def _add_tail_users(
    sums: UserSums, tail: Tail, head: Head | None, window: tuple[int, int], sources: frozenset[str | None] | None
) -> None:
    user_of = _user_of(head, tail)
    kinds_on = _kinds_on(_sources_with(head.sources if head else [], tail), sources)
    first, end = window
    for key, count, kind in zip(tail.keys, tail.counts, tail.kinds, strict=True):
        series, quarter = divmod(key, QUARTERS_A_DAY)
        if first <= quarter < end and kinds_on[kind]:
            sums.setdefault(user_of(series), [0, 0])[kind & 1] += count


def _tail_users(head: Head | None, tail: Tail, users: frozenset[str | None]) -> Callable[[int], bool]:
    user_of = _user_of(head, tail)
    return lambda series: user_of(series) in users


def _user_of(head: Head | None, tail: Tail) -> Callable[[int], str | None]:
    """Series number of a tail -> its user: the last base's as far as it goes, then the tail's own."""
    users = tail.new_users
    if tail.first_series:
        if head is None or len(head.users) != tail.first_series:
            raise FormatError(f"a tail continues {tail.first_series} series of a base that is not there")
        users = head.users + users
    return users.__getitem__


def _sources_with(sources: list[str], tail: Tail) -> list[str]:
    """The sources that a tail's kinds number. It continues the last base, unless that one was frozen before it."""
    if not tail.first_source:
        return tail.new_sources
    if len(sources) != tail.first_source:
        raise FormatError(f"a tail continues {tail.first_source} sources of a base that is not there")
    return sources + tail.new_sources


def _kinds_on(table: list[str], sources: frozenset[str | None] | None) -> list[bool]:
    """Of each kind number whether its source is asked for."""
    return [sources is None or name in sources for name in (None, *table) for _ in range(2)]


def _source(sources: list[str], number: int) -> str | None:
    return sources[number - 1] if number else None
