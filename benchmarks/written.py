"""What counting writes: bytes to the changelog and to Redis an event, by rate and by how many cells a day has; and what
an hour leaves in the changelog.

In virtual time, without a broker and without Redis, so the figures are the same on every machine. One partition of
four; its workspaces' day has half of its cells already, and each event falls on any of them. Sizes are those of record
batches (uncompressed) and of calls, without the frames of Kafka's and Redis' own protocols; rows apart, and recent ids
(8 bytes an event) apart in the first table.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from datetime import timedelta
from random import Random
from typing import Any

from benchmarks.counting import END, KEYS, as_fetch, new_state
from benchmarks.machine import say
from benchmarks.worker import cores
from stream.ingest.raw import RawRecords
from stream.kafka.fetch import decode_batches
from stream.kafka.unpacking import UNPACKED_BYTES
from stream.tables.batch import Batch
from stream.tables.rules import CountingRules
from stream.tables.state import State
from tests.support.written import CALL_OVERHEAD_BYTES, RECORD_BYTES, commit_bytes

COMMIT_SECONDS = 0.05
WORKSPACES = 400
PARTITIONS = 4
RATES = (100, 2_000, 20_000)
CELLS = (200, 2_000, 20_000)
QUARTERS = 96
EVENTS = 8_000
DAY = END - timedelta(days=1)

Event = tuple[bytes, bytes]


def run() -> Iterator[dict[str, Any]]:
    for cells in CELLS:
        for rate in RATES:
            say(f"written: {cells} cells a day, {rate} events/s")
            changelog, redis = measure_an_event(cells, rate)
            yield {
                "cells_a_day": cells,
                "events_per_second": rate,
                "changelog_bytes_per_event": round(changelog),
                "redis_bytes_per_event": round(redis),
            }
    say("written: an hour")
    yield measure_an_hour(cells=2_000, rate=2_000)


class Partition:
    """A partition that is counted in virtual time."""

    def __init__(self, form: str) -> None:
        self.form = form
        self.rules = CountingRules(keep_rows=False)
        self.state: State = new_state(form, self.rules)

    def apply(self, events: Sequence[Event]) -> None:
        start = self.state.position.next_offset
        raw = as_fetch(events, start)
        records: Any = (
            RawRecords(raw, start, decode_batches, UNPACKED_BYTES, None)
            if self.form == "compiled"
            else decode_batches(raw)
        )
        self.state.apply(Batch(records, start, start + len(events)))


def measure_an_event(cells: int, rate: int) -> tuple[float, float]:
    """Bytes to the changelog and to Redis. What a commit writes in any case is shared by the events of a whole one."""
    workspaces = 8 if cells > 2_000 else 40
    partition, rng = Partition("python"), Random(f"{cells} {rate}")
    for workspace in range(workspaces):
        partition.apply([contact(rng, workspace, place) for place in range(cells // 2)])
        commit_bytes(partition.state, KEYS)
    alone = commit_bytes(partition.state, KEYS)
    some = max(1, round(rate * COMMIT_SECONDS * workspaces / WORKSPACES))
    of_commit = max(1.0, rate * COMMIT_SECONDS / PARTITIONS)
    sums = [0, 0]
    counted = 0
    while counted < EVENTS:
        partition.apply([contact(rng, rng.randrange(workspaces), rng.randrange(cells)) for _ in range(some)])
        counted += some
        sums = [
            total + of - empty
            for total, of, empty in zip(sums, commit_bytes(partition.state, KEYS), alone, strict=True)
        ]
    assert partition.state.outcomes.counted == counted + workspaces * (cells // 2)
    changelog, redis = (
        total / counted + (empty + more) / of_commit
        for total, empty, more in zip(sums, alone, (0, CALL_OVERHEAD_BYTES), strict=True)
    )
    return changelog, redis


def measure_an_hour(cells: int, rate: int) -> dict[str, Any]:
    """What one partition of four appends within an hour, what compaction leaves of it, and what its recovery costs."""
    partition, rng = Partition(cores()[-1]), Random(1)
    live: dict[bytes, bytes] = {}
    appended = commits = 0
    some = round(rate * COMMIT_SECONDS / PARTITIONS)
    for _ in range(round(3_600 / COMMIT_SECONDS)):
        partition.apply(
            [contact(rng, rng.randrange(WORKSPACES // PARTITIONS), rng.randrange(cells)) for _ in range(some)]
        )
        for key, value in partition.state.encode().table:
            appended += len(key) + len(value or b"") + RECORD_BYTES
            if value is None:
                live.pop(key, None)
            else:
                live[key] = value
        commits += 1
    assert partition.state.outcomes.counted == commits * some
    begun = time.process_time()
    type(partition.state).recovered(0, partition.rules, live)
    return {
        "an_hour_at": rate,
        "cells_a_day": cells,
        "core": partition.form,
        "commits": commits,
        "appended_megabytes": round(appended / 1e6, 1),
        "left_by_compaction_megabytes": round(sum(len(k) + len(v) for k, v in live.items()) / 1e6, 1),
        "keys_left": len(live),
        "recovery_cpu_ms": round((time.process_time() - begun) * 1000),
    }


def contact(rng: Random, workspace: int, cell: int) -> Event:
    """An event of one cell: a quarter-hour and a user."""
    user, quarter = divmod(cell, QUARTERS)
    workspace_id = f"workspace-{workspace:04d}"
    hour, minute = divmod(quarter * 15, 60)
    value = {
        "id": f"{rng.getrandbits(128):032x}",
        "type": "contact.added",
        "workspace_id": workspace_id,
        "contact_id": f"{rng.randrange(10_000_000)}",
        "source": "user",
        "user_id": f"u_{user}",
        "occurred_at": f"{DAY:%Y-%m-%d}T{hour:02d}:{minute:02d}:00Z",
    }
    return workspace_id.encode(), json.dumps(value).encode()
