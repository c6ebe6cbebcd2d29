"""Sums of days by user -> counts of a range, and its users in the report's order.

A fold is kept, and the days that changed in it since are exchanged. All work that grows with the users is in pieces.
"""

import asyncio
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from heapq import nsmallest
from itertools import chain
from typing import NamedTuple

import numpy as np

from api.cache import Shared
from api.read.parts import DayParts
from api.report.plan import Plan
from api.report.user_days import Numbers, UserSums, user_sums
from api.report.user_table import Places, UserTable
from stream.model.steps import Steps
from stream.slices import run_in_slices

Row = tuple[str | None, int, int]
"""(user, added, deleted)"""

Ranked = list[Row]
"""In the report's order: by added, then deleted, descending, then id; the null user last."""


class Columns(NamedTuple):
    """Rows, column by column."""

    users: Sequence[str | None]
    added: Sequence[int]
    deleted: Sequence[int]


Chosen = frozenset[str | None] | None
"""Users that are asked for; None: all."""

USERS_A_PIECE = 5_000
"""Some milliseconds, wherever an id is looked at."""

ROWS_A_PIECE = 2_000

RANKED_BYTES, MOST_RANKED = 130, 2_500
"""Of a user among the first ones: the row and its numbers; and of how many, those of a report and of the list of users.
"""


class UserTotal(NamedTuple):
    """Of some users: how many they are, and what they sum to."""

    users: int
    added: int
    deleted: int


NO_USERS = UserTotal(0, 0, 0)


