"""What a read asks of days, and the parts that it finds in the values."""

import random
import tracemalloc
from collections.abc import Mapping

import hiredis
import pytest

from api.cache import ENTRY_BYTES, Memory
from api.read.freshness import read_positions
from api.read.manifests import (
    CHANGED,
    KNOWN_BYTES,
    KNOWN_DAY_BYTES,
    KNOWN_PARTITION_BYTES,
    Asked,
    Days,
    KeysLost,
    Known,
    Manifests,
    Seen,
    ask,
    changes,
    learn,
    read_parts,
)
from api.read.parts import CELLS, HEADS, SUMMARIES, PartitionDay
from api.read.redis import Reader
from api.read.snapshot import State
from stream.settings.redis import PackedWords, pack_around

TWO = b"v1 0:2 3:0"
ONE = b"v2 0:1"


def seen(manifests: Mapping[int, bytes]) -> Seen:
    known, days = Manifests(Memory(10**6)), Days(list(manifests))
    before = known.seen("w", days, None)
    learn(before, dict(manifests))
    known.keep("w", before.known)
    return known.seen("w", days, None)


def commands(asked: Asked) -> list[list[bytes]]:
    """As a server reads them."""
    reader = hiredis.Reader()
    found = []
    for number, fields, words in asked.fields:
        reader.feed(b"".join(pack_around(("HMGET", number, PackedWords(words, fields)))))
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
    values = [[b"a", None], [b"b", b"c", None, b"d", b"e", b"f", b"g", b"h", None], [b"i", b"j"]]
    found = read_parts(asked, values, list(map(manifests.get, wanted)))
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
            read_parts(asked, [values], [TWO])
    else:
        assert list(read_parts(asked, [values], [TWO])) == [20_000]
    # ... but a day that has other parts by now, or is gone, lacks nothing: it is read again
    for now in (ONE, None):
        assert list(read_parts(asked, [values], [now])) == []
    # ... and one with other counts in the same parts is as it is now
    if not lost:
        assert list(read_parts(asked, [values], [b"v9" + TWO[2:]])) == [20_000]


@pytest.mark.parametrize("whole", [False, True])
def test_days_that_changed_are_the_new_the_others_and_those_that_are_gone(whole: bool) -> None:
    def found(now: Mapping[int, bytes]) -> Mapping[int, bytes | None]:
        """As a read of these days finds it, or one of all that there are."""
        before: dict[int, bytes] = {1: b"a", 2: b"b", 3: b"c"}
        if whole:
            return changes(list(now), list(now.values()), list(before), list(before.values()))
        days = [1, 2, 3, 4]
        return changes(days, list(map(now.get, days)), days, list(map(before.get, days)))

    assert found({1: b"a", 2: b"b", 3: b"c"}) == {}
    assert found({1: b"a", 2: b"x", 3: b"y"}) == {2: b"x", 3: b"y"}
    assert found({2: b"b", 3: b"c", 4: b"d"}) == {1: None, 4: b"d"}
    assert found({2: b"b", 3: b"z"}) == {1: None, 3: b"z"}
    assert found({}) == {1: None, 2: None, 3: None}


def test_a_day_in_place_of_another_has_changed_though_its_manifest_is_the_same() -> None:
    assert changes([2], [b"a"], [1], [b"a"]) == {1: None, 2: b"a"}


def test_a_day_that_changed_since_the_read_before_is_taken_to_have_changed_again() -> None:
    memory = Memory(10**6)
    manifests, days = Manifests(memory), Days([1, 2, 3])

    def read(now: dict[int, bytes]) -> Mapping[int, bytes | None]:
        before = manifests.seen("w", days, None)
        learn(before, changes(days.days, list(map(now.get, days.days)), before.days, before.manifests))
        known = before.known
        if known.grown:
            manifests.keep("w", known)
        assert memory.bytes == known.size_bytes + ENTRY_BYTES
        assert known.size_bytes == KNOWN_BYTES + sum(KNOWN_DAY_BYTES + len(found) for found in known.manifests.values())
        found = zip(days.days, manifests.seen("w", days, None).now(), strict=True)
        return {day: None if manifest is CHANGED else manifest for day, manifest in found if manifest is not None}

    assert read({1: b"a", 2: b"b"}) == {1: b"a", 2: b"b"}
    assert read({1: b"a", 2: b"c"}) == {1: b"a", 2: None}
    assert read({1: b"x", 2: b"d"}) == {1: None, 2: None}
    assert read({1: b"x", 2: b"e", 3: b"f"}) == {1: b"x", 2: None, 3: b"f"}
    assert read({1: b"x", 3: b"f"}) == {1: b"x", 3: b"f"}
    assert read({2: b"e", 3: b"f"}) == {2: b"e", 3: b"f"}


def test_the_memory_is_told_of_new_partitions() -> None:
    memory = Memory(10**6)
    manifests, known = Manifests(memory), Known()
    fields = [b"5", None, b"7", None, None, None]
    for partitions in (1, 1, 3, 2):
        state = State(read_positions(partitions, fields * partitions), b"v")
        manifests.note("w", known, state)
        assert len(state.positions.partitions) == partitions
        assert memory.bytes == KNOWN_BYTES + partitions * KNOWN_PARTITION_BYTES + ENTRY_BYTES


@pytest.mark.parametrize(("days", "partitions"), [(0, 1), (1, 4), (300, 1), (300, 4), (300, 32)])
def test_a_read_that_is_kept_takes_no_more_than_the_memory_is_told(days: int, partitions: int) -> None:
    # Given days whose partitions have as many bases as it came, and users with labels
    rng = random.Random(days)
    reader = Reader("redis://127.0.0.1:1/0", "g", 1.0, 0, Memory(10**6))
    manifests = {
        day: b"%016x " % day + b" ".join(b"%d:%d" % (of, rng.randrange(3)) for of in range(partitions))
        for day in range(20_000, 20_000 + days)
    }
    of, wanted, names = seen(manifests), dict.fromkeys(manifests, SUMMARIES | HEADS), [f"u:{n}" for n in range(500)]
    reader.prepare("w", of, wanted, names)  # what is kept of each wording is no read's
    # When they are written as a read
    tracemalloc.start()
    try:
        prepared = reader.prepare("w", of, wanted, [*names])
        taken, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # Then that is not told to be less, and not far more
    names_alone = 500 * 60  # they are shared with what was given
    assert taken <= prepared.size_bytes <= 2 * (taken + names_alone)
