"""What an event costs one partition, by the form of the counting: from a fetch's bytes to the batches and calls of its
commit. One process, no broker and no Redis: what both forms share around this (sockets, asyncio, Faust) is left out.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

from aiokafka.record.default_records import DefaultRecordBatchBuilder

from benchmarks.datasets import Dataset, records
from benchmarks.worker import cores
from stream.ingest.raw import RawRecords
from stream.kafka.fetch import decode_batches
from stream.kafka.record_batch import BuiltBatch, PackedBatch
from stream.kafka.transaction import BATCH_BYTES, PACKED_BYTES
from stream.kafka.unpacking import UNPACKED_BYTES
from stream.projection import calls
from stream.settings.redis import PackedInC, PackedWords
from stream.storage.keys import Keys
from stream.tables.batch import Batch
from stream.tables.commit import Commit
from stream.tables.compiled import CompiledState, Packing
from stream.tables.partition import PartitionState
from stream.tables.position import INCARNATION_BYTES
from stream.tables.rules import CountingRules

EVENTS = 200_000
FETCH_RECORDS = 2_000
FETCHES_A_COMMIT = 10
END = datetime(2026, 6, 1, tzinfo=UTC)
KEYS = Keys("bench")


def run() -> Iterator[dict[str, Any]]:
    for dataset in Dataset:
        fetches = list(as_fetches(list(records(dataset, EVENTS, end=END))))
        for core in cores():
            applied, committed, counted = count(core, fetches)
            yield {
                "set": dataset.value,
                "core": core,
                "apply_cpu_us_per_event": round(applied / counted * 1e6, 2),
                "commit_cpu_us_per_event": round(committed / counted * 1e6, 2),
            }


def as_fetches(events: list[tuple[bytes, bytes]]) -> Iterator[bytes]:
    for start in range(0, len(events), FETCH_RECORDS):
        yield as_fetch(events[start : start + FETCH_RECORDS], start)


def as_fetch(events: Sequence[tuple[bytes, bytes]], start: int) -> bytes:
    """A record batch as a broker holds it."""
    builder = DefaultRecordBatchBuilder(2, 0, 0, -1, -1, 0, 1 << 26)
    for place, (key, value) in enumerate(events):
        builder.append(place, int(END.timestamp() * 1000), key, value, [])
    return start.to_bytes(8, "big") + bytes(builder.build())[8:]


def new_state(core: str, rules: CountingRules, packing: Packing | None = None) -> PartitionState | CompiledState:
    """Of a partition of which nothing was counted yet."""
    made = CompiledState(0, rules, packing) if core == "compiled" else PartitionState(0, rules)
    made.begin(incarnation=bytes(INCARNATION_BYTES), first_offset=0, partitions=1)
    return made


def count(core: str, fetches: list[bytes]) -> tuple[float, float, int]:
    """CPU seconds of reading and judging, and of commits; and how many records there were."""
    packing = Packing(KEYS.prefix, PACKED_BYTES, calls.CALL_BYTES, calls.OPERATION_LIMIT)
    state = new_state(core, CountingRules(), packing)
    applied = committed = 0.0
    for number, raw in enumerate(fetches):
        start, end = number * FETCH_RECORDS, (number + 1) * FETCH_RECORDS
        begun = time.process_time()
        fetched: Any = RawRecords(raw, start, decode_batches, UNPACKED_BYTES, None)
        state.apply(Batch(fetched if core == "compiled" else decode_batches(raw), start, end))
        done = time.process_time()
        applied += done - begun
        if (number + 1) % FETCHES_A_COMMIT == 0:
            send(state.encode())
            committed += time.process_time() - done
    return applied, committed, len(fetches) * FETCH_RECORDS


def send(commit: Commit) -> int:
    """The bytes that go to Kafka and to Redis."""
    batches: list[Any] = [PackedBatch(*body) for body in commit.packed.bodies] if commit.packed is not None else []
    for key, value in commit.table:
        if not batches or not batches[-1].append(key, value, []):
            batches.append(BuiltBatch(BATCH_BYTES))
            batches[-1].append(key, value, [])
    size = sum(len(batch.frame(-1, -1, 0)) for batch in batches)
    for call in calls.calls_of_commit(KEYS, 0, commit):
        words: list[Any] = [*call.keys, *call.operations]
        if call.packed is not None:
            words += [PackedWords(call.packed.keys, call.packed.key_count)]
            words += [PackedWords(call.packed.operations, call.packed.operation_count)]
        packer: Any = PackedInC.pack_command
        size += sum(map(len, packer(None, "EVALSHA", "sha", *words)))
    return size
