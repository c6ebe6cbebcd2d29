"""What the worker's metrics say of the commits of the compiled form, packed as the worker has them."""

from typing import Any

import pytest

from stream.model.steps import finish
from stream.storage.keys import Keys
from stream.tables.commit import Commit
from stream.tables.compiled import CompiledState, Packing
from stream.tables.partition import PartitionState
from stream.tables.rules import CountingRules
from stream.worker.metrics import Metrics
from stream.worker.observer import Reporter
from tests.simulation.cores import records_of
from tests.support.partition_log import INCARNATION
from tests.support.records import Received
from tests.unit.core.test_agreement import BATCH_BYTES, EVENT, PARTITION, packed
from tests.unit.core.test_compiled_state import raw_batch
from tests.unit.tables.test_partition_properties import START, log_of

pytestmark = [pytest.mark.timeout(900), pytest.mark.usefixtures("core")]

RECORD_BYTES = 25
"""What a record of a batch has beside key and value, at most: lengths, and its place in the batch."""


class Clock:
    def now_ms(self) -> int:
        return START


def compiled() -> CompiledState:
    packing = Packing(Keys("group").prefix, batch_bytes=2_000, call_bytes=3_000, operation_values=8)
    return finish(CompiledState.unpack(PARTITION, CountingRules(), {}, packing))


def commits_of(state: Any, records: list[Received]) -> list[Commit]:
    """A commit for each hundred records."""
    state.begin(incarnation=INCARNATION, first_offset=100, partitions=4)
    made = []
    for at in range(0, len(records), 100):
        some = records[at : at + 100]
        state.apply(raw_batch(packed(some), some[0].offset, some[-1].offset + 1, BATCH_BYTES))
        made.append(state.encode())
    return made


def test_the_bytes_of_a_packed_commit_are_those_that_are_sent() -> None:
    # Given the same log with each form: events of many users and workspaces, and a dead letter
    log = log_of(
        [(EVENT | {"id": f"e{n}", "workspace_id": f"w{n % 7}", "user_id": f"u{n % 40}"}, 1, 0) for n in range(300)]
        + [(b"not json", 1, 0)]
    )
    plain = commits_of(PartitionState(PARTITION, CountingRules()), log)
    commits = commits_of(compiled(), log)
    # When the worker notes the commits of the compiled form
    metrics = Metrics()
    reporter = Reporter(metrics, Clock())
    for commit in commits:
        assert commit.packed is not None
        reporter.note_committed(PARTITION, commit, 0.01)
    # Then its counters have the bytes of the records of each batch, and the dead letter's
    value = metrics.registry.get_sample_value
    records = [one for commit in commits for one in records_of(commit.packed.bodies)]  # type: ignore[union-attr]
    content = sum(len(key) + len(changed or b"") for key, changed in records)
    assert content == sum(len(key) + len(changed or b"") for commit in plain for key, changed in commit.table)
    committed = value("contacts_commit_bytes_total") or 0
    letter = len(b"not json")
    assert content + letter < committed <= content + letter + RECORD_BYTES * len(records)
    # and those of all calls to Redis: days and rows, and what they go with.
    sent = [call for commit in commits for call in commit.packed.calls]  # type: ignore[union-attr]
    projected = value("contacts_projection_bytes_total") or 0
    assert projected == sum(len(call.keys) + len(call.operations) for call in sent)
    of_days = sum(commit.bytes_projected for commit in plain)
    assert projected > of_days


def test_commits_that_count_nothing_change_nothing_in_redis() -> None:
    metrics = Metrics()
    reporter = Reporter(metrics, Clock())
    (commit,) = commits_of(compiled(), log_of([(b"not json", 1, 0)]))
    reporter.note_committed(PARTITION, commit, 0.01)
    value = metrics.registry.get_sample_value
    assert (value("contacts_commit_bytes_total") or 0) > len(b"not json")
    assert value("contacts_projection_bytes_total") == 0
