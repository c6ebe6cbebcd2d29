"""By how much later than they happened events came: on both sides of each bound, and of those alone that count."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from stream.ingest.event import EventRules
from stream.tables.lateness import BOUNDS_MS, Lateness
from stream.tables.rules import CountingRules
from tests.support.partition_log import batch, begun, record
from tests.support.records import Received, milliseconds

pytestmark = pytest.mark.usefixtures("each_form")

TAKEN = milliseconds("2026-11-23T01:13:10Z")
DAY_MS = 86_400_000


def late(number: int, by_ms: int, **changed: Any) -> Received:
    """An event that the broker took so long after it happened."""
    happened = datetime(2026, 11, 23, 1, 13, 10, tzinfo=UTC) - timedelta(milliseconds=by_ms)
    value = {
        "id": f"e{number}",
        "type": "contact.added",
        "workspace_id": "w",
        "contact_id": "c",
        "occurred_at": happened.isoformat(timespec="milliseconds"),
    }
    return record(number, TAKEN, value | changed)


def test_each_event_that_counts_is_in_the_bucket_of_its_lateness() -> None:
    # Given events on both sides of each bound, one that was not late, and one of a clock that is ahead
    spans = [-60_000, 0, *(bound + more for bound in BOUNDS_MS for more in (0, 1))]
    state = begun(CountingRules())
    # When they are applied, in two batches
    records = [late(number, by_ms) for number, by_ms in enumerate(spans)]
    state.apply(batch(records[:9], 0))
    state.apply(batch(records[9:], 9))
    # Then each is counted once, and the next commit says nothing of them
    counts = [3] + [2] * (len(BOUNDS_MS) - 1) + [1]
    assert state.encode().lateness == Lateness(counts, sum(spans[1:]))
    assert state.encode().lateness == Lateness()


def test_what_does_not_count_is_not_late() -> None:
    # Given a duplicate, a rejected event, one without a value, and one of a day that retention has dropped
    state = begun(CountingRules(EventRules(retention_days=30)))
    expired = late(5, 30 * DAY_MS + 3_600_000)  # within 30 days of its record's day, and not of the next day's
    next_day = Received(late(4, -DAY_MS).value, timestamp=TAKEN + DAY_MS, key=b"k", offset=4)
    rejected, empty = record(2, TAKEN, b"{"), record(3, TAKEN, None)
    # When they come among two that count
    state.apply(batch([late(0, 5_000), late(1, 70_000, id="e0"), rejected, empty, next_day, expired], 0))
    # Then these two are counted here
    commit = state.encode()
    outcomes = commit.outcomes
    assert (outcomes.counted, outcomes.duplicate, outcomes.skipped, outcomes.expired) == (2, 1, 1, 1)
    assert commit.lateness == Lateness([1, 1] + [0] * (len(BOUNDS_MS) - 1), 5_000)


def test_parts_of_a_millisecond_are_no_lateness() -> None:
    state = begun(CountingRules())
    happened = "2026-11-23T01:13:08.999999999Z"  # 1,001 ms before, less a nanosecond's remainder
    state.apply(batch([late(0, 0, occurred_at=happened)], 0))
    assert state.encode().lateness == Lateness([0, 1] + [0] * (len(BOUNDS_MS) - 1), 1_001)
