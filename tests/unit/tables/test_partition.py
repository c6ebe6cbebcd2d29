"""The counting decision, record by record, and what a commit carries."""

from dataclasses import replace
from typing import Any

import pytest

from stream.core import CoreFailed
from stream.ingest.event import EventRules, Reason
from stream.model.time import day_of
from stream.storage.formats import FormatError
from stream.storage.row import decode_row
from stream.tables import counts
from stream.tables.batch import Batch
from stream.tables.commit import AggregateChange, DeadLetter, NameChanges, Outcomes, SourceName, UserName
from stream.tables.counts import DELTA_SLOT, key_of
from stream.tables.partition import PartitionState
from stream.tables.position import Fingerprint, Position
from stream.tables.rules import CountingRules
from tests.support.forms import ONLY_PYTHON
from tests.support.names import changes
from tests.support.partition_log import INCARNATION, CommitSink, batch, begun, cells_of, record, whole_aggregates
from tests.support.records import Received, milliseconds, nanoseconds

pytestmark = pytest.mark.usefixtures("each_form")

ARRIVED = milliseconds("2026-11-23T01:13:10Z")
HOUR = 3_600_000
DAY = day_of(nanoseconds("2026-11-23T00:00:00Z"))
QUARTER = 4  # 01:00 to 01:15
RULES = CountingRules()


def value(event_id: str, **changed: Any) -> dict[str, Any]:
    return {
        "id": event_id,
        "type": "contact.added",
        "workspace_id": "w",
        "contact_id": "c",
        "source": "user",
        "user_id": "u",
        "occurred_at": "2026-11-23T01:13:07.412Z",
    } | changed


def log(*values: dict[str, Any] | bytes | None, first: int = 0, hours: int = 0) -> list[Received]:
    return [record(offset, ARRIVED + hours * HOUR, known) for offset, known in enumerate(values, first)]


def applied(*values: dict[str, Any] | bytes | None, rules: CountingRules = RULES) -> PartitionState:
    state = begun(rules)
    state.apply(batch(log(*values), 0))
    return state


