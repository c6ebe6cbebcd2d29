"""The pure parts of the report: percentages, sources past a hundred, and folds that are kept."""

import random
from dataclasses import replace

import pytest

from api.query.periods import Compare, Dates, Interval, Weekday
from api.query.question import Query, view_of_dates
from api.read.parts import NO_PARTS
from api.report.days import KindSums
from api.report.fold import Counts, KindFold
from api.report.plan import Plan, plan_of
from api.report.sources import sources
from api.report.summary import change_percent
from api.report.timeline import Progress, bucket_states, progress_of
from stream.model.steps import finish
from stream.model.time import date_of

DAY = 20_780


def plan(first: int, last: int, zone: str = "Asia/Kolkata", compare: Compare = Compare.PREVIOUS_PERIOD) -> Plan:
    query = Query(None, None, zone, Interval.DAY, Weekday.MONDAY, None, None, compare)
    return plan_of(view_of_dates(query, Dates(date_of(DAY + first), date_of(DAY + last)), (DAY + 100) * 96))


@pytest.mark.parametrize(
    ("count", "previous", "percent"),
    [
        (1234, 1100, 12.2),
        (5, 0, None),
        (0, 0, None),
        (0, 7, -100.0),
        (7, 7, 0.0),
        (2001, 2000, 0.1),  # 0.05: half away from zero
        (1999, 2000, -0.1),
        (2000, 2001, 0.0),  # 0.04998: no fall that could be told, and no minus before the nought
        (20009, 20000, 0.0),
        (10**15 + 1, 10**15, 0.0),
        (3, 10**6, -100.0),
    ],
)
def test_changes_are_rounded_half_away_from_zero(count: int, previous: int, percent: float | None) -> None:
    found = change_percent(count, previous)
    assert repr(found) == repr(percent)


def counts(by_source: dict[str | None, list[int]]) -> Counts:
    return Counts([sum(column) for column in zip(*by_source.values(), strict=True)], [0], by_source, [], [], {})


def one_bucket() -> Plan:
    return plan(0, 0, compare=Compare.NONE)


def test_names_are_the_five_then_others_by_name_then_none() -> None:
    found = sources(one_bucket(), counts({None: [1], "b": [2], "user": [3], "a": [4]}), ["final"])
    five = ["incoming_message", "developer_api", "contact_import", "user", "echo_message"]
    assert found.names == [*five, "a", "b", "none"]
    assert found.totals == {**dict.fromkeys(five, 0), "user": 3, "a": 4, "b": 2, "none": 1}
    assert found.timeline[0].added == found.totals


def test_of_more_than_a_hundred_names_the_smallest_are_summed() -> None:
    by_source: dict[str | None, list[int]] = {f"s{i:03d}": [10 + i % 3] for i in range(120)}
    by_source |= {None: [1], "user": [1]}
    found = sources(one_bucket(), counts(by_source), ["final"])
    # five, 94 of the others and none are a hundred; 26 are summed: of those with 10 the first by name
    assert len(found.names) == 101
    assert found.names[:5] == ["incoming_message", "developer_api", "contact_import", "user", "echo_message"]
    assert found.names[-2:] == ["none", "*"]
    summed = [f"s{i:03d}" for i in range(0, 78, 3)]
    assert not set(summed) & set(found.names)
    assert found.totals["*"] == 260
    assert sum(found.totals.values()) == sum(row[0] for row in by_source.values())


def test_earlier_buckets_name_the_sources_that_only_they_have_and_sum_those_past_a_hundred() -> None:
    of = plan(0, 0)
    now = counts({"a": [1]})

    def before(by_source: dict[str | None, list[int]], by_source_now: Counts = now) -> dict[str, int]:
        found = sources(of, replace(by_source_now, added_by_source_before=by_source), ["final"])
        previous = found.timeline[0].previous
        assert previous is not None
        assert sum(previous.added.values()) == sum(row[0] for row in by_source.values())
        return {name: count for name, count in previous.added.items() if count or name == "a"}

    assert before({None: [1], "b": [2], "user": [3]}) == {"user": 3, "a": 0, "b": 2, "none": 1}
    many: dict[str | None, list[int]] = {f"s{i:03d}": [10 + i] for i in range(120)}
    found = before(many)
    # five, a and 94 of the others are a hundred
    assert len(found) == 1 + 94 + 1
    assert found["*"] == sum(10 + i for i in range(26))
    # and where the range has more than a hundred itself, what is not among its names is summed
    assert before({"b": [2], "s119": [3]}, counts({**many, "a": [500]})) == {"a": 0, "s119": 3, "*": 2}


