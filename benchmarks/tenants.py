"""What a workspace of 200,000 users costs the API: its filters, the users of its report, and how long others wait.

first      nothing of the workspace is known
known      nothing changed since
search     the same, with a part of many labels, and of one
changed    one event more; names of so many users are read again after some seconds alone
waited     the longest answer to a probe, asked all the time beside it: how long the loop was held, with the machine's
           noise; the probes' CPU, some 0.2 ms each, is in the numbers too
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from datetime import date
from typing import Any

from benchmarks.datasets import DAY_SECONDS, minute_text
from benchmarks.filling import Made, Partition, day_number
from benchmarks.machine import say
from benchmarks.serving import Desk, Server, desk

USERS = 200_000
LAST = date(2026, 5, 31)
TIMES = 20


def run() -> Iterator[dict[str, Any]]:
    with desk() as here, asyncio.Runner() as runner:
        say(f"tenants: filling {USERS} users")
        partition = Partition(here.redis.url, rows=False)
        runner.run(partition.take(one(user) for user in range(USERS)))
        yield from filters(here, lambda: runner.run(partition.take([one(7)])))
        yield from users(here)
        runner.run(partition.close())


def filters(here: Desk, change: Callable[[], object]) -> Iterator[dict[str, Any]]:
    api = here.api()
    path = "/v1/workspaces/large/reports/contacts/filters"
    yield measured(api, "filters", "first", lambda: api.get(path), 1)
    yield measured(api, "filters", "known", lambda: api.get(path), TIMES)
    yield measured(api, "filters", "search, many", lambda: api.get(path + "?q=member"), TIMES)
    yield measured(api, "filters", "search, one", lambda: api.get(path + "?q=123456"), TIMES)
    change()
    yield measured(api, "filters", "changed", lambda: api.get(path), 1)


def users(here: Desk) -> Iterator[dict[str, Any]]:
    api = here.api()
    report = f"/v1/workspaces/large/reports/contacts?from={LAST}&to={LAST}"
    yield measured(api, "report", "first", lambda: api.get(report), 1)
    yield measured(api, "report", "known", lambda: api.get(report), TIMES)
    everyone = f"/v1/workspaces/large/reports/contacts/users?from={LAST}&to={LAST}"
    yield measured(api, "users", "known", lambda: api.get(everyone), 1)


def measured(api: Server, what: str, case: str, ask: Callable[[], object], times: int) -> dict[str, Any]:
    with Probes(api.port) as probes:
        cpu_us = api.cpu_us(ask, times)
    return {"users": USERS, "what": what, "case": case, "cpu_ms": round(cpu_us / 1000, 2), **probes.fields()}


class Probes:
    """Asks for /livez again and again, each time when the last was answered."""

    def __init__(self, port: int) -> None:
        self._server = Server(0, port)
        self._stopped = threading.Event()
        self._longest_seconds = 0.0
        self._thread = threading.Thread(target=self._ask)

    def __enter__(self) -> Probes:
        self._server.get("/livez")
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._thread.join()

    def fields(self) -> dict[str, float]:
        return {"waited_ms": round(self._longest_seconds * 1000, 1)}

    def _ask(self) -> None:
        while not self._stopped.is_set():
            before = time.perf_counter()
            self._server.get("/livez")
            self._longest_seconds = max(self._longest_seconds, time.perf_counter() - before)
            self._stopped.wait(0.005)


def one(user: int) -> Made:
    """An event of a user."""
    at = day_number(LAST) * DAY_SECONDS + user % DAY_SECONDS
    value = (
        f'{{"id":"{user}.{time.time_ns()}","type":"contact.added","workspace_id":"large","contact_id":"c","source":"user",'
        f'"user_id":"u_{user}","user_name":"Member {user}","occurred_at":"{minute_text(at // 60)}{at % 60:02d}Z"}}'
    )
    return Made(value.encode(), at * 1000)
