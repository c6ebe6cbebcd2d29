"""The worker's whole path while it catches up, beside aiokafka's getmany and a plain Faust app on the same broker in
the same run.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import product
from typing import Any

from benchmarks.datasets import Dataset, records
from benchmarks.machine import Bench, Run, fill, machine, measured_catch_up, say
from stream.core import CoreMissingError, load_core

EVENTS = 400_000
FAUST_EVENTS = 30_000
PARTITIONS = 4
END = datetime(2026, 6, 1, tzinfo=UTC)


def run() -> Iterator[dict[str, Any]]:
    with machine() as bench:
        few, _ = bench.topics(PARTITIONS)
        fill(bench.kafka.bootstrap, few, records(Dataset.REAL, FAUST_EVENTS, end=END))
        faust = reference("faust", bench, few, FAUST_EVENTS)
        for dataset in Dataset:
            say(f"worker: filling a topic with {EVENTS} events of the set {dataset}")
            topic, _ = bench.topics(PARTITIONS)
            fill(bench.kafka.bootstrap, topic, records(dataset, EVENTS, end=END))
            getmany = reference("getmany", bench, topic, EVENTS)
            for core, rows in product(cores(), (True, False)):
                worked = catch_up(bench, topic, rows, core)
                yield {
                    "set": dataset.value,
                    "core": core,
                    "rows": rows,
                    "events_per_second": round(worked.rate),
                    "cpu_us_per_event": round(worked.cpu_us, 2),
                    "getmany_events_per_second": round(getmany.rate),
                    "getmany_cpu_us_per_event": round(getmany.cpu_us, 2),
                    "faust_events_per_second": round(faust.rate),
                    "faust_cpu_us_per_event": round(faust.cpu_us, 2),
                    "ratio_to_getmany": round(worked.rate / getmany.rate, 3),
                    "ratio_to_faust": round(worked.rate / faust.rate, 1),
                }


def cores() -> list[str]:
    """The forms of the counting that are here."""
    try:
        load_core()
    except CoreMissingError as error:
        say(f"worker: {error}")
        return ["python"]
    return ["python", "compiled"]


def catch_up(bench: Bench, topic: str, rows: bool, core: str) -> Run:
    _, group = bench.topics(PARTITIONS, topic)
    settings = {"CONTACTS_CORE": core} | ({} if rows else {"CONTACTS_ROW_DAYS": "0"})
    worker = bench.worker(bench.environ(topic, group, **settings))
    worker.start()
    try:
        return measured_catch_up(worker, EVENTS)
    finally:
        worker.stop()
        bench.redis.client.flushall()


def reference(kind: str, bench: Bench, topic: str, events: int) -> Run:
    command = [sys.executable, "-m", "benchmarks.loops", kind, bench.kafka.bootstrap, topic, str(events)]
    said = subprocess.run(command, capture_output=True, text=True, check=True, timeout=600).stdout
    return Run(*json.loads(said[said.rindex("[") :]))  # Faust may have written before it
