"""Sums of days by user -> counts of a range, and its users in the report's order.

A fold is kept, and the days that changed in it since are exchanged. All work that looks at each user is in pieces.
"""

import asyncio
from collections.abc import AsyncIterator, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from heapq import merge, nsmallest
from itertools import chain, islice
from typing import NamedTuple, TypeVar

from api.read.parts import DayParts
from api.report.plan import Plan
from api.report.user_days import USERS_A_PIECE, UserSums, user_sums
from api.report.user_table import UserTable
from stream.model.steps import Steps
from stream.slices import run_in_slices

T = TypeVar("T")

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

ROWS_A_PIECE = 2_000

SUM_BYTES = 90
"""Of a number in sums and its place, without the id."""

RANKED_BYTES, MOST_RANKED = 130, 2_500
"""Of a user among the first ones: the row and its numbers; and of how many, those of a report and of the list of users.
"""


class UserTotal(NamedTuple):
    """Of some users: how many they are, and what they sum to."""

    users: int
    added: int
    deleted: int


NO_USERS = UserTotal(0, 0, 0)


class FirstUsers(NamedTuple):
    """The first users, and what these and all others sum to."""

    rows: Ranked
    total: UserTotal


NOBODY = FirstUsers([], NO_USERS)


@dataclass(frozen=True)
class UserFold:
    """The days of a range, added up by user. Never changed: `exchange` makes another."""

    table: UserTable
    manifests: Sequence[bytes | None] = ()
    """As in `KindFold`."""
    sums: Mapping[int, UserSums] = field(default_factory=dict)
    of_all: UserSums = field(default_factory=lambda: UserSums({}, {}))
    """What the days sum to."""
    everyone: UserTotal = NO_USERS
    _first: dict[int, FirstUsers] = field(default_factory=dict)
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
        sums, of_all = dict(self.sums), UserSums(*map(dict, self.of_all))
        for day in gone:
            yield from _add(of_all, sums.pop(day), -1)
        for day, after in changed.items():
            sums[day] = after
            yield from _add(of_all, after)
        return UserFold(self.table, manifests, sums, of_all, (yield from _total(of_all)))

    def day(self, day: int) -> UserSums:
        """As in `KindFold`."""
        return self.sums[day]

    @property
    def size_bytes(self) -> int:
        """With its days, which may be forgotten elsewhere, and what is ranked; without its table."""
        counts = sum(len(counts) for sums in (self.of_all, *self.sums.values()) for counts in sums)
        return 500 + SUM_BYTES * counts + size_of_ranked(self.everyone.users)

    def first(self, limit: int, users: Chosen) -> Steps[FirstUsers]:
        """The first users with activity, of all or some. Of all they are ranked once."""
        if users is not None:
            rows = self._rows_of(users)
            total = UserTotal(len(rows), sum(row[1] for row in rows), sum(row[2] for row in rows))
            return FirstUsers(in_order(rows)[:limit], total)
        if limit not in self._first:
            self._first[limit] = FirstUsers((yield from self._ranked_first(limit)), self.everyone)
        return self._first[limit]

    async def all(self, users: Chosen) -> AsyncIterator[Columns]:
        """All users with activity, or some of them, a piece at a time."""
        sorted_pieces = await run_in_slices(self._sort(_rows(self.of_all) if users is None else self._rows_of(users)))
        for rows in _cut(merge(*sorted_pieces, key=_order), ROWS_A_PIECE):
            yield columns_of(rows)
            await asyncio.sleep(0)

    def _rows_of(self, users: frozenset[str | None]) -> Ranked:
        """Those of them that have any activity."""
        added, deleted = self.of_all
        return [(user, added.get(user, 0), deleted.get(user, 0)) for user in users if user in added or user in deleted]

    def _sort(self, rows: Iterable[Row]) -> Steps[list[Ranked]]:
        """Rows in pieces, each in the report's order."""
        pieces = []
        for piece in _cut(rows, USERS_A_PIECE):
            pieces.append(in_order(piece))
            yield
        return pieces

    def _ranked_first(self, limit: int) -> Steps[Ranked]:
        first: Ranked = []
        for piece in _cut(_rows(self.of_all), USERS_A_PIECE):
            first = nsmallest(limit, chain(first, piece), key=_order)
            yield
        return first


def _add(sums: UserSums, more: UserSums, sign: int = 1) -> Steps[None]:
    """Adds sums to others, or, with the sign -1, takes them out."""
    for counts, more_counts in zip(sums, more, strict=True):
        for piece in _cut(more_counts.items(), USERS_A_PIECE):
            for user, count in piece:
                counts[user] = counts.get(user, 0) + sign * count
                if not counts[user]:
                    del counts[user]
            yield


def _total(sums: UserSums) -> Steps[UserTotal]:
    users = added = deleted = 0
    for piece in _cut(_rows(sums), USERS_A_PIECE):
        users += len(piece)
        added += sum(row[1] for row in piece)
        deleted += sum(row[2] for row in piece)
        yield
    return UserTotal(users, added, deleted)


def _rows(sums: UserSums) -> Iterator[Row]:
    """Of all users with activity, in no order."""
    users = chain(sums.added, (user for user in sums.deleted if user not in sums.added))
    return ((user, sums.added.get(user, 0), sums.deleted.get(user, 0)) for user in users)


def _cut(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Pieces of this many items."""
    rest = iter(items)
    while piece := list(islice(rest, size)):
        yield piece


def size_of_ranked(users: int) -> int:
    """Of the first of so many, who are kept."""
    return RANKED_BYTES * min(users, MOST_RANKED)


def size_of_table(table: UserTable) -> int:
    return table.size_bytes


def columns_of(rows: Ranked) -> Columns:
    return Columns(*map(list, zip(*rows, strict=True))) if rows else Columns([], [], [])


def in_order(rows: Ranked) -> Ranked:
    """Rows in the report's order."""
    return sorted(rows, key=_order)


def _order(row: Row) -> tuple[bool, int, int, str]:
    return row[0] is None, -row[1], -row[2], row[0] or ""
