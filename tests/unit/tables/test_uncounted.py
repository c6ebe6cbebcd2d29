"""Uncounted offsets against a set of them."""

from collections.abc import Mapping
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream.storage.formats import FormatError
from stream.tables import uncounted as module
from stream.tables.uncounted import Uncounted


def take(table: dict[bytes, bytes], ranges: Uncounted) -> None:
    changes: dict[bytes, bytes | None] = {}
    ranges.encode(changes)
    for key, value in changes.items():
        if value is None:
            del table[key]
        else:
            table[key] = value


def recovered(table: Mapping[bytes, bytes]) -> Uncounted:
    ranges = Uncounted()
    for key, value in sorted(table.items()):
        ranges.adopt(key, value)
    return ranges


GAPS = st.lists(st.one_of(st.just(0), st.integers(1, 5), st.integers(100, 40_000), st.just(2**40)), max_size=40)

STEPS = st.lists(st.sampled_from(["", "", "encode", "recover"]), min_size=40, max_size=40)


@settings(max_examples=60, deadline=None)
@given(
    GAPS,
    STEPS,
    st.sampled_from([2, 9, 512]),
)
def test_offsets_are_all_there_however_they_are_committed(gaps: list[int], steps: list[str], block_bytes: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "BLOCK_BYTES", block_bytes)
        ranges, undisturbed, table, noted, offset = Uncounted(), Uncounted(), dict[bytes, bytes](), set[int](), 0
        for gap, then in zip(gaps, steps, strict=False):
            offset += gap
            for known in (ranges, undisturbed):
                known.add(offset)
            noted.add(offset)
            offset += 1
            if then:
                take(table, ranges)
            if then == "recover":
                ranges = recovered(table)
        take(table, ranges)
        written: dict[bytes, bytes] = {}
        take(written, undisturbed)

        assert table == written
        for known in (ranges, recovered(table)):
            asked = noted | {n + 1 for n in noted} | {n - 1 for n in noted}
            assert {n for n in asked if n in known} == noted
            found = list(known.ranges(-1, 2**62))
            assert found == sorted(found)
            assert all(second[0] > first[1] + 1 for first, second in pairwise(found))
            assert {n for first, last in found for n in range(first, last + 1)} == noted


@given(st.sets(st.integers(0, 60)), st.integers(-1, 61), st.integers(-1, 61), st.sampled_from([2, 512]))
def test_ranges_are_cut_to_what_is_asked(offsets: set[int], after: int, upto: int, block_bytes: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "BLOCK_BYTES", block_bytes)
        ranges = Uncounted()
        for offset in sorted(offsets):
            ranges.add(offset)

        found = {n for first, last in ranges.ranges(after, upto) for n in range(first, last + 1)}

    assert found == {n for n in offsets if after < n <= upto}


def test_a_range_grows_across_commits_in_one_block() -> None:
    ranges, table = Uncounted(), dict[bytes, bytes]()
    for offset in (7, 8, 20):
        ranges.add(offset)
        take(table, ranges)
    ranges.add(21)
    take(table, ranges)

    assert table == {b"u" + (7).to_bytes(8, "big"): bytes((1, 0, 2, 11, 2))}


def test_what_the_topic_lost_is_forgotten_by_blocks() -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "BLOCK_BYTES", 5)
        ranges, table = Uncounted(), dict[bytes, bytes]()
        for offset in range(0, 100, 10):
            ranges.add(offset)
        take(table, ranges)
        before = len(table)

        ranges.forget_before(45)
        take(table, ranges)

        assert (before, len(table)) == (5, 3)
        assert [first for first, _ in ranges.ranges(-1, 99)] == [40, 50, 60, 70, 80, 90]
        ranges.forget_before(10_000)
        ranges.add(100)
        take(table, ranges)
        assert list(recovered(table).ranges(-1, 999)) == [(80, 80), (90, 90), (100, 100)]


def test_full_blocks_stay_small() -> None:
    ranges, table = Uncounted(), dict[bytes, bytes]()
    for n in range(5_000):
        ranges.add(n * 200)
    take(table, ranges)

    assert max(map(len, table.values())) < module.BLOCK_BYTES + 20
    assert sum(map(len, table.values())) < 3.1 * 5_000


@pytest.mark.parametrize("value", [b"", b"\x02\x00\x01", b"\x01", b"\x01\x00", b"\x01\x00\x81"])
def test_another_format_is_refused(value: bytes) -> None:
    with pytest.raises(FormatError, match="b'u"):
        Uncounted().adopt(b"u" + bytes(8), value)
