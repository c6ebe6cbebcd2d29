"""What earlier versions wrote to the changelog is read, and carried on."""

from __future__ import annotations

import pytest

from stream.ingest.event import EventRules
from stream.storage.formats import LostKeysError
from stream.tables.partition import PartitionState
from stream.tables.rules import CountingRules
from tests.support.names import changes
from tests.support.partition_log import CommitSink, Recount, batch, cells_of, whole_aggregates
from tests.support.recorded import RECORDED, RETENTION_DAYS, recording, records

pytestmark = pytest.mark.usefixtures("each_form")

RULES = CountingRules(EventRules(retention_days=RETENTION_DAYS))
MORE = 200


@pytest.mark.parametrize("version", ["40045b9"])
def test_a_recorded_changelog_is_read_whole_and_carried_on(version: str) -> None:
    # Given what that version left of some records, and a recount of them,
    recount = Recount(RULES)
    recount.take(records())
    table = dict(recording(version).changelog)
    state = PartitionState.recover(0, RULES, table)

    # then it says what the recount says,
    assert cells_of(whole_aggregates(state)) == recount.kept_cells()
    assert {offset for offset in range(RECORDED) if not state.was_counted(offset)} == recount.uncounted
    assert state.ids == len(recount.ids)
    assert (state.position.next_offset, state.position.latest_hour) == (RECORDED, recount.latest_hour)
    names = changes(state.names_after(-1))
    labels = {(user.workspace_id, user.user_id): (user.occurred_at, user.offset, user.label) for user in names.users}
    assert labels == recount.labels
    assert {(source.workspace_id, source.source) for source in names.sources} == recount.sources

    # and if more records follow, copies of the recorded ones among them,
    sink = CommitSink()
    sink.table = table
    for at in range(RECORDED, RECORDED + MORE, 30):
        some = records(at, min(at + 30, RECORDED + MORE))
        recount.take(some)
        state.apply(batch(some, at))
        sink.take(state.encode())

    # then it goes on as if this version had counted all of them.
    again = PartitionState.recover(0, RULES, sink.table)
    assert cells_of(whole_aggregates(again)) == recount.kept_cells()
    assert {offset for offset in range(RECORDED + MORE) if not again.was_counted(offset)} == recount.uncounted
    assert again.position.live_keys == len(sink.table)


def test_a_changelog_that_lost_keys_is_refused() -> None:
    state = PartitionState.recover(0, RULES, recording("40045b9").changelog)
    table = dict(recording("40045b9").changelog) | {k: v for k, v in state.encode().table if v is not None}
    assert PartitionState.recover(0, RULES, table).position.live_keys == len(table)

    for key in [key for key in table if key != b"p"]:
        lost = {known: value for known, value in table.items() if known != key}
        with pytest.raises(LostKeysError, match=f"has {len(lost)} keys, where the commit of offset {RECORDED} left"):
            PartitionState.recover(0, RULES, lost)
