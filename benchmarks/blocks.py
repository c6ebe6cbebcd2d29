"""Rows in Redis: members of sorted sets, as the product keeps them, or packed blocks (benchmarks/row_layouts.py).

writes     CPU of Redis for a row, by rows a commit and workspace-days that they go to; and one row a workspace-day each
           time, a thousand times
repeats    the same for rows that are there already, also cut into other commits; for rows that come newest first, as
           those that Redis lost do
memory     bytes of a row, and the CPU of writing it, by rows a workspace-day
pages      CPU of Redis and of the process that asks, for pages of a day of 33,333 rows, as rows come late or not
retention  CPU of Redis for a row that goes, by a limit of rows and where Redis is nearly full

All rows are real ones, encoded as the worker does it. Every filling is read back and compared.
"""

from __future__ import annotations

import asyncio
import contextlib
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from random import Random
from typing import Any

import msgspec
from redis import Redis

from benchmarks.datasets import DAY_SECONDS
from benchmarks.filling import SERIES, TIMEOUT_SECONDS, event
from benchmarks.machine import say
from benchmarks.row_layouts import (
    BLOCK_BYTES,
    LATE_SECONDS,
    QUARTER_SECONDS,
    Arrived,
    Blocks,
    Layout,
    Members,
    Span,
    cut_calls,
    packed,
    second_of,
    unpack,
    unpack_in_python,
)
from cli.local.redis import LISTPACK_VALUE_BYTES, NoRedis, embedded_valkey, redis_binary
from stream.ingest.event import parse
from stream.model.activity import ContactActivity
from stream.model.time import NANOSECONDS, QUARTERS_A_DAY
from stream.ports import Call
from stream.projection.backfill import LENIENT, STEP_OFFSETS
from stream.projection.calls import calls_of_rows
from stream.projection.replica import RedisReplica
from stream.projection.row_retention import ROWS_A_CUT
from stream.settings.redis import redis_client
from stream.storage.keys import Keys
from stream.storage.row import decode_row, encode_row, key_of, quarter_bounds
from stream.tables.position import INCARNATION_BYTES
from tests.support.stack import RedisServer

ROUNDS = 3
FIRST_SECOND = 1_780_272_000
"""2026-06-01."""
WRITES = {20: 20_000, 100: 40_000, 1_000: 100_000, 20_000: 100_000}
"""Rows a commit -> rows that are written."""
WORKSPACE_DAYS = (1, 40, 400)
TIMES = 1_000
MEMORY_ROWS = 100_000
ROWS_A_DAY = (20, 60, 120, 200, 33_333)
PAGED_DAYS = 6
PAGED_ROWS = 200_000
TRICKLE = 20
LATE_SHARES = (0.0, 0.01, 0.1)
PAGE = 50
PAGES = 100
RARE_USERS, RARE_ROWS = 10, 20


def run() -> Iterator[dict[str, Any]]:
    say("blocks: making rows")
    made = activities(Random(1))
    with tempfile.TemporaryDirectory(prefix="contacts-bench-") as folder:
        for binary in servers():
            server = Server(Path(folder) / binary.name, binary)
            try:
                for result in results(server, made):
                    yield {"server": server.version, **result}
            finally:
                server.kill()


def servers() -> list[Path]:
    """That of this machine, and the embedded one."""
    found = [redis_binary()]
    with contextlib.suppress(NoRedis):
        found.append(embedded_valkey())
    return list(dict.fromkeys(found))


def results(server: Server, made: Sequence[ContactActivity]) -> Iterator[dict[str, Any]]:
    rows = encoded(made)
    for of in (writes, quiet_writes, product_writes, repeats, memory):
        say(f"blocks: {of.__name__}, {server.version}")
        yield from of(server, rows)
    yield from pages(server, made)
    yield from retention(server, rows)


