"""Counts by user: kept and made anew they are the same, in one order, and no piece of work has more than some users."""

import random
from collections import Counter
from itertools import pairwise

import pytest

from api.read.parts import NO_PARTS, PartitionDay
from api.report import user_days, user_fold
from api.report.plan import plan_of_bounds
from api.report.user_days import UserSums, user_sums
from api.report.user_fold import Chosen, Ranked, UserFold, UserTotal
from api.report.user_table import UserTable
from api.report.users import sum_omitted, user_counts
from api.wire import OmittedUsers
from stream.model.steps import finish
from tests.support.user_columns import bases, by_user, sums_of

NO_PLAN = plan_of_bounds("UTC", (0, 0), ())


async def everyone(fold: UserFold, users: Chosen = None) -> Ranked:
    return [row async for piece in fold.all(users) for row in zip(*piece, strict=True)]


def fold_of(added: dict[str | None, int], deleted: dict[str | None, int]) -> UserFold:
    table = UserTable()
    return finish(UserFold(table).exchange([b"x"], [], {1: sums_of(table, added, deleted)}, NO_PLAN, NO_PARTS, None))


async def test_users_are_ordered_by_added_deleted_and_id_and_the_null_user_is_last() -> None:
    fold = fold_of({"b": 2, "a": 2, None: 9, "d": 1}, {"b": 1, "c": 5, "d": 1})
    ranked = [("b", 2, 1), ("a", 2, 0), ("d", 1, 1), ("c", 0, 5), (None, 9, 0)]
    assert await everyone(fold) == ranked
    for limit in range(1, 8):
        assert finish(fold.first(limit, None)).rows == ranked[:limit]
    assert [user.user_name for user in user_counts(ranked, {"a": "Ada"})] == [None, "Ada", None, None, None]
    first = finish(fold.first(2, None))
    assert first.total == UserTotal(5, 14, 7)
    assert sum_omitted(first.total, first.rows) == OmittedUsers(3, 10, 6)
    some = frozenset([None, "c", "e"])
    assert await everyone(fold, some) == [("c", 0, 5), (None, 9, 0)]
    assert finish(fold.first(9, some)) == ([("c", 0, 5), (None, 9, 0)], UserTotal(2, 9, 5))
    assert finish(fold.first(1, some)) == ([("c", 0, 5)], UserTotal(2, 9, 5))


async def test_a_fold_of_nobody_is_empty() -> None:
    fold = fold_of({}, {})
    assert (finish(fold.first(500, None)), await everyone(fold)) == (([], UserTotal(0, 0, 0)), [])


@pytest.mark.parametrize("piece", [3, 10_000])
async def test_a_fold_that_is_kept_is_what_its_days_sum_to(monkeypatch: pytest.MonkeyPatch, piece: int) -> None:
    monkeypatch.setattr(user_fold, "USERS_A_PIECE", piece)
    monkeypatch.setattr(user_fold, "ROWS_A_PIECE", piece)
    rng = random.Random(7)
    table = UserTable()
    fold = UserFold(table)
    days: dict[int, tuple[bytes, UserSums]] = {}
    for step in range(60):
        for day in rng.sample(range(6), rng.randrange(4)):
            if rng.random() < 0.3:
                days.pop(day, None)
                continue
            users = [None, *(f"u{rng.randrange(4 + step)}" for _ in range(rng.randrange(30)))]
            counts = [{user: rng.randint(1, 3) for user in rng.sample(users, len(users) // 2)} for _ in range(2)]
            days[day] = b"%d" % step, sums_of(table, *counts)
        manifests = [days[day][0] if day in days else None for day in range(6)]
        then = fold.manifests or [None] * 6
        other = [day for day in range(6) if manifests[day] != then[day]]
        gone = [day for day in other if then[day] is not None]
        new = {day: days[day][1] for day in other if day in days}
        before, fold = fold, finish(fold.exchange(manifests, gone, new, NO_PLAN, NO_PARTS, None))
        assert fold is not before
        added: Counter[str | None] = Counter()
        deleted: Counter[str | None] = Counter()
        for _, sums in days.values():
            of_day = by_user(sums)
            added.update(of_day[0])
            deleted.update(of_day[1])
        rows = [(user, added[user], deleted[user]) for user in added.keys() | deleted.keys()]
        rows.sort(key=lambda row: (row[0] is None, -row[1], -row[2], row[0] or ""))
        assert await everyone(fold) == rows
        total = UserTotal(len(rows), added.total(), deleted.total())
        for limit in (1, 2, 5, 500):
            assert finish(fold.first(limit, None)) == (rows[:limit], total)


@pytest.mark.parametrize(("window", "counts"), [((0, 96), 2), ((0, 95), 1), ((1, 95), 0)])
def test_users_of_a_day_are_summed_in_pieces(
    monkeypatch: pytest.MonkeyPatch, window: tuple[int, int], counts: int
) -> None:
    monkeypatch.setattr(user_days, "USERS_A_PIECE", 20)
    heads, cells = zip(*bases(1_000, 50), strict=True)
    table = UserTable()
    steps = user_sums(table, [PartitionDay([], list(heads), list(cells), None)], window, None)
    seen = [0]
    while True:
        try:
            next(steps)
        except StopIteration as end:
            sums: UserSums = end.value
            break
        seen.append(len(table))
    assert max(after - before for before, after in pairwise(seen)) == (20 if counts else 0)
    assert by_user(sums) == ({f"u{user}": counts for user in range(1_000) if counts}, {})


def test_ranking_many_equal_users_is_cut_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(user_fold, "USERS_A_PIECE", 50)
    fold = fold_of(dict.fromkeys((f"u{user}" for user in range(2_000)), 1), {})
    assert sum(1 for _ in fold._ranked_first(10)) >= 2_000 / 50


async def test_all_users_are_sorted_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(user_fold, "USERS_A_PIECE", 50)
    users = [None, *(f"u{user}" for user in range(2_000))]
    random.Random(5).shuffle(users)
    fold = fold_of(dict.fromkeys(users, 1), {})
    assert sum(1 for _ in fold._sort(user_fold._rows(fold.of_all))) == -(-2_001 // 50)
    assert [user for user, _, _ in await everyone(fold)] == [*sorted(user for user in users if user), None]
