"""How costs grow: one thing at a time by tens, all else as it was; `docs/plots/growth.svg` shows a line for each.

state      CPU of an event, memory, changelog and recovery of one partition: workspaces, users of a workspace, cells of
           a day, months of history, ids
answers    CPU of a whole report whose every day changed: users of a workspace, cells of a day, months
worker     events a second while it catches up, and CPU of an event: partitions, workers
api        answers a second of the report unchanged, asked for on several connections: processes
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from itertools import chain
from pathlib import Path
from random import Random
from typing import Any

from benchmarks.datasets import DAY_SECONDS, Dataset, records
from benchmarks.filling import Made, Partition, busy_days, day_number, event, renew, repeat_days
from benchmarks.machine import Bench, applied, cpu_seconds, fill, machine, say
from benchmarks.memory import measured_state
from benchmarks.plots import draw_growth
from benchmarks.serving import Desk, Server, desk

PLOT = Path(__file__).parents[1] / "docs" / "plots" / "growth.svg"
STATE_SIZES: dict[str, tuple[int, ...]] = {
    "workspaces": (100, 1_000, 10_000, 100_000),
    "users of a workspace": (10, 100, 1_000, 10_000, 100_000),
    "cells of a day": (100, 1_000, 10_000, 100_000),
    "months of history": (1, 3, 12, 36),
    "ids": (200_000, 2_000_000, 20_000_000),
}
ANSWER_USERS = (10, 100, 1_000, 10_000, 100_000)
ANSWER_CELLS = (100, 1_000, 5_000)
"""There are some 9,000 in a day that benchmarks.filling fills."""
ANSWER_MONTHS = (1, 3, 12, 36)
MONTH_CELLS = 500
"""Of a day, where months vary."""
LAST = date(2026, 5, 31)
TIMES = 5

EVENTS = 400_000
PARTITIONS = (1, 4, 16, 64)
WORKERS = (1, 2, 4)
WORKERS_PARTITIONS = 8
PROCESSES = (1, 2)
CONNECTIONS = 4
ASKING_SECONDS = 5.0


def run() -> Iterator[dict[str, Any]]:
    results = []
    for result in chain(states(), answers(), workers(), processes()):
        results.append(result)
        yield result
    PLOT.parent.mkdir(exist_ok=True)
    draw_growth(results, PLOT)
    say(f"growth: drawn in {PLOT}")


# ---- state -----------------------------------------------------------------------------------------------------------


def states() -> Iterator[dict[str, Any]]:
    for axis, sizes in STATE_SIZES.items():
        for size in sizes:
            yield {"of": "state", "axis": axis, "size": size, **measured_state(axis, size)}


# ---- answers ---------------------------------------------------------------------------------------------------------


def answers() -> Iterator[dict[str, Any]]:
    with desk() as here, asyncio.Runner() as runner:
        partition = Partition(here.redis.url, rows=False)
        runner.run(partition.take(one_each("first", 1)))  # an API begins once Redis has something to tell
        api = here.api()
        for users in ANSWER_USERS:
            say(f"growth: a report of {users} users")
            workspace = f"users-{users}"
            runner.run(partition.take(one_each(workspace, users)))
            yield answer(here, api, "users of a workspace", users, workspace, 1)
        for cells in ANSWER_CELLS:
            say(f"growth: a report of {cells} cells a day")
            workspace = f"cells-{cells}"
            runner.run(partition.take(busy_days(Random(workspace), workspace, LAST - timedelta(6), 7, cells)))
            yield answer(here, api, "cells of a day", cells, workspace, 7)
        for months in ANSWER_MONTHS:
            say(f"growth: a report of {months} months")
            workspace = f"months-{months}"
            first = LAST - timedelta(29)
            runner.run(partition.take(busy_days(Random(1), workspace, first, 30, MONTH_CELLS)))
            repeat_days(here.redis.client, workspace, first, 30, months - 1)
            yield answer(here, api, "months of history", months, workspace, 30 * months)
        runner.run(partition.close())


def one_each(workspace: str, users: int) -> Iterator[Made]:
    rng, midnight = Random(workspace), day_number(LAST) * DAY_SECONDS
    for user in range(users):
        yield event(rng, workspace, midnight + rng.randrange(DAY_SECONDS), "contact.added", "user", f"u_{user}")


def report_of(workspace: str, days: int) -> str:
    first = LAST - timedelta(days - 1)
    return f"/v1/workspaces/{workspace}/reports/contacts?from={first}&to={LAST}&compare=none"


def answer(here: Desk, api: Server, axis: str, size: int, workspace: str, days: int) -> dict[str, Any]:
    path = report_of(workspace, days)

    def fresh() -> None:
        renew(here.redis.client, workspace)
        api.get(path)

    cpu_us = api.cpu_us(fresh, TIMES)
    return {"of": "answers", "axis": axis, "size": size, "cpu_ms_per_answer": round(cpu_us / 1000, 2)}


# ---- worker ----------------------------------------------------------------------------------------------------------


def workers() -> Iterator[dict[str, Any]]:
    events = list(records(Dataset.REAL, EVENTS, end=datetime(2026, 6, 1, tzinfo=UTC)))
    with machine() as bench:
        for partitions in PARTITIONS:
            say(f"growth: {partitions} partitions")
            yield {"of": "worker", "axis": "partitions", "size": partitions, **caught_up(bench, events, partitions, 1)}
        for number in WORKERS:
            say(f"growth: {number} workers")
            measured = caught_up(bench, events, WORKERS_PARTITIONS, number)
            yield {"of": "worker", "axis": "workers", "size": number, **measured}


def caught_up(bench: Bench, events: list[tuple[bytes, bytes]], partitions: int, number: int) -> dict[str, Any]:
    """From the first event that one of the workers commits until all are; they share their partitions meanwhile."""
    topic, group = bench.topics(partitions)
    filled = fill(bench.kafka.bootstrap, topic, events)
    some = [bench.worker(bench.environ(topic, group)) for _ in range(number)]
    for worker in some:
        worker.start()
    while not (first := sum(map(applied, some))):
        time.sleep(0.01)
    began, cpu = time.monotonic(), sum(cpu_seconds(worker.pid) for worker in some)
    while (now := sum(map(applied, some))) < filled:
        assert all(worker.running for worker in some), [worker.tail() for worker in some]
        time.sleep(0.05)
    seconds, used = time.monotonic() - began, sum(cpu_seconds(worker.pid) for worker in some) - cpu
    for worker in some:
        worker.stop()
    bench.redis.client.flushall()
    return {
        "events_per_second": round((now - first) / seconds),
        "cpu_us_per_event": round(used / (now - first) * 1e6, 2),
    }


# ---- API -------------------------------------------------------------------------------------------------------------


def processes() -> Iterator[dict[str, Any]]:
    with desk() as here, asyncio.Runner() as runner:
        partition = Partition(here.redis.url, rows=False)
        runner.run(partition.take(busy_days(Random(1), "api", LAST - timedelta(29), 30, MONTH_CELLS)))
        for number in PROCESSES:
            say(f"growth: {number} processes of the API")
            measured = asked([here.api() for _ in range(number)])
            yield {"of": "api", "axis": "processes of the API", "size": number, **measured}
        runner.run(partition.close())


def asked(apis: list[Server]) -> dict[str, Any]:
    path, counts = report_of("api", 30), [0] * CONNECTIONS
    until = time.monotonic() + ASKING_SECONDS

    def ask(place: int) -> None:
        server = Server(0, apis[place % len(apis)].port)
        while time.monotonic() < until:
            server.get(path)
            counts[place] += 1

    threads = [threading.Thread(target=ask, args=(place,)) for place in range(CONNECTIONS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return {"answers_per_second": round(sum(counts) / ASKING_SECONDS)}
