"""One state of a workspace, as far as it was read."""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from msgspec import Struct

from api.errors import no_position
from api.read.freshness import Positions
from api.read.parts import DayParts, Parts
from stream.storage.keys import rows_from_of


class Moved(Exception):
    """The state is no longer that of an earlier read; begin again with that one."""


class State(Struct, frozen=True):
    """The positions, and a workspace's version (empty: never seen), read together."""

    positions: Positions
    version: bytes

    @property
    def rows_from(self) -> int | None:
        """First UTC day from which on the workspace's rows are complete; None: all are."""
        days = (self.positions.rows_from, rows_from_of(self.version))
        return max((day for day in days if day is not None), default=None)


def require_complete(state: State) -> State:
    """The state, if every partition has a position. Raises Unavailable."""
    positions = state.positions
    if not positions.complete:
        raise no_position(positions.missing, positions.number)
    return state


class Snapshot(Struct, frozen=True):
    """One state of a workspace, as far as it was asked for."""

    state: State
    days: Sequence[int]
    """Those that were asked for, or all that there are; ascending."""
    values: Sequence[bytes | None]
    """The value in `days` of each of them; None: it does not exist, or is not kept."""
    parts: DayParts
    """Of the days of which anything was asked that is true of this state."""
    fields: Sequence[str]
    """Those of `names` that were asked for."""
    texts: Sequence[bytes | None]
    """The value of each."""
    asked: Mapping[int, Parts]
    """Which parts of a day its `parts` are."""
    rows: Mapping["RowRange", Sequence[bytes]]
    """Packed rows of the ranges that were asked for."""

    def names(self) -> dict[str, bytes | None]:
        """The `texts` by field."""
        return dict(zip(self.fields, self.texts, strict=True))

    @property
    def manifests(self) -> dict[int, bytes]:
        """Of each day that exists and is kept, ascending."""
        return {day: value for day, value in zip(self.days, self.values, strict=True) if value is not None}

    def holds(self, needed: Mapping[int, Parts]) -> bool:
        """Whether these parts of these days are there."""
        return all(day in self.parts and not parts & ~self.asked[day] for day, parts in needed.items())

    def has_days_of(self, other: "Snapshot", days: Iterable[int]) -> bool:
        """Whether these days are as in another one."""
        now, then = self.manifests, other.manifests
        return all(now.get(day) == then.get(day) for day in days)


class RowRange(NamedTuple):
    """Rows of one day from `low` on and below `high` (bounds of stream/storage/row.py), in either order."""

    day: int
    low: bytes
    high: bytes
    limit: int
    descending: bool
