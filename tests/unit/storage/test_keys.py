"""The layout of Redis: names of keys and fields, and the small values."""

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream.storage.keys import (
    Keys,
    Label,
    Manifest,
    format_label,
    format_manifest,
    format_missing_rows,
    parse_label,
    parse_manifest,
    parse_missing_rows,
    widen,
)

KEYS = Keys("contacts-report")


def test_every_key_begins_with_the_deployment_and_one_tag() -> None:
    assert [KEYS.positions, KEYS.workspaces, KEYS.changes] == [
        "cr1:contacts-report:{0}:positions",
        "cr1:contacts-report:{0}:workspaces",
        "cr1:contacts-report:{0}:changes",
    ]
    assert [
        KEYS.days("w"),
        KEYS.cells("w", 20_815),
        KEYS.cells("w", 20_832),
        KEYS.rows("w", 20_815),
        KEYS.names("w"),
    ] == [
        "cr1:contacts-report:{0}:days:w",
        "cr1:contacts-report:{0}:cells:w:650",
        "cr1:contacts-report:{0}:cells:w:651",
        "cr1:contacts-report:{0}:rows1:w:20815",
        "cr1:contacts-report:{0}:names:w",
    ]


def test_fields_name_day_partition_and_base() -> None:
    assert [
        KEYS.position_field(3, "as_of"),
        KEYS.head_field(20_815, 3, 0),
        KEYS.cells_field(20_815, 3, 1),
        KEYS.summary_field(20_815, 3, 2),
        KEYS.delta_field(20_815, 3),
        KEYS.user_field("u_7"),
        KEYS.user_field(None),
        KEYS.source_field("user"),
        KEYS.source_field(None),
    ] == ["3.as_of", "20815.3.0.h", "20815.3.1.c", "20815.3.2.s", "20815.3.t", "u:u_7", "u:", "s:user", "s:"]


def test_a_manifest_says_which_parts_there_are() -> None:
    manifest = Manifest("9f3a", {10: 2, 3: 0})

    assert format_manifest(manifest) == "9f3a 3:0 10:2"
    assert parse_manifest(b"9f3a 3:0 10:2") == manifest
    assert parse_manifest(b"9f3a") == Manifest("9f3a", {})


def test_missing_rows_are_json() -> None:
    missing_rows = ((-1, 5, 1_700_000_000_000), (9, 12, 1_700_000_000_001))

    assert format_missing_rows(missing_rows) == "[[-1,5,1700000000000],[9,12,1700000000001]]"
    assert KEYS.missing_rows_text(missing_rows) == format_missing_rows(missing_rows)
    assert parse_missing_rows(format_missing_rows(missing_rows).encode()) == missing_rows
    assert parse_missing_rows(b"") == parse_missing_rows(b"[]") == ()


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ((20, 30, 7), ((0, 5, 50), (10, 15, 60), (20, 30, 7))),
        ((15, 30, 7), ((0, 5, 50), (10, 30, 60))),
        ((5, 10, 99), ((0, 15, 99),)),
        ((11, 12, 7), ((0, 5, 50), (10, 15, 60))),
        ((6, 9, 7), ((0, 5, 50), (6, 9, 7), (10, 15, 60))),
        ((-1, 40, 7), ((-1, 40, 60),)),
        ((7, 7, 7), ((0, 5, 50), (10, 15, 60))),
    ],
)
def test_ranges_of_missing_rows_are_added(
    more: tuple[int, int, int], expected: tuple[tuple[int, int, int], ...]
) -> None:
    assert widen(((0, 5, 50), (10, 15, 60)), more) == expected


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.integers(-1, 30), st.integers(0, 30), st.integers(1, 9)), max_size=8))
def test_no_missing_row_is_forgotten(ranges: list[tuple[int, int, int]]) -> None:
    missing_rows: tuple[tuple[int, int, int], ...] = ()
    for more in ranges:
        missing_rows = widen(missing_rows, more)

    offsets = {offset: 0 for after, upto, _ in ranges for offset in range(after + 1, upto + 1)}
    for after, upto, greatest_ms in ranges:
        for offset in range(after + 1, upto + 1):
            offsets[offset] = max(offsets[offset], greatest_ms)
    held = {offset: greatest_ms for after, upto, greatest_ms in missing_rows for offset in range(after + 1, upto + 1)}
    assert held.keys() == offsets.keys()
    assert all(held[offset] >= greatest_ms for offset, greatest_ms in offsets.items())
    assert list(missing_rows) == sorted(missing_rows)


@settings(max_examples=50, deadline=None)
@given(
    st.integers(0, 2**63 - 1),
    st.integers(0, 65_535),
    st.integers(0, 2**63 - 1),
    st.none() | st.text(st.characters(codec="utf-8")),
)
def test_a_label_is_what_was_written(occurred_at: int, partition: int, offset: int, label: str | None) -> None:
    value = format_label(occurred_at, partition, offset, label).encode()

    assert parse_label(value) == Label(label is not None, occurred_at, partition, offset, label or "")


def test_of_two_labels_the_greater_stands() -> None:
    ascending = (
        Label(False, 9, 3, 9, ""),
        Label(True, 1, 0, 5, "B"),
        Label(True, 2, 0, 1, "A"),
        Label(True, 2, 1, 0, "A"),
        Label(True, 2, 1, 4, "A"),
    )

    assert all(earlier < later for earlier, later in pairwise(ascending))


def test_what_is_no_label_is_refused() -> None:
    with pytest.raises(ValueError, match="not a label"):
        parse_label(b"1 2 3")
