"""One day aggregate out of all, by chance or by name: what a sample of the counts compares."""

import pytest

from stream.ingest.event import EventRules
from stream.model.steps import finish
from stream.model.time import day_of
from stream.tables.partition import PartitionState
from stream.tables.rules import CountingRules
from tests.support.partition_log import batch, begun, record
from tests.support.records import milliseconds, nanoseconds

pytestmark = pytest.mark.usefixtures("each_form")

NOON = milliseconds("2026-11-23T12:00:00Z")
TODAY = day_of(nanoseconds("2026-11-23T00:00:00Z"))
DAY_MS = 86_400_000
WORKSPACES = 30


def count(state: PartitionState, days_ago: list[int], later: int = 0) -> None:
    """An event of each workspace on each of these days, counted and committed so many days later."""
    start = state.position.next_offset
    places = [(workspace, ago) for workspace in range(WORKSPACES) for ago in days_ago]
    records = [
        record(
            start + number,
            NOON + later * DAY_MS,
            {
                "id": f"e{start + number}",
                "type": "contact.added",
                "workspace_id": f"w{workspace}",
                "contact_id": "c",
                "occurred_at": f"2026-11-{23 + later - ago:02}T10:00:00Z",
            },
        )
        for number, (workspace, ago) in enumerate(places)
    ]
    state.apply(batch(records, start))
    state.encode()


def drawn(state: PartitionState, number: int = 200) -> set[tuple[int, str, int]]:
    """What so many draws give, as (days before today, workspace, offset)."""
    found = [state.draw((place + 0.5) / number) for place in range(number)]
    return {(TODAY - one[1].day, one[1].workspace_id, one[0]) for one in found if one is not None}


def test_each_day_aggregate_is_drawn_and_found_as_it_is_committed() -> None:
    # Given day aggregates of many workspaces and days
    state = begun(CountingRules())
    assert state.draw(0.5) is None
    count(state, [0, 1, 2])
    # When as many are drawn as there are, from all of the range
    whole = {(change.workspace_id, change.day): (offset, change) for offset, change in finish(state.whole_in_order(-1))}
    found = [state.draw((number + 0.5) / len(whole)) for number in range(len(whole))]
    # Then each was drawn once, whole, and each is found by its name
    assert sorted(one[0] for one in found if one is not None) == sorted(offset for offset, _ in whole.values())
    assert [one for one in found if one is None or whole[one[1].workspace_id, one[1].day] != one] == []
    assert [place for place, one in whole.items() if state.find(*place) != one] == []
    assert (state.find("w0", TODAY - 3), state.find("elsewhere", TODAY)) == (None, None)


def test_what_retention_has_dropped_is_neither_drawn_nor_found() -> None:
    # Given day aggregates of two days, when broker time goes on and retention drops one of them
    state = begun(CountingRules(EventRules(retention_days=1)))
    count(state, [0, 1])
    assert {ago for ago, _, _ in drawn(state)} == {0, 1}
    count(state, [0], later=1)
    # Then only the others are drawn, the new ones too, whether or not they lie where the old ones were
    assert {(ago, workspace) for ago, workspace, _ in drawn(state)} == {
        (ago, f"w{workspace}") for ago in (0, -1) for workspace in range(WORKSPACES)
    }
    assert state.find("w0", TODAY - 1) is None
    count(state, [0, 1], later=2)
    assert {(ago, workspace) for ago, workspace, _ in drawn(state)} == {
        (ago, f"w{workspace}") for ago in (-1, -2) for workspace in range(WORKSPACES)
    }
