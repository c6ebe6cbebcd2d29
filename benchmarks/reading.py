"""What a report costs the API beside a bare 200: of 30 days and the 30 before, and of a year and the year before.

fresh            every day changed since the last request: all is read and summed again
a day changed    one event more, as where people work: the other days' sums hold
other dates      no range was asked for before, but its days were
unchanged        the same as before
304              the reader has it already; Redis is asked whether it has changed
304 remembered   the same, less than 250 ms after Redis was asked

Where others do something between two requests, a bare 200 is measured likewise too (`…_likewise`). And the bare server
is asked for a 200 after one transaction of Redis (`bare_200_and_redis`), in a loop and where a day changes in between.

Each with both forms of the sums (`core`), where the compiled one is installed; a 304 is the same in both.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterator
from datetime import date, timedelta
from random import Random
from typing import Any

from benchmarks.datasets import DAY_SECONDS
from benchmarks.filling import Made, Partition, busy_days, day_number, event, renew, repeat_days
from benchmarks.machine import say
from benchmarks.serving import Asking, Desk, Server, desk
from benchmarks.worker import cores

CELLS = 2_000
LAST = date(2026, 5, 31)
ZONE = "Europe/Berlin"
"""Its midnights cut every UTC day in two."""

COMPONENTS = {"timeline": "/timeline", "sources": "/sources", "summary": "/summary", "report": ""}
SHIFTS = 40
LENGTHS = range(24, 37)
"""Of `other dates`: so many first days, and so many days from there on."""

YEAR_PARTITIONS = 4
FILLED_DAYS = 31
"""Which then come again and again."""


def run() -> Iterator[dict[str, Any]]:
    with desk() as here, asyncio.Runner() as runner:
        yield from month(here, runner)
        here.redis.client.flushall()  # the partitions of the year are of another incarnation
        yield from year(here, runner)


def month(here: Desk, runner: asyncio.Runner) -> Iterator[dict[str, Any]]:
    partition = Partition(here.redis.url)
    first = filled(here, runner, "month", [partition], 2 * LENGTHS[-1] + SHIFTS)
    yield from bare_and_redis(here, runner, partition)
    for core, api in forms(here):
        yield from month_of(here, runner, partition, first, core, api)
    runner.run(partition.close())


def bare_and_redis(here: Desk, runner: asyncio.Runner, partition: Partition) -> Iterator[dict[str, Any]]:
    rng = Random("bare and Redis")

    def ask() -> None:
        here.bare.get("/redis")

    def change() -> None:
        runner.run(partition.take([event_of_today(rng, "month")]))

    costs = here.compared(
        here.bare, {"unchanged": Asking(ask, 500, ask), "a day changed": Asking(ask, 200, ask, between=change)}
    )
    for case, cost in costs.items():
        yield {"what": "bare_200_and_redis", "case": case, **cost.fields()}


def month_of(
    here: Desk, runner: asyncio.Runner, partition: Partition, first: date, core: str, api: Server
) -> Iterator[dict[str, Any]]:
    rng, reading_api = Random(f"month {core}"), here.api(CONTACTS_POSITIONS_CACHE_MS="0", CONTACTS_CORE=core)
    month_from = LAST - timedelta(29)
    others = other_dates(first + timedelta(LENGTHS[-1]))

    def change() -> None:
        runner.run(partition.take([event_of_today(rng, "month")]))

    for name, component in COMPONENTS.items():
        say(f"reading: {name}, {core}")
        path = address("month", component, month_from, LAST)
        everything = address("month", component, first, LAST) + "&compare=none"

        def ask(path: str = path) -> None:
            api.get(path)

        costs = here.compared(
            api,
            {
                "fresh": Asking(ask, 100, between=lambda: renew(here.redis.client, "month")),
                "a day changed": Asking(ask, 200, ask, between=change),
                "other dates": Asking(
                    lambda c=component: api.get(address("month", c, *next(others))),
                    SHIFTS,
                    lambda p=everything: api.get(p),
                ),
                "unchanged": Asking(ask, 500, ask),
                "304": unchanged(reading_api, path),
                "304 remembered": unchanged(api, path),
            },
        )
        for case, cost in costs.items():
            yield {"days": "30 + 30", "what": name, "case": case, "core": core, **cost.fields()}


def year(here: Desk, runner: asyncio.Runner) -> Iterator[dict[str, Any]]:
    partitions = [Partition(here.redis.url, p, YEAR_PARTITIONS) for p in range(YEAR_PARTITIONS)]
    filled(here, runner, "year", partitions, 2 * 366)
    for core, api in forms(here):
        yield from year_of(here, runner, partitions[0], core, api)
    for partition in partitions:
        runner.run(partition.close())


def year_of(
    here: Desk, runner: asyncio.Runner, partition: Partition, core: str, api: Server
) -> Iterator[dict[str, Any]]:
    rng = Random(f"year {core}")

    def change() -> None:
        runner.run(partition.take([event_of_today(rng, "year")]))

    for name in ("timeline", "report"):
        say(f"reading: {name} of a year, {core}")
        path = address("year", COMPONENTS[name], LAST - timedelta(365), LAST)

        def ask(path: str = path) -> None:
            api.get(path)

        costs = here.compared(
            api,
            {
                "fresh": Asking(ask, 20, between=lambda: renew(here.redis.client, "year")),
                "a day changed": Asking(ask, 100, ask, between=change),
            },
        )
        for case, cost in costs.items():
            yield {"days": "366 + 366", "what": name, "case": case, "core": core, **cost.fields()}


def forms(here: Desk) -> list[tuple[str, Server]]:
    """An API with each form of the sums."""
    return [(core, here.api(CONTACTS_CORE=core)) for core in cores()]


def filled(here: Desk, runner: asyncio.Runner, workspace: str, partitions: list[Partition], days: int) -> date:
    """Fill so many days up to LAST, or a few more, dealt to the partitions. Returns the first."""
    say(f"reading: filling {days} days in {len(partitions)} partitions")
    first = LAST - timedelta(FILLED_DAYS - 1)
    events = list(busy_days(Random(workspace), workspace, first, FILLED_DAYS, CELLS))
    for number, partition in enumerate(partitions):
        runner.run(partition.take(events[number :: len(partitions)]))
    times = (days - 1) // FILLED_DAYS
    repeat_days(here.redis.client, workspace, first, FILLED_DAYS, times)
    return first - timedelta(FILLED_DAYS * times)


def address(workspace: str, component: str, first: date, last: date) -> str:
    return f"/v1/workspaces/{workspace}/reports/contacts{component}?from={first}&to={last}&timezone={ZONE}"


def unchanged(api: Server, path: str) -> Asking:
    """Requests that name the revision that they have."""
    headers: dict[str, str] = {}

    def before() -> None:
        headers["If-None-Match"] = api.get(path).headers["ETag"]

    def ask() -> None:
        assert api.get(path, headers).status == 304

    return Asking(ask, 1_000, before, api)


def other_dates(first: date) -> Iterator[tuple[date, date]]:
    """Ranges that are asked for once."""
    for shift, length in itertools.product(range(SHIFTS), LENGTHS):
        start = first + timedelta(shift)
        yield start, start + timedelta(length - 1)


def event_of_today(rng: Random, workspace: str) -> Made:
    at = day_number(LAST) * DAY_SECONDS + rng.randrange(DAY_SECONDS)
    return event(rng, workspace, at, "contact.added", "user", f"u_{rng.randrange(40)}")
