from datetime import date

from stream.model import time as quarters
from tests.support.records import nanoseconds

DAY = quarters.day_number(date(2026, 11, 23))


def test_a_quarter_begins_with_its_first_nanosecond() -> None:
    midnight = nanoseconds("2026-11-24T00:00:00Z")

    assert quarters.quarter_of(midnight - 1) == DAY * 96 + 95
    assert quarters.quarter_of(midnight) == (DAY + 1) * 96
    assert quarters.quarter_of(midnight + 900 * 10**9 - 1) == (DAY + 1) * 96
    assert quarters.quarter_of(midnight + 900 * 10**9) == (DAY + 1) * 96 + 1
    assert quarters.start_of_quarter((DAY + 1) * 96) == midnight


def test_a_day_is_counted_from_1970() -> None:
    midnight = nanoseconds("2026-11-23T00:00:00Z")

    assert quarters.day_number(date(1970, 1, 1)) == 0
    assert quarters.date_of(DAY) == date(2026, 11, 23)
    assert quarters.start_of_day(DAY) == midnight
    assert (quarters.day_of(midnight - 1), quarters.day_of(midnight)) == (DAY - 1, DAY)


def test_an_hour_of_broker_time_lies_in_a_day() -> None:
    hour = quarters.hour_of(nanoseconds("2026-11-23T23:59:59Z") // 1_000_000)

    assert quarters.day_of_hour(hour) == DAY
    assert quarters.day_of_hour(hour + 1) == DAY + 1
