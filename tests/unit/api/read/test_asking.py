"""What a read asks of days, and the parts that it finds in the values."""

from collections.abc import Mapping

import hiredis
import pytest

from api.cache import Memory
from api.read.manifests import Asked, KeysLost, Manifests, Seen, ask, moved_days, read_parts
from api.read.parts import CELLS, HEADS, SUMMARIES, PartitionDay
from stream.settings.redis import pack_around

TWO = b"v1 0:2 3:0"
ONE = b"v2 0:1"


def seen(manifests: Mapping[int, bytes]) -> Seen:
    memory = Memory(10**6)
    known = Manifests(memory)
    known.learn("w", known.seen("w", list(manifests), None), manifests, list(manifests))
    return known.seen("w", list(manifests), None)


def commands(asked: Asked) -> list[list[bytes]]:
    """As a server reads them."""
    reader = hiredis.Reader()
    found = []
    for number, fields in asked.fields:
        reader.feed(b"".join(pack_around(("HMGET", number, *fields))))
        found.append(reader.gets())
    return found


def test_days_are_asked_by_the_parts_that_they_had_in_one_command_a_hash() -> None:
    # Given days on both sides of a hash's end, where their numbers become longer, and one of other parts
    manifests = {9_983: ONE, 9_984: TWO, 9_999: ONE, 10_000: ONE, 10_015: ONE, 10_016: ONE}
    wanted = {9_983: SUMMARIES, 9_984: SUMMARIES, 9_999: HEADS | CELLS, 10_000: SUMMARIES, 10_016: HEADS}
    # When some of them are asked for
    asked = ask(seen(manifests), wanted)
    # Then each hash has the fields of its days in their order
    assert commands(asked) == [
        [b"HMGET", b"311", b"9983.0.0.s", b"9983.0.t"],
        [b"HMGET", b"312", b"9984.0.0.s", b"9984.0.1.s", b"9984.0.t", b"9984.3.t", b"9999.0.0.h", b"9999.0.0.c",
         b"9999.0.t", b"10000.0.0.s", b"10000.0.t"],
        [b"HMGET", b"313", b"10016.0.0.h", b"10016.0.t"],
    ]  # fmt: skip
    # ... and what comes is cut up so again
    found = read_parts(
        asked, [[b"a", None], [b"b", b"c", None, b"d", b"e", b"f", b"g", b"h", None], [b"i", b"j"]], manifests
    )
    assert dict(found) == {
        9_983: [PartitionDay([b"a"], [], [], None)],
        9_984: [PartitionDay([b"b", b"c"], [], [], None), PartitionDay([], [], [], b"d")],
        9_999: [PartitionDay([], [b"e"], [b"f"], b"g")],
        10_000: [PartitionDay([b"h"], [], [], None)],
        10_016: [PartitionDay([], [b"i"], [], b"j")],
    }
    assert dict(found.of([9_984, 10_016])) == {day: found[day] for day in (9_984, 10_016)}


@pytest.mark.parametrize(
    ("values", "lost"),
    [
        ([b"a", b"b", None, b"d"], False),
        ([b"a", None, b"c", b"d"], True),  # a base
        ([b"a", b"b", b"c", None], True),  # a delta that is all there is
    ],
)
def test_parts_that_must_be_there_are_told_lost_where_they_are_not(values: list[bytes | None], lost: bool) -> None:
    manifests = {20_000: TWO}
    asked = ask(seen(manifests), {20_000: SUMMARIES})
    if lost:
        with pytest.raises(KeysLost):
            read_parts(asked, [values], manifests)
    else:
        assert list(read_parts(asked, [values], manifests)) == [20_000]
    # ... but a day that has other parts by now, or is gone, lacks nothing: it is read again
    for now in ({20_000: ONE}, {}):
        assert list(read_parts(asked, [values], now)) == []
    # ... and one with other counts in the same parts is as it is now
    if not lost:
        assert list(read_parts(asked, [values], {20_000: b"v9" + TWO[2:]})) == [20_000]


def test_days_that_moved_are_the_new_and_the_changed() -> None:
    before = {1: b"a", 2: b"b", 3: b"c"}
    assert moved_days(dict(before), before) == []
    assert moved_days({1: b"a", 2: b"x", 3: b"y"}, before) == [2, 3]
    assert moved_days({3: b"y", 2: b"b", 1: b"a"}, before) == [3]
    assert moved_days({2: b"b", 3: b"c", 4: b"d"}, before) == [4]
    assert moved_days({}, before) == []


def test_a_day_that_changed_since_the_read_before_is_taken_to_have_changed_again() -> None:
    memory = Memory(10**6)
    manifests = Manifests(memory)

    def read(now: dict[int, bytes]) -> Mapping[int, bytes | None]:
        before = manifests.seen("w", [1, 2, 3], None)
        manifests.learn("w", before, now, moved_days(now, before.manifests))
        return manifests.seen("w", [1, 2, 3], None).now

    assert read({1: b"a", 2: b"b"}) == {1: b"a", 2: b"b"}
    assert read({1: b"a", 2: b"c"}) == {1: b"a", 2: None}
    assert read({1: b"x", 2: b"d"}) == {1: None, 2: None}
    assert read({1: b"x", 2: b"e", 3: b"f"}) == {1: b"x", 2: None, 3: b"f"}
    assert read({1: b"x", 3: b"f"}) == {1: b"x", 3: b"f"}
    assert read({2: b"e", 3: b"f"}) == {2: b"e", 3: b"f"}
