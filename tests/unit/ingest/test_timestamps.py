"""A date-time is read as the calendar says."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from stream.ingest.timestamps import Unreadable, read_date_time

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


instants = st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30))  # noqa: DTZ001 (Hypothesis wants them without)
offsets = st.integers(-23 * 60 - 59, 23 * 60 + 59)
fractions = st.text("0123456789", max_size=12)


@given(instants, fractions, offsets)
def test_every_well_formed_time_is_read_as_the_calendar_says(local: datetime, fraction: str, offset: int) -> None:
    sign, (hours, minutes) = "-" if offset < 0 else "+", divmod(abs(offset), 60)
    clock = local.replace(microsecond=0)
    text = clock.isoformat() + (f".{fraction}" if fraction else "") + f"{sign}{hours:02}:{minutes:02}"
    since = clock.replace(tzinfo=UTC) - EPOCH - timedelta(minutes=offset)
    instant = (since.days * 86_400 + since.seconds) * 10**9 + int(fraction[:9].ljust(9, "0"))
    assert read_date_time(text) == (instant, min(9, len(fraction)))


def test_what_is_only_nearly_a_time_is_none() -> None:
    for text in ("2026-11-23T01:13:07.١Z", "2026-11-31T01:13:07Z", "2026-11-23T01:13:6aZ", "2026-11-23T01:13", ""):
        assert read_date_time(text) is Unreadable.MALFORMED
