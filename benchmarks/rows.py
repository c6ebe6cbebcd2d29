"""What a page of the activity table costs the API in a million rows over 30 days: the newest rows beside a bare 200,
and the rows of a rare user beside walking all.
"""

from __future__ import annotations

import asyncio
import heapq
import statistics
import time
from collections.abc import Iterator
from datetime import date, timedelta
from random import Random
from typing import Any

from redis import Redis

from api.activities.spans import ROWS_A_READ
from benchmarks.datasets import DAY_SECONDS
from benchmarks.filling import GROUP, SERIES, Made, Partition, day_number, event
from benchmarks.machine import say
from benchmarks.serving import Asking, desk
from stream.storage.keys import Keys
from stream.storage.row import decode_row, key_of

ROWS = 1_000_000
DAYS = 30
LAST = date(2026, 5, 31)
FIRST_DAY = day_number(LAST) - DAYS + 1
RARE_USERS = 60
RARE_ROWS = 20
WALKS = 3
ADDRESS = f"/v1/workspaces/rows/reports/contacts/activities?from={LAST - timedelta(DAYS - 1)}&to={LAST}&limit=50"


def run() -> Iterator[dict[str, Any]]:
    with desk() as here, asyncio.Runner() as runner:
        partition = Partition(here.redis.url)
        say(f"rows: filling {ROWS} rows")
        runner.run(partition.take(events(Random(1))))
        api = here.api()
        rng, rare = Random(2), iter(range(RARE_USERS))

        def one_more() -> None:
            at = (FIRST_DAY + DAYS - 1) * DAY_SECONDS + rng.randrange(DAY_SECONDS)
            runner.run(partition.take([event(rng, "rows", at, "contact.added", "user", "u_1")]))

        costs = here.compared(
            api,
            {
                "newest": Asking(lambda: api.get(ADDRESS), 200, lambda: api.get(ADDRESS)),
                "newest, a day changed": Asking(lambda: api.get(ADDRESS), 200, between=one_more),
                "rare user, first time": Asking(lambda: api.get(f"{ADDRESS}&user=rare_{next(rare)}"), 15),
                "rare user, again": Asking(lambda: api.get(f"{ADDRESS}&user=rare_{rng.randrange(15)}"), 50),
            },
        )
        say("rows: walking all")
        walked_us = statistics.median(walk_us(here.redis.client, f"rare_{user}") for user in range(WALKS))
        for case, cost in costs.items():
            beside = {"ratio_to_walking_all": round(cost.us / walked_us, 4), "walking_all_cpu_us": round(walked_us)}
            yield {"rows": ROWS, "case": case, **cost.fields(), **(beside if "rare" in case else {})}
        runner.run(partition.close())


def events(rng: Random) -> Iterator[Made]:
    """In order of time; RARE_ROWS of each rare user lie anywhere among them."""
    start, seconds = FIRST_DAY * DAY_SECONDS, DAYS * DAY_SECONDS
    series, weights = list(SERIES), list(SERIES.values())
    usual = zip(range(ROWS), rng.choices(series, weights, k=ROWS), strict=True)
    rare = sorted(
        (start + rng.randrange(seconds), ("contact.added", "user", f"rare_{user}"))
        for user in range(RARE_USERS)
        for _ in range(RARE_ROWS)
    )
    for at, one in heapq.merge(((start + seconds * number // ROWS, of) for number, of in usual), rare, key=first_of):
        yield event(rng, "rows", at, *one)


def first_of(pair: tuple[int, object]) -> int:
    return pair[0]


def walk_us(client: Redis, user: str) -> float:
    """CPU of finding a user's rows by a look at every row, in this process."""
    keys, found, started = Keys(GROUP), 0, time.process_time_ns()
    needle = user.encode()
    for day in range(FIRST_DAY + DAYS - 1, FIRST_DAY - 1, -1):
        high = b"+"
        while rows := client.execute_command(
            "ZREVRANGEBYLEX", keys.rows("rows", day), high, "-", "LIMIT", 0, ROWS_A_READ
        ):
            found += sum(decode_row(row).user_id == user for row in rows if needle in row)
            high = b"(" + key_of(rows[-1])
    assert found == RARE_ROWS, f"{found} rows of {user}"
    return (time.process_time_ns() - started) / 1000
