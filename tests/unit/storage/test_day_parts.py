"""Packed counts: what is packed is unpacked, and nothing else is taken for it."""

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream.storage import day_parts as packed
from stream.storage.formats import FormatError

NUMBERS = st.one_of(
    st.lists(st.integers(0, 255)),
    st.lists(st.integers(0, 65_535)),
    st.lists(st.integers(0, 2**32 - 1)),
    st.lists(st.integers(0, 2**64 - 1)),
)
TEXTS = st.lists(st.text(st.characters(codec="utf-8"), max_size=8), max_size=6)
USERS = st.lists(st.none() | st.text(st.characters(codec="utf-8"), max_size=8), max_size=70_000 // 1000)


@settings(max_examples=50, deadline=None)
@given(NUMBERS, st.sampled_from([1, 2]))
def test_a_column_is_what_was_packed(numbers: list[int], at_least: int) -> None:
    column = packed.make_column(numbers, at_least)

    sizes = [size for size in (1, 2, 4, 8) if size >= at_least and max(numbers, default=0) < 1 << 8 * size]
    assert (column.tolist(), column.itemsize) == (numbers, sizes[0])
    assert packed.decode_cells(packed.encode(packed.Cells(column, column))) == packed.Cells(column, column)


@pytest.mark.parametrize(
    ("greatest", "size"), [(0, 1), (255, 1), (256, 2), (65_535, 2), (65_536, 4), (2**32 - 1, 4), (2**32, 8)]
)
def test_a_column_takes_the_smallest_size_that_holds_all(greatest: int, size: int) -> None:
    column = packed.make_column([0, greatest])
    stored = bytes((size,)) + bytes(size) + greatest.to_bytes(size, "little")
    assert packed.encode(packed.Cells(column, column)) == msgspec.msgpack.encode((1, stored, stored))


@settings(max_examples=50, deadline=None)
@given(
    st.integers(-1, 2**63 - 1),
    TEXTS,
    st.lists(st.tuples(st.integers(0, 300), st.none() | st.text("aé😀"), st.integers(1, 96), st.integers(1, 2**40))),
)
def test_a_head_is_what_was_packed(
    written_at: int, sources: list[str], series: list[tuple[int, str | None, int, int]]
) -> None:
    kinds, users, cell_counts, totals = ([item[n] for item in series] for n in range(4))
    column = packed.make_column

    value = packed.encode(packed.Head(written_at, sources, column(kinds), users, column(cell_counts), column(totals)))

    head = packed.decode_head(value)
    assert (head.written_at, head.sources, head.users) == (written_at, sources, users)
    assert (head.kinds.tolist(), head.cell_counts.tolist(), head.totals.tolist()) == (kinds, cell_counts, totals)
    assert packed.read_written_at(value) == written_at


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 2**20), st.integers(1, 2**33), st.integers(0, 500))), TEXTS, USERS)
def test_cells_a_summary_and_a_delta_are_what_was_packed(
    cells: list[tuple[int, int, int]], sources: list[str], users: list[str | None]
) -> None:
    keys, counts, kinds = ([item[n] for item in cells] for n in range(3))
    column = packed.make_column

    read = packed.decode_cells(packed.encode(packed.Cells(column(keys, 2), column(counts))))
    assert (read.keys.tolist(), read.counts.tolist()) == (keys, counts)

    columns = column(kinds), column(counts), column(counts), column(keys, 2), column(counts)
    summary = packed.decode_summary(packed.encode(packed.Summary(sources, *columns)))
    assert (summary.sources, summary.kinds.tolist(), summary.totals.tolist()) == (sources, kinds, counts)
    assert (summary.cell_counts.tolist(), summary.keys.tolist(), summary.counts.tolist()) == (counts, keys, counts)

    of_delta = packed.Delta(77, 3, 2, sources, users, column(keys, 2), column(counts), column(kinds))
    delta = packed.decode_delta(packed.encode(of_delta))
    assert (delta.written_at, delta.first_series, delta.first_source) == (77, 3, 2)
    assert (delta.new_sources, delta.new_users) == (sources, users)
    assert (delta.keys.tolist(), delta.counts.tolist(), delta.kinds.tolist()) == (keys, counts, kinds)


def test_a_base_is_its_head_and_its_cells() -> None:
    assert packed.decode_base(packed.encode_base(b"head", b"cells")) == (b"head", b"cells")


EMPTY = packed.make_column([])
DELTA = packed.encode(packed.Delta(5, 0, 0, [], [], EMPTY, EMPTY, EMPTY))
VALUES = {
    packed.decode_head: packed.encode(packed.Head(5, [], EMPTY, [], EMPTY, EMPTY)),
    packed.decode_cells: packed.encode(packed.Cells(EMPTY, EMPTY)),
    packed.decode_summary: packed.encode(packed.Summary([], EMPTY, EMPTY, EMPTY, EMPTY, EMPTY)),
    packed.decode_delta: DELTA,
    packed.decode_base: packed.encode_base(b"", b""),
    packed.read_written_at: DELTA,
}


@pytest.mark.parametrize("decode", VALUES, ids=lambda decode: decode.__name__)
def test_another_version_is_refused_by_the_name_of_its_key(decode) -> None:
    value = VALUES[decode]
    decode(value, "some key")

    for other in (value[:1] + b"\x02" + value[2:], b"", b"\x90", b"{}"):
        with pytest.raises(ValueError, match="some key"):
            decode(other, "some key")


@pytest.mark.parametrize("decode", VALUES, ids=lambda decode: decode.__name__)
def test_a_damaged_value_is_refused(decode) -> None:
    with pytest.raises(FormatError, match="some key"):
        decode(VALUES[decode][:2], "some key")


@pytest.mark.parametrize("column", [b"", b"\x03\x00", b"\x02\x00", 7, []])
def test_a_damaged_column_is_refused(column: object) -> None:
    with pytest.raises(FormatError, match="some key' is damaged"):
        packed.decode_cells(msgspec.msgpack.encode((1, column, b"\x01")), "some key")


def test_columns_of_different_lengths_are_refused() -> None:
    with pytest.raises(FormatError, match="1 and 2 items"):
        packed.decode_cells(packed.encode(packed.Cells(packed.make_column([1]), packed.make_column([1, 2]))))
