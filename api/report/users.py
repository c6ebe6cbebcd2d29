"""Added and deleted by user."""

from collections.abc import Mapping, Sequence

from api.answers import OmittedUsers, UserCounts
from api.report.days import UserSums

MAX_USERS = 500
"""How many users the whole report lists; the resource of users lists all."""

Ranked = Sequence[tuple[str | None, int, int]]
"""(user, added, deleted) in the report's order."""


def ranked(sums: UserSums) -> Ranked:
    """By added, then deleted, descending, then id; the null user last. Users without activity are left out."""
    rows = [(user, added, deleted) for user, (added, deleted) in sums.items() if added or deleted]
    return sorted(rows, key=lambda row: (row[0] is None, -row[1], -row[2], row[0] or ""))


def user_counts(rows: Ranked, labels: Mapping[str, str | None]) -> list[UserCounts]:
    return [
        UserCounts(user, None if user is None else labels.get(user), added, deleted) for user, added, deleted in rows
    ]


def omitted(rows: Ranked) -> OmittedUsers:
    """The sum of the users that are not listed."""
    return OmittedUsers(len(rows), sum(row[1] for row in rows), sum(row[2] for row in rows))
