"""The earlier bucket beside each bucket: laid by calendar days, by the wall clock, or unit by unit, and never a gap."""

import random
from datetime import date, datetime, timedelta
from itertools import pairwise

import pytest

from api.query.earlier import earlier_bounds
from api.query.periods import (
    Compare,
    Dates,
    Interval,
    Period,
    Weekday,
    bucket_bounds,
    comparison,
    local_time,
    now_quarter,
    preset_dates,
    quarter_text,
)
from tests.support import recount

ANOTHER_DAY = "2031-01-01T00:00+00:00"
"""A now at which no range here ends."""

ZONES = [
    "UTC", "Asia/Kuala_Lumpur", "America/New_York", "Europe/Berlin", "Asia/Kathmandu", "Australia/Lord_Howe",
    "America/St_Johns", "Pacific/Apia", "Pacific/Chatham", "Africa/Casablanca", "America/Sao_Paulo", "Africa/Cairo",
    "Asia/Beirut", "America/Havana", "Pacific/Kiritimati", "America/Scoresbysund",
]  # fmt: skip
DAYS_WITH_CHANGES = [
    "2026-03-08", "2026-03-29", "2026-04-05", "2026-10-04", "2026-10-25", "2026-11-01", "2011-12-30", "2024-11-03",
    "2018-11-04", "2018-02-18", "2025-04-25", "2025-10-31", "2010-11-07", "2024-02-29", "2025-03-01", "2026-01-01",
]  # fmt: skip


def beside(
    zone_name: str,
    first: str,
    last: str,
    interval: Interval,
    *,
    period: Period | None = None,
    compare: Compare = Compare.PREVIOUS_PERIOD,
    now: str = ANOTHER_DAY,
) -> list[str]:
    """The earlier bounds as texts without the offset's seconds."""
    dates = Dates(date.fromisoformat(first), date.fromisoformat(last))
    quarter = now_quarter(datetime.fromisoformat(now).timestamp())
    side = comparison(zone_name, dates, period, compare, quarter)
    assert side is not None
    bounds = earlier_bounds(zone_name, dates, interval, Weekday.MONDAY, side, preset=period is not None, now=quarter)
    return [quarter_text(zone_name, one) for one in bounds]


def dates_beside(*args: str, interval: Interval, **kwargs: object) -> list[str]:
    return [text[:10] for text in beside("UTC", *args, interval, **kwargs)]  # type: ignore[arg-type]


def test_a_week_of_a_range_stands_beside_as_many_days_wherever_its_own_weeks_begin() -> None:
    # Given a range from a Wednesday on: weeks are cut at Mondays, 5, 7 and 2 days long
    # Then the earlier ones are as long, though they begin on other weekdays
    assert dates_beside("2026-11-18", "2026-12-01", interval=Interval.WEEK) == [
        "2026-11-04", "2026-11-09", "2026-11-16", "2026-11-18",
    ]  # fmt: skip


def test_a_month_of_a_range_stands_beside_as_many_days() -> None:
    assert dates_beside("2026-01-15", "2026-03-10", interval=Interval.MONTH) == [
        "2025-11-21", "2025-12-08", "2026-01-05", "2026-01-15",
    ]  # fmt: skip


def test_a_month_of_a_preset_stands_beside_a_month() -> None:
    # In 2024 February is a day longer; and today is cut
    now = "2025-03-10T12:44+00:00"
    bounds = beside("UTC", "2025-01-01", "2025-03-10", Interval.MONTH, period=Period.THIS_YEAR, now=now)
    assert bounds == [
        "2024-01-01T00:00:00+00:00", "2024-02-01T00:00:00+00:00", "2024-03-01T00:00:00+00:00",
        "2024-03-10T12:30:00+00:00",
    ]  # fmt: skip


def test_weeks_of_a_preset_that_the_earlier_side_has_more_of_belong_to_the_last_bucket() -> None:
    # Given 30 days from a Tuesday, in 5 weeks; those before, from a Sunday, are in 6
    now = "2026-12-30T20:00+00:00"
    bounds = beside("UTC", "2026-12-01", "2026-12-30", Interval.WEEK, period=Period.LAST_30_DAYS, now=now)
    assert bounds == [
        "2026-11-01T00:00:00+00:00", "2026-11-02T00:00:00+00:00", "2026-11-09T00:00:00+00:00",
        "2026-11-16T00:00:00+00:00", "2026-11-23T00:00:00+00:00", "2026-11-30T20:00:00+00:00",
    ]  # fmt: skip


def test_days_of_a_longer_month_before_belong_to_the_last_bucket_and_of_a_shorter_one_are_missing() -> None:
    # Given February beside January: its last day stands beside four
    february = dates_beside("2026-02-01", "2026-02-28", interval=Interval.DAY, period=Period.LAST_MONTH)
    assert february[-3:] == ["2026-01-27", "2026-01-28", "2026-02-01"]
    # And March beside February: its last three days stand beside nothing
    march = dates_beside("2026-03-01", "2026-03-31", interval=Interval.DAY, period=Period.LAST_MONTH)
    assert march[26:] == ["2026-02-27", "2026-02-28", "2026-03-01", "2026-03-01", "2026-03-01", "2026-03-01"]


def test_what_begins_after_now_stands_beside_nothing() -> None:
    now = "2026-11-25T12:44+01:00"
    bounds = beside("Europe/Berlin", "2026-11-25", "2026-11-25", Interval.HOUR, period=Period.TODAY, now=now)
    assert bounds[11:14] == [f"2026-11-24T{at}:00+01:00" for at in ("11:00", "12:00", "12:30")]
    assert set(bounds[13:]) == {bounds[-1]}
    # also where days are missing before: after 29 February the cut belongs to the last day
    dates = beside("UTC", "2025-02-27", "2025-03-02", Interval.HOUR, compare=Compare.PREVIOUS_YEAR,
                   now="2025-03-02T12:44+00:00")  # fmt: skip
    assert dates[3 * 24 + 12 :] == ["2024-03-01T12:00:00+00:00", *["2024-03-02T12:30:00+00:00"] * 12]


