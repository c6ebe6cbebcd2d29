"""Recent ids against a model of a few lines, with windows, limits and hours so small that each edge is met."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream.storage.formats import FormatError
from stream.tables import recent_ids
from stream.tables.recent_ids import RecentIds

HOUR_MS = 3_600_000
Seen = tuple[int, int]
"""An id, and the hour of its record."""


class Model:
    def __init__(self, window: int, max_ids: int) -> None:
        self.window, self.max_ids = window, max_ids
        self.latest: int | None = None
        self.counted: list[Seen] = []

    def remember(self, event_id: int, hour: int) -> bool:
        if any(known == event_id and hour - then <= self.window for known, then in self.counted):
            return False
        self.latest = hour if self.latest is None else max(self.latest, hour)
        self.counted.append((event_id, hour))
        self.counted = [seen for seen in self.counted if self.latest - seen[1] <= self.window + 1]
        while len(self.counted) > self.max_ids:
            oldest = min(then for _, then in self.counted)
            self.counted = [seen for seen in self.counted if seen[1] != oldest]
        return True


def fresh(ids: RecentIds, seen: list[Seen]) -> list[bool]:
    return [ids.remember("w", f"e{event_id}", hour * HOUR_MS + event_id % 7) for event_id, hour in seen]


def recovered(window: int, max_ids: int, latest_hour: int | None, table: dict[bytes, bytes]) -> RecentIds:
    ids = RecentIds(window, max_ids)
    for key, value in sorted(table.items()):
        ids.adopt(key, value)
    ids.finish_adopting(latest_hour)
    return ids


def take(table: dict[bytes, bytes], ids: RecentIds) -> None:
    changes: dict[bytes, bytes | None] = {}
    ids.encode(changes)
    for key, value in changes.items():
        if value is None:
            del table[key]
        else:
            table[key] = value


LOGS = st.lists(st.tuples(st.integers(0, 12), st.integers(490_000, 490_008)), max_size=60)
STEPS = st.lists(st.tuples(st.integers(1, 9), st.sampled_from(["", "encode", "recover"])), min_size=60, max_size=60)


@settings(max_examples=60, deadline=None)
@given(LOGS, STEPS, st.integers(0, 4), st.integers(1, 12))
def test_verdicts_are_those_of_the_model_however_the_log_is_cut(
    log: list[Seen], steps: list[tuple[int, str]], window: int, max_ids: int
) -> None:
    model = Model(window, max_ids)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(recent_ids, "BLOCK_IDS", 3)
        patch.setattr(recent_ids, "BLOCK_IDS_LIMIT", 4)
        ids, table, at = RecentIds(window, max_ids), dict[bytes, bytes](), 0
        for size, then in steps:
            some = log[at : at + size]
            at += size
            assert fresh(ids, some) == [model.remember(*seen) for seen in some]
            assert (len(ids), ids.latest_hour) == (len(model.counted), model.latest)
            if then:
                take(table, ids)
                assert sum(len(value) - 1 for value in table.values()) == 10 * len(ids)
            if then == "recover":
                ids = recovered(window, max_ids, ids.latest_hour, table)


def test_a_copy_is_one_while_the_hours_are_within_the_window() -> None:
    ids = RecentIds(72, 1000)

    verdicts = [fresh(ids, [(1, 490_000 + hours)]) for hours in (0, 0, 72, 73, 74, 145, 146)]

    assert verdicts == [[True], [False], [False], [True], [False], [False], [True]]


def test_an_id_that_was_counted_in_two_hours_goes_with_both_whichever_was_seen_first() -> None:
    # Given an hour, then an id of an earlier one, which is counted again in the first, out of the window
    ids = RecentIds(window_hours=2, max_ids=100)
    assert fresh(ids, [(0, 14), (1, 11), (1, 14)]) == [True, True, True]
    # When all of them are too old, then they go, and the id is new again
    assert fresh(ids, [(2, 30), (1, 30)]) == [True, True]
    assert len(ids) == 2


def test_an_id_of_another_workspace_is_another() -> None:
    ids = RecentIds(72, 1000)

    assert [ids.remember(*event, 0) for event in (("w", "e"), ("we", ""), ("w", "e"))] == [True, True, False]


def test_above_the_limit_the_oldest_hour_goes_at_once() -> None:
    ids = RecentIds(72, 5)

    assert fresh(ids, [(1, 10), (2, 10), (3, 11), (4, 11), (5, 12)]) == [True] * 5
    assert fresh(ids, [(5, 12), (6, 12), (1, 12), (3, 12)]) == [False, True, True, False]
    assert (len(ids), ids.dropped_early) == (5, 2)


def test_a_block_is_written_again_until_it_is_full() -> None:
    ids, table = RecentIds(72, 10_000), dict[bytes, bytes]()

    sizes = []
    for first, last in ((0, 100), (100, 127), (127, 130), (130, 140), (140, 9000)):
        fresh(ids, [(n, 490_000) for n in range(first, last)])
        take(table, ids)
        sizes.append([(len(table[key]) - 1) // 10 for key in sorted(table)])

    assert sizes == [[100], [127], [130], [130, 10], [130, 8192, 678]]
    assert sorted(table) == [b"i" + (490_000).to_bytes(4, "big") + number.to_bytes(4, "big") for number in range(4)][:3]


def test_thousands_of_ids_are_all_found() -> None:
    ids, table = RecentIds(2, 100_000), dict[bytes, bytes]()
    batches = [[(n, 490_000 + n // 12_000) for n in range(at, at + 1500)] for at in range(0, 48_000, 1500)]

    for batch in batches:
        assert all(fresh(ids, batch))
        assert not any(fresh(ids, batch))
        take(table, ids)

    # The first hour has gone: the latest is three after it, one more than the window.
    assert len(ids) == 48_000
    assert fresh(ids, [(0, 490_003)]) == [True]
    assert fresh(ids, [(12_000, 490_003), (47_999, 490_003)]) == [False, False]
    again = recovered(2, 100_000, ids.latest_hour, table)
    assert not any(fresh(again, batches[-1]))


def test_what_a_lower_setting_no_longer_allows_goes_with_the_next_commit() -> None:
    ids, table = RecentIds(72, 1000), dict[bytes, bytes]()
    fresh(ids, [(n, 490_000 + n // 10) for n in range(50)])
    take(table, ids)

    shorter = recovered(2, 1000, ids.latest_hour, table)
    fewer = recovered(72, 25, ids.latest_hour, table)

    assert (len(shorter), len(fewer)) == (40, 20)
    left = dict(table)
    take(left, shorter)
    assert sum(len(value) - 1 for value in left.values()) == 400


def test_blocks_of_another_format_or_out_of_order_are_refused() -> None:
    ids, table = RecentIds(72, 1000), dict[bytes, bytes]()
    for first in (0, 200):
        fresh(ids, [(n, 490_000) for n in range(first, first + 200)])
        take(table, ids)
    zero, one = sorted(table)

    for damaged in (
        {zero: b"\x02" + table[zero][1:]},
        {zero: table[zero][:-1]},
        {one: table[one]},
        {zero: table[zero][:11], one: table[one]},
    ):
        with pytest.raises(FormatError, match=r"holds|format"):
            recovered(72, 1000, 490_000, damaged)
