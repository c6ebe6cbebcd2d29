"""Ten thousand listeners of `live` in one process of the API: what each takes of its memory, and how long a change
takes to all who look at it, beside a bare server that writes as much to as many. Spread over 1,000 workspaces, and all
on one.
"""

from __future__ import annotations

import asyncio
import re
import resource
import statistics
import time
from collections import defaultdict
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import Any

from benchmarks.filling import Made, Partition, event
from benchmarks.machine import say
from benchmarks.serving import Desk, cpu_ns, desk

LISTENERS = 10_000
WARM_UP = 10
"""Listeners that are there before memory is measured."""

CONNECTING_AT_ONCE = 100
CHANGES = 20
SECONDS_BETWEEN = 1.5
SECONDS_AFTER = 5.0
"""For what was told last to arrive; a listener that still has nothing is missing."""

WORKSPACES_A_CHANGE = 10
OPEN_FILES = LISTENERS + 1_000


def run() -> Iterator[dict[str, Any]]:
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(OPEN_FILES, most) if most > 0 else OPEN_FILES, most))
    for workspaces in (1_000, 1):
        with desk() as here:
            told = min(WORKSPACES_A_CHANGE, workspaces) * LISTENERS // workspaces
            bare = asyncio.run(measured_bare(here, told))
            result = asyncio.run(measured(here, workspaces))
            yield {**result, "bare_p99_seconds": bare, "p99_to_bare": round(result["p99_seconds"] / bare, 1)}


async def measured_bare(here: Desk, listeners: int) -> float:
    """The 99th percentile of the seconds until so many streams of a bare server have what is told."""
    say(f"listeners: {listeners} of a bare server")
    crowd = Crowd(here.bare.port, "/listen")
    await crowd.join([""] * listeners)
    for _ in range(CHANGES):
        await asyncio.sleep(SECONDS_BETWEEN)
        crowd.expect([""], time.monotonic())
        await asyncio.to_thread(here.bare.get, "/tell")
    await asyncio.sleep(SECONDS_AFTER)
    crowd.leave()
    return round(percentile(crowd.delays(), 99), 3)


async def measured(here: Desk, workspaces: int) -> dict[str, Any]:
    say(f"listeners: {LISTENERS} of {workspaces} workspaces")
    rng, names = Random(1), [f"listened_{number}" for number in range(workspaces)]
    partition = Partition(here.redis.url)
    await partition.take(now_in(rng, name) for name in names)
    # So that none is refused where the machine is busy with other things.
    api = here.api(CONTACTS_REDIS_TIMEOUT_SECONDS="30", CONTACTS_LIVE_STREAMS=str(WARM_UP + LISTENERS))
    crowd = Crowd(api.port, "/v1/workspaces/{}/reports/contacts/live?period=last_30_days")
    await crowd.join(names[:1] * WARM_UP)
    empty = rss_bytes(api.pid)
    await crowd.join([names[number % workspaces] for number in range(LISTENERS)])
    full = rss_bytes(api.pid)
    before, started = cpu_ns(api.pid), time.monotonic()
    for _ in range(CHANGES):
        await asyncio.sleep(SECONDS_BETWEEN)
        changing = rng.sample(names, min(WORKSPACES_A_CHANGE, workspaces))
        sent = time.monotonic()
        await partition.take([now_in(rng, name) for name in changing])
        crowd.expect(changing, sent)
    await asyncio.sleep(SECONDS_AFTER)
    share = (cpu_ns(api.pid) - before) / (time.monotonic() - started) / 1e9
    delays, missing = crowd.delays(), crowd.missing()
    crowd.leave()
    await partition.close()
    return {
        "listeners": LISTENERS,
        "workspaces": workspaces,
        "kib_a_listener": round((full - empty) / LISTENERS / 1024, 1),
        "changes": len(delays) // max(1, LISTENERS // workspaces),
        "deliveries": len(delays),
        "missing": missing,
        "p50_seconds": round(percentile(delays, 50), 3),
        "p99_seconds": round(percentile(delays, 99), 3),
        "cpu_share": round(share, 3),
    }


class Crowd:
    """Connections that listen, each to one workspace, at an address in which its id is put."""

    def __init__(self, port: int, address: str) -> None:
        self._port, self._address = port, address
        self._of: dict[str, list[Listening]] = defaultdict(list)
        self._sent: dict[str, list[float]] = defaultdict(list)

    async def join(self, workspaces: list[str]) -> None:
        """Return when each has its first report."""
        for at in range(0, len(workspaces), CONNECTING_AT_ONCE):
            some = [Listening(name, self._address.format(name)) for name in workspaces[at : at + CONNECTING_AT_ONCE]]
            loop = asyncio.get_running_loop()
            for one in some:
                await loop.create_connection(lambda one=one: one, "127.0.0.1", self._port)
                self._of[one.workspace].append(one)
            await asyncio.gather(*(one.first for one in some))

    def expect(self, workspaces: list[str], sent: float) -> None:
        """These workspaces changed at a moment of the monotonic clock."""
        for name in workspaces:
            self._sent[name].append(sent)

    def delays(self) -> list[float]:
        """Seconds from each change to each listener's next report."""
        return [delay for delay in self._delays() if delay is not None]

    def missing(self) -> int:
        """How many were not told of a change."""
        return sum(delay is None for delay in self._delays())

    def leave(self) -> None:
        for listening in self._of.values():
            for one in listening:
                one.transport.close()

    def _delays(self) -> Iterator[float | None]:
        for name, moments in self._sent.items():
            for one in self._of[name]:
                for sent in moments:
                    yield min((told - sent for told in one.told if told >= sent), default=None)


class Listening(asyncio.Protocol):
    """One connection, which notes when reports come."""

    def __init__(self, workspace: str, address: str) -> None:
        self.workspace = workspace
        self.first: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.told: list[float] = []
        self._address = address
        self.transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        transport.write(f"GET {self._address} HTTP/1.1\r\nHost: bench\r\nAccept: text/event-stream\r\n\r\n".encode())

    def data_received(self, data: bytes) -> None:
        if b"event: report\n" in data:
            self.told.append(time.monotonic())
            if not self.first.done():
                self.first.set_result(None)
        elif data.startswith(b"HTTP/1.1 ") and not data.startswith(b"HTTP/1.1 200"):
            self.first.set_exception(AssertionError(data))


def now_in(rng: Random, workspace: str) -> Made:
    return event(rng, workspace, int(datetime.now(UTC).timestamp()), "contact.added", "user", "u_1")


def percentile(values: list[float], share: int) -> float:
    return statistics.quantiles(values, n=100)[share - 1]


def rss_bytes(pid: int) -> int:
    [kib] = re.findall(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    return int(kib) * 1024