def test_hours_on_days_when_clocks_change() -> None:
    def clocks(first: str, last: str) -> list[str]:
        return [text[5:16] + text[19:] for text in beside("Europe/Berlin", first, last, Interval.HOUR)]

    # An hour that the earlier side has twice lies in one bucket
    assert clocks("2026-10-26", "2026-10-26")[1:5] == [
        "10-25T01:00+02:00", "10-25T02:00+02:00", "10-25T03:00+01:00", "10-25T04:00+01:00",
    ]  # fmt: skip
    # One that it lacks is empty
    assert clocks("2026-03-30", "2026-03-30")[1:5] == [
        "03-29T01:00+01:00", "03-29T03:00+02:00", "03-29T03:00+02:00", "03-29T04:00+02:00",
    ]  # fmt: skip
    # One that the later side lacks belongs to the hour before it
    assert clocks("2026-03-29", "2026-03-29")[1:4] == [
        "03-28T01:00+01:00", "03-28T03:00+01:00", "03-28T04:00+01:00",
    ]  # fmt: skip
    # Of one that the later side has twice, the second stands beside it
    assert clocks("2026-10-25", "2026-10-25")[1:5] == [
        "10-24T01:00+02:00", "10-24T02:00+02:00", "10-24T02:00+02:00", "10-24T03:00+02:00",
    ]  # fmt: skip


def test_a_day_without_midnight_stands_beside_a_whole_day() -> None:
    # Given Cairo's 25 April 2025, which began at 01:00, as the second of two days by hour
    bounds = beside("Africa/Cairo", "2025-04-24", "2025-04-25", Interval.HOUR)
    # Then its first hour is beside the two from midnight on
    assert [text[:16] for text in bounds[23:26]] == ["2025-04-22T23:00", "2025-04-23T00:00", "2025-04-23T02:00"]


def test_a_date_that_was_skipped_before_is_an_empty_bucket() -> None:
    bounds = beside("Pacific/Apia", "2012-01-01", "2012-01-03", Interval.DAY)
    assert [text[:10] for text in bounds] == ["2011-12-29", "2011-12-31", "2011-12-31", "2012-01-01"]


@pytest.mark.parametrize("zone_name", ZONES)
def test_drawn_ranges_equal_a_recount_and_leave_no_gap(zone_name: str) -> None:
    rng = random.Random(zone_name)
    for _ in range(25):
        day = date.fromisoformat(rng.choice(DAYS_WITH_CHANGES)) + timedelta(days=rng.choice([-1, 0, 0, 0, 1, 8]))
        minutes = rng.choice([0, 45, 61, 119, 150, 179, 754, 1439])
        now = now_quarter(datetime.fromisoformat(f"{day}T00:00Z").timestamp() + minutes * 60)
        today = local_time(zone_name, now).date()
        week_start = rng.choice(list(Weekday))
        period = rng.choice([None, *(one for one in Period if one is not Period.ALL)])
        if period is None:
            last = today - timedelta(days=rng.choice([-1, 0, 0, 1, 7, 200]))
            dates = Dates(last - timedelta(days=rng.choice([0, 1, 6, 27, 40, 400])), last)
        else:
            dates = preset_dates(period, today, week_start)
        compare = rng.choice([Compare.PREVIOUS_PERIOD, Compare.PREVIOUS_YEAR])
        interval = rng.choice([one for one in Interval if one is not Interval.AUTO])
        if interval is Interval.HOUR and dates.days > 40:
            interval = Interval.DAY
        # When the earlier side is cut
        side = comparison(zone_name, dates, period, compare, now)
        assert side is not None
        preset = period is not None
        bounds = earlier_bounds(zone_name, dates, interval, week_start, side, preset=preset, now=now)
        # Then there is one bucket beside each, from its start to its end, in order
        assert len(bounds) == len(bucket_bounds(zone_name, dates, interval, week_start))
        assert (bounds[0], bounds[-1]) == (side.start, side.end)
        assert list(bounds) == sorted(bounds)
        # And they lie where a recount lays them
        before = recount.earlier_dates(str(compare), period and str(period), dates.first, dates.last)
        expected = recount.earlier_buckets(
            zone_name, (dates.first, dates.last), before, interval, week_start, preset, side.end * 900,
            now * 900 if side.to_same_time else None,
        )  # fmt: skip
        assert [(a * 900, b * 900) for a, b in pairwise(bounds)] == expected, (zone_name, dates, interval, period, now)


def test_hours_that_a_clock_shows_again_leave_their_bucket_empty_beside_them() -> None:
    # Given a day whose clock shows two hours again, at 01:00 UTC, and whose earlier day has each once,
    dates = Dates(date(2013, 10, 27), date(2013, 10, 27))
    side = comparison("Antarctica/Troll", dates, None, Compare.PREVIOUS_PERIOD, now_quarter(0))
    assert side is not None
    # when it is compared by hour, then no bound lies before the one before it.
    bounds = earlier_bounds(
        "Antarctica/Troll", dates, Interval.HOUR, Weekday.MONDAY, side, preset=False, now=now_quarter(2e9)
    )
    assert list(bounds) == sorted(bounds)
    assert bounds[0] == side.start
    assert bounds[-1] == side.end
