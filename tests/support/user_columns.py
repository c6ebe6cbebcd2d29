"""Counts by user as the API folds them, and back; and packed bases of many users."""

from collections.abc import Iterator, Mapping

from api.report.user_days import UserSums
from api.report.user_table import UserTable
from stream.storage.day_parts import Cells, Head, encode, make_column

ByUser = Mapping[str | None, int]


def sums_of(table: UserTable, added: ByUser, deleted: ByUser) -> UserSums:
    return UserSums(*({table.find_or_add(user): count for user, count in of.items()} for of in (added, deleted)))


def by_user(sums: UserSums) -> tuple[dict[str | None, int], ...]:
    """Added and deleted."""
    return sums.added, sums.deleted


def base_of(users: list[str]) -> tuple[bytes, bytes]:
    """A base in which each of them has added one contact in the first quarter, and one in the last."""
    kinds, twos = make_column([0] * len(users)), make_column([2] * len(users))
    keys = [96 * series + quarter for series in range(len(users)) for quarter in (0, 95)]
    cells = Cells(make_column(keys, 2), make_column([1] * len(keys)))
    return encode(Head(1, [], kinds, users, twos, twos)), encode(cells)


def bases(users: int, of_each: int) -> Iterator[tuple[bytes, bytes]]:
    for first in range(0, users, of_each):
        yield base_of([f"u{user}" for user in range(first, first + of_each)])
