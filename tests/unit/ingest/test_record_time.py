"""Records whose time is far ahead of the clock reading that came with their fetch."""

from __future__ import annotations

from dataclasses import replace

import pytest

from stream.ingest.event import LOG_APPEND_TIME, EventRules, Reason
from stream.ingest.record_time import broker_ahead
from stream.model.time import day_of
from stream.tables.batch import Batch
from stream.tables.commit import Outcomes
from stream.tables.partition import PartitionState
from stream.tables.rules import CountingRules
from tests.support.partition_log import begun, cells_of
from tests.support.records import Received, milliseconds, nanoseconds, received

pytestmark = pytest.mark.usefixtures("each_form")

READ = milliseconds("2026-11-23T12:00:00Z")
HOUR = 3_600_000
YEARS = 73 * 365 * 24 * HOUR
DAY = day_of(nanoseconds("2026-11-23T00:00:00Z"))
CREATE_TIME = 0
RULES = CountingRules()


def published(
    offset: int, event_id: str, timestamp: int, *, kind: int = CREATE_TIME, at: str = "2026-11-23T10:00:00Z"
) -> Received:
    event = {
        "id": event_id,
        "type": "contact.added",
        "workspace_id": "w",
        "contact_id": "c",
        "occurred_at": at,
    }
    return replace(received(event), offset=offset, timestamp=timestamp, timestamp_type=kind)


def apply(state: PartitionState, *records: Received, read: int = READ) -> None:
    state.apply(Batch(records, records[0].offset, records[-1].offset + 1, read))


def test_one_record_years_ahead_does_not_end_deduplication() -> None:
    state = begun(RULES)
    apply(state, published(0, "e1", READ), published(1, "far", READ + YEARS))

    # If the same event comes twice more, in the same batch and later,
    apply(state, published(2, "e2", READ), published(3, "e2", READ))
    apply(state, published(4, "e1", READ), published(5, "e2", READ))

    # then each counted once, and the record that is ahead was rejected, and not remembered.
    commit = state.encode()
    assert commit.outcomes == Outcomes(counted=2, duplicate=3, rejected={Reason.TIME_IN_FUTURE: 1})
    assert cells_of(commit.aggregates) == {("w", DAY, 40, 0, None, None): 2}
    assert [(letter.record.offset, letter.message) for letter in commit.dead_letters] == [
        (1, "the record's own timestamp is more than 3600 s ahead of the worker's clock")
    ]
    assert commit.ids == state.ids == 2
    assert [state.was_counted(offset) for offset in range(6)] == [True, False, True, False, False, False]


def test_it_moves_neither_retention_nor_the_times_that_readers_are_told_of() -> None:
    state = begun(replace(RULES, event=EventRules(retention_days=30)))
    apply(state, published(0, "e1", READ))
    bad = replace(published(2, "bad", READ + YEARS), value=b"{")

    apply(state, published(1, "far", READ + YEARS), bad, published(3, "e2", READ))

    commit = state.encode()
    assert state.position.counts_from == DAY - 30
    assert (state.position.latest_hour, state.position.greatest_broker_ms) == (READ // HOUR, READ)
    assert commit.outcomes == Outcomes(counted=2, rejected={Reason.TIME_TOO_OLD: 1, Reason.NOT_JSON: 1})


def test_a_batch_of_nothing_else_leaves_the_times_as_they_are() -> None:
    state = begun(RULES)
    apply(state, published(0, "far", READ + YEARS))
    assert (state.position.latest_hour, state.position.greatest_broker_ms, state.position.next_offset) == (None, 0, 1)


@pytest.mark.parametrize(
    ("ahead", "tolerance", "counted"),
    [(HOUR, 3_600, 1), (HOUR + 1, 3_600, 0), (2 * HOUR, 7_200, 1), (2 * HOUR + 1, 7_200, 0), (2**63 - 1 - READ, 60, 0)],
)
def test_the_setting_is_the_boundary(ahead: int, tolerance: int, counted: int) -> None:
    state = begun(replace(RULES, event=EventRules(record_future_tolerance_seconds=tolerance)))
    apply(state, published(0, "e1", READ + ahead))
    assert state.encode().outcomes.counted == counted


def test_the_verdict_is_kept_whatever_the_clock_says_later() -> None:
    state = begun(RULES)
    apply(state, published(0, "e1", READ + 2 * HOUR))
    table = {key: value for key, value in state.encode().table if value is not None}

    # If the same batch comes again when the time has come,
    recovered = PartitionState.recover(3, RULES, table)
    apply(recovered, published(0, "e1", READ + 2 * HOUR), published(1, "e1", READ), read=READ + 2 * HOUR)

    # then it is passed over, and its id was not used up.
    assert [recovered.was_counted(offset) for offset in (0, 1)] == [False, True]


def test_what_a_broker_stamped_ahead_waits_with_the_setting_that_lets_it_through() -> None:
    rules = EventRules()
    records = [published(7, "e1", READ), published(8, "e2", READ + HOUR + 1000, kind=LOG_APPEND_TIME)]
    assert broker_ahead(records, READ, rules) == (
        "the broker stamped offset 8 3601 s ahead of this worker's clock. Set the clock that is wrong, or let it "
        "through with CONTACTS_RECORD_FUTURE_TOLERANCE_SECONDS above 3601"
    )
    assert broker_ahead(records, READ + 1000, rules) is None
    assert broker_ahead(records, READ, EventRules(record_future_tolerance_seconds=3_602)) is None
    assert broker_ahead([published(7, "e1", READ + YEARS)], READ, rules) is None
    assert broker_ahead([], READ, rules) is None
    with pytest.raises(AssertionError, match="far ahead"):
        apply(begun(RULES), replace(records[1], offset=0))


def test_what_retention_had_dropped_on_arrival_is_not_called_counted() -> None:
    # Given retention of a day, and records of the next days before a late one of an older broker hour,
    state = begun(replace(RULES, event=EventRules(retention_days=1)))
    apply(
        state,
        published(0, "e1", READ),
        published(1, "e2", READ + 49 * HOUR, at="2026-11-25T10:00:00Z"),
        read=READ + 49 * HOUR,
    )
    state.encode()

    # when it comes, then it is counted nowhere, and says so.
    apply(state, published(2, "late", READ), read=READ + 49 * HOUR)
    commit = state.encode()
    assert commit.outcomes == Outcomes(expired=1)
    assert cells_of(commit.aggregates) == {}
