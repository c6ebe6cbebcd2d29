"""What a worker keeps goes when nothing needs it any more, not only at its next start."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

import stream.worker.ends
from stream.ingest.event import EventRules
from stream.ports import KafkaAway
from stream.tables.partition import PartitionState
from stream.tables.rules import CountingRules
from stream.worker.partition_task import OwnedPartition
from tests.support.forms import ONLY_PYTHON
from tests.support.partition_log import CommitSink, batch, begun, record
from tests.support.records import milliseconds

pytestmark = pytest.mark.usefixtures("each_form")

AT = milliseconds("2026-11-23T10:00:00Z")
DAY_MS = 86_400_000


def event(number: int, day: int, workspace: str) -> dict[str, Any]:
    return {
        "id": f"e{number}",
        "type": "contact.added",
        "workspace_id": workspace,
        "contact_id": "c",
        "occurred_at": f"2026-11-{day}T09:00:00Z",
    }


def with_many_uncounted(sink: CommitSink) -> PartitionState:
    state = begun(CountingRules())
    state.apply(batch([record(o, AT, b"{" if o % 2 else event(o, 23, "w")) for o in range(2_000)], 0))
    sink.take(state.encode())
    return state


def blocks(sink: CommitSink) -> int:
    return sum(key[:1] == b"u" for key in sink.table)


class Owned:
    """An owned partition as far as it is told where the topic begins."""

    partition = 0

    def __init__(self, state: PartitionState, offsets_to_backfill: int) -> None:
        self._state, self._projector = state, SimpleNamespace(offsets_to_backfill=offsets_to_backfill)

    note_first = OwnedPartition.note_first


class Source:
    """Away at first, then a topic that has lost its head."""

    asked = 0

    async def bounds(self, partition: int) -> tuple[int, int]:
        self.asked += 1
        if self.asked == 1:
            raise KafkaAway("away")
        return 1_900, 2_000


@pytest.mark.parametrize("offsets_to_backfill", [0, 5])
async def test_verdicts_on_what_the_topic_has_lost_go_while_the_worker_runs(
    monkeypatch: pytest.MonkeyPatch, offsets_to_backfill: int
) -> None:
    monkeypatch.setattr(stream.worker.ends, "ASK_FIRST_SECONDS", 0.001)
    sink, source = CommitSink(), Source()
    state = with_many_uncounted(sink)
    before = blocks(sink)
    asker: Any = stream.worker.ends._Asker([Owned(state, offsets_to_backfill)], source, lambda partition, end: None)  # type: ignore[arg-type]

    # When the topic's head is gone, and is asked for,
    asking = asyncio.create_task(asker.ask_for_first())
    while source.asked < 3:
        await asyncio.sleep(0.001)
    asking.cancel()
    sink.take(state.encode())

    # then verdicts on it go, but not while rows are missing: some may just have been read.
    assert before > 2
    assert blocks(sink) == (1 if offsets_to_backfill == 0 else before)
    assert [state.was_counted(offset) for offset in (1_998, 1_999)] == [True, False]


@ONLY_PYTHON
def test_a_workspace_of_which_retention_has_left_nothing_is_let_go_and_may_come_again() -> None:
    # Given workspaces that came once, before a day that retention has passed,
    sink, state = CommitSink(), begun(CountingRules(EventRules(retention_days=1)))
    state.apply(batch([record(n, AT, event(n, 23, f"w{n}")) for n in range(50)], 0))
    sink.take(state.encode())
    state.apply(batch([record(50, AT + 3 * DAY_MS, event(50, 26, "now"))], 50))
    sink.take(state.encode())

    # then only the one that has counts is held,
    assert set(state._counts._days) == {"now"}
    # and if one comes again, it counts.
    state.apply(batch([record(51, AT + 3 * DAY_MS, event(51, 26, "w7"))], 51))
    sink.take(state.encode())
    assert {aggregate for aggregate in sink.aggregates if aggregate[0] != "now"} == {("w7", 20_783)}
    assert PartitionState.recover(3, CountingRules(), sink.table).position.live_keys == len(sink.table)
