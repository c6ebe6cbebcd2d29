"""Counts by user as the columns that the API folds, and back."""

from collections.abc import Mapping

import numpy as np

from api.report.user_days import Column, UserSums
from api.report.user_table import UserTable
from stream.model.steps import finish

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


def _column_of(table: UserTable, counts: ByUser) -> Column:
    return Column(finish(table.places_of(list(counts))), np.array(list(counts.values()), np.int64))
