"""A delta becomes part of its base, or of several bases where one would be too large."""

from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from stream.storage import day_parts as packed
from stream.tables.merge import NO_BASE, CellCounts, merge, summarize

Cell = tuple[int, str | None, str | None, int]
"""Activity, source, user, quarter."""

CELLS = st.lists(
    st.tuples(
        st.integers(0, 1),
        st.sampled_from([None, "user", "contact_import", "ü" * 20]),
        st.none() | st.sampled_from(["u_1", "u_2", "ßß", "v" * 40]) | st.integers(0, 60).map(lambda n: f"u{n}"),
        st.integers(0, 95),
    ),
    min_size=1,
    max_size=60,
)
NO_LIMIT = 1 << 30


def merged(base: bytes, cells: list[Cell], written_at: int, limit_bytes: int = NO_LIMIT, times: int = 1) -> list[bytes]:
    """The bases of a base and so many events of each cell."""
    delta = CellCounts()
    for activity, source, user_id, quarter in cells:
        delta[(activity, source, user_id), quarter] += times
    return merge(base, delta, written_at, limit_bytes)


def head_of(base: bytes) -> packed.Head:
    return packed.decode_head(packed.decode_base(base)[0])


def size_of(base: bytes) -> int:
    return sum(map(len, packed.decode_base(base)))


def cells_of(base: bytes) -> Counter[Cell]:
    head, cells = head_of(base), packed.decode_cells(packed.decode_base(base)[1])
    assert cells.keys.tolist() == sorted(set(cells.keys))
    sources = [None, *head.sources]
    found: Counter[Cell] = Counter()
    series = [(kind & 1, sources[kind >> 1], user) for kind, user in zip(head.kinds, head.users, strict=True)]
    assert len(set(series)) == len(series)
    for key, count in zip(cells.keys, cells.counts, strict=True):
        found[*series[key // 96], key % 96] += count
    for number, (of_series, total) in enumerate(zip(head.cell_counts, head.totals, strict=True)):
        own = [count for key, count in zip(cells.keys, cells.counts, strict=True) if key // 96 == number]
        assert (of_series, total) == (len(own), sum(own))
    return found


def summary_of(base: bytes) -> Counter[tuple[int, str | None, int]]:
    summary = packed.decode_summary(summarize(*packed.decode_base(base)))
    sources = [None, *summary.sources]
    assert summary.kinds.tolist() == sorted(set(summary.kinds))
    assert summary.keys.tolist() == sorted(set(summary.keys))
    found: Counter[tuple[int, str | None, int]] = Counter()
    for number, kind in enumerate(summary.kinds):
        own = {k % 96: c for k, c in zip(summary.keys, summary.counts, strict=True) if k // 96 == number}
        assert (summary.cell_counts[number], summary.totals[number]) == (len(own), sum(own.values()))
        for quarter, count in own.items():
            found[kind & 1, sources[kind >> 1], quarter] += count
    return found


def without_users(cells: Counter[Cell]) -> Counter[tuple[int, str | None, int]]:
    found: Counter[tuple[int, str | None, int]] = Counter()
    for (activity, source, _, quarter), count in cells.items():
        found[activity, source, quarter] += count
    return found


@settings(max_examples=50, deadline=None)
@given(CELLS, CELLS, st.sampled_from([1, 250, 70_000, 2**33]))
def test_a_base_has_the_cells_of_its_deltas(first: list[Cell], then: list[Cell], times: int) -> None:
    (base,) = merged(NO_BASE, first, 10, times=times)
    (both,) = merged(base, then, 20, times=times)

    assert cells_of(base) == Counter({cell: n * times for cell, n in Counter(first).items()})
    assert cells_of(both) == Counter({cell: n * times for cell, n in Counter(first + then).items()})
    assert summary_of(both) == without_users(cells_of(both))
    assert (head_of(base).written_at, head_of(both).written_at) == (10, 20)


@settings(max_examples=50, deadline=None)
@given(CELLS, CELLS, st.integers(1, 900))
def test_what_is_too_large_for_a_base_is_cut_by_series(first: list[Cell], then: list[Cell], limit_bytes: int) -> None:
    (base,) = merged(NO_BASE, first, 10)
    bases = merged(base, then, 20, limit_bytes)

    assert sum(map(cells_of, bases), Counter()) == Counter(first + then)
    for part in bases:
        head = head_of(part)
        assert size_of(part) < limit_bytes or len(head.users) == 1
        assert summary_of(part) == without_users(cells_of(part))
        assert {kind >> 1 for kind in head.kinds} - {0} == set(range(1, len(head.sources) + 1))


def test_a_base_just_below_the_limit_is_one_and_at_it_is_two() -> None:
    cells: list[Cell] = [(0, "user", f"u{n}", 5) for n in range(20)]
    (base,) = merged(NO_BASE, cells, 1)

    assert len(merged(NO_BASE, cells, 1, size_of(base) + 1)) == 1
    assert len(merged(NO_BASE, cells, 1, size_of(base))) == 2