def test_a_fold_that_is_kept_is_the_fold_made_anew() -> None:
    rng = random.Random(3)
    for zone, compare in (("UTC", Compare.NONE), ("Asia/Kolkata", Compare.PREVIOUS_PERIOD)):
        of = plan(-9, 0, zone, compare)
        kinds = [((0, None), (1, None), (0, "user")), ((0, "shop"), (1, "shop")), ((0, "user"), (0, None), (1, "user"))]
        for chosen in (None, frozenset(["user", None])):
            kept = KindFold(of, chosen)
            days: dict[int, tuple[bytes, KindSums]] = {}
            for step in range(25):
                changed = rng.sample(list(of.days.values()), rng.randrange(4))
                for day in changed:
                    if rng.random() < 0.3:
                        days.pop(day.day, None)
                        continue
                    table = rng.choice(kinds)
                    numbers = tuple(rng.randrange(9) for _ in range(len(table) * len(day.cuts)))
                    days[day.day] = (b"%d" % step, KindSums(table, numbers))
                sums = {day: sums for day, (_, sums) in days.items()}
                then = dict(zip(of.days, kept.manifests or [None] * len(of.days), strict=True))
                manifests = [days[day][0] if day in days else None for day in of.days]
                other = [day for day, manifest in zip(of.days, manifests, strict=True) if manifest != then[day]]
                gone = [day for day in other if then[day] is not None]
                new = {day: sums[day] for day in other if day in days}
                kept = finish(kept.exchange(manifests, gone, new, NO_PARTS, None))
                anew = finish(KindFold(of, chosen).exchange(manifests, [], sums, NO_PARTS, None))
                assert kept.counts == anew.counts


def test_an_empty_bucket_is_closed_as_soon_as_it_begins() -> None:
    nothing = Counts([0, 0], [0, 0], {}, [], [], {})
    assert bucket_states(progress_of([10, 10, 20], 9_000.0, 9_000.0), nothing) == ["final", "open"]
    assert bucket_states(progress_of([10, 10, 20], 8_999.0, 8_000.0), nothing) == ["future", "future"]


def test_states_follow_time_and_a_bucket_to_come_that_holds_something_is_open() -> None:
    # Given five buckets of ten quarter-hours each, of which the fourth holds a deletion that came too early
    bounds, counts = [10, 20, 30, 40, 50, 60], Counts([9, 0, 0, 0, 0], [0, 0, 0, 1, 0], {}, [], [], {})
    # When the second is over, and what is counted goes to the end of the first, then both say so
    assert progress_of(bounds, 900.0 * 30, 900.0 * 20) == (1, 2, 3)
    assert bucket_states(Progress(1, 2, 3), counts) == ["final", "settling", "open", "open", "future"]
    # ... before them all, and after them
    assert bucket_states(progress_of(bounds, 0.0, 0.0), counts) == ["open", "future", "future", "open", "future"]
    assert bucket_states(progress_of(bounds, 900.0 * 60, 900.0 * 90), counts) == ["final"] * 5


def test_two_years_and_those_a_year_before_count_a_day_twice() -> None:
    of = plan(-700, 0, compare=Compare.PREVIOUS_YEAR)
    both = [day for day in of.days.values() if day.also]
    assert len(both) > 300
    sums = {both[9].day: KindSums(((0, None),), (1,) * len(both[9].cuts))}
    manifests = [b"x" if day == both[9].day else None for day in of.days]
    fold = finish(KindFold(of, None).exchange(manifests, [], sums, NO_PARTS, None))
    assert sum(fold.counts.added) == sum(fold.counts.added_before) == len(both[9].cuts)
