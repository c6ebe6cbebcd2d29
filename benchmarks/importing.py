"""How long others wait while 200,000 contacts are imported into one workspace, 20,000 a second: 50 workspaces send an
event a second each, every fourth in the partition of the import; from send to readable through the API, without the
import and beside it.
"""

from __future__ import annotations

import asyncio
import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import httpx
from aiokafka import AIOKafkaProducer

from benchmarks.latency import PARTITIONS, deployment, histograms, mean_and_p99, percentile
from benchmarks.loops import IMPORTED
from benchmarks.machine import Bench, applied, contact_added, cpu_seconds, machine, say
from tests.support.stack import Api, Worker

RATE = 20_000
WORKSPACES = 50
ROUNDS = 3
SECONDS = 15
POLL_SECONDS = 0.02
IMPORT_PARTITION = 0

Delays = dict[bool, list[float]]
"""Milliseconds, apart by whether the workspace shares the import's partition."""


def run() -> Iterator[dict[str, Any]]:
    with machine() as bench, deployment(bench) as (topic, worker, api):
        say("importing: warming up")
        imported(bench, api, topic, "warm-up")
        for number in range(ROUNDS):
            say(f"importing: {SECONDS} s without, then beside {IMPORTED} contacts")
            alone = asyncio.run(trickle(bench, api, topic, f"alone-{number}", SECONDS))
            before, used, stages_before = applied(worker), cpu_of(bench, worker, api), histograms(worker)
            beside, seconds = imported(bench, api, topic, f"beside-{number}")
            cores = {name: round((cpu - used[name]) / seconds, 2) for name, cpu in cpu_of(bench, worker, api).items()}
            stages = {name: mean_and_p99(of, stages_before[name]) for name, of in histograms(worker).items()}
            assert applied(worker) - before >= IMPORTED, "the import is counted"
            yield {
                "import_seconds": round(seconds, 1),
                "cores": cores,
                "stages_ms": stages,
                **told("alone", alone),
                **told("beside", beside),
                "p99_to_alone": round(percentile(joined(beside), 99) / percentile(joined(alone), 99), 2),
            }


def cpu_of(bench: Bench, worker: Worker, api: Api) -> dict[str, float]:
    """CPU seconds so far of all that share the machine, but for the publisher of the import."""
    broker, redis = map(cpu_seconds, bench.server_pids())
    asking = sum(os.times()[:2])
    return {
        "worker": cpu_seconds(worker.pid),
        "API": cpu_seconds(api.pid),
        "Kafka": broker,
        "Redis": redis,
        "asking": asking,
    }


def imported(bench: Bench, api: Api, topic: str, name: str) -> tuple[Delays, float]:
    """The others' delays from the first contact of the import until its last is published, and how long that took."""
    words = [sys.executable, "-m", "benchmarks.loops", "import", bench.kafka.bootstrap, topic, str(RATE)]
    with subprocess.Popen(words, stdout=subprocess.PIPE) as publisher:
        assert publisher.stdout is not None
        publisher.stdout.readline()  # it has made its contacts, and begins
        started = time.monotonic()
        delays = asyncio.run(trickle(bench, api, topic, name, until=publisher))
        return delays, time.monotonic() - started


async def trickle(
    bench: Bench, api: Api, topic: str, name: str, seconds: float = 0.0, until: subprocess.Popen[bytes] | None = None
) -> Delays:
    """Send an event a second for each workspace, for so many seconds or until a process has ended."""
    ends, delays = time.monotonic() + seconds, Delays({True: [], False: []})
    producer = AIOKafkaProducer(bootstrap_servers=bench.kafka.bootstrap, linger_ms=0)
    await producer.start()

    def over() -> bool:
        return time.monotonic() >= ends if until is None else until.poll() is not None

    async def send_and_wait(number: int, client: httpx.AsyncClient) -> None:
        workspace, partition = f"{name}-{number}", number % PARTITIONS
        path = f"/v1/workspaces/{workspace}/reports/contacts/summary?period=last_7_days&compare=none"
        chance, sent = random.Random(number), 0
        while not over():
            await asyncio.sleep(chance.random() * 2)
            sent += 1
            event = contact_added(workspace, event_id=str(sent))
            began = time.monotonic()
            await producer.send_and_wait(topic, event, partition=partition)
            while (await client.get(path)).json()["added"]["count"] != sent:
                await asyncio.sleep(POLL_SECONDS)
            delays[partition == IMPORT_PARTITION].append((time.monotonic() - began) * 1000)

    async with httpx.AsyncClient(base_url=api.address, timeout=30) as client:
        await asyncio.gather(*(send_and_wait(number, client) for number in range(WORKSPACES)))
    await producer.stop()
    return delays


def told(when: str, delays: Delays) -> dict[str, Any]:
    parts = {"": joined(delays), "_same_partition": delays[True]}
    return {
        f"{when}{part}_{name}": round(percentile(of, share), 1)
        for part, of in parts.items()
        for name, share in (("p50_ms", 50), ("p99_ms", 99))
    }


def joined(delays: Delays) -> list[float]:
    return delays[True] + delays[False]
