"""What a recovery costs beside fetching its changelog alone, by the same client.

The core counts a partition and commits to an Apache Kafka, so that the changelog is what a worker would have written.
Then, in turn, each in a process of its own: fetch all of it and look at nothing; and read and unpack it as a worker
does.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import uvloop
from aiokafka import TopicPartition

from benchmarks.counting import FETCH_RECORDS, KEYS, as_fetches, new_state
from benchmarks.datasets import Dataset, records
from benchmarks.machine import Bench, machine, say
from stream.ingest.raw import RawRecords
from stream.kafka.changelog import changelog_consumer, read_changelog_into
from stream.kafka.fetch import decode_batches
from stream.kafka.transaction import PACKED_BYTES, TransactionalStore
from stream.kafka.unpacking import UNPACKED_BYTES
from stream.projection import calls
from stream.settings.kafka import KafkaAccess
from stream.settings.worker import WorkerConfig
from stream.tables.batch import Batch
from stream.tables.compiled import CompiledState, Packing, new_table
from stream.tables.rules import CountingRules
from stream.worker.attempts import Attempts
from stream.worker.recovery import unpack_state

EVENTS: Final = 400_000
END: Final = datetime(2026, 6, 1, tzinfo=UTC)
ROUNDS: Final = 3
RULES: Final = CountingRules(keep_rows=False, dedupe_max_ids=20_000_000)


def run() -> Iterator[dict[str, Any]]:
    with machine() as bench:
        for dataset in Dataset:
            say(f"recovery: counting {EVENTS} events of the set {dataset}")
            topic, group = bench.topics(1)
            config = WorkerConfig(kafka=bench.kafka.bootstrap, topic=topic, group=group)
            size = asyncio.run(count(config, dataset))
            fetched, recovered = [], []
            for _ in range(ROUNDS):
                fetched.append(measured("fetch", bench, config))
                recovered.append(measured("recover", bench, config))
            alone, whole = median(fetched), median(recovered)
            yield {
                "set": dataset.value,
                "changelog_mb": round(size / 1e6, 1),
                "fetch_mb_per_second": round(size / 1e6 / alone[0], 1),
                "fetch_cpu_seconds": round(alone[1], 3),
                "recovery_mb_per_second": round(size / 1e6 / whole[0], 1),
                "recovery_cpu_seconds": round(whole[1], 3),
                "ratio_to_fetch": round(alone[0] / whole[0], 3),
                "cpu_ratio_to_fetch": round(alone[1] / whole[1], 3),
            }


async def count(config: WorkerConfig, dataset: Dataset) -> int:
    """Commit the events of a set, a fetch at a time. Returns how many bytes of keys and values that appended."""
    store = TransactionalStore.of(config, 0)
    await store.fence()
    state = new_state("compiled", RULES, Packing(KEYS.prefix, PACKED_BYTES, calls.CALL_BYTES, calls.OPERATION_LIMIT))
    size = 0
    for number, raw in enumerate(as_fetches(list(records(dataset, EVENTS, end=END)))):
        start = number * FETCH_RECORDS
        fetched: Any = RawRecords(raw, start, decode_batches, UNPACKED_BYTES, None)
        state.apply(Batch(fetched, start, start + FETCH_RECORDS))
        commit = state.encode()
        assert commit.packed is not None, "this state packs its commits"
        size += sum(len(body) for body, _ in commit.packed.bodies)
        await store.commit(commit, Attempts())
    await store.close()
    return size


def measured(what: str, bench: Bench, config: WorkerConfig) -> tuple[float, float]:
    """Seconds and CPU seconds."""
    command = [sys.executable, "-m", "benchmarks.recovery", what, bench.kafka.bootstrap, config.topic, config.group]
    seconds, cpu = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    return seconds, cpu


def median(measured: Sequence[tuple[float, float]]) -> tuple[float, float]:
    return statistics.median(one[0] for one in measured), statistics.median(one[1] for one in measured)


async def fetch(access: KafkaAccess, changelog: str) -> None:
    consumer, place = changelog_consumer(access, changelog), TopicPartition(changelog, 0)
    await consumer.start()
    consumer.assign([place])
    end = (await consumer.end_offsets([place]))[place]
    await consumer.seek_to_beginning(place)
    while await consumer.position(place) < end:
        await consumer.getmany(place, timeout_ms=500)
    await consumer.stop()


async def recover(access: KafkaAccess, changelog: str, dead_letters: str) -> None:
    table = new_table()
    await read_changelog_into(table, access, changelog, dead_letters, 0, lambda _done, _all: None)
    await unpack_state(0, RULES, table, CompiledState.unpack)


async def timed(what: str, config: WorkerConfig) -> list[float]:
    started, cpu = time.monotonic(), time.process_time()
    if what == "fetch":
        await fetch(config.access, config.changelog_topic)
    else:
        await recover(config.access, config.changelog_topic, config.dead_letter_topic)
    return [time.monotonic() - started, time.process_time() - cpu]


if __name__ == "__main__":
    what, kafka, topic, group = sys.argv[1:]
    print(json.dumps(uvloop.run(timed(what, WorkerConfig(kafka=kafka, topic=topic, group=group)))))