class Server:
    """A Redis, and the CPU that it takes."""

    def __init__(self, folder: Path, binary: Path) -> None:
        self._redis = RedisServer(folder, binary)
        self._redis.start()
        self.client, self.url = self._redis.client, self._redis.url
        told = self.client.info("server")
        name = "valkey" if "valkey_version" in told else "redis"
        self.version = f"{name.capitalize()} {told[f'{name}_version']}"
        names = ("zset-max-listpack-entries", "zset-max-listpack-value")
        self._settings: dict[str, Any] = {name: self.client.config_get(name)[name] for name in names}

    def kill(self) -> None:
        self._redis.kill()

    def empty(self, layout: Layout) -> None:
        # Without SYNC Valkey frees in the background, while the next layout is measured.
        self.client.execute_command("FLUSHALL", "SYNC")  # type: ignore[no-untyped-call]
        for name, value in {**self._settings, **layout.settings}.items():
            self.client.config_set(name, value)

    def cpu_us(self, work: Callable[..., object], *given: Any) -> float:
        """Its CPU, with what its other threads free afterwards."""
        before = self._cpu_us()
        work(*given)
        while self.client.info("memory")["lazyfree_pending_objects"]:
            time.sleep(0.001)
        return self._cpu_us() - before

    def _cpu_us(self) -> float:
        told = self.client.info("cpu")
        return float(1e6 * (told["used_cpu_user"] + told["used_cpu_sys"]))

    def used_memory(self) -> int:
        """Without what connections and scripts take."""
        self.client.script_flush()
        self.client.connection_pool.disconnect()
        return int(self.client.info("memory")["used_memory"])


def members(client: Redis) -> Layout:
    """As the product keeps them, on a server as it comes."""
    return Members(client, "a table a key")


def small_sets(client: Redis) -> Layout:
    """The same where the server keeps small sets in one piece, as this repository starts it."""
    settings = {"zset-max-listpack-value": LISTPACK_VALUE_BYTES}
    return Members(client, "a table a key", settings)


def blocks(client: Redis) -> list[Layout]:
    return [Blocks(client), Blocks(client, block_bytes=2 * BLOCK_BYTES)]


def layouts(client: Redis) -> list[Layout]:
    return [
        Members(client, "none written"),
        members(client),
        small_sets(client),
        Members(client, "one table"),
        Members(client, "one argument a key"),
        Members(client, "MULTI"),
        Members(client, "by time"),
        *blocks(client),
    ]


def activities(rng: Random) -> list[ContactActivity]:
    """PAGED_ROWS of them over PAGED_DAYS, in order of time; some of rare users."""
    series, weights = list(SERIES), list(SERIES.values())
    drawn = rng.choices(series, weights, k=PAGED_ROWS)
    places = rng.sample(range(PAGED_ROWS), RARE_USERS * RARE_ROWS)
    for number, place in enumerate(places):
        drawn[place] = ("contact.added", "user", f"rare_{number % RARE_USERS}")
    found = []
    for number, one in enumerate(drawn):
        at = FIRST_SECOND + PAGED_DAYS * DAY_SECONDS * number // PAGED_ROWS
        activity = parse(event(rng, "rows", at, *one), LENIENT)
        assert isinstance(activity, ContactActivity)
        found.append(activity)
    return found


def encoded(made: Sequence[ContactActivity]) -> list[bytes]:
    return [encode_row(activity, 0, offset) for offset, activity in enumerate(made)]


def commits(arrived: Sequence[Arrived], size: int) -> list[Sequence[Arrived]]:
    return [arrived[at : at + size] for at in range(0, len(arrived), size)]


def spread(rows: Sequence[bytes], workspace_days: int) -> list[Arrived]:
    """Each to a workspace-day at random."""
    rng = Random(2)
    return [Arrived(f"rows:{rng.randrange(workspace_days)}", row) for row in rows]


def dealt(rows: Sequence[bytes], workspace_days: int) -> list[Arrived]:
    """To one workspace-day after another."""
    return [Arrived(f"rows:{number % workspace_days}", row) for number, row in enumerate(rows)]


def write_commits(layout: Layout, some: Iterable[Sequence[Arrived]]) -> None:
    for commit in some:
        for runs in cut_calls(commit):
            layout.write(runs)


