"""Local days, buckets, presets and comparisons, in zones that have their own ideas about clocks."""

import os
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise

import pytest

from api.query.periods import (
    MAX_BUCKETS,
    WEEKDAYS,
    Compare,
    Comparison,
    Dates,
    Interval,
    Period,
    TooManyBuckets,
    Weekday,
    auto_interval,
    bucket_bounds,
    comparison,
    day_start,
    local_date,
    now_quarter,
    preset_dates,
    quarter_text,
)
from api.query.zones import aliases, zone, zone_names
from tests.support import recount


def texts(zone_name: str, first: str, last: str, interval: Interval, week_start: Weekday = Weekday.MONDAY) -> list[str]:
    bounds = bucket_bounds(zone_name, dates(first, last), interval, week_start)
    return [quarter_text(zone_name, quarter) for quarter in bounds]


def dates(first: str, last: str) -> Dates:
    return Dates(date.fromisoformat(first), date.fromisoformat(last))


def quarter(text: str) -> int:
    return now_quarter(datetime.fromisoformat(text).timestamp())


def hours(zone_name: str, day: str) -> float:
    start, end = bucket_bounds(zone_name, dates(day, day), Interval.DAY, Weekday.MONDAY)
    return (end - start) / 4


@pytest.mark.parametrize(
    ("zone_name", "day", "length"),
    [
        ("Europe/Berlin", "2026-03-28", 24),
        ("Europe/Berlin", "2026-03-29", 23),
        ("Europe/Berlin", "2026-10-25", 25),
        ("Australia/Lord_Howe", "2026-04-05", 24.5),
        ("Australia/Lord_Howe", "2026-10-04", 23.5),
        ("Asia/Beirut", "2026-03-29", 23),  # midnight does not exist
        ("America/Havana", "2024-11-03", 25),  # midnight exists twice
        ("Pacific/Apia", "2011-12-30", 0),  # the date does not exist
        ("Asia/Kathmandu", "2026-01-01", 24),
    ],
)
def test_a_day_is_as_long_as_its_clocks_make_it(zone_name: str, day: str, length: float) -> None:
    assert hours(zone_name, day) == length


def test_a_day_begins_at_the_first_of_two_midnights_and_at_the_change_where_there_is_none() -> None:
    assert texts("America/Havana", "2024-11-03", "2024-11-03", Interval.DAY)[0] == "2024-11-03T00:00:00-04:00"
    assert texts("Asia/Beirut", "2026-03-29", "2026-03-29", Interval.DAY)[0] == "2026-03-29T01:00:00+03:00"


def test_a_date_that_a_zone_skipped_is_a_bucket_whose_start_is_its_end() -> None:
    assert texts("Pacific/Apia", "2011-12-29", "2011-12-31", Interval.DAY) == [
        "2011-12-29T00:00:00-10:00",
        "2011-12-31T00:00:00+14:00",
        "2011-12-31T00:00:00+14:00",
        "2012-01-01T00:00:00+14:00",
    ]


def test_an_hour_ends_where_the_local_hour_or_the_offset_changes() -> None:
    assert texts("Australia/Lord_Howe", "2026-04-05", "2026-04-05", Interval.HOUR)[:4] == [
        "2026-04-05T00:00:00+11:00",
        "2026-04-05T01:00:00+11:00",
        "2026-04-05T01:30:00+10:30",
        "2026-04-05T02:00:00+10:30",
    ]
    assert texts("Europe/Berlin", "2026-10-25", "2026-10-25", Interval.HOUR)[1:5] == [
        "2026-10-25T01:00:00+02:00",
        "2026-10-25T02:00:00+02:00",
        "2026-10-25T02:00:00+01:00",
        "2026-10-25T03:00:00+01:00",
    ]
    assert len(texts("Asia/Kathmandu", "2026-01-01", "2026-01-01", Interval.HOUR)) == 25


