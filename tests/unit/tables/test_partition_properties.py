"""The same log in any batches, with commits and recoveries anywhere, gives the same verdicts and the same counts:
those of an independent recount."""

from collections import Counter
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream.ingest.event import EventRules
from stream.tables import counts, recent_ids, uncounted
from stream.tables.commit import Outcomes
from stream.tables.partition import PartitionState
from stream.tables.rules import CountingRules
from tests.support.names import changes
from tests.support.partition_log import CommitSink, Recount, batch, begun, cells_of, record, whole_aggregates
from tests.support.records import Received, milliseconds

START = milliseconds("2026-11-20T22:00:00Z")
HOUR = 3_600_000

EVENTS = st.fixed_dictionaries(
    {
        "id": st.sampled_from([f"e{n}" for n in range(14)] + ["\x00", "\x00\x01"]),
        "type": st.sampled_from(["contact.added", "contact.deleted"]),
        "workspace_id": st.sampled_from(["w", "v"]),
        "contact_id": st.just("c"),
        "occurred_at": st.sampled_from(
            [f"2026-11-{day}T{time}" for day in (19, 20, 21) for time in ("00:00:00Z", "12:14:59.9Z", "23:59:59+09:00")]
        ),
    },
    optional={
        "source": st.sampled_from(["user", "contact_import", "NONE", "x", "ü"]),
        "user_id": st.sampled_from(["u1", "u2", "u3", "none", "ß"]),
        "user_name": st.sampled_from(["Ada", "Bo", ""]),
    },
)
VALUES = st.one_of(EVENTS, EVENTS, EVENTS, EVENTS, st.just(b"{"), st.none())
STEP = st.tuples(VALUES, st.sampled_from([1, 1, 1, 1, 2, 9]), st.sampled_from([0, 0, 0, 0, 1, 1, 2, 5, 30, -1, -3]))
"""A value, by how much the offset goes on, and by how many hours the broker's time."""

CUTS = st.lists(st.tuples(st.integers(1, 8), st.sampled_from(["", "", "commit", "recover"])), min_size=60, max_size=60)


def log_of(steps: Sequence[tuple[dict | bytes | None, int, int]]) -> list[Received]:
    records, offset, timestamp = [], 100, START
    for value, further, hours in steps:
        timestamp += hours * HOUR
        records.append(record(offset, timestamp, value))
        offset += further
    return records


RULES = st.builds(
    lambda window, max_ids, floor, base, retention, name_limit: CountingRules(
        EventRules(retention_days=retention),
        dedupe_window_hours=window,
        dedupe_max_ids=max_ids,
        name_limit=name_limit,
        delta_floor=floor,
        base_bytes_limit=base,
    ),
    st.sampled_from([0, 2, 72]),
    st.sampled_from([1, 5, 1000]),
    st.sampled_from([0, 1, 4]),
    st.sampled_from([1, 90, 130, 1 << 19]),
    st.sampled_from([None, None, 0, 1, 3]),
    st.sampled_from([1_000, 1_000, 1, 2, 5]),
)


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(st.lists(STEP, min_size=25, max_size=60), CUTS, RULES)
def test_any_cutting_of_a_log_counts_the_same(
    steps: list[tuple[dict | bytes | None, int, int]],
    cuts: list[tuple[int, str]],
    rules: CountingRules,
) -> None:
    records = log_of(steps)
    recount, sink, outcomes = Recount(rules), CommitSink(), Counter[str]()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(recent_ids, "BLOCK_IDS", 3)
        patch.setattr(uncounted, "BLOCK_BYTES", 6)
        patch.setattr(counts, "DROPS_A_COMMIT", 1)
        state = begun(rules, first_offset=100)
        at = 0
        for size, then in cuts:
            # What was applied comes again, as after a rebalance, and is passed over.
            start = max(at - size, 0) if at and then == "recover" else at
            some = records[start : at + size]
            if some:
                state.apply(batch(some, some[0].offset if start < at else state.position.next_offset))
            recount.take(records[at : at + size])
            at += size
            if then:
                commit = state.encode()
                sink.take(commit)
                tally(outcomes, commit.outcomes)
                compare(state, sink, recount)
            if then == "recover":
                state = PartitionState.recover(3, rules, sink.table)
                assert state.position == commit.position
                compare(state, sink, recount)
        for _ in range(4):  # a day aggregate a commit is dropped
            commit = state.encode()
            sink.take(commit)
            tally(outcomes, commit.outcomes)
        compare(state, sink, recount, at_rest=True)
    assert outcomes == recount.outcomes


def tally(outcomes: Counter[str], of_commit: Outcomes) -> None:
    # Of an event before retention's new day, and one that moves it, the first has expired if both are in one batch.
    counted = of_commit.counted + of_commit.expired
    outcomes.update(counted=counted, duplicate=of_commit.duplicate, skipped=of_commit.skipped)
    outcomes.update(names_not_kept=of_commit.names_not_kept)
    outcomes.update({str(reason): number for reason, number in of_commit.rejected.items()})
    for name in [name for name, number in outcomes.items() if not number]:
        del outcomes[name]


def compare(state: PartitionState, sink: CommitSink, recount: Recount, *, at_rest: bool = False) -> None:
    expected = recount.kept_cells()
    assert cells_of(whole_aggregates(state)) == expected
    replica = [change for change in sink.aggregates.values() if at_rest or is_kept(change.day, recount)]
    assert cells_of(replica) == expected
    kept_rows = {offset: cell for offset, cell in recount.rows.items() if is_kept(cell[1], recount)}
    assert kept_rows.items() <= sink.rows.items() <= recount.rows.items()
    assert (state.position.latest_hour, state.position.counts_from) == (recount.latest_hour, recount.counts_from)
    assert state.ids == len(recount.ids)
    names = changes(state.names_after(-1))
    assert {(n.workspace_id, n.user_id): (n.occurred_at, n.offset, n.label) for n in names.users} == recount.labels
    assert {(n.workspace_id, n.source) for n in names.sources} == recount.sources
    judged = recount.uncounted | recount.rows.keys()
    assert {offset for offset in judged if state.was_counted(offset)} == recount.rows.keys()


def is_kept(day: int, recount: Recount) -> bool:
    return recount.counts_from is None or day >= recount.counts_from


@pytest.mark.slow
@settings(max_examples=40, deadline=None)
@given(st.lists(STEP, min_size=20, max_size=50), st.lists(st.integers(1, 9), min_size=50, max_size=50), RULES)
def test_a_recovered_state_goes_on_to_the_same_bytes(
    steps: list[tuple[dict | bytes | None, int, int]], sizes: list[int], rules: CountingRules
) -> None:
    records, at = log_of(steps), 0
    whole, again, sink = begun(rules, 100), begun(rules, 100), CommitSink()
    for size in sizes:
        some = records[at : at + size]
        at += size
        for state in (whole, again):
            if some:
                state.apply(batch(some, state.position.next_offset))
        commit, of_recovered = whole.encode(), again.encode()
        assert sorted(of_recovered.table) == sorted(commit.table)
        assert sorted(of_recovered.aggregates, key=repr) == sorted(commit.aggregates, key=repr)
        assert (of_recovered.names, of_recovered.position) == (commit.names, commit.position)
        sink.take(commit)
        again = PartitionState.recover(3, rules, sink.table)
        after = records[min(at, len(records)) // 2].offset
        assert sorted(whole_aggregates(again, after), key=repr) == sorted(whole_aggregates(whole, after), key=repr)
        assert changes(again.names_after(after)).users == changes(whole.names_after(after)).users
