"""From send to readable through the API in 4 partitions, quiet and busy, and what that costs the worker; beside one
produce and one fetch, and the CPU of a consumer that only fetches.
"""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import random
import re
import statistics
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from benchmarks.machine import Bench, contact_added, cpu_seconds, machine, say
from tests.support.kafka import create_topic, unique_name
from tests.support.stack import Api, Worker, eventually

RATES = (0, 20, 2_000, 20_000)
"""Events a second, the probes besides."""
SECONDS = 30
PARTITIONS = 4
PROBES = 200
POLL_SECONDS = 0.01
STAGES = {
    "fetched": ("contacts_stage_seconds", 'stage="fetched"'),
    "applied": ("contacts_stage_seconds", 'stage="applied"'),
    "waited": ("contacts_stage_seconds", 'stage="waited"'),
    "committed": ("contacts_commit_seconds", ""),
    "projected": ("contacts_stage_seconds", 'stage="projected"'),
    "readable, in all": ("contacts_event_to_readable_seconds", ""),
}
"""Where an event's time goes in the worker, and the metric that says how much of it. What is left of a probe's is its
way to the broker, and the API's answer.
"""
WARM_UP_SECONDS = 15.0  # the broker's compiler needs as long


def run() -> Iterator[dict[str, Any]]:
    with machine() as bench:
        round_trips = asyncio.run(round_trip(bench))
        for rate in RATES:
            say(f"latency: {rate} events/s for {SECONDS} s")
            yield at_rate(bench, rate, percentile(round_trips, 50))


@contextlib.contextmanager
def deployment(bench: Bench) -> Iterator[tuple[str, Worker, Api]]:
    """A topic, a worker that counts it, and an API that answers with what Redis has at that moment."""
    topic, group = bench.topics(PARTITIONS)
    environ = bench.environ(topic, group)
    worker = bench.worker(environ)
    api = Api(bench.folder, unique_name("api"), environ | {"CONTACTS_POSITIONS_CACHE_MS": "0"})
    worker.start()
    api.start()
    try:
        eventually("a worker that counts", worker.ready)
        eventually("an API that answers", lambda: api.get("/readyz")[0] == 200)
        yield topic, worker, api
    finally:
        api.stop()
        worker.stop()


def at_rate(bench: Bench, rate: int, round_trip_ms: float) -> dict[str, Any]:
    with deployment(bench) as (topic, worker, api):
        idle = share_of(worker.pid, SECONDS / 3) if not rate else None
        delays, worker_share, bare_share, stages = measured(bench, worker, api, topic, rate)
    return {
        "events_per_second": rate,
        "p50_ms": round(percentile(delays, 50), 1),
        "p99_ms": round(percentile(delays, 99), 1),
        "round_trip_p50_ms": round(round_trip_ms, 1),
        "p50_to_round_trip": round(percentile(delays, 50) / round_trip_ms, 1),
        "worker_cpu_share": round(worker_share, 3),
        "bare_consumer_cpu_share": round(bare_share, 3),
        **({} if idle is None else {"worker_cpu_share_without_probes": round(idle, 3)}),
        "stages_ms": stages,
    }


def share_of(pid: int, seconds: float) -> float:
    """The CPU that a process takes, as a share of one core."""
    started, before = time.monotonic(), cpu_seconds(pid)
    time.sleep(seconds)
    return (cpu_seconds(pid) - before) / (time.monotonic() - started)


def measured(
    bench: Bench, worker: Worker, api: Api, topic: str, rate: int
) -> tuple[list[float], float, float, dict[str, list[float]]]:
    """Milliseconds of each probe under load; the CPU that the worker took meanwhile, and that of a process which only
    fetches the same, as shares of one core; and where events' time went in the worker.
    """
    words = [sys.executable, "-m", "benchmarks.loops"]
    load = subprocess.Popen([*words, "publish", bench.kafka.bootstrap, topic, str(rate)])
    bare = subprocess.Popen([*words, "gulps", bench.kafka.bootstrap, topic, "0"])
    try:
        time.sleep(WARM_UP_SECONDS)
        started, pids = time.monotonic(), (worker.pid, bare.pid)
        before, stages_before = [cpu_seconds(pid) for pid in pids], histograms(worker)
        delays = asyncio.run(probe(bench, api, topic))
        taken = time.monotonic() - started
        of_worker, of_bare = ((cpu_seconds(pid) - cpu) / taken for pid, cpu in zip(pids, before, strict=True))
        stages = {name: mean_and_p99(of, stages_before[name]) for name, of in histograms(worker).items()}
    finally:
        load.kill()
        bare.kill()
    return delays, of_worker, of_bare, stages


def histograms(worker: Worker) -> dict[str, dict[str, float]]:
    """The stages of an event, by the order in which they come: each its `sum`, its `count`, and its buckets."""
    with urllib.request.urlopen(f"http://127.0.0.1:{worker.port}/metrics", timeout=5) as answer:
        text = answer.read().decode()
    found: dict[str, dict[str, float]] = {name: {} for name in STAGES}
    for name, (metric, label) in STAGES.items():
        for kind, labels, value in re.findall(rf"^{metric}_(sum|count|bucket)(?:{{(.*)}})? (\S+)$", text, re.MULTILINE):
            if label in labels:
                bound = re.search(r'le="([^"]+)"', labels)
                found[name][bound[1] if bound else kind] = float(value)
    return found


def mean_and_p99(now: dict[str, float], before: dict[str, float]) -> list[float]:
    """Milliseconds; the second is the bound of the bucket in which it lies."""
    taken = {key: value - before.get(key, 0.0) for key, value in now.items()}
    count = taken.pop("count", 0.0)
    if not count:
        return []
    mean = taken.pop("sum") / count
    p99 = next(bound for bound, number in taken.items() if number >= 0.99 * count)
    return [round(mean * 1000, 1), float(p99) * 1000]


async def probe(bench: Bench, api: Api, topic: str) -> list[float]:
    """An event of a workspace of its own at random moments, until the API counts it."""
    delays, chance = [], random.Random(1)
    producer = AIOKafkaProducer(bootstrap_servers=bench.kafka.bootstrap, linger_ms=0)
    await producer.start()
    connection = http.client.HTTPConnection("127.0.0.1", api.port, timeout=10)
    for number in range(PROBES):
        await asyncio.sleep(chance.random() * 2 * SECONDS / PROBES)
        workspace = f"probe_{number}"
        path = f"/v1/workspaces/{workspace}/reports/contacts/summary?period=last_7_days&compare=none"
        event = contact_added(workspace)
        sent = time.monotonic()
        await producer.send_and_wait(topic, key=workspace.encode(), value=event)
        while True:
            connection.request("GET", path)
            if json.load(connection.getresponse())["added"]["count"] == 1:
                break
            await asyncio.sleep(POLL_SECONDS)
        delays.append((time.monotonic() - sent) * 1000)
    await producer.stop()
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
