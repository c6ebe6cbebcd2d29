"""Sums one UTC day of a workspace by user: packed parts -> columns of user numbers and their counts.

A base is unpacked in one piece, some milliseconds, since its bytes are limited; its users are looked up in more.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from api.read.parts import PartitionDay
from api.report.days import kinds_on, sources_with
from api.report.user_table import Places, UserTable
from stream.model.activity import ACTIVITIES, ADDED, DELETED
from stream.model.dimensions import activity_of
from stream.model.steps import Steps
from stream.model.time import QUARTERS_A_DAY
from stream.storage.day_parts import Delta, Head, decode_cells, decode_delta, decode_head
from stream.storage.formats import FormatError

Numbers = npt.NDArray[np.int64]
Sources = frozenset[str | None] | None

WHOLE = (0, QUARTERS_A_DAY)


class Column(NamedTuple):
    """Counts of some users, each of whom is there once."""

    places: Places
    counts: Numbers


class UserSums(NamedTuple):
    """Counts by user, without those that are 0, as the numbers of one table."""

    table: UserTable
    added: Column
    deleted: Column

    @property
    def size_bytes(self) -> int:
        return 800 + sum(column.places.nbytes + column.counts.nbytes for column in (self.added, self.deleted))


def user_sums(
    table: UserTable, parts: Iterable[PartitionDay], window: tuple[int, int], sources: Sources
) -> Steps[UserSums]:
    """Sums by user over the quarters [first, end) of the day, of all sources or some.

    Needs heads and deltas, and cells where the window is not the whole day.
    """
    found = _Found()
    for part in parts:
        head, users = None, _NO_PLACES
        for number, packed in enumerate(part.heads):
            head = decode_head(packed)
            users = yield from table.places_of(head.users)
            totals = _numbers(head.totals)
            counts = totals if window == WHOLE else _window_counts(head, part.cells[number], window)
            found.add(users, _numbers(head.kinds), counts, kinds_on(head.sources, sources))
            yield
        if part.delta is not None:
            delta = decode_delta(part.delta)
            new = yield from table.places_of(delta.new_users)
            _add_delta(found, delta, head, users, new, window, sources)
            yield
    added = yield from found.sum_of(ADDED)
    deleted = yield from found.sum_of(DELETED)
    return UserSums(table, added, deleted)


class _Found:
    """Counts of series, of which a user has several."""

    def __init__(self) -> None:
        self._columns: list[list[Column]] = [[] for _ in ACTIVITIES]

    def add(self, users: Places, kinds: Numbers, counts: Numbers, wanted: list[bool]) -> None:
        """`wanted`: of each kind whether it counts."""
        on = np.array(wanted, np.bool_)[kinds] & (counts > 0)
        activities = activity_of(kinds)
        for activity in range(len(ACTIVITIES)):
            chosen = on & (activities == activity)
            self._columns[activity].append(_sum([Column(users[chosen], counts[chosen])]))

    def sum_of(self, activity: int) -> Steps[Column]:
        """Two columns are added at a time: of a million users the last step looks at each once, and no other does."""
        columns = self._columns[activity]
        while len(columns) > 1:
            added = []
            for start in range(0, len(columns), 2):
                added.append(_sum(columns[start : start + 2]))
                yield
            columns = added
        return columns[0] if columns else _NOTHING


def _sum(columns: Sequence[Column]) -> Column:
    places = np.concatenate([column.places for column in columns])
    order = np.argsort(places, kind="stable")
    places, counts = places[order], np.concatenate([column.counts for column in columns])[order]
    starts = np.flatnonzero(np.diff(places, prepend=-1))
    return Column(places[starts], np.add.reduceat(counts, starts)) if len(starts) else _NOTHING


def _add_delta(
    found: _Found,
    delta: Delta,
    head: Head | None,
    users: Places,
    new: Places,
    window: tuple[int, int],
    sources: Sources,
) -> None:
    """`users`: those of the last base, whose series the delta continues; `new`: those of the delta's own."""
    if not delta.first_series:
        users = _NO_PLACES
    elif len(users) != delta.first_series:
        raise FormatError(f"a delta continues {delta.first_series} series of a base that is not there")
    users = np.concatenate([users, new])
    keys = _numbers(delta.keys)
    quarters = keys % QUARTERS_A_DAY
    inside = (quarters >= window[0]) & (quarters < window[1])
    wanted = kinds_on(sources_with(head.sources if head else [], delta), sources)
    series = (keys // QUARTERS_A_DAY)[inside]
    found.add(users[series], _numbers(delta.kinds)[inside], _numbers(delta.counts)[inside], wanted)


def _window_counts(head: Head, packed: bytes, window: tuple[int, int]) -> Numbers:
    """Of each series what lies in [first, end)."""
    cells = decode_cells(packed)
    quarters = _numbers(cells.keys) % QUARTERS_A_DAY
    inside = (quarters >= window[0]) & (quarters < window[1])
    running = np.concatenate([_ZERO, np.cumsum(_numbers(cells.counts) * inside)])
    ends = np.concatenate([_ZERO, np.cumsum(_numbers(head.cell_counts))])
    counts: Numbers = np.diff(running[ends])
    return counts


def _numbers(column: Iterable[int]) -> Numbers:
    return np.asarray(column).astype(np.int64)


_ZERO: Numbers = np.zeros(1, np.int64)
_NO_PLACES: Places = np.zeros(0, np.int32)
_NOTHING = Column(_NO_PLACES, np.zeros(0, np.int64))