def test_a_commit_carries_all_that_changed() -> None:
    state = begun(RULES)
    records = log(
        value("e1", user_name="Ada", contact_name="Bo", batch_id="b"),
        value("e1", type="contact.deleted"),
        b"{",
        None,
        value("e2", type="contact.deleted", source=None, user_id=None),
        value("e3"),
    )

    state.apply(Batch(records, 0, 9))
    assert state.pending_weight == 6
    commit = state.encode()

    position = Position(9, 0, INCARNATION, Fingerprint.of(records[-1]), None, ARRIVED // HOUR, ARRIVED, 4, 8)
    assert commit.position == state.position == position
    assert commit.outcomes == Outcomes(3, 1, 1, {Reason.NOT_JSON: 1}, 0)
    assert [(letter.record, letter.reason) for letter in commit.dead_letters] == [(records[2], Reason.NOT_JSON)]
    assert isinstance(commit.dead_letters[0], DeadLetter)
    at = nanoseconds("2026-11-23T01:13:07Z") + 412_000_000
    assert commit.names == NameChanges(
        [UserName("w", "u", at, 0, "Ada"), UserName("w", None, at, 4, None)],
        [SourceName("w", "user"), SourceName("w", None)],
    )
    (aggregate,) = commit.aggregates
    assert cells_of(commit.aggregates) == {
        ("w", DAY, QUARTER, 0, "user", "u"): 2,
        ("w", DAY, QUARTER, 1, None, None): 1,
    }
    assert (aggregate.bases, aggregate.base_count, aggregate.whole, aggregate.dropped) == ((), 0, False, False)
    assert [(row.offset, row.event_id, row.contact_name, row.batch_id) for row in map(decode_row, aggregate.rows)] == [
        (0, "e1", "Bo", "b"),
        (4, "e2", None, None),
        (5, "e3", None, None),
    ]
    assert {decode_row(row).partition for row in aggregate.rows} == {3}
    assert [key for key, _ in commit.table] == [
        b"i" + (ARRIVED // HOUR).to_bytes(4, "big") + bytes(4),
        b"u" + (1).to_bytes(8, "big"),
        b"nw\0uu",
        b"nw\0u",
        b"nw\0suser",
        b"nw\0s",
        key_of("w", DAY, DELTA_SLOT),
        b"p",
    ]
    assert [state.was_counted(offset) for offset in range(-1, 10)] == [
        False, True, False, False, False, True, True, True, True, True, False,
    ]  # fmt: skip


def test_a_dead_letter_weighs_what_it_keeps() -> None:
    state = applied(value("e1"), b"{" + b" " * 300_000)

    assert state.pending_weight == 2 + 292


def test_a_second_commit_carries_the_position_alone() -> None:
    state = applied(value("e1"), b"{")
    state.encode()

    commit = state.encode()

    assert [key for key, _ in commit.table] == [b"p"]
    assert (commit.dead_letters, commit.aggregates, commit.names) == ([], [], NameChanges([], []))
    assert commit.outcomes == Outcomes()
    assert state.pending_weight == 0
    assert state.outcomes == Outcomes(1, 0, 0, {Reason.NOT_JSON: 1}, 0)


def test_a_commit_does_not_change_when_the_state_goes_on() -> None:
    state = applied(value("e1", user_name="A"), b"{")
    commit = state.encode()
    before = repr(commit)

    state.apply(batch(log(value("e2", user_name="B"), b"{", value("e3", source="x"), first=2), 2))
    state.encode()

    assert repr(commit) == before


def test_markers_of_transactions_move_the_position_alone() -> None:
    state = applied(value("e1"))

    state.apply(Batch([], 1, 3))

    assert (state.position.next_offset, state.position.fingerprint.offset, state.pending_weight) == (3, 0, 1)


def test_what_was_judged_is_passed_over() -> None:
    state = applied(value("e1"), value("e2"))

    state.apply(batch(log(value("e1"), value("e2"), value("e3")), 0))
    state.apply(batch(log(value("e1"), value("e2")), 0))

    assert (state.position.next_offset, state.outcomes) == (3, Outcomes(3))


def test_a_gap_is_a_bug() -> None:
    with pytest.raises(AssertionError, match="does not follow"):
        begun(RULES).apply(batch(log(value("e1"), first=1), 1))


def test_offsets_that_the_topic_lost_are_passed_by_name() -> None:
    state = applied(value("e1"))

    state.skip_to(50)
    state.apply(batch(log(value("e2"), first=50), 50))

    assert state.position.next_offset == 51
    with pytest.raises(AssertionError):
        state.skip_to(50)


@ONLY_PYTHON
def test_what_is_passed_over_by_hand_does_not_count_and_uses_up_no_id() -> None:
    state = begun(RULES)
    records = log(value("e1"), value("e2"), value("e3"), value("e2"))
    state.apply(batch(records[:1], 0))
    state.pass_over(1)
    sink = CommitSink()
    sink.take(state.encode())
    with pytest.raises(AssertionError, match="3 is not the next offset, 2"):
        state.pass_over(3)
    # When a recovery goes on behind it, then it counts neither now nor in a recount, and what comes counts.
    again = PartitionState.recover(3, RULES, sink.table)
    again.apply(batch(records[2:], 2))
    assert (again.outcomes.counted, again.outcomes.duplicate) == (2, 0)
    assert [again.was_counted(offset) for offset in range(4)] == [True, False, True, True]
    assert (again.position.skipped, again.position.next_offset) == (1, 4)
    sink.take(again.encode())
    assert PartitionState.recover(3, RULES, sink.table).position.skipped == 1


def test_the_largest_number_of_partitions_is_remembered() -> None:
    state = begun(RULES)

    for partitions in (2, 8, 6):
        state.note_partitions(partitions)

    assert state.position.partitions == 8


def test_a_state_without_records_is_still_to_begin() -> None:
    state = PartitionState.recover(3, RULES, {})

    with pytest.raises(AssertionError):
        _ = state.position
    state.begin(incarnation=INCARNATION, first_offset=500, partitions=4)
    assert state.position == Position(500, 500, INCARNATION, None, None, None, 0, 4)
    with pytest.raises(AssertionError):
        state.begin(incarnation=INCARNATION, first_offset=500, partitions=4)


@pytest.mark.parametrize(
    ("hours", "counted"),
    [((0, 72), 1), ((0, 73), 2), ((0, 72, 144), 2), ((0, 72, 73), 2), ((5, 0, 78), 2), ((80, 7), 1), ((80, 6), 1)],
)
def test_a_copy_is_told_by_whole_hours_of_broker_time(hours: tuple[int, ...], counted: int) -> None:
    state = begun(RULES)

    for offset, hour in enumerate(hours):
        state.apply(batch(log(value("e"), first=offset, hours=hour), offset))

    assert state.outcomes.counted == counted


def test_of_differing_copies_the_first_counts_and_names() -> None:
    state = applied(value("e", user_name="A"), value("e", user_name="B", user_id="v", source="x"))

    commit = state.encode()

    assert [name.label for name in commit.names.users] == ["A"]
    assert [name.source for name in commit.names.sources] == ["user"]


def test_a_rejected_event_does_not_use_up_its_id() -> None:
    state = applied(value("e", occurred_at="2026-11-23T01:13:07"), value("e"))

    assert state.outcomes == Outcomes(1, 0, 0, {Reason.TIME_WITHOUT_OFFSET: 1}, 0)


def test_without_rows_nothing_is_packed() -> None:
    (aggregate,) = applied(value("e"), rules=CountingRules(keep_rows=False)).encode().aggregates

    assert aggregate.rows == []


RETENTION = CountingRules(EventRules(retention_days=2), delta_floor=0)


def late(days: int, event_id: str) -> dict[str, Any]:
    return value(event_id, occurred_at=f"2026-11-{23 - days}T12:00:00Z")


def test_retention_drops_whole_days_as_broker_time_goes_on() -> None:
    sink, state = CommitSink(), begun(RETENTION)
    state.apply(batch(log(late(2, "a"), late(1, "b"), late(3, "too old")), 0))
    sink.take(state.encode())
    assert state.position.counts_from == DAY - 2
    assert sorted(day for _, day in sink.aggregates) == [DAY - 2, DAY - 1]

    state.apply(batch(log(late(1, "c"), first=3, hours=24), 3))
    commit = state.encode()
    sink.take(commit)

    assert state.position.counts_from == DAY - 1
    assert state.outcomes == Outcomes(3, 0, 0, {Reason.TIME_TOO_OLD: 1}, 0)
    assert [change for change in commit.aggregates if change.dropped] == [
        AggregateChange("w", DAY - 2, (), None, 1, [], dropped=True)
    ]
    assert dict(commit.table)[key_of("w", DAY - 2, 0)] is None
    assert cells_of(whole_aggregates(state)) == {("w", DAY - 1, 48, 0, "user", "u"): 2}
    assert not [key for key in sink.table if key[:5] == b"c" + (DAY - 2).to_bytes(4, "big")]


def test_what_retention_dropped_stays_so_when_broker_time_goes_back_or_the_setting_rises() -> None:
    sink, state = CommitSink(), begun(RETENTION)
    state.apply(batch(log(value("now")), 0))
    state.apply(batch(log(late(3, "of a dropped day"), first=1, hours=-24), 1))
    sink.take(state.encode())

    again = PartitionState.recover(3, CountingRules(), sink.table)
    again.apply(batch(log(late(4, "of another"), value("kept"), first=2), 2))
    again.encode()

    # By the rule of its own broker time each of them counts; the day it counts in is not kept.
    assert (state.outcomes, again.outcomes) == (Outcomes(1, expired=1), Outcomes(1, expired=1))
    assert (state.position.counts_from, again.position.counts_from) == (DAY - 2, DAY - 2)
    assert cells_of(whole_aggregates(again)) == {("w", DAY, QUARTER, 0, "user", "u"): 2}


@ONLY_PYTHON
def test_many_days_are_dropped_a_few_a_commit() -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(counts, "DROPS_A_COMMIT", 2)
        sink, state = CommitSink(), begun(RULES)
        state.apply(batch(log(*(late(days, f"e{days}") for days in range(1, 6))), 0))
        sink.take(state.encode())

        state = PartitionState.recover(3, CountingRules(EventRules(retention_days=0)), sink.table)
        state.apply(batch(log(value("e"), first=5), 5))
        left = []
        for _ in range(3):
            sink.take(state.encode())
            left.append(len(sink.aggregates))
            assert cells_of(whole_aggregates(state)) == {("w", DAY, QUARTER, 0, "user", "u"): 1}

    assert left == [4, 2, 1]


def test_whole_aggregates_and_names_are_those_changed_after_an_offset() -> None:
    sink, state = CommitSink(), begun(replace(RULES, delta_floor=0))
    state.apply(batch(log(value("a", workspace_id="x", user_name="X")), 0))
    sink.take(state.encode())
    state.apply(batch(log(value("b", workspace_id="y", user_name="Y"), first=1), 1))
    sink.take(state.encode())

    for known in (state, PartitionState.recover(3, RULES, sink.table)):
        found = [[change.workspace_id for change in whole_aggregates(known, after)] for after in (-1, 0, 1)]
        assert found == [["x", "y"], ["y"], []]
        assert [change.whole for change in whole_aggregates(known)] == [True, True]
        assert [name.label for name in changes(known.names_after(0)).users] == ["Y"]


def test_a_whole_aggregate_is_one_that_is_committed() -> None:
    with pytest.raises((AssertionError, CoreFailed), match="committed"):
        whole_aggregates(applied(value("e")))


def test_verdicts_on_what_the_topic_lost_are_forgotten() -> None:
    sink, state = CommitSink(), begun(RULES)
    state.apply(batch(log(*([b"{", value("e0")] * 1)), 0))
    state.apply(batch(log(*(known for n in range(400) for known in (b"{", value(f"e{n}"))), first=2), 2))
    sink.take(state.encode())
    blocks = sum(key[:1] == b"u" for key in sink.table)

    state.forget_uncounted_before(700)
    sink.take(state.encode())

    assert blocks > 1
    assert sum(key[:1] == b"u" for key in sink.table) < blocks
    assert [state.was_counted(offset) for offset in (700, 701)] == [False, True]


@pytest.mark.parametrize("key", [b"x", b"", b"P"])
def test_a_key_of_no_known_kind_is_refused(key: bytes) -> None:
    sink, state = CommitSink(), applied(value("e"))
    sink.take(state.encode())

    with pytest.raises(FormatError, match="no known kind"):
        PartitionState.recover(3, RULES, sink.table | {key: b""})


def test_records_without_a_position_are_refused() -> None:
    sink, state = CommitSink(), applied(value("e"))
    sink.take(state.encode())
    del sink.table[b"p"]

    with pytest.raises(FormatError, match="without a position"):
        PartitionState.recover(3, RULES, sink.table)


def test_every_kind_of_value_of_another_version_is_refused_by_its_key() -> None:
    sink, state = CommitSink(), begun(replace(RULES, delta_floor=1))
    state.apply(batch(log(value("e1"), value("e2", user_id="v"), b"{"), 0))
    sink.take(state.encode())
    state.apply(batch(log(value("e3", source="x"), first=3), 3))
    sink.take(state.encode())
    assert {key[:1] for key in sink.table} == {b"c", b"i", b"n", b"p", b"u"}

    for key, stored in sink.table.items():
        other = stored[:1] + b"\x07" + stored[2:] if key[:1] in (b"c", b"n", b"p") else b"\x07" + stored[1:]
        with pytest.raises(ValueError, match="is not of format 1") as refused:
            PartitionState.recover(3, RULES, sink.table | {key: other})
        assert repr(key) in str(refused.value)