@dataclass(frozen=True, slots=True, weakref_slot=True)
class UserFold:
    """The days of a range, added up by user. Never changed: `update` makes another."""

    table: UserTable
    manifests: Sequence[bytes | None] = ()
    """As in `KindFold`."""
    sums: Mapping[int, UserSums] = field(default_factory=dict)
    added: Numbers = field(default_factory=lambda: np.zeros(0, np.int64))
    """By the number of the user; those beyond its end have none."""
    deleted: Numbers = field(default_factory=lambda: np.zeros(0, np.int64))
    _first: dict[int, Ranked] = field(default_factory=dict)
    """What was ranked already, by how many."""

    def sum_days(
        self, plan: Plan, parts: DayParts, sources: frozenset[str | None] | None
    ) -> Steps[dict[int, UserSums]]:
        """The sums of days of a plan, of all sources or some."""
        found: dict[int, UserSums] = {}
        for day, of_day in parts.items():
            found[day] = yield from user_sums(self.table, of_day, plan.days[day].window, sources)
        return found

    def exchange(
        self,
        manifests: Sequence[bytes | None],
        gone: Collection[int],
        known: Mapping[int, UserSums],
        plan: Plan,
        parts: DayParts,
        sources: frozenset[str | None] | None,
    ) -> "Steps[UserFold]":
        """As in `KindFold`."""
        changed = {**known, **(yield from self.sum_days(plan, parts, sources))}
        users = len(self.table)
        if len(gone) < len(self.sums):
            sums, added, deleted = dict(self.sums), _widen(self.added, users), _widen(self.deleted, users)
        else:
            sums, gone = {}, ()
            added, deleted = np.zeros(users, np.int64), np.zeros(users, np.int64)
        for day in gone:
            before = sums.pop(day)
            yield
            added[before.added.places] -= before.added.counts
            yield
            deleted[before.deleted.places] -= before.deleted.counts
        for day, after in changed.items():
            sums[day] = after
            yield
            added[after.added.places] += after.added.counts
            yield
            deleted[after.deleted.places] += after.deleted.counts
        return UserFold(self.table, manifests, sums, added, deleted)

    def day(self, day: int) -> UserSums:
        """As in `KindFold`."""
        return self.sums[day]

    @property
    def size_bytes(self) -> int:
        """With its days, which may be forgotten elsewhere, and what is ranked; without its table."""
        days = sum(sums.size_bytes for sums in self.sums.values())
        return 500 + days + self.added.nbytes + self.deleted.nbytes + size_of_ranked(len(self.added))

    @property
    def shared(self) -> list[Shared]:
        return [(self.table, size_of_table)]

    def total(self, users: Chosen) -> UserTotal:
        """Of those users together, of whom each has some activity."""
        if users is not None:
            rows = self._rows_of(users)
            return UserTotal(len(rows), sum(row[1] for row in rows), sum(row[2] for row in rows))
        active = np.count_nonzero(self.added | self.deleted)
        return UserTotal(int(active), int(self.added.sum()), int(self.deleted.sum()))

    async def first(self, limit: int, users: Chosen) -> Ranked:
        """The first users with activity, of all or some. Of all they are ranked once."""
        if users is not None:
            return in_order(self._rows_of(users))[:limit]
        known = self._first.get(limit)
        if known is None:
            known = self._first[limit] = await run_in_slices(self._ranked_first(limit))
        return known

    async def all(self, users: Chosen) -> AsyncIterator[Columns]:
        """All users with activity, or some of them, a piece at a time."""
        if users is not None:
            ranked = in_order(self._rows_of(users))
            for start in range(0, len(ranked), ROWS_A_PIECE):
                yield columns_of(ranked[start : start + ROWS_A_PIECE])
            return
        places, null = self._active()
        ranks = await run_in_slices(self.table.ranks())
        # The one step that is not cut: numpy lets go of the interpreter while it sorts.
        keys = ranks[places], -self.deleted[places], -self.added[places]
        places = places[await asyncio.to_thread(np.lexsort, keys)]
        ids = self.table.users()
        for start in range(0, len(places), ROWS_A_PIECE):
            piece = places[start : start + ROWS_A_PIECE]
            yield Columns([ids[place] for place in piece.tolist()], *self._counts_at(piece))
            await asyncio.sleep(0)
        if null:
            yield columns_of(null)

    def _rows_of(self, users: frozenset[str | None]) -> Ranked:
        """Those of them that have any activity."""
        rows: Ranked = []
        for user in users:
            place = self.table.place_of(user)
            if place is not None and place < len(self.added):
                rows.append((user, int(self.added[place]), int(self.deleted[place])))
        return [row for row in rows if row[1] or row[2]]

    def _active(self) -> tuple[Places, Ranked]:
        """The numbers of the users that have any activity; and, on its own, the row of the null user."""
        places = np.flatnonzero(self.added | self.deleted).astype(np.int32)
        null = self._rows_of(frozenset([None]))
        return (places[places != self.table.place_of(None)] if null else places), null

    def _ranked_first(self, limit: int) -> Steps[Ranked]:
        places, null = self._active()
        yield
        ids = self.table.users()
        rows: Ranked = []
        yield
        # Who has more than the last of the first is one of them; of those who have as much, the least ids are.
        for counts in (self.added, self.deleted):
            here, left = counts[places], limit - len(rows)
            if left >= len(places):
                break
            least = np.partition(here, len(here) - left)[len(here) - left]
            rows += self._rows_at(places[here > least], ids)
            places = places[here == least]
            yield
        alike: Sequence[int] = ()
        for start in range(0, len(places), USERS_A_PIECE):
            piece = places[start : start + USERS_A_PIECE].tolist()
            alike = nsmallest(limit - len(rows), chain(alike, piece), key=lambda place: ids[place] or "")
            yield
        rows += self._rows_at(np.array(alike, np.int32), ids)
        return [*in_order(rows), *null][:limit]

    def _rows_at(self, places: Places, ids: Sequence[str | None]) -> Ranked:
        return [(ids[place], *counts) for place, *counts in zip(places.tolist(), *self._counts_at(places), strict=True)]

    def _counts_at(self, places: Places) -> tuple[list[int], list[int]]:
        return self.added[places].tolist(), self.deleted[places].tolist()


def size_of_ranked(users: int) -> int:
    """Of the first of so many, who are kept."""
    return RANKED_BYTES * min(users, MOST_RANKED)


def size_of_table(table: UserTable) -> int:
    return table.size_bytes


def columns_of(rows: Ranked) -> Columns:
    return Columns(*map(list, zip(*rows, strict=True))) if rows else Columns([], [], [])


def _widen(counts: Numbers, users: int) -> Numbers:
    """A copy with places for this many users."""
    wider = np.zeros(users, np.int64)
    wider[: len(counts)] = counts
    return wider


def in_order(rows: Ranked) -> Ranked:
    """Rows in the report's order."""
    return sorted(rows, key=_order)


def _order(row: Row) -> tuple[bool, int, int, str]:
    return row[0] is None, -row[1], -row[2], row[0] or ""
