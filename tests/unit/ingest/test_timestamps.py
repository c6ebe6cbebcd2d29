"""The two ways to read a date-time agree, and read what the calendar says."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from stream.ingest.timestamps import AFTER_SECOND, DATES, MINUTES, SECONDS, Unreadable, read_date_time

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def read_quickly(text: str) -> tuple[int, int] | None:
    """The quick way, as stream/ingest/event.py goes it; None where it leaves the text to the other."""
    try:
        after_second, digits = AFTER_SECOND[text[19:]]
        return DATES[text[:10]] + MINUTES[text[10:16]] + SECONDS[text[16:19]] + after_second, digits
    except (ValueError, LookupError):
        return None


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
    quickly = read_quickly(text)
    if 2001 <= local.year <= 2199 and len(fraction) <= 9:
        assert quickly == (instant, len(fraction))
    else:
        assert quickly is None


near_misses = st.builds(
    lambda text, at, length, instead: text[:at] + instead + text[at + length :],
    st.sampled_from(["2026-11-23T01:13:07Z", "2026-11-23T01:13:07.412Z", "2026-11-23T09:13:07.412345+08:00"]),
    st.integers(0, 33),
    st.integers(0, 3),
    st.one_of(st.text("0123456789TtZz+-.: ", max_size=4), st.text(max_size=2)),
)


@given(near_misses)
def test_what_the_quick_way_reads_the_strict_one_reads_the_same(text: str) -> None:
    quickly = read_quickly(text)
    assert quickly is None or quickly == read_date_time(text)


def test_what_is_only_nearly_a_time_is_held_nowhere() -> None:
    """A memo that held a wrong answer would give it again."""
    for text in ("2026-11-23T01:13:07.١Z", "2026-11-31T01:13:07Z", "2026-11-23T01:13:6aZ", "2026-11-23T01:13", ""):
        for _ in range(2):
            assert read_quickly(text) is None
            assert read_date_time(text) is Unreadable.MALFORMED


def test_long_fractions_do_not_push_the_common_ones_out() -> None:
    read_quickly("2026-11-23T01:13:07.25Z")
    for digits in range(1000, 3000):
        assert read_quickly(f"2026-11-23T01:13:07.00{digits}Z") is not None
    assert ".25Z" in AFTER_SECOND
    assert ".001000Z" not in AFTER_SECOND
