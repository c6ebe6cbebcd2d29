"""From `kill -9` of a worker until another counts its partitions again; the session's time-out is most of it.

With nothing counted before, and with `TAKEOVER_CELLS` (5 million) cells, of which the two workers share the partitions.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import httpx
from aiokafka import AIOKafkaProducer

from benchmarks.datasets import Dataset, records
from benchmarks.machine import Bench, applied, contact_added, fill, machine, say
from tests.support.stack import Api, eventually

PARTITIONS = 4
SESSION_SECONDS = 6.0
SHARED_SECONDS = 120.0
ROUNDS = 3
CELLS = 5_000_000
"""In the set `wide` nearly every event makes one."""


def run() -> Iterator[dict[str, Any]]:
    for cells in (0, int(os.environ.get("TAKEOVER_CELLS", CELLS))):
        with machine() as bench:
            yield {"cells": cells, "session_seconds": SESSION_SECONDS, **measured(bench, cells)}


def measured(bench: Bench, cells: int) -> dict[str, Any]:
    topic, group = bench.topics(PARTITIONS)
    environ = bench.environ(topic, group, CONTACTS_SESSION_TIMEOUT_SECONDS=str(SESSION_SECONDS), CONTACTS_ROW_DAYS="0")
    api = Api(bench.folder, "api", environ)
    worker = bench.worker(environ)
    worker.start()
    eventually("a worker that counts", worker.ready)
    if cells:
        say(f"takeover: counting {cells} cells")
        published = fill(bench.kafka.bootstrap, topic, records(Dataset.WIDE, cells, end=datetime.now(UTC)))
        while applied(worker) < published:
            assert worker.running, worker.tail()
            time.sleep(0.5)
    api.start()
    times = []
    for number in range(ROUNDS):
        other = bench.worker(environ)
        other.start()
        eventually("two workers that share", lambda w=other: w.ready(), seconds=SHARED_SECONDS)
        say("takeover: kill -9")
        worker.kill()
        killed = time.monotonic()
        asyncio.run(count_in_every_partition(bench.kafka.bootstrap, topic, api, number))
        times.append(time.monotonic() - killed)
        worker = other
    worker.stop()
    api.stop()
    return {"seconds": [round(t, 2) for t in times]}


async def count_in_every_partition(bootstrap: str, topic: str, api: Api, number: int) -> None:
    """Return once an event sent now into each partition is counted."""
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap)
    await producer.start()
    workspaces = [f"takeover_{number}_{p}" for p in range(PARTITIONS)]
    for partition, workspace in enumerate(workspaces):
        await producer.send_and_wait(topic, contact_added(workspace), partition=partition)
    await producer.stop()
    async with httpx.AsyncClient(base_url=api.address) as client:
        for workspace in workspaces:
            path = f"/v1/workspaces/{workspace}/reports/contacts/summary?compare=none"
            while (await client.get(path)).json()["added"]["count"] != 1:
                await asyncio.sleep(0.02)
