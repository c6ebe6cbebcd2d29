"""Measures one system: a catch-up, a crash in the midst of another, and the delays under load after it."""

from __future__ import annotations

import asyncio
import contextlib
import random
import re
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any, Protocol

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from benchmarks.machine import Bench, contact_added, cpu_seconds, say
from benchmarks.peers.results import Difference, Stretch, Usage, delays_as_json

PARTITIONS = 4
SESSION_TIMEOUT_MS = 10_000
"""That of this product's worker, for all who are in a consumer group: a crash is noticed after it."""

SAMPLE_SECONDS = 0.05
WAIT_SECONDS = 900.0
BEGIN_SECONDS = 240.0
GIVE_UP_SECONDS = 90.0
"""After a crash: longer than the 60 s after which Kafka ends what a dead producer left open."""

CRASH_AT = 0.4
"""Of what a whole catch-up commits."""

LOAD = 2_000
LOAD_SECONDS = 20.0
PROBES = 200


class System(Protocol):
    """One group of a system that reads the topic from its beginning."""

    name: str
    promise: str

    def start(self) -> None: ...
    def kill(self) -> None: ...
    def stop(self) -> None: ...
    @property
    def pid(self) -> int: ...
    @property
    def running(self) -> bool: ...
    def tail(self) -> str: ...

    async def catch_up(self, total: int, usages: list[Usage]) -> tuple[Stretch, int]:
        """What was measured, and how much was committed in all, by a measure of the system's own."""
        ...

    async def reach(self, committed: int) -> None:
        """Returns in the midst of the commit that follows, by the same measure."""
        ...

    async def begin(self) -> None:
        """Returns when a reader sees a count that is newer than the last crash."""
        ...

    async def note_crash(self) -> None:
        """Takes no time that would belong to the recovery."""
        ...

    async def lacks(self, total: int) -> bool:
        """Whether not all was counted when it was killed."""
        ...

    def counted_before_crash(self) -> int: ...

    async def settle(self, total: int) -> None:
        """Returns when `total` events are counted and nothing more comes, or nothing came for GIVE_UP_SECONDS."""
        ...

    async def difference(self) -> Difference: ...

    def watch(self, probes: Probes) -> AbstractAsyncContextManager[None]:
        """Tells the probes that can be read, while the context is open."""
        ...


class Probes:
    """Events of a workspace each, sent at random moments, and when they could be read."""

    def __init__(self) -> None:
        self.pending: dict[str, float] = {}
        self.delays_ms: list[float] = []

    def seen(self, workspace: str) -> None:
        sent = self.pending.pop(workspace, None)
        if sent is not None:
            self.delays_ms.append((time.monotonic() - sent) * 1000)


Make = Callable[[], AbstractAsyncContextManager[System]]


async def measure(bench: Bench, topic: str, total: int, make: Make) -> dict[str, Any]:
    async with make() as system:
        say(f"peers: {system.name} catches up")
        system.start()
        with sampling(bench, system) as usages:
            stretch, committed = await system.catch_up(total, usages)
        memory_mb = peak_memory_mb(system.pid)
        system.stop()
    async with make() as system:
        say(f"peers: {system.name} is killed, and takes events under load")
        crash = await crash_and_recover(system, total, round(CRASH_AT * committed))
        load = await delays_under_load(bench, system, topic)
        memory_mb = max(memory_mb, peak_memory_mb(system.pid))
        system.stop()
    return {
        "system": system.name,
        "events": total,
        **stretch.as_json(),
        "peak_memory_mb": round(memory_mb),
        **load,
        "promise": system.promise,
        **crash,
    }


async def crash_and_recover(system: System, total: int, committed: int) -> dict[str, Any]:
    system.start()
    await system.reach(committed)
    system.kill()
    await system.note_crash()
    started = time.monotonic()
    system.start()
    assert await system.lacks(total), f"{system.name} had counted all before it was killed: more events are needed"
    await system.begin()
    recovered = time.monotonic() - started
    await system.settle(total)
    found = await system.difference()
    return {
        "counted_when_killed": system.counted_before_crash(),
        "recovered_after_seconds": round(recovered, 1),
        "missing": found.missing,
        "extra": found.extra,
        "went_back": found.backwards,
        "after_crash": found.in_words(),
    }


async def delays_under_load(bench: Bench, system: System, topic: str) -> dict[str, Any]:
    """From send to readable, while LOAD events a second come besides; and what the system takes meanwhile."""
    words = [sys.executable, "-m", "benchmarks.loops", "publish", bench.kafka.bootstrap, topic, str(LOAD)]
    load = await asyncio.create_subprocess_exec(*words)
    try:
        await flow(bench, topic, 3 * LOAD)
        probes = Probes()
        async with system.watch(probes):
            started, before = time.monotonic(), cpu_seconds(system.pid)
            await send_probes(bench, topic, probes)
            cores = (cpu_seconds(system.pid) - before) / (time.monotonic() - started)
            deadline = time.monotonic() + 15
            while probes.pending and time.monotonic() < deadline:
                await asyncio.sleep(0.1)
    finally:
        load.kill()
        await load.wait()
    return {**delays_as_json(probes.delays_ms, PROBES), "load_cores": round(cores, 3)}


async def flow(bench: Bench, topic: str, events: int) -> None:
    """Returns when so many more events are in the topic."""
    consumer: AIOKafkaConsumer[bytes, bytes] = AIOKafkaConsumer(bootstrap_servers=bench.kafka.bootstrap)
    await consumer.start()
    places = [TopicPartition(topic, number) for number in range(PARTITIONS)]
    first = None
    try:
        async with asyncio.timeout(WAIT_SECONDS):
            while (now := sum((await consumer.end_offsets(places)).values())) < (first or now) + events:
                first = first or now
                await asyncio.sleep(0.2)
    finally:
        await consumer.stop()


async def send_probes(bench: Bench, topic: str, probes: Probes) -> None:
    chance = random.Random(1)
    producer = AIOKafkaProducer(bootstrap_servers=bench.kafka.bootstrap, linger_ms=0)
    await producer.start()
    started = time.monotonic()
    for number, at in enumerate(sorted(chance.random() * LOAD_SECONDS for _ in range(PROBES))):
        await asyncio.sleep(max(0.0, started + at - time.monotonic()))
        workspace = f"probe_{number}"
        probes.pending[workspace] = time.monotonic()
        await producer.send(topic, key=workspace.encode(), value=contact_added(workspace))
    await producer.stop()


@contextlib.contextmanager
def sampling(bench: Bench, system: System) -> Iterator[list[Usage]]:
    """Takes the CPU of system and servers every SAMPLE_SECONDS, in a thread."""
    usages, over = [], threading.Event()
    servers = bench.server_pids()

    def sample() -> None:
        while not over.wait(SAMPLE_SECONDS):
            with contextlib.suppress(FileNotFoundError):  # it ended
                usages.append(Usage(time.time(), cpu_seconds(system.pid), sum(map(cpu_seconds, servers))))

    thread = threading.Thread(target=sample, daemon=True)
    thread.start()
    try:
        yield usages
    finally:
        over.set()
        thread.join()


def peak_memory_mb(pid: int) -> float:
    found = re.search(r"^VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    assert found is not None
    return int(found.group(1)) / 1024


async def ticks(system: System, seconds: float, every: float) -> AsyncIterator[None]:
    """Ticks until `seconds` are over, which is a failure; the system must run meanwhile."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        assert system.running, f"{system.name} ended: {system.tail()}"
        yield
        await asyncio.sleep(every)
    raise TimeoutError(f"{system.name} did not get there in {seconds:.0f} s")
