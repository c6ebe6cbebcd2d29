"""One partition as something in it grows, in a process of its own: `python -m benchmarks.growth_state AXIS SIZE`.

Writes one JSON object to stdout: CPU of an event, memory, the size of the changelog, and how long a recovery from it
takes. No broker and no Redis: what is read is bytes of record batches, what is written the records of commits.
"""

from __future__ import annotations

import gc
import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from benchmarks.counting import FETCH_RECORDS, FETCHES_A_COMMIT, as_fetch, new_state
from benchmarks.datasets import DAY_SECONDS, minute_text
from stream.ingest.raw import RawRecords
from stream.kafka.fetch import decode_batches
from stream.kafka.unpacking import UNPACKED_BYTES
from stream.tables.batch import Batch
from stream.tables.commit import Commit
from stream.tables.compiled import CompiledState
from stream.tables.rules import CountingRules

LAST_DAY = 20_604
"""2026-05-31, since 1970."""
EVENTS = 200_000
WORKSPACES, USERS, QUARTERS = 100, 10, 20
"""Of the axes that do not vary them."""
IDS_KEPT = 40_000_000
MEGABYTE = 1 << 20


@dataclass(frozen=True)
class Load:
    """Events that go round the workspaces, their users, the days and the quarters of an hour."""

    events: int = EVENTS
    workspaces: int = WORKSPACES
    users: int = USERS
    days: int = 1
    quarters: int = QUARTERS
    ids_kept: int = IDS_KEPT

    def records(self) -> Iterator[tuple[bytes, bytes]]:
        """Keys and values, in the order of days: workspaces go round first, then users, then quarters."""
        for number in range(self.events):
            workspace = b"w_%d" % (number % self.workspaces)
            user = number // self.workspaces % self.users
            quarter = number // self.workspaces // self.users % self.quarters
            day = LAST_DAY - self.days + 1 + number * self.days // self.events
            at = day * DAY_SECONDS + quarter * 900 + number % 900
            yield (
                workspace,
                b'{"id":"%032x","type":"contact.added","workspace_id":"%s","contact_id":"%d","source":"user",'
                b'"user_id":"u_%d","user_name":"Member %d","occurred_at":"%s%02dZ"}'
                % (number, workspace, number, user, user, minute_text(at // 60).encode(), at % 60),
            )


CELLS_A_DAY = 20 * 96
"""Of each workspace, where each event makes a cell."""
CELL_WORKSPACES = 10


def make_cells(size: int) -> Load:
    """Each event makes a cell, and next to no id is remembered."""
    days = max(1, size // (CELL_WORKSPACES * CELLS_A_DAY))
    events = days * CELL_WORKSPACES * CELLS_A_DAY
    return Load(events, CELL_WORKSPACES, users=20, days=days, quarters=96, ids_kept=10_000)


LOADS: Mapping[str, Callable[[int], Load]] = {
    "workspaces": lambda size: Load(workspaces=size),
    "users of a workspace": lambda size: Load(workspaces=1, users=size),
    "cells of a day": lambda size: Load(workspaces=1, users=max(1, size // 96), quarters=min(size, 96)),
    "months of history": lambda size: Load(days=30 * size),
    "cells": make_cells,
    "ids": lambda size: Load(events=size),
}


def measure(load: Load) -> dict[str, float]:
    rules = CountingRules(keep_rows=False, dedupe_max_ids=load.ids_kept)
    before, state, table = resident(), new_state("compiled", rules), dict[bytes, bytes]()
    seconds = 0.0
    left, number = load.records(), 0
    while some := list(islice(left, FETCH_RECORDS)):
        start = number * FETCH_RECORDS
        raw = as_fetch(some, start)
        begun = time.process_time()
        state.apply(Batch(RawRecords(raw, start, decode_batches, UNPACKED_BYTES, None), start, start + len(some)))
        number += 1
        commit = state.encode() if number % FETCHES_A_COMMIT == 0 else None
        seconds += time.process_time() - begun
        if commit:
            put(commit, table)
    begun = time.process_time()
    put(state.encode(), table)
    seconds += time.process_time() - begun
    assert state.outcomes.counted == load.events, state.outcomes
    stored = sum(len(key) + len(value) for key, value in table.items())
    gc.collect()
    held = resident() - before - stored
    begun = time.process_time()
    CompiledState.recover(0, rules, table)
    return {
        "events": load.events,
        "cpu_us_per_event": round(seconds / load.events * 1e6, 2),
        "memory_mb": round(max(0, held) / MEGABYTE, 1),
        "changelog_mb": round(stored / MEGABYTE, 2),
        "recovery_seconds": round(time.process_time() - begun, 3),
    }


def put(commit: Commit, table: dict[bytes, bytes]) -> None:
    """As compaction leaves it."""
    for key, value in commit.table:
        if value is None:
            table.pop(key, None)
        else:
            table[key] = value


def resident() -> int:
    """Bytes of this process that lie in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


if __name__ == "__main__":
    print(json.dumps(measure(LOADS[sys.argv[1]](int(sys.argv[2])))))
