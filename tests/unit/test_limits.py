"""What happens at the limits: many workspaces at once, slow commits, absurd times, and how much is written an event."""

import random

import pytest

from stream.projection.calls import CALL_BYTES, calls_of_commit
from stream.settings.worker import WorkerConfig
from stream.storage.formats import VALUE_BYTES_LIMIT
from stream.storage.keys import Keys
from stream.tables.batch import Batch
from stream.tables.partition import PartitionState
from stream.tables.rules import CountingRules
from stream.worker.commit_policy import CommitPolicy, estimate_overhead
from tests.support.partition_log import begun, record
from tests.support.records import Received, milliseconds
from tests.support.written import CALL_OVERHEAD_BYTES, call_bytes, commit_bytes

pytestmark = pytest.mark.usefixtures("each_form")

ARRIVED = milliseconds("2026-11-23T23:59:00Z")
KEYS = Keys("g")


def event(offset: int, workspace: str, *, quarter: int = 0, user: str = "u", timestamp: int = ARRIVED) -> Received:
    hour, minute = divmod(15 * quarter, 60)
    fields = {
        "id": str(offset),
        "type": "contact.added",
        "workspace_id": workspace,
        "contact_id": "c",
        "source": "user",
        "user_id": user,
        "occurred_at": f"2026-11-23T{hour:02}:{minute:02}:00Z",
    }
    return record(offset, timestamp, fields)


def apply(state: PartitionState, records: list[Received]) -> None:
    start = state.position.next_offset
    state.apply(Batch(records, start, start + len(records)))


@pytest.mark.slow
def test_ten_thousand_workspaces_in_a_batch_are_a_commit_of_bounded_parts() -> None:
    state = begun(CountingRules())
    apply(state, [event(n, f"workspace-{n}") for n in range(10_000)])

    commit = state.encode()

    assert {change.workspace_id for change in commit.aggregates} == {f"workspace-{n}" for n in range(10_000)}
    assert max(len(value or b"") for _, value in commit.table) < VALUE_BYTES_LIMIT
    calls = list(calls_of_commit(KEYS, 0, commit))
    assert {workspace for call in calls for workspace in call.workspaces} == {f"workspace-{n}" for n in range(10_000)}
    # A call may go over its size by one workspace and its rows.
    assert max(map(call_bytes, calls)) < CALL_BYTES + 10_000
    assert len(calls) > 10


@pytest.mark.parametrize("timestamp", [(1 << 63) - 1, 1 << 60])
def test_a_time_that_no_clock_shows_stops_nothing(timestamp: int) -> None:
    state = begun(CountingRules())
    apply(state, [event(0, "w"), event(1, "w", timestamp=timestamp), event(2, "w")])
    table = {key: value for key, value in state.encode().table if value is not None}
    again = PartitionState.recover(0, CountingRules(), table)
    apply(again, [event(3, "w")])
    assert (state.outcomes.counted, again.outcomes.counted) == (3, 1)


def test_a_commit_follows_at_the_interval_and_later_where_commits_are_slow() -> None:
    policy = CommitPolicy(interval_seconds=0.05)
    assert policy.next_commit(10.0, 10.01, 0.01) == pytest.approx(10.05)
    # Half of the time at most goes into small commits, however many partitions share the worker and the broker,
    assert policy.next_commit(10.0, 10.1, 0.1) == pytest.approx(10.2)
    # and after a very slow one what came meanwhile waits a second at most.
    assert policy.next_commit(10.0, 20.0, 10.0) == pytest.approx(21.0)


def test_commits_that_are_slow_by_their_events_let_no_event_wait_long() -> None:
    """As beside an import. With a rest of all that a commit took, each would hold the events of 400 ms."""
    policy, a_commit_seconds, an_event_seconds, events_a_second = CommitPolicy(), 0.02, 22.5e-6, 20_000
    started, events = 0.0, 1
    for _ in range(200):
        ended = started + a_commit_seconds + events * an_event_seconds
        following = policy.next_commit(started, ended, estimate_overhead(ended - started, events))
        started, events = following, round((following - started) * events_a_second)
    assert events / events_a_second < 0.1


def test_what_a_fetch_brings_is_committed_at_once() -> None:
    """Else an event waits for the rest between two fetches, and for that between two commits besides."""
    config = WorkerConfig()
    assert config.fetch_max_wait_seconds >= config.commit_interval_seconds


@pytest.mark.slow
@pytest.mark.parametrize(
    ("cells", "workspaces", "limit"), [(200, 40, 450), (2_000, 40, 500), (20_000, 8, 1_400)], ids=str
)
def test_what_is_written_an_event_is_bounded(cells: int, workspaces: int, limit: int) -> None:
    """At 2,000 events a second over 400 workspaces a commit each 50 ms finds each workspace with a quarter of an event:
    so here, with fewer workspaces and as many fewer events a commit, in the middle of the day. What a commit writes in
    any case is shared by the hundred events of a whole one.
    """
    rng = random.Random(cells)
    users = max(1, cells // 96)
    state = begun(CountingRules(keep_rows=False))
    offset = 0
    for workspace in range(workspaces):
        earlier = range(cells // 2)
        apply(state, [event(offset + n, f"w{workspace}", quarter=n % 96, user=f"u_{n // 96 % users}") for n in earlier])
        offset += len(earlier)
        state.encode()
    events, written = 0, 0
    empty = sum(commit_bytes(state, KEYS))
    while events < 160 * workspaces:
        some = workspaces // 4
        drawn = [
            event(
                offset + n,
                f"w{rng.randrange(workspaces)}",
                quarter=rng.randrange(96),
                user=f"u_{rng.randrange(users)}",
            )
            for n in range(some)
        ]
        apply(state, drawn)
        offset, events = offset + some, events + some
        written += sum(commit_bytes(state, KEYS)) - empty
    assert written / events + (empty + CALL_OVERHEAD_BYTES) / 100 < limit
