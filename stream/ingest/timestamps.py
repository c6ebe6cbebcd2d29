"""Reads RFC 3339 date-times: the instant, and how many digits of a second it came with.

Instants are whole nanoseconds since 1970-01-01T00:00:00Z, whatever offset they were written with.
"""

import re
from collections.abc import Mapping
from datetime import date
from enum import Enum
from typing import Final

from stream.model.time import DAY_NANOSECONDS, NANOSECONDS

FRACTION_DIGITS: Final = 9
"""Digits of a second that are kept. Further ones are cut, never rounded: rounding could change the day."""

LAST_BEFORE_THE_MINUTE: Final = 60 * NANOSECONDS - 1
"""What `:60` stands for, whatever its fraction: a leap second belongs to the minute that it lengthens."""


class Unreadable(Enum):
    """Why a text names no instant."""

    MALFORMED = "is no RFC 3339 date-time, like 2026-11-23T09:13:07.412+08:00"
    WITHOUT_OFFSET = "has no offset, like Z or +08:00"


def read_date_time(text: str) -> tuple[int, int] | Unreadable:
    """Read a date-time by the letter of RFC 3339: (nanoseconds, digits of the second's fraction, at most 9).

    Lower-case `t` and `z` and the offset `-00:00` are good; a space for `T`, hour 24, and offsets past 23:59 are not.
    A date-time that only lacks its offset is told apart from a malformed one. Years are 0000 to 9999.
    """
    parts = _DATE_TIME.fullmatch(text)
    if parts is None:
        return Unreadable.MALFORMED
    year, month, day, hour, minute, second, fraction, offset = parts.groups()
    days = _days_since_1970(int(year), int(month), int(day))
    if days is None or hour > "23" or minute > "59" or second > "60":
        return Unreadable.MALFORMED
    if offset is None:
        return Unreadable.WITHOUT_OFFSET
    ahead = _OFFSETS.get(offset)
    if ahead is None:
        return Unreadable.MALFORMED
    started = days * DAY_NANOSECONDS + (int(hour) * 60 + int(minute)) * 60 * NANOSECONDS - ahead
    if second == "60":
        return started + LAST_BEFORE_THE_MINUTE, FRACTION_DIGITS
    kept = (fraction or "")[:FRACTION_DIGITS]
    return started + int(second) * NANOSECONDS + int(kept.ljust(FRACTION_DIGITS, "0")), len(kept)


def _days_since_1970(year: int, month: int, day: int) -> int | None:
    # Python's dates begin with year 1; the calendar repeats every 400 years, and 0000 is a leap year as 0400 is.
    eras = 1 if year == 0 else 0
    try:
        return date(year + 400 * eras, month, day).toordinal() - _ORDINAL_OF_1970 - 146_097 * eras
    except ValueError:
        return None


_DATE_TIME: Final = re.compile(
    r"([0-9]{4})-([0-9]{2})-([0-9]{2})[Tt]([0-9]{2}):([0-9]{2}):([0-9]{2})(?:\.([0-9]+))?([Zz]|[+-][0-9]{2}:[0-9]{2})?"
)
_ORDINAL_OF_1970: Final = date(1970, 1, 1).toordinal()
_OFFSETS: Final[Mapping[str, int]] = {"Z": 0, "z": 0} | {
    f"{sign}{hour:02}:{minute:02}": direction * (hour * 60 + minute) * 60 * NANOSECONDS
    for sign, direction in (("+", 1), ("-", -1))
    for hour in range(24)
    for minute in range(60)
}
