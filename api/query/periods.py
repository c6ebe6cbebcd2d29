"""Turns dates and presets into instants: local days, buckets, and the earlier side for comparison.

Everything here is a number of UTC quarter-hours since 1970 (a *quarter*), because that is the grain of the counts: each
local date since 2000 begins on a UTC quarter-hour, in every zone. Only changes of clocks inside a day may lie off it
(00:01 in St John's until 2011); there an hour ends at the next quarter.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from enum import StrEnum
from functools import lru_cache
from itertools import pairwise

from api.query.zones import zone
from stream.model.time import QUARTER_SECONDS

FIRST_DATE = date(2000, 1, 1)
LAST_DATE = date(2099, 12, 31)
MAX_DAYS = 1_100
MAX_BUCKETS = 1_200
MAX_DAYS_BY_HOUR = 52
"""Above it there are more than MAX_BUCKETS hours in any zone, even where a date was skipped: not worth counting."""


class Period(StrEnum):
    """The presets; the rolling ones include today."""

    TODAY = "today"
    YESTERDAY = "yesterday"
    LAST_7_DAYS = "last_7_days"
    LAST_14_DAYS = "last_14_days"
    LAST_30_DAYS = "last_30_days"
    LAST_90_DAYS = "last_90_days"
    THIS_WEEK = "this_week"
    LAST_WEEK = "last_week"
    THIS_MONTH = "this_month"
    LAST_MONTH = "last_month"
    THIS_YEAR = "this_year"
    ALL = "all"


class Interval(StrEnum):
    """How wide a bucket is; AUTO is resolved by `auto_interval` and never stands in an answer."""

    AUTO = "auto"
    HOUR = "hour"
    DAY = "day"
    WEEK = "week"
    MONTH = "month"


class Weekday(StrEnum):
    """The day that a week begins with."""

    MONDAY = "monday"
    TUESDAY = "tuesday"
    WEDNESDAY = "wednesday"
    THURSDAY = "thursday"
    FRIDAY = "friday"
    SATURDAY = "saturday"
    SUNDAY = "sunday"


class Compare(StrEnum):
    """Which earlier side the totals are compared with."""

    PREVIOUS_PERIOD = "previous_period"
    PREVIOUS_YEAR = "previous_year"
    NONE = "none"


WEEKDAYS = tuple(Weekday)
_ROLLING = {Period.LAST_7_DAYS: 7, Period.LAST_14_DAYS: 14, Period.LAST_30_DAYS: 30, Period.LAST_90_DAYS: 90}
_ONE_DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Dates:
    """Local dates, both inclusive."""

    first: date
    last: date

    @property
    def days(self) -> int:
        return (self.last - self.first).days + 1


@dataclass(frozen=True, slots=True)
class Comparison:
    """The earlier side: [start, end) in quarters, and the dates that they lie in.

    `to_same_time`: it stops at the present local time of day.
    """

    mode: Compare
    start: int
    end: int
    to_same_time: bool
    dates: Dates


class TooManyBuckets(ValueError):
    """The interval cuts the range into more than MAX_BUCKETS."""


@lru_cache(maxsize=8_192)
def day_start(zone_name: str, day: date) -> int:
    """The quarter of the first instant of a local date.

    A midnight that exists twice: the first. One that does not exist: the instant of the change; so a date that the
    zone skipped starts where the next one does.
    """
    return wall_quarter(zone_name, datetime.combine(day, time()))


def wall_quarter(zone_name: str, wall: datetime) -> int:
    """The quarter at which clocks show a wall time: the first of two; of none that of the change."""
    return _quarter(_instant(zone_name, wall))


def preset_dates(period: Period, today: date, week_start: Weekday) -> Dates:
    """The dates of a preset other than ALL, whose first date only the counts know."""
    if period in _ROLLING:
        return Dates(today - timedelta(days=_ROLLING[period] - 1), today)
    week = today - timedelta(days=(today.weekday() - WEEKDAYS.index(week_start)) % 7)
    month = today.replace(day=1)
    match period:
        case Period.TODAY:
            return Dates(today, today)
        case Period.YESTERDAY:
            return Dates(today - _ONE_DAY, today - _ONE_DAY)
        case Period.THIS_WEEK:
            return Dates(week, today)
        case Period.LAST_WEEK:
            return Dates(week - timedelta(days=7), week - _ONE_DAY)
        case Period.THIS_MONTH:
            return Dates(month, today)
        case Period.LAST_MONTH:
            return Dates((month - _ONE_DAY).replace(day=1), month - _ONE_DAY)
        case Period.THIS_YEAR:
            return Dates(today.replace(month=1, day=1), today)
        case _:
            raise ValueError(f"{period} has no dates of its own")


def auto_interval(dates: Dates) -> Interval:
    """The width of a bucket where the query leaves it to us."""
    if dates.days <= 2:
        return Interval.HOUR
    if dates.days <= 92:
        return Interval.DAY
    return Interval.WEEK if dates.days <= 366 else Interval.MONTH


@lru_cache(maxsize=32)
def bucket_bounds(zone_name: str, dates: Dates, interval: Interval, week_start: Weekday) -> tuple[int, ...]:
    """The n + 1 bounds between which the n buckets of a range lie, in order, without a gap.

    A week or a month is clipped to the range. Two equal neighbours are the empty bucket of a skipped date. Raises
    TooManyBuckets.
    """
    if interval is Interval.HOUR:
        bounds = _hour_bounds(zone_name, dates)
    else:
        starts = bucket_dates(dates, interval, week_start)
        if len(starts) > MAX_BUCKETS:
            raise TooManyBuckets(len(starts))
        bounds = [day_start(zone_name, day) for day in (*starts, dates.last + _ONE_DAY)]
    if len(bounds) - 1 > MAX_BUCKETS:
        raise TooManyBuckets(len(bounds) - 1)
    return tuple(bounds)


def bucket_dates(dates: Dates, interval: Interval, week_start: Weekday) -> Sequence[date]:
    """The first date of each bucket, the first one clipped to the range."""
    starts = [dates.first]
    while (following := _next_bucket(starts[-1], interval, week_start)) <= dates.last:
        starts.append(following)
    return starts


def comparison(zone_name: str, dates: Dates, period: Period | None, compare: Compare, now: int) -> Comparison | None:
    """The earlier side of a range at a quarter, or None where nothing is compared.

    Where the range ends today, the earlier side's last date is cut at the local time of day that it is now, rounded
    down to the quarter-hour.
    """
    if compare is Compare.NONE or period is Period.ALL:
        return None
    earlier = _year_before(dates) if compare is Compare.PREVIOUS_YEAR else _period_before(dates, period)
    start = day_start(zone_name, earlier.first)
    end = day_start(zone_name, earlier.last + _ONE_DAY)
    clock = local_time(zone_name, now)
    to_same_time = dates.last == clock.date()
    if to_same_time:
        cut = wall_quarter(zone_name, datetime.combine(earlier.last, clock.time().replace(fold=0)))
        end = min(max(cut, start), end)
    return Comparison(compare, start, end, to_same_time, earlier)


def local_time(zone_name: str, quarter: int) -> datetime:
    """What clocks in the zone show as a quarter begins: a quarter-hour there too, as offsets since 1990 are whole
    quarters.
    """
    return datetime.fromtimestamp(quarter * QUARTER_SECONDS, zone(zone_name))


def local_date(zone_name: str, quarter: int) -> date:
    """The local date that a quarter lies in: the last one that had begun by then.

    Not always the date on the clock: an hour that is set back over midnight belongs to the date that began before.
    """
    day = local_time(zone_name, quarter).date()
    return day + _ONE_DAY if day_start(zone_name, day + _ONE_DAY) <= quarter else day


@lru_cache(maxsize=2_048)
def quarter_text(zone_name: str, quarter: int) -> str:
    """A quarter as RFC 3339 in the zone, as in 2026-11-17T00:00:00+08:00."""
    return local_time(zone_name, quarter).isoformat()


def _period_before(dates: Dates, period: Period | None) -> Dates:
    if period in (Period.THIS_WEEK, Period.LAST_WEEK):
        week = timedelta(days=7)
        return Dates(dates.first - week, dates.last - week)
    if period is Period.LAST_MONTH:
        last = dates.first - _ONE_DAY
        return Dates(last.replace(day=1), last)
    if period is Period.THIS_MONTH:
        end_of_month = dates.first - _ONE_DAY
        return Dates(end_of_month.replace(day=1), end_of_month.replace(day=min(end_of_month.day, dates.last.day)))
    if period is Period.THIS_YEAR:
        return _year_before(dates)
    length = timedelta(days=dates.days)
    return Dates(dates.first - length, dates.last - length)


def _year_before(dates: Dates) -> Dates:
    return Dates(_same_date_a_year_before(dates.first), _same_date_a_year_before(dates.last))


def _same_date_a_year_before(day: date) -> date:
    leap_day = (day.month, day.day) == (2, 29)
    return day.replace(year=day.year - 1, day=28 if leap_day else day.day)


def _next_bucket(day: date, interval: Interval, week_start: Weekday) -> date:
    if interval is Interval.DAY:
        return day + _ONE_DAY
    if interval is Interval.WEEK:
        return day + timedelta(days=7 - (day.weekday() - WEEKDAYS.index(week_start)) % 7)
    return (day.replace(day=1) + timedelta(days=32)).replace(day=1)


def _hour_bounds(zone_name: str, dates: Dates) -> list[int]:
    """An hour ends where the local hour or the offset changes."""
    if dates.days > MAX_DAYS_BY_HOUR:
        raise TooManyBuckets(dates.days * 24)
    start, end = day_start(zone_name, dates.first), day_start(zone_name, dates.last + _ONE_DAY)
    hours = [_local_hour(zone_name, quarter) for quarter in range(start, end)]
    changes = [start + i for i, (before, after) in enumerate(pairwise(hours), 1) if before != after]
    return [start, *changes, end]


def _local_hour(zone_name: str, quarter: int) -> tuple[int, int, timedelta | None]:
    local = local_time(zone_name, quarter)
    return local.toordinal(), local.hour, local.utcoffset()


def _instant(zone_name: str, wall: datetime) -> int:
    """Seconds since 1970 of a wall time: the first of two, and of none the instant of the change."""
    here = zone(zone_name)
    later = int(wall.replace(tzinfo=here).timestamp())
    if datetime.fromtimestamp(later, here).replace(tzinfo=None) == wall:
        return later
    # In a gap, fold 0 reckons with the offset before the change and lands on it or after it, fold 1 with the one
    # after and lands before it.
    earlier = int(wall.replace(tzinfo=here, fold=1).timestamp())
    offset = datetime.fromtimestamp(earlier, here).utcoffset()
    while later - earlier > 1:
        middle = (earlier + later) // 2
        if datetime.fromtimestamp(middle, here).utcoffset() == offset:
            earlier = middle
        else:
            later = middle
    return later


def _quarter(seconds: int) -> int:
    return seconds // QUARTER_SECONDS


def now_quarter(now_seconds: float) -> int:
    """The quarter at or before an instant."""
    return int(now_seconds // QUARTER_SECONDS)


@lru_cache(maxsize=64)
def utc_text(seconds: float) -> str:
    """An instant as RFC 3339 in UTC, to the millisecond, as in 2026-11-23T01:13:07.412Z. Answers name the same one
    until a worker is further, and then mostly one of the same second.
    """
    milliseconds = round(seconds * 1_000_000) // 1_000
    return f"{_second_text(milliseconds // 1_000)}.{milliseconds % 1_000:03d}Z"


@lru_cache(maxsize=64)
def _second_text(second: int) -> str:
    return datetime.fromtimestamp(second, UTC).isoformat()[:19]
