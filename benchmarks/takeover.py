"""From `kill -9` of a worker until another counts its partitions again; the session's time-out is most of it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from typing import Any

import httpx
from aiokafka import AIOKafkaProducer

from benchmarks.machine import contact_added, machine, say
from tests.support.stack import Api, eventually

PARTITIONS = 4
SESSION_SECONDS = 6.0
ROUNDS = 3


def run() -> Iterator[dict[str, Any]]:
    with machine() as bench:
        topic, group = bench.topics(PARTITIONS)
        environ = bench.environ(topic, group, CONTACTS_SESSION_TIMEOUT_SECONDS=str(SESSION_SECONDS))
        api = Api(bench.folder, "api", environ)
        api.start()
        worker = bench.worker(environ)
        worker.start()
        eventually("a worker that counts", worker.ready)
        times = []
        for number in range(ROUNDS):
            other = bench.worker(environ)
            other.start()
            eventually("two workers that share", lambda w=other: w.ready())
            say("takeover: kill -9")
            worker.kill()
            killed = time.monotonic()
            asyncio.run(count_in_every_partition(bench.kafka.bootstrap, topic, api, number))
            times.append(time.monotonic() - killed)
            worker = other
        worker.stop()
        api.stop()
    yield {"session_seconds": SESSION_SECONDS, "seconds": [round(t, 2) for t in times]}


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