def test_a_change_of_clocks_off_the_quarter_hour_ends_its_hour_at_the_next_one() -> None:
    # At 00:01 clocks went to 01:01; the counts are by quarter-hours.
    assert texts("America/St_Johns", "2010-03-14", "2010-03-14", Interval.HOUR)[:3] == [
        "2010-03-14T00:00:00-03:30",
        "2010-03-14T01:15:00-02:30",
        "2010-03-14T02:00:00-02:30",
    ]


def test_weeks_and_months_are_clipped_to_the_range() -> None:
    def starts(interval: Interval, week_start: Weekday = Weekday.MONDAY) -> list[str]:
        return [text[:10] for text in texts("UTC", "2026-11-18", "2026-12-03", interval, week_start)]

    assert starts(Interval.WEEK) == ["2026-11-18", "2026-11-23", "2026-11-30", "2026-12-04"]
    assert starts(Interval.WEEK, Weekday.WEDNESDAY) == ["2026-11-18", "2026-11-25", "2026-12-02", "2026-12-04"]
    assert starts(Interval.WEEK, Weekday.THURSDAY) == [
        "2026-11-18",
        "2026-11-19",
        "2026-11-26",
        "2026-12-03",
        "2026-12-04",
    ]
    assert starts(Interval.MONTH) == ["2026-11-18", "2026-12-01", "2026-12-04"]


@pytest.mark.parametrize(
    ("days", "interval"),
    [(1, "hour"), (2, "hour"), (3, "day"), (92, "day"), (93, "week"), (366, "week"), (367, "month")],
)
def test_the_automatic_interval(days: int, interval: str) -> None:
    first = date(2026, 1, 1)
    assert auto_interval(Dates(first, first + timedelta(days=days - 1))) == interval


def test_buckets_have_a_limit() -> None:
    first = date(2026, 1, 1)
    fifty = Dates(first, first + timedelta(days=49))
    assert len(bucket_bounds("UTC", fifty, Interval.HOUR, Weekday.MONDAY)) == MAX_BUCKETS + 1
    autumn = Dates(date(2026, 10, 1), date(2026, 10, 1) + timedelta(days=49))
    for too_many in (Dates(first, first + timedelta(days=50)), Dates(first, first + timedelta(days=900))):
        with pytest.raises(TooManyBuckets):
            bucket_bounds("UTC", too_many, Interval.HOUR, Weekday.MONDAY)
    with pytest.raises(TooManyBuckets):  # an hour more, where clocks are set back
        bucket_bounds("Europe/Berlin", autumn, Interval.HOUR, Weekday.MONDAY)
    every_month = Dates(date(2000, 1, 1), date(2099, 12, 31))
    assert len(bucket_bounds("UTC", every_month, Interval.MONTH, Weekday.MONDAY)) == MAX_BUCKETS + 1


@pytest.mark.parametrize(
    ("period", "week_start", "first", "last"),
    [
        ("today", "monday", "2026-11-25", "2026-11-25"),
        ("yesterday", "monday", "2026-11-24", "2026-11-24"),
        ("last_7_days", "monday", "2026-11-19", "2026-11-25"),
        ("last_14_days", "monday", "2026-11-12", "2026-11-25"),
        ("last_30_days", "monday", "2026-10-27", "2026-11-25"),
        ("last_90_days", "monday", "2026-08-28", "2026-11-25"),
        ("this_week", "monday", "2026-11-23", "2026-11-25"),
        ("this_week", "wednesday", "2026-11-25", "2026-11-25"),
        ("this_week", "thursday", "2026-11-19", "2026-11-25"),
        ("last_week", "monday", "2026-11-16", "2026-11-22"),
        ("last_week", "sunday", "2026-11-15", "2026-11-21"),
        ("this_month", "monday", "2026-11-01", "2026-11-25"),
        ("last_month", "monday", "2026-10-01", "2026-10-31"),
        ("this_year", "monday", "2026-01-01", "2026-11-25"),
    ],
)
def test_presets_on_a_wednesday(period: str, week_start: str, first: str, last: str) -> None:
    assert preset_dates(Period(period), date(2026, 11, 25), Weekday(week_start)) == dates(first, last)


