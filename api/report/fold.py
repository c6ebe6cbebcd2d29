"""Sums of days -> counts of buckets."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from api.report.days import KindSums, UserSums
from api.report.plan import OUTSIDE, DayPlan, Plan

ADDED, DELETED = 0, 1


@dataclass(frozen=True, slots=True)
class Counts:
    """Counts of a view: lists have one item a bucket. `before_…` is the earlier side."""

    added: list[int]
    deleted: list[int]
    added_by_source: dict[str | None, list[int]]
    added_before: int
    deleted_before: int


def fold(plan: Plan, days: Mapping[int, KindSums], sources: frozenset[str | None] | None) -> Counts:
    """Add up the days of a plan; a day that is not there has no events. Only the given sources, or all."""
    # The earlier side and what is outside are two more columns, so the inner loop asks nothing.
    earlier, width = plan.buckets, plan.buckets + 2
    rows: dict[tuple[int, str | None], list[int]] = {}
    for day in plan.days:
        sums = days.get(day.day)
        if not sums:
            continue
        columns = _columns(day, earlier)
        for kind, pieces in sums.items():
            if sources is not None and kind[1] not in sources:
                continue
            row = rows.get(kind)
            if row is None:
                row = rows[kind] = [0] * width
            for piece, column in columns:
                row[column] += pieces[piece]
    return _counts(rows, earlier)


def fold_users(days: Iterable[UserSums]) -> UserSums:
    """Add up users' sums."""
    users: UserSums = {}
    for sums in days:
        for user, (added, deleted) in sums.items():
            known = users.get(user)
            if known is None:
                users[user] = [added, deleted]
            else:
                known[ADDED] += added
                known[DELETED] += deleted
    return users


def _columns(day: DayPlan, earlier: int) -> list[tuple[int, int]]:
    """(piece, column) for each place that a piece counts in."""
    columns = [(piece, bucket) for piece, bucket in enumerate(day.buckets) if bucket != OUTSIDE]
    columns.extend((piece, earlier) for piece, before in enumerate(day.earlier) if before)
    return columns


def _counts(rows: Mapping[tuple[int, str | None], list[int]], earlier: int) -> Counts:
    totals = ([0] * (earlier + 1), [0] * (earlier + 1))
    by_source: dict[str | None, list[int]] = {}
    for activity in (ADDED, DELETED):
        mine = [row for (of, _), row in rows.items() if of == activity]
        if mine:
            totals[activity][:] = map(sum, zip(*mine, strict=True))
    for (activity, source), row in rows.items():
        if activity == ADDED and any(row[:earlier]):
            by_source[source] = row[:earlier]
    added, deleted = totals
    return Counts(added[:earlier], deleted[:earlier], by_source, added[earlier], deleted[earlier])