def require_held(layout: Layout, arrived: Sequence[Arrived]) -> None:
    """Some days hold what was written, once each."""
    if layout.name.endswith("none written"):
        return
    for key in sorted({one.key for one in arrived})[:: max(len({one.key for one in arrived}) // 4, 1)]:
        held, sent = layout.all_rows(key), sorted(one.row for one in arrived if one.key == key)
        assert held == sent, f"{layout.name}: {len(held)} rows of {len(sent)} in {key}"


def compared(server: Server, arrived: Sequence[Arrived], size: int) -> dict[str, float]:
    """CPU of Redis for a row by layout: medians, in turns."""
    found: dict[str, list[float]] = {}
    for _ in range(ROUNDS):
        for layout in layouts(server.client):
            server.empty(layout)
            cpu_us = server.cpu_us(write_commits, layout, commits(arrived, size))
            found.setdefault(layout.name, []).append(cpu_us / len(arrived))
            require_held(layout, arrived)
    return {name: round(statistics.median(of), 2) for name, of in found.items()}


def writes(server: Server, rows: Sequence[bytes]) -> Iterator[dict[str, Any]]:
    for size, number in WRITES.items():
        for workspace_days in WORKSPACE_DAYS:
            for layout, cpu_us in compared(server, spread(rows[:number], workspace_days), size).items():
                yield {
                    "case": "write",
                    "rows_a_commit": size,
                    "workspace_days": workspace_days,
                    "layout": layout,
                    "redis_cpu_us_a_row": cpu_us,
                }


def quiet_writes(server: Server, rows: Sequence[bytes]) -> Iterator[dict[str, Any]]:
    """Each commit has a row of each workspace-day."""
    for workspace_days in WORKSPACE_DAYS[:2]:
        arrived = dealt(rows[: TIMES * workspace_days], workspace_days)
        for layout, cpu_us in compared(server, arrived, workspace_days).items():
            yield {
                "case": "write, one row a workspace-day",
                "workspace_days": workspace_days,
                "layout": layout,
                "redis_cpu_us_a_row": cpu_us,
            }


def product_writes(server: Server, rows: Sequence[bytes]) -> Iterator[dict[str, Any]]:
    """By the product's own script, and the same calls without their rows, as if counts alone were in them."""
    keys = Keys("bench")
    for size, number in list(WRITES.items())[2:]:
        arrived = spread(rows[:number], WORKSPACE_DAYS[-1])
        whole = [call for commit in commits(arrived, size) for call in calls_of(keys, commit)]
        found: dict[str, list[float]] = {}
        with asyncio.Runner() as runner:
            for _ in range(ROUNDS):
                for name, calls in (("with rows", whole), ("without", list(map(without_rows, whole)))):
                    server.empty(members(server.client))
                    client = redis_client(server.url, timeout_seconds=TIMEOUT_SECONDS)
                    cpu_us = server.cpu_us(runner.run, project(RedisReplica(client, keys), calls))
                    runner.run(client.aclose())
                    found.setdefault(name, []).append(cpu_us / number)
        yield {
            "case": "write, the product's script",
            "rows_a_commit": size,
            "workspace_days": WORKSPACE_DAYS[-1],
            "redis_cpu_us_a_row": round(statistics.median(found["with rows"]), 2),
            "without_rows": round(statistics.median(found["without"]), 2),
        }


def calls_of(keys: Keys, commit: Sequence[Arrived]) -> Iterator[Call]:
    by_key: dict[str, list[bytes]] = {}
    for arrived in commit:
        by_key.setdefault(arrived.key, []).append(arrived.row)
    return calls_of_rows(keys, 0, ((key, 0, of_key) for key, of_key in sorted(by_key.items())))


def without_rows(call: Call) -> Call:
    """Of an operation that says that a workspace has changed there are four words."""
    operations: list[Any] = []
    at = 0
    while at < len(call.operations):
        end = at + 4 if call.operations[at] == "w" else at + 3 + int(call.operations[at + 2])
        operations += call.operations[at:end] if call.operations[at] == "w" else ()
        at = end
    return msgspec.structs.replace(call, operations=operations)


async def project(replica: RedisReplica, calls: Sequence[Call]) -> None:
    await replica.claim(0, bytes(INCARNATION_BYTES), "t")
    for number, call in enumerate(calls, 1):
        assert await replica.project(0, "t", number, call)


def repeats(server: Server, rows: Sequence[bytes]) -> Iterator[dict[str, Any]]:
    arrived = spread(rows[:MEMORY_ROWS], WORKSPACE_DAYS[-1])
    overlapping = [arrived[:300], *commits(arrived[300:], 700)]
    steps = commits(arrived, STEP_OFFSETS)[::-1]
    for layout in layouts(server.client)[1:]:
        server.empty(layout)
        write_commits(layout, commits(arrived, 1_000))
        for case, sent in (("the same again", commits(arrived, 1_000)), ("cut otherwise", overlapping)):
            cpu_us = server.cpu_us(write_commits, layout, sent)
            require_held(layout, arrived)
            yield {"case": case, "layout": layout.name, "redis_cpu_us_a_row": round(cpu_us / len(arrived), 2)}
        server.empty(layout)
        cpu_us = server.cpu_us(write_commits, layout, steps)
        require_held(layout, arrived)
        yield {"case": "newest first", "layout": layout.name, "redis_cpu_us_a_row": round(cpu_us / len(arrived), 2)}


def memory(server: Server, rows: Sequence[bytes]) -> Iterator[dict[str, Any]]:
    rows = rows[:MEMORY_ROWS]
    yield {"case": "memory", "layout": "packed", "bytes_a_row": round(sum(map(len, rows)) / len(rows), 1)}
    for of_day in ROWS_A_DAY:
        arrived = dealt(rows, len(rows) // of_day)
        found: dict[str, list[tuple[float, float]]] = {}
        for _ in range(ROUNDS):
            for layout in (members(server.client), small_sets(server.client), *blocks(server.client)):
                server.empty(layout)
                before = server.used_memory()
                cpu_us = server.cpu_us(write_commits, layout, commits(arrived, 100))
                used = server.used_memory() - before
                found.setdefault(layout.name, []).append((used / len(rows), cpu_us / len(rows)))
        for name, of in found.items():
            used, cpu_us = (statistics.median(column) for column in zip(*of, strict=True))
            yield {
                "case": "memory",
                "rows_a_workspace_day": of_day,
                "layout": name,
                "bytes_a_row": round(used, 1),
                "redis_cpu_us_a_row": round(cpu_us, 2),
            }


def pages(server: Server, made: Sequence[ContactActivity]) -> Iterator[dict[str, Any]]:
    for share in LATE_SHARES:
        arrived = arriving(made, share)
        asked = Asked(arrived)
        for layout in (members(server.client), *blocks(server.client), Blocks(server.client, late_apart=False)):
            say(f"blocks: pages, {share:.0%} late, {layout.name}, {server.version}")
            server.empty(layout)
            write_commits(layout, commits(arrived, TRICKLE))
            for page, (ask, expected) in asked.pages(layout).items():
                assert ask(0) == expected, f"{layout.name}: another page, {page}"
                found = []
                for _ in range(ROUNDS):
                    started = time.process_time_ns()
                    redis_us = server.cpu_us(read_pages, ask)
                    found.append((redis_us, (time.process_time_ns() - started) / 1000))
                redis_us, cpu_us = (statistics.median(column) for column in zip(*found, strict=True))
                yield {
                    "case": f"page, {page}",
                    "late": share,
                    "layout": layout.name,
                    "redis_cpu_us": round(redis_us / PAGES),
                    "process_cpu_us": round(cpu_us / PAGES),
                }
    rows = encoded(made[:70])
    block = b"".join(map(packed, rows))
    forms: dict[str, Callable[[], list[bytes]]] = {
        "compiled": lambda: unpack(block, len(rows)),
        "Python": lambda: unpack_in_python(block),
    }
    for form, work in forms.items():
        started = time.process_time_ns()
        for _ in range(1_000):
            sorted(work())
        cpu_us = (time.process_time_ns() - started) / 1e6
        yield {"case": f"unpack and sort {len(rows)} rows", "form": form, "cpu_us": round(cpu_us, 1)}


def read_pages(ask: Callable[[int], list[bytes]]) -> None:
    for number in range(PAGES):
        for row in ask(number)[:PAGE]:
            decode_row(row)


def arriving(made: Sequence[ContactActivity], share: float) -> list[Arrived]:
    """In the order in which they come, a share of them up to a day late."""
    rng = Random(3)
    order = []
    for number, activity in enumerate(made):
        late = rng.random() < share
        delay = LATE_SECONDS + rng.randrange(DAY_SECONDS) if late else 0
        order.append((activity.occurred_at // NANOSECONDS + delay, number, late))
    arrived = []
    for offset, (_, number, late) in enumerate(sorted(order)):
        row = encode_row(made[number], 0, offset)
        arrived.append(Arrived(f"rows:{second_of(row) // DAY_SECONDS}", row, late))
    return arrived


class Asked:
    """Pages, each with the rows that must be on it. What the cells tell of quarter-hours is told here too."""

    def __init__(self, arrived: Sequence[Arrived]) -> None:
        self._keys = sorted({one.key for one in arrived})
        self._rows = sorted((one.row for one in arrived), reverse=True)

    def pages(self, layout: Layout) -> dict[str, tuple[Callable[[int], list[bytes]], list[bytes]]]:
        last, middle = self._keys[-1], self._keys[PAGED_DAYS // 2]
        of_day = [row for row in self._rows if self._key_of(row) == middle]
        before = key_of(of_day[len(of_day) // 2])
        rare = [self._spans(b"rare_%d" % user, RARE_ROWS) for user in range(RARE_USERS)]
        source = self._spans(b"developer_api", PAGE + 1)
        return {
            "newest": (lambda _: layout.newest(last, PAGE + 1, None), self._rows[: PAGE + 1]),
            "in the middle": (
                lambda _: layout.newest(middle, PAGE + 1, before),
                [row for row in of_day if row < before][: PAGE + 1],
            ),
            "of a rare user": (
                lambda number: layout.within(rare[number % RARE_USERS], b"rare_%d" % (number % RARE_USERS)),
                [row for row in self._rows if b"rare_0" in row],
            ),
            "of a source": (
                lambda _: layout.within(source, b"developer_api"),
                [row for row in self._rows if b"developer_api" in row and second_of(row) >= second_of(source[-1].low)],
            ),
        }

    def _spans(self, needle: bytes, number: int) -> list[Span]:
        """The newest quarter-hours that have so many rows."""
        quarters: dict[int, None] = {}
        for row in self._rows:
            if needle in row:
                quarters[second_of(row) // QUARTER_SECONDS] = None
                number -= 1
                if not number:
                    break
        return [
            Span(f"rows:{quarter // QUARTERS_A_DAY}", *quarter_bounds(quarter, quarter + 1)) for quarter in quarters
        ]

    @staticmethod
    def _key_of(row: bytes) -> str:
        return f"rows:{second_of(row) // DAY_SECONDS}"


def retention(server: Server, rows: Sequence[bytes]) -> Iterator[dict[str, Any]]:
    arrived = dealt(rows, PAGED_DAYS)
    keys = sorted({one.key for one in arrived})
    for layout in (members(server.client), *blocks(server.client)):
        server.empty(layout)
        write_commits(layout, commits(arrived, 1_000))
        say(f"blocks: retention, {layout.name}, {server.version}")
        counted_us = server.cpu_us(count_days, layout, keys)
        yield {"case": "count", "layout": layout.name, "redis_cpu_us_a_day": round(counted_us / PAGES / len(keys), 2)}
        before = sum(layout.count(keys))
        cut_us = server.cpu_us(layout.cut, keys[0], ROWS_A_CUT)
        gone = before - sum(layout.count(keys))
        yield {
            "case": f"cut the oldest {ROWS_A_CUT} rows",
            "layout": layout.name,
            "redis_cpu_us_a_row": round(cut_us / gone, 3),
            "rows": gone,
        }
        dropped_us = server.cpu_us(layout.drop, keys[1:])
        yield {
            "case": "drop whole days",
            "layout": layout.name,
            "redis_cpu_us_a_row": round(dropped_us / (before - len(rows) // len(keys)), 3),
        }


def count_days(layout: Layout, keys: Sequence[str]) -> None:
    for _ in range(PAGES):
        layout.count(keys)