NOW = "2026-11-25T13:37:00+00:00"


@pytest.mark.parametrize(
    ("period", "first", "last", "compare", "start", "end", "same_time"),
    [
        ("today", "2026-11-25", "2026-11-25", "previous_period", "2026-11-24", "2026-11-24T13:30", True),
        ("yesterday", "2026-11-24", "2026-11-24", "previous_period", "2026-11-23", "2026-11-24", False),
        ("last_7_days", "2026-11-19", "2026-11-25", "previous_period", "2026-11-12", "2026-11-18T13:30", True),
        ("this_week", "2026-11-23", "2026-11-25", "previous_period", "2026-11-16", "2026-11-18T13:30", True),
        ("last_week", "2026-11-16", "2026-11-22", "previous_period", "2026-11-09", "2026-11-16", False),
        ("this_month", "2026-11-01", "2026-11-25", "previous_period", "2026-10-01", "2026-10-25T13:30", True),
        ("last_month", "2026-10-01", "2026-10-31", "previous_period", "2026-09-01", "2026-10-01", False),
        ("this_year", "2026-01-01", "2026-11-25", "previous_period", "2025-01-01", "2025-11-25T13:30", True),
        (None, "2026-11-24", "2026-11-25", "previous_period", "2026-11-22", "2026-11-23T13:30", True),
        (None, "2026-11-25", "2026-11-26", "previous_period", "2026-11-23", "2026-11-25", False),
        (None, "2026-11-01", "2026-11-10", "previous_period", "2026-10-22", "2026-11-01", False),
        (None, "2026-11-01", "2026-11-10", "previous_year", "2025-11-01", "2025-11-11", False),
        (None, "2024-02-29", "2024-02-29", "previous_year", "2023-02-28", "2023-03-01", False),
        ("last_7_days", "2026-11-19", "2026-11-25", "previous_year", "2025-11-19", "2025-11-25T13:30", True),
        ("this_week", "2026-11-23", "2026-11-25", "previous_year", "2025-11-23", "2025-11-25T13:30", True),
    ],
)
def test_the_earlier_side(
    period: str | None, first: str, last: str, compare: str, start: str, end: str, same_time: bool
) -> None:
    side = comparison("UTC", dates(first, last), period and Period(period), Compare(compare), quarter(NOW))
    assert side is not None
    assert (side.mode, side.to_same_time) == (compare, same_time)
    assert side.start == quarter(start + "+00:00" if "T" in start else start + "T00:00+00:00")
    assert side.end == quarter(end + "+00:00" if "T" in end else end + "T00:00+00:00")


def test_the_earlier_side_of_a_long_month_ends_with_a_short_one() -> None:
    now = quarter("2026-03-31T10:00+00:00")
    side = comparison("UTC", dates("2026-03-01", "2026-03-31"), Period.THIS_MONTH, Compare.PREVIOUS_PERIOD, now)
    start, end = quarter("2026-02-01T00:00+00:00"), quarter("2026-02-28T10:00+00:00")
    assert side == Comparison(Compare.PREVIOUS_PERIOD, start, end, True, dates("2026-02-01", "2026-02-28"))


def test_nothing_is_compared_on_request_and_with_everything() -> None:
    some = dates("2026-11-01", "2026-11-25")
    assert comparison("UTC", some, None, Compare.NONE, quarter(NOW)) is None
    assert comparison("UTC", some, Period.ALL, Compare.PREVIOUS_PERIOD, quarter(NOW)) is None


