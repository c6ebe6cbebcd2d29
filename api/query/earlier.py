"""Cuts the earlier side of a comparison, so that each bucket stands beside the one it is compared with.

    later    |  1 |  2 |  3 |  4 | now  |     each cut, as calendar days (and by hour the wall clock) from the start,
    earlier  |  1 |  2 |  3 |  4 | same |     is laid from the start of the earlier side

By month or week of a preset calendar unit follows calendar unit: November beside October, whatever their lengths. The
earlier buckets begin where the earlier side begins, follow each other without a gap and end where it ends, so they
always sum to it.
"""

from datetime import date, timedelta
from functools import lru_cache

from api.query.periods import (
    Comparison,
    Dates,
    Interval,
    Weekday,
    bucket_bounds,
    bucket_dates,
    day_start,
    local_time,
    wall_quarter,
)


def earlier_bounds(
    zone_name: str,
    dates: Dates,
    interval: Interval,
    week_start: Weekday,
    side: Comparison,
    *,
    preset: bool,
    now: int,
) -> tuple[int, ...]:
    """The n + 1 bounds between which the n earlier buckets of a range's n buckets lie; equal neighbours: an empty one.

    Units of the earlier side that the range has no bucket for belong to the last one. Where the range ends today
    (`side.to_same_time`), what begins after now has nothing beside it. Raises TooManyBuckets.
    """
    bounds = bucket_bounds(zone_name, dates, interval, week_start)
    by_unit = preset and interval in (Interval.WEEK, Interval.MONTH)
    laid = _lay_buckets(zone_name, dates, side.dates, interval, week_start, by_unit)
    found = [side.start]
    for i in range(1, len(bounds) - 1):
        beyond = i >= len(laid) or (side.to_same_time and bounds[i] > now)
        found.append(side.end if beyond else min(max(laid[i], found[-1]), side.end))
    return (*found, side.end)


@lru_cache(maxsize=32)
def _lay_buckets(
    zone_name: str, dates: Dates, before: Dates, interval: Interval, week_start: Weekday, by_unit: bool
) -> tuple[int, ...]:
    """Where each bucket of the range would begin on the earlier side, had that no end."""
    if interval is Interval.HOUR:
        return _lay_hours(zone_name, dates, before)
    if by_unit:
        return tuple(day_start(zone_name, day) for day in bucket_dates(before, interval, week_start))
    later = bucket_dates(dates, interval, week_start)
    return tuple(day_start(zone_name, before.first + (day - dates.first)) for day in later)


def _lay_hours(zone_name: str, dates: Dates, before: Dates) -> tuple[int, ...]:
    """The start of a day is laid at the start of a day, also where clocks have no midnight; else by the wall clock."""
    days = [dates.first + timedelta(days=i) for i in range(dates.days)]
    starts = {day_start(zone_name, day): day for day in days}
    return tuple(
        _lay_hour(zone_name, quarter, starts.get(quarter), before.first - dates.first)
        for quarter in bucket_bounds(zone_name, dates, Interval.HOUR, Weekday.MONDAY)[:-1]
    )


def _lay_hour(zone_name: str, quarter: int, starts: date | None, shift: timedelta) -> int:
    if starts is not None:
        return day_start(zone_name, starts + shift)
    return wall_quarter(zone_name, local_time(zone_name, quarter).replace(tzinfo=None) + shift)
