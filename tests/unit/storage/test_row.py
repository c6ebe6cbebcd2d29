"""Rows of the activity table: the order of their bytes is the order of the table."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream.model.activity import ADDED, DELETED, ContactActivity
from stream.model.time import quarter_of
from stream.storage import row
from stream.storage.formats import FormatError
from tests.support.records import nanoseconds

IDS = st.text(st.sampled_from("\x00\x01\x02a\xfe\xff\ud7ff\ue000😀"), min_size=1, max_size=4)
PLACES = st.tuples(
    st.integers(946_684_800 * 10**9, 2**63 - 1) | st.sampled_from([10**18, 10**18 + 1]),
    IDS,
    st.integers(0, 3),
    st.integers(0, 2**40),
)
TEXT = st.none() | st.text(st.characters(codec="utf-8"), max_size=5)


def activity(event_id: str, occurred_at: int, *rest: str | None) -> ContactActivity:
    name, source, user_id, user_name, batch_id = rest or (None,) * 5
    return ContactActivity(event_id, ADDED, "w", "c", name, source, user_id, user_name, occurred_at, 3, batch_id)


@settings(max_examples=50, deadline=None)
@given(st.lists(PLACES, min_size=2, max_size=6))
def test_rows_lie_in_the_order_of_time_id_partition_and_offset(places: list[tuple[int, str, int, int]]) -> None:
    packed = {row.encode_row(activity(place[1], place[0]), *place[2:]): place for place in places}

    assert [packed[value] for value in sorted(packed)] == sorted(set(places))


@settings(max_examples=50, deadline=None)
@given(PLACES, st.tuples(TEXT, TEXT, TEXT, TEXT, TEXT), st.integers(0, 9), st.sampled_from([ADDED, DELETED]))
def test_a_row_is_what_was_packed(
    place: tuple[int, str, int, int], rest: tuple[str | None, ...], digits: int, act: int
) -> None:
    occurred_at, event_id, partition, offset = place
    name, source, user_id, user_name, batch_id = rest
    event = ContactActivity(event_id, act, "w", "c9", name, source, user_id, user_name, occurred_at, digits, batch_id)

    packed = row.encode_row(event, partition, offset)

    assert row.decode_row(packed) == row.Row(
        occurred_at, event_id, partition, offset, act, digits, "c9", name, source, user_id, user_name, batch_id
    )
    assert row.occurred_at_of(packed) == occurred_at


@settings(max_examples=50, deadline=None)
@given(st.lists(PLACES, min_size=2, max_size=6, unique=True))
def test_a_key_divides_the_rows_before_it_from_those_after(places: list[tuple[int, str, int, int]]) -> None:
    packed = sorted(row.encode_row(activity(place[1], place[0]), *place[2:]) for place in places)

    for index, value in enumerate(packed):
        key = row.key_of(value)
        assert [other for other in packed if other < key] == packed[:index]
        assert [other for other in packed if other >= row.key_after(key)] == packed[index + 1 :]


def test_bounds_of_quarters_hold_the_first_nanosecond_and_not_the_last() -> None:
    start = nanoseconds("2026-11-23T01:15:00Z")
    times = [start - 1, start, start + 900 * 10**9 - 1, start + 900 * 10**9]
    packed = [row.encode_row(activity("\x00", time), 0, 0) for time in times]

    low, high = row.quarter_bounds(quarter_of(start), quarter_of(start) + 1)

    assert [low <= value < high for value in packed] == [False, True, True, False]
    assert row.time_bound(start) == low


@pytest.mark.parametrize(
    "damaged", [b"", b"12345678", b"12345678a\x00\x01", b"12345678a\x00\x01" + bytes(10) + b"\xc1"]
)
def test_what_is_no_row_is_refused(damaged: bytes) -> None:
    with pytest.raises(FormatError, match="not a row"):
        row.decode_row(damaged)


def test_what_has_no_key_is_refused() -> None:
    with pytest.raises(FormatError, match="not a row"):
        row.key_of(b"12345678a\x00\x01")


def test_the_longest_event_is_below_the_limit_of_a_row() -> None:
    event = ContactActivity(
        "\x00" * 128, 0, "w", "😀" * 128, "😀" * 512, "😀" * 64, "😀" * 128, "😀" * 512, 2**63 - 1, 9, "😀" * 128
    )

    assert len(row.encode_row(event, 65_535, 2**63 - 1)) < row.ROW_BYTES_LIMIT // 3
