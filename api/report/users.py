"""Added and deleted by user."""

from collections.abc import Iterable, Mapping

from api.report.user_fold import Ranked, Row
from api.wire import OmittedUsers, UserCounts

MAX_USERS = 500
"""How many users the whole report lists; the resource of users lists all."""


def user_counts(rows: Iterable[Row], labels: Mapping[str | None, str | None]) -> list[UserCounts]:
    return [UserCounts(user, labels.get(user), added, deleted) for user, added, deleted in rows]


def sum_omitted(total: tuple[int, int, int], listed: Ranked) -> OmittedUsers:
    """The sum of the users that are not listed."""
    users, added, deleted = total
    return OmittedUsers(
        users - len(listed), added - sum(row[1] for row in listed), deleted - sum(row[2] for row in listed)
    )
