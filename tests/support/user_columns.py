"""Counts by user as the columns that the API folds, and back; and packed bases of many users."""

from collections.abc import Iterator, Mapping

import numpy as np

from api.report.user_days import Column, UserSums
from api.report.user_table import UserTable
from stream.model.steps import finish
from stream.storage.day_parts import Cells, Head, encode, make_column

ByUser = Mapping[str | None, int]


def sums_of(table: UserTable, added: ByUser, deleted: ByUser) -> UserSums:
    return UserSums(table, _column_of(table, added), _column_of(table, deleted))


def by_user(sums: UserSums) -> tuple[dict[str | None, int], ...]:
    """Added and deleted."""
    users = sums.table.users()
    return tuple(
        {users[place]: count for place, count in zip(column.places.tolist(), column.counts.tolist(), strict=True)}
        for column in (sums.added, sums.deleted)
    )


def base_of(users: list[str]) -> tuple[bytes, bytes]:
    """A base in which each of them has added one contact in the first quarter, and one in the last."""
    kinds, twos = make_column([0] * len(users)), make_column([2] * len(users))
    keys = [96 * series + quarter for series in range(len(users)) for quarter in (0, 95)]
    cells = Cells(make_column(keys, 2), make_column([1] * len(keys)))
    return encode(Head(1, [], kinds, users, twos, twos)), encode(cells)


def bases(users: int, of_each: int) -> Iterator[tuple[bytes, bytes]]:
    for first in range(0, users, of_each):
        yield base_of([f"u{user}" for user in range(first, first + of_each)])


def _column_of(table: UserTable, counts: ByUser) -> Column:
    return Column(finish(table.places_of(list(counts))), np.array(list(counts.values()), np.int64))
