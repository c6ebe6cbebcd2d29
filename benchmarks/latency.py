"""From send to readable through the API at 2,000 events/s in 4 partitions, and what that costs the worker; beside one
produce and one fetch.
"""

from __future__ import annotations

import asyncio
import json
import random
import statistics
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import httpx
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from benchmarks.datasets import Dataset, records
from benchmarks.machine import Bench, cpu_seconds, machine, say
from tests.support.kafka import create_topic, unique_name
from tests.support.stack import Api, Worker, eventually

RATE = 2_000
SECONDS = 30
PARTITIONS = 4
PROBES = 200
WARM_UP_SECONDS = 3.0


def run() -> Iterator[dict[str, Any]]:
    with machine() as bench:
        topic, group = bench.topics(PARTITIONS)
        environ = bench.environ(topic, group)
        worker = bench.worker(environ)
        api = Api(bench.folder, "api", environ | {"CONTACTS_POSITIONS_CACHE_MS": "0"})
        worker.start()
        api.start()
        eventually("a worker that counts", worker.ready)
        eventually("an API that answers", lambda: api.get("/readyz")[0] == 200)
        say(f"latency: {RATE} events/s for {SECONDS} s")
        round_trips = asyncio.run(round_trip(bench))
        delays, worker_share = asyncio.run(measured(bench, worker, api, topic))
        api.stop()
        worker.stop()
    yield {
        "events_per_second": RATE,
        "p50_ms": round(percentile(delays, 50), 1),
        "p99_ms": round(percentile(delays, 99), 1),
        "round_trip_p50_ms": round(percentile(round_trips, 50), 1),
        "p50_to_round_trip": round(percentile(delays, 50) / percentile(round_trips, 50), 1),
        "worker_cpu_share": round(worker_share, 3),
    }


async def measured(bench: Bench, worker: Worker, api: Api, topic: str) -> tuple[list[float], float]:
    """Milliseconds of each probe, and the worker's CPU as a share of one core, under load."""
    producer = AIOKafkaProducer(bootstrap_servers=bench.kafka.bootstrap, linger_ms=0)
    await producer.start()
    load = asyncio.create_task(publish(producer, topic))
    await asyncio.sleep(WARM_UP_SECONDS)
    started, cpu = time.monotonic(), cpu_seconds(worker.pid)
    delays = await probe(producer, api, topic)
    share = (cpu_seconds(worker.pid) - cpu) / (time.monotonic() - started)
    load.cancel()
    await asyncio.gather(load, return_exceptions=True)
    await producer.stop()
    return delays, share


async def publish(producer: AIOKafkaProducer, topic: str) -> None:
    """RATE events a second, in slices of 10 ms."""
    stock = list(records(Dataset.REAL, RATE * (SECONDS + 60), end=datetime.now(UTC)))
    begun = time.monotonic()
    sent = 0
    while sent < len(stock):
        due = min(len(stock), int((time.monotonic() - begun) * RATE))
        for key, value in stock[sent:due]:
            await producer.send(topic, key=key, value=value)
        sent = due
        await asyncio.sleep(0.01)


async def probe(producer: AIOKafkaProducer, api: Api, topic: str) -> list[float]:
    """An event of a workspace of its own at random moments, until the API counts it."""
    delays, chance = [], random.Random(1)
    async with httpx.AsyncClient(base_url=api.address) as client:
        for number in range(PROBES):
            await asyncio.sleep(chance.random() * 2 * SECONDS / PROBES)
            workspace = f"probe_{number}"
            path = f"/v1/workspaces/{workspace}/reports/contacts/summary?period=last_7_days&compare=none"
            event = {
                "id": "1",
                "type": "contact.added",
                "workspace_id": workspace,
                "contact_id": "c",
                "occurred_at": datetime.now(UTC).isoformat(),
            }
            sent = time.monotonic()
            await producer.send(topic, key=workspace.encode(), value=json.dumps(event).encode())
            while (await client.get(path)).json()["added"]["count"] != 1:
                await asyncio.sleep(0.004)
            delays.append((time.monotonic() - sent) * 1000)
    return delays


async def round_trip(bench: Bench) -> list[float]:
    """One produce and one fetch of it, milliseconds."""
    topic = unique_name("round-trip")
    await create_topic(bench.kafka.bootstrap, topic)
    producer = AIOKafkaProducer(bootstrap_servers=bench.kafka.bootstrap, linger_ms=0)
    consumer = AIOKafkaConsumer(topic, bootstrap_servers=bench.kafka.bootstrap, auto_offset_reset="earliest")
    await producer.start()
    await consumer.start()
    times = []
    for number in range(120):
        sent = time.monotonic()
        await producer.send(topic, str(number).encode())
        await consumer.getone()
        times.append((time.monotonic() - sent) * 1000)
        await asyncio.sleep(0.02)
    await producer.stop()
    await consumer.stop()
    return times[20:]


def percentile(values: list[float], share: int) -> float:
    return statistics.quantiles(values, n=100)[share - 1]
