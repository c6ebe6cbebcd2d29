"""What a worker tells of its work: rates over what was asked before, and the place of the latest rejected record."""

from stream.ingest.event import Reason
from stream.tables.batch import Batch
from stream.tables.rules import CountingRules
from stream.worker.tally import Tally
from tests.support.partition_log import begun, record


class Clock:
    def __init__(self) -> None:
        self.ms = 1_000_000

    def now_ms(self) -> int:
        return self.ms


def test_events_a_second_are_those_since_it_was_asked_before() -> None:
    clock = Clock()
    tally, state = Tally(clock), begun(CountingRules())
    assert tally.partition(3) == {"committed_ms": None, "projected_ms": None, "events_per_second": 0.0}
    state.apply(Batch([record(offset, 0, b"{") for offset in range(8)], 0, 8))
    tally.note_committed(3, state.encode())
    clock.ms += 4_000
    tally.note_projected(3)
    assert tally.partition(3) == {
        "committed_ms": 1_000_000,
        "projected_ms": 1_004_000,
        "events_per_second": 2.0,
    }
    assert tally.totals() == {
        "started_ms": 1_000_000,
        "counted": 0,
        "duplicates": 0,
        "rejected": {Reason.NOT_JSON.value: {"count": 8, "partition": 3, "offset": 7}},
        "recent": {"events": 8, "rejected": 8},
    }
    # A partition that is lost is begun anew when it comes back.
    tally.note_ended(3)
    assert tally.partition(3)["committed_ms"] is None


def test_recent_are_the_events_of_ten_minutes() -> None:
    clock = Clock()
    tally, state = Tally(clock), begun(CountingRules())

    def reject(first: int, count: int) -> None:
        state.apply(Batch([record(offset, 0, b"{") for offset in range(first, first + count)], first, first + count))
        tally.note_committed(3, state.encode())

    def recent() -> dict[str, int]:
        return tally.totals()["recent"]

    assert recent() == {"events": 0, "rejected": 0}
    reject(0, 8)
    clock.ms += 1_000
    reject(8, 2)
    clock.ms += 300_000
    reject(10, 5)
    # A partition that goes to another worker does not take with it what it rejected here.
    tally.note_ended(3)
    assert recent() == {"events": 15, "rejected": 15}
    clock.ms += 299_000
    assert recent() == {"events": 5, "rejected": 5}
    clock.ms += 300_000
    assert recent() == {"events": 0, "rejected": 0}
