"""Latest labels, and what was seen."""

import msgspec
import pytest

from stream.model.activity import ContactActivity
from stream.storage.formats import FormatError
from stream.tables.commit import NameChanges, SourceName, UserName
from stream.tables.names import Names
from tests.support.names import listed


def saw(names: Names, offset: int, user_id: str | None, label: str | None, occurred_at: int) -> None:
    event = ContactActivity("e", 0, "w", "c", None, None, user_id, label, occurred_at, 0, None)
    names.see_user(event, offset)


LIMIT = 1_000


def encoded(names: Names) -> NameChanges:
    return names.encode({})


def recovered(names: Names, table: dict[bytes, bytes], limit: int = LIMIT) -> Names:
    records: dict[bytes, bytes | None] = {}
    names.encode(records)
    table.update({key: value for key, value in records.items() if value is not None})
    again = Names(limit)
    for key, value in table.items():
        again.adopt(key, value)
    return again


def test_the_latest_by_time_is_the_label() -> None:
    names = Names(LIMIT)

    saw(names, 0, "u", "late", 20)
    saw(names, 1, "u", "early", 10)
    saw(names, 2, "u", None, 30)

    assert encoded(names) == NameChanges([UserName("w", "u", 20, 0, "late")], [])


def test_of_one_time_the_later_offset_is_the_label() -> None:
    names = Names(LIMIT)

    saw(names, 0, "u", "first", 20)
    saw(names, 1, "u", "second", 20)

    assert encoded(names) == NameChanges([UserName("w", "u", 20, 1, "second")], [])


def test_any_label_beats_none_and_an_empty_one_is_a_label() -> None:
    names = Names(LIMIT)

    saw(names, 0, "u", None, 50)
    assert encoded(names) == NameChanges([UserName("w", "u", 50, 0, None)], [])
    saw(names, 1, "u", None, 60)
    assert encoded(names) == NameChanges([], [])
    saw(names, 2, "u", "", 10)
    assert encoded(names) == NameChanges([UserName("w", "u", 10, 2, "")], [])


def test_a_label_that_only_moves_in_time_is_written() -> None:
    # Without it, a label of an event between the two would win after a recovery.
    names = Names(LIMIT)
    saw(names, 0, "u", "A", 10)
    encoded(names)

    saw(names, 1, "u", "A", 30)

    again = recovered(names, {})
    saw(again, 2, "u", "B", 20)
    assert encoded(again) == NameChanges([], [])


def test_events_without_a_user_or_source_are_seen_and_have_no_label() -> None:
    names = Names(LIMIT)

    saw(names, 3, None, "nobody", 10)
    names.see_source("w", None, 3)
    names.see_source("w", "user", 4)

    table: dict[bytes, bytes] = {}
    again = recovered(names, table)
    assert listed(again.after(-1)) == NameChanges(
        [UserName("w", None, 10, 3, None)], [SourceName("w", None), SourceName("w", "user")]
    )
    assert table == {
        b"nw\0u": msgspec.msgpack.encode((1, 10, 3, None)),
        b"nw\0s": msgspec.msgpack.encode((1, 3)),
        b"nw\0suser": msgspec.msgpack.encode((1, 4)),
    }


def test_what_moved_after_an_offset_is_told_apart() -> None:
    names = Names(LIMIT)
    saw(names, 1, "a", "A", 10)
    saw(names, 2, "b", "B", 10)
    saw(names, 3, "a", "AA", 20)
    names.see_source("w", "x", 1)
    names.see_source("w", "y", 2)
    names = recovered(names, {})

    assert listed(names.after(1)) == NameChanges(
        [UserName("w", "b", 10, 2, "B"), UserName("w", "a", 20, 3, "AA")], [SourceName("w", "y")]
    )
    assert listed(names.after(2)) == NameChanges([UserName("w", "a", 20, 3, "AA")], [])
    assert listed(names.after(3)) == NameChanges([], [])


def test_ids_with_zero_bytes_keep_to_their_workspace() -> None:
    names = Names(LIMIT)
    saw(names, 1, "\0u\0s", "odd", 10)

    assert listed(recovered(names, {}).after(-1)).users == [UserName("w", "\0u\0s", 10, 1, "odd")]


@pytest.mark.parametrize(
    ("key", "value"),
    [(b"nw\0ua", b"\x94\x02\x01\x01\xc0"), (b"nw\0sa", b"\x92\x02\x01"), (b"nw", b"\x92\x01\x01"), (b"nw\0x", b"")],
)
def test_another_format_is_refused(key: bytes, value: bytes) -> None:
    with pytest.raises(FormatError, match="b'nw"):
        Names(LIMIT).adopt(key, value)


def test_a_name_that_comes_above_the_limit_is_not_kept_and_those_that_are_go_on() -> None:
    # Given a partition that keeps three names, and has them
    names = Names(3)
    saw(names, 0, "a", "A", 10)
    names.see_source("w", "user", 0)
    saw(names, 1, "b", "B", 10)
    # When another user, another source and another workspace come, and labels of all users
    saw(names, 2, "c", "C", 20)
    names.see_source("w", "api", 2)
    names.see_source("x", "user", 3)
    saw(names, 4, "c", "CC", 30)
    saw(names, 5, "a", "AA", 30)
    # Then those that are kept move, of the others nothing is there, and each time is counted
    kept = NameChanges([UserName("w", "b", 10, 1, "B"), UserName("w", "a", 30, 5, "AA")], [SourceName("w", "user")])
    table: dict[bytes, bytes] = {}
    again = recovered(names, table, 3)
    assert (names.not_kept, len(table)) == (4, 3)
    assert listed(names.after(-1)) == kept
    # And after a recovery it is full as before: by a smaller limit too, which takes nothing away.
    for known in (again, recovered(again, table, 2)):
        saw(known, 6, "d", "D", 40)
        assert known.not_kept == 1
        assert listed(known.after(-1)) == kept
    # By a larger one a user that comes again is kept.
    larger = recovered(again, table, 4)
    saw(larger, 6, "c", "C", 40)
    assert [user.user_id for user in listed(larger.after(-1)).users] == ["b", "a", "c"]


def test_those_after_an_offset_come_in_its_order() -> None:
    # Given users whose labels moved in an order of their own, and sources
    names = Names(LIMIT)
    for number in range(300):
        saw(names, number * 7 % 300, f"u{number}", "label", 10)
    for number in range(200):
        names.see_source("w", f"s{number}", number)
    # When those after an offset are asked for, then all are there, the users by their offsets.
    found = listed(names.after(100))
    assert [user.offset for user in found.users] == list(range(101, 300))
    assert len(found.sources) == 99
