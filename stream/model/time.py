"""UTC quarter-hours and days as numbers.

A day is the number of days since 1970-01-01 UTC, a quarter the number of quarter-hours since then: `day * 96 + quarter
of the day`. Every local day since 2000, in every zone of tzdata, begins on a UTC quarter-hour: so quarters are the
finest grain that a report needs.
"""

from datetime import UTC, date, datetime, timedelta
from typing import Final

QUARTER_SECONDS: Final = 900
QUARTERS_A_DAY: Final = 96
DAY_SECONDS: Final = QUARTER_SECONDS * QUARTERS_A_DAY
NANOSECONDS: Final = 1_000_000_000
QUARTER_NANOSECONDS: Final = QUARTER_SECONDS * NANOSECONDS
DAY_NANOSECONDS: Final = DAY_SECONDS * NANOSECONDS
NANOSECONDS_A_MILLISECOND: Final = 1_000_000
HOURS_A_DAY: Final = 24
HOUR_MILLISECONDS: Final = 3_600_000
DAY_MILLISECONDS: Final = HOUR_MILLISECONDS * HOURS_A_DAY

_EPOCH: Final = date(1970, 1, 1)


def quarter_of(nanoseconds: int) -> int:
    """The quarter since 1970 that holds an instant: 23:59:59.999999999Z is in its day's last, 00:00:00Z in the next
    day's first."""
    return nanoseconds // QUARTER_NANOSECONDS


def day_of(nanoseconds: int) -> int:
    """The UTC day that holds an instant (nanoseconds since 1970)."""
    return nanoseconds // DAY_NANOSECONDS


def start_of_quarter(quarter: int) -> int:
    """Nanoseconds since 1970 at which a quarter begins."""
    return quarter * QUARTER_NANOSECONDS


def start_of_day(day: int) -> int:
    """Nanoseconds since 1970 at which a UTC day begins."""
    return day * DAY_NANOSECONDS


def hour_of(milliseconds: int) -> int:
    """The hour since 1970 that holds a record's broker timestamp."""
    return milliseconds // HOUR_MILLISECONDS


def day_of_hour(hour: int) -> int:
    """The UTC day that holds an hour since 1970."""
    return hour // HOURS_A_DAY


def day_number(day: date) -> int:
    """A UTC date as the number of its day."""
    return (day - _EPOCH).days


def date_of(day: int) -> date:
    """The UTC date of a day's number. Raises OverflowError outside the years 1..9999."""
    return _EPOCH + timedelta(days=day)


def show_time(milliseconds: int) -> str:
    """RFC 3339, of any number of milliseconds since 1970."""
    try:
        return (
            datetime.fromtimestamp(milliseconds / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        )
    except (ValueError, OverflowError, OSError):
        return f"{milliseconds} ms since 1970"
