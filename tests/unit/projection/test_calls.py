"""What a commit is cut into, operation by operation."""

from __future__ import annotations

from stream.projection.calls import calls_of_commit, calls_of_rows
from stream.storage.keys import Keys
from stream.tables.batch import Batch
from stream.tables.partition import PartitionState
from stream.tables.rules import CountingRules
from tests.support.records import Received
from tests.unit.core.test_agreement import EVENT
from tests.unit.tables.test_partition_properties import log_of

KEYS = Keys("g")


def test_rows_that_are_alone_in_their_days_are_one_operation() -> None:
    # Given three workspaces: two days of one row, a day of two, and two days of one row
    rows = [("a", 5, [b"1"]), ("a", 6, [b"2"]), ("b", 5, [b"3", b"4"]), ("c", 5, [b"5"]), ("c", 7, [b"6"])]
    # When they are sent
    [call] = calls_of_rows(KEYS, 0, rows)
    # Then the keys of each operation follow on its first
    listed = KEYS.workspaces
    assert call.keys == [
        *(KEYS.days("a"), listed, KEYS.rows("a", 5), KEYS.rows("a", 6)),
        *(KEYS.days("b"), KEYS.rows("b", 5)),
        *(KEYS.days("c"), KEYS.rows("c", 5), KEYS.rows("c", 7)),
    ]
    assert call.operations == [
        *("w", 3, 2, "a", "r", 4, 2, b"1", b"2"),
        *("w", 3, 6, "b", "z", 7, 2, b"3", b"4"),
        *("w", 3, 8, "c", "r", 9, 2, b"5", b"6"),
    ]


def test_a_row_travels_with_its_count() -> None:
    # Given one event
    state = PartitionState(0, CountingRules())
    state.begin(incarnation=bytes(16), first_offset=100, partitions=1)
    [record] = log_of([({"id": "e"} | EVENT, 1, 0)])
    state.apply(Batch([Received(record.value, (), record.timestamp, record.key, 100, 0)], 100, 101))
    commit = state.encode()
    [change] = commit.aggregates
    # When it is sent
    [call] = calls_of_commit(KEYS, 0, commit)
    # Then one call has the delta, the manifest and the row
    at = call.operations.index("r")
    [row] = change.rows
    assert call.operations[at:][:4] == ["r", call.keys.index(KEYS.rows(change.workspace_id, change.day)) + 2, 1, row]
    assert change.delta in call.operations
    assert "0:0" in call.operations