def test_the_same_local_time_where_it_does_not_exist_and_where_it_exists_twice() -> None:
    def end(zone_name: str, today: str, now: str) -> str:
        side = comparison(zone_name, dates(today, today), Period.TODAY, Compare.PREVIOUS_PERIOD, quarter(now))
        assert side is not None
        return quarter_text(zone_name, side.end)

    assert end("Europe/Berlin", "2026-03-30", "2026-03-30T02:40+02:00") == "2026-03-29T03:00:00+02:00"
    assert end("Europe/Berlin", "2026-10-26", "2026-10-26T02:40+01:00") == "2026-10-25T02:30:00+02:00"
    # and the second 02:40 of a long day is 02:30 of the day before
    assert end("Europe/Berlin", "2026-10-25", "2026-10-25T02:40+01:00") == "2026-10-24T02:30:00+02:00"
    # also where it does not exist there, or exists twice there too: the change, and the first
    of = dates("2026-03-30", "2026-10-25")
    side = comparison("Europe/Berlin", of, None, Compare.PREVIOUS_PERIOD, quarter("2026-10-25T02:40+01:00"))
    assert side is not None
    assert quarter_text("Europe/Berlin", side.end) == "2026-03-29T03:00:00+02:00"
    side = comparison("Europe/Berlin", dates("2026-10-19", "2026-10-25"), Period.LAST_7_DAYS, Compare.PREVIOUS_YEAR,
                      quarter("2026-10-25T02:40+01:00"))  # fmt: skip
    assert side is not None
    assert side.end == quarter("2025-10-25T02:30+02:00")


def test_the_rules_are_those_of_the_package() -> None:
    assert len(zone_names()) > 590
    assert not {"localtime", "posixrules", "Factory", "right/UTC", ""} & zone_names()
    assert set(aliases().values()) <= zone_names() - aliases().keys()
    assert aliases()["Asia/Calcutta"] == "Asia/Kolkata"
    assert aliases()["Etc/UTC"] == "UTC"
    assert zone("Asia/Calcutta").utcoffset(datetime(2026, 1, 1, tzinfo=UTC)) == timedelta(hours=5, minutes=30)
    with pytest.raises(KeyError):
        zone("../UTC")


WINDOWS = [
    ("2026-03-07", 3), ("2026-03-28", 3), ("2026-04-04", 3), ("2026-10-03", 3), ("2026-10-24", 3), ("2026-10-31", 3),
    ("2011-12-29", 4), ("2008-03-08", 2), ("2010-11-06", 3), ("1999-12-30", 3), ("2018-11-03", 3), ("2023-12-31", 2),
]  # fmt: skip


def zones_of_this_run() -> list[str]:
    """Every zone, or a ninth of them: the whole takes a minute or so (EVERY_ZONE=1)."""
    names = sorted(zone_names() - aliases().keys())
    return names if os.environ.get("EVERY_ZONE") else names[:: len(names) // 60]


@pytest.mark.parametrize("zone_name", zones_of_this_run())
def test_days_and_hours_equal_a_recount(zone_name: str) -> None:
    for first, days in WINDOWS:
        range_of = Dates(date.fromisoformat(first), date.fromisoformat(first) + timedelta(days=days - 1))
        for interval in (Interval.DAY, Interval.HOUR):
            bounds = bucket_bounds(zone_name, range_of, interval, Weekday.MONDAY)
            expected = recount.buckets(zone_name, range_of.first, range_of.last, interval, "monday")
            assert [(a * 900, b * 900) for a, b in pairwise(bounds)] == expected, (zone_name, first, interval)
        for i in range(days):
            day = range_of.first + timedelta(days=i)
            start, end = day_start(zone_name, day), day_start(zone_name, day + timedelta(days=1))
            assert start == end or local_date(zone_name, start) == local_date(zone_name, end - 1) == day


def test_weekdays_are_those_of_the_calendar() -> None:
    assert [date(2026, 11, 23 + i).strftime("%A").lower() for i in range(7)] == list(WEEKDAYS)
