"""Latest labels, and what was seen."""

import msgspec
import pytest

from stream.model.activity import ContactActivity
from stream.storage.formats import FormatError
from stream.tables.names import NameChanges, Names, SourceName, UserName


def saw(names: Names, offset: int, user_id: str | None, label: str | None, occurred_at: int) -> None:
    event = ContactActivity("e", 0, "w", "c", None, None, user_id, label, occurred_at, 0, None)
    names.see_user(names.of("w"), event, offset)


def encoded(names: Names) -> NameChanges:
    return names.encode({})


def recovered(names: Names, table: dict[bytes, bytes]) -> Names:
    changes: dict[bytes, bytes | None] = {}
    names.encode(changes)
    table.update({key: value for key, value in changes.items() if value is not None})
    again = Names()
    for key, value in table.items():
        again.adopt(key, value)
    return again


def test_the_latest_by_time_is_the_label() -> None:
    names = Names()

    saw(names, 0, "u", "late", 20)
    saw(names, 1, "u", "early", 10)
    saw(names, 2, "u", None, 30)

    assert encoded(names) == NameChanges([UserName("w", "u", 20, 0, "late")], [])


def test_of_one_time_the_later_offset_is_the_label() -> None:
    names = Names()

    saw(names, 0, "u", "first", 20)
    saw(names, 1, "u", "second", 20)

    assert encoded(names) == NameChanges([UserName("w", "u", 20, 1, "second")], [])


def test_any_label_beats_none_and_an_empty_one_is_a_label() -> None:
    names = Names()

    saw(names, 0, "u", None, 50)
    assert encoded(names) == NameChanges([UserName("w", "u", 50, 0, None)], [])
    saw(names, 1, "u", None, 60)
    assert encoded(names) == NameChanges([], [])
    saw(names, 2, "u", "", 10)
    assert encoded(names) == NameChanges([UserName("w", "u", 10, 2, "")], [])


def test_a_label_that_only_moves_in_time_is_written() -> None:
    # Without it, a label of an event between the two would win after a recovery.
    names = Names()
    saw(names, 0, "u", "A", 10)
    encoded(names)

    saw(names, 1, "u", "A", 30)

    again = recovered(names, {})
    saw(again, 2, "u", "B", 20)
    assert encoded(again) == NameChanges([], [])


def test_events_without_a_user_or_source_are_seen_and_have_no_label() -> None:
    names = Names()

    saw(names, 3, None, "nobody", 10)
    names.see_source(names.of("w"), None, 3)
    names.see_source(names.of("w"), "user", 4)

    table: dict[bytes, bytes] = {}
    again = recovered(names, table)
    assert again.after(-1) == NameChanges(
        [UserName("w", None, 10, 3, None)], [SourceName("w", None), SourceName("w", "user")]
    )
    assert table == {
        b"nw\0u": msgspec.msgpack.encode((1, 10, 3, None)),
        b"nw\0s": msgspec.msgpack.encode((1, 3)),
        b"nw\0suser": msgspec.msgpack.encode((1, 4)),
    }


def test_what_moved_after_an_offset_is_told_apart() -> None:
    names = Names()
    saw(names, 1, "a", "A", 10)
    saw(names, 2, "b", "B", 10)
    saw(names, 3, "a", "AA", 20)
    names.see_source(names.of("w"), "x", 1)
    names.see_source(names.of("w"), "y", 2)
    names = recovered(names, {})

    assert names.after(1) == NameChanges(
        [UserName("w", "a", 20, 3, "AA"), UserName("w", "b", 10, 2, "B")], [SourceName("w", "y")]
    )
    assert names.after(2) == NameChanges([UserName("w", "a", 20, 3, "AA")], [])
    assert names.after(3) == NameChanges([], [])


def test_ids_with_zero_bytes_keep_to_their_workspace() -> None:
    names = Names()
    saw(names, 1, "\0u\0s", "odd", 10)

    assert recovered(names, {}).after(-1).users == [UserName("w", "\0u\0s", 10, 1, "odd")]


@pytest.mark.parametrize(
    ("key", "value"),
    [(b"nw\0ua", b"\x94\x02\x01\x01\xc0"), (b"nw\0sa", b"\x92\x02\x01"), (b"nw", b"\x92\x01\x01"), (b"nw\0x", b"")],
)
def test_another_format_is_refused(key: bytes, value: bytes) -> None:
    with pytest.raises(FormatError, match="b'nw"):
        Names().adopt(key, value)
