"""What a commit, a projection and a request may cost, counted: requests to Kafka, commands of Redis, bytes.

A number here that grows is a change of what everybody pays. Raise it only together with the reason.
"""

from __future__ import annotations

import asyncio
import gc
import json
import sys
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from redis.asyncio import Redis

from api.http.request import SEND_WHOLE, Header
from stream.core import CoreChoice
from stream.kafka.transaction import TransactionalStore
from stream.kafka.transaction_requests import ADD_PARTITIONS, END_TXN, PRODUCE, Request
from stream.projection.calls import calls_of_commit
from stream.projection.replica import RedisReplica
from stream.settings.redis import KeepingRedis, redis_client
from stream.settings.worker import WorkerConfig
from stream.storage.keys import Keys
from stream.tables.batch import Batch
from stream.tables.partition import PartitionState
from stream.tables.rules import CountingRules
from stream.worker.attempts import Attempts
from tests.support.api import BASE, Api, api_over, each_sum_form
from tests.support.counting import make_topics
from tests.support.kafka import RunningKafka, unique_name
from tests.support.partition_log import INCARNATION
from tests.support.records import Received, milliseconds
from tests.support.redis_data import Event
from tests.support.redis_server import RunningRedis

__all__ = ["each_sum_form"]

NOW = milliseconds("2026-11-23T12:00:00Z")
DAYS = 3
MIDNIGHT = round(datetime(2026, 11, 23, tzinfo=UTC).timestamp())


def records(count: int, *, workspaces: int = 1, users: int = 5, first: int = 0) -> list[Received]:
    """Events of one day, each quarter-hour with each user."""
    return [
        Received(
            json.dumps(
                {
                    "id": f"e{number}",
                    "type": "contact.added",
                    "workspace_id": f"w{number % workspaces}",
                    "contact_id": f"c{number}",
                    "source": "user",
                    "user_id": f"u{number % users}",
                    "user_name": f"User {number % users}",
                    "occurred_at": f"2026-11-23T{number // 4 % 12:02d}:{15 * (number % 4):02d}:00Z",
                }
            ).encode(),
            timestamp=NOW,
            offset=number,
        )
        for number in range(first, first + count)
    ]


def counted(log: list[Received]) -> PartitionState:
    state = PartitionState(0, CountingRules())
    state.begin(incarnation=INCARNATION, first_offset=0, partitions=1)
    state.apply(Batch(log, 0, len(log)))
    return state


def grown(found: Counter[str], allowed: Mapping[str, int]) -> Counter[str]:
    """What there is more of than is allowed."""
    return found - Counter(allowed)


@asynccontextmanager
async def spent(client: Redis) -> AsyncIterator[Counter[str]]:
    """Redis' commands within, by name; a script's own beside the call of it."""
    found: Counter[str] = Counter()
    await client.config_resetstat()
    yield found
    stats = await client.info("commandstats")
    for name, of in stats.items():
        found[name.removeprefix("cmdstat_").replace("|", " ")] = of["calls"]
    for ours in ("config resetstat", "info"):
        del found[ours]


@contextmanager
def garbage() -> Iterator[Counter[str]]:
    """What of that which was made within only the garbage collector can find, by type."""
    found: Counter[str] = Counter()
    gc.collect()
    gc.disable()
    try:
        yield found
        gc.set_debug(gc.DEBUG_SAVEALL)
        gc.collect()
        found.update(type(one).__name__ for one in gc.garbage)
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()


# ---- a commit ------------------------------------------------------------------------------------------------


REQUESTS = {PRODUCE: "Produce", ADD_PARTITIONS: "AddPartitionsToTxn", END_TXN: "EndTxn"}


@pytest.mark.parametrize(
    ("whole", "requests"),
    [
        pytest.param(True, {"Produce": 5, "EndTxn": 5}, id="two"),
        pytest.param(False, {"AddPartitionsToTxn": 5, "Produce": 5, "EndTxn": 5}, id="three before version 2"),
    ],
)
async def test_a_commit_is_so_many_requests(kafka: RunningKafka, whole: bool, requests: dict[str, int]) -> None:
    config = WorkerConfig(kafka=kafka.bootstrap, topic=unique_name("costs"), group=unique_name("costs"))
    await make_topics(config, partitions=1)
    store = TransactionalStore.of(config, 0)
    await store.fence()
    store._producer._whole = whole
    state = counted(records(200))
    await store.commit(state.encode(), Attempts())
    asked: Counter[str] = Counter()
    send = store._producer.client.send

    async def noted(node: int, request: Any, **more: Any) -> Any:
        asked[REQUESTS[request.api_key] if isinstance(request, Request) else type(request).__name__] += 1
        return await send(node, request, **more)

    store._producer.client.send = noted
    for number in range(1, 6):
        log = records(200, first=200 * number)
        state.apply(Batch(log, log[0].offset, log[-1].offset + 1))
        await store.commit(state.encode(), Attempts())
    await store.close()

    del asked["MetadataRequest"]  # as often as time goes by
    # The first is asked again while the markers of the transaction before are still being written.
    first = next(iter(requests))
    asked[first] = min(asked[first], requests[first])
    assert asked == requests


Commit = Callable[[int], Awaitable[None]]
"""Counts, commits and projects two hundred events; the commits of a partition are numbered from 1 on."""


@asynccontextmanager
async def committing(kafka: RunningKafka, redis: RunningRedis) -> AsyncIterator[tuple[Redis, Commit]]:
    """A partition that has its first events, and the client of Redis that it projects with."""
    config = WorkerConfig(kafka=kafka.bootstrap, topic=unique_name("costs"), group=unique_name("costs"))
    await make_topics(config, partitions=1)
    store, keys = TransactionalStore.of(config, 0), Keys("costs")
    await store.fence()
    async with redis_client(redis.url, timeout_seconds=5, retries=0, kind=KeepingRedis) as client:
        replica, state = RedisReplica(client, keys), counted(records(200))
        await replica.claim(0, bytes(16), "t")

        async def commit(number: int) -> None:
            log = records(200, first=200 * number)
            state.apply(Batch(log, log[0].offset, log[-1].offset + 1))
            of = state.encode()
            await store.commit(of, Attempts())
            for call in calls_of_commit(keys, 0, of):
                assert await replica.project(0, "t", number, call)

        yield client, commit
    await store.close()


async def test_a_commit_and_its_projection_make_no_task(kafka: RunningKafka, own_redis: RunningRedis) -> None:
    """A task is 30 us and two turns of the loop, twenty times a second for each partition; and each command to Redis
    goes over the connection of the one before.
    """
    async with committing(kafka, own_redis) as (client, commit):
        made: list[str] = []
        loop, opened = asyncio.get_running_loop(), len(await client.client_list())

        def note(loop: asyncio.AbstractEventLoop, work: Any, **more: Any) -> asyncio.Task[Any]:
            made.append(work.__qualname__)
            return asyncio.Task(work, loop=loop, **more)

        loop.set_task_factory(note)
        for number in range(1, 6):
            await commit(number)
        loop.set_task_factory(None)
        assert len(await client.client_list()) == opened
    # aiokafka looks for metadata by itself, as often as time goes by.
    assert [name for name in made if "metadata" not in name and "_md_" not in name] == []


async def test_a_commit_and_its_projection_leave_nothing_to_the_garbage_collector(
    kafka: RunningKafka, own_redis: RunningRedis
) -> None:
    """A catching-up worker's commits have megabytes each, and its collector comes every hundred thousand objects."""
    async with committing(kafka, own_redis) as (_, commit):
        await commit(1)
        with garbage() as found:
            for number in range(2, 6):
                await commit(number)
    assert not found


# ---- a projection --------------------------------------------------------------------------------------------


ONE_EVENT = {"evalsha": 1, "time": 1, "hmget": 3, "hget": 1, "hset": 6, "zadd": 2, "publish": 1}
ONE_WORKSPACE = ONE_EVENT | {"hdel": 1}  # five users instead of one
TWENTY_WORKSPACES = ONE_EVENT | {"hmget": 41, "hget": 20, "hset": 101, "zadd": 40}


@pytest.mark.parametrize(
    ("events", "workspaces", "allowed"),
    [
        pytest.param(1, 1, ONE_EVENT, id="one event"),
        pytest.param(200, 1, ONE_WORKSPACE, id="two hundred of one workspace"),
        pytest.param(200, 20, TWENTY_WORKSPACES, id="two hundred of twenty"),
    ],
)
async def test_a_projection_is_one_call(
    own_redis: RunningRedis, events: int, workspaces: int, allowed: dict[str, int]
) -> None:
    client, keys = Redis.from_url(own_redis.url), Keys("costs")
    replica = RedisReplica(client, keys)
    await replica.claim(0, bytes(16), "t")
    state = counted(records(events, workspaces=workspaces))
    calls = list(calls_of_commit(keys, 0, state.encode()))
    async with spent(client) as commands:
        for number, call in enumerate(calls, 1):
            assert await replica.project(0, "t", number, call)
    await client.aclose()
    assert not grown(commands, allowed)


# ---- a request -----------------------------------------------------------------------------------------------


def reads(transactions: int, hashes: int, **more: int) -> dict[str, int]:
    return {"multi": transactions, "exec": transactions, "hmget": hashes, **more}


NOTHING_CHANGED = reads(1, 2)
"""Also of what has changed where a body is kept: whether it still holds is asked first, and then it is not kept."""


@pytest.mark.parametrize(
    ("path", "fresh", "unchanged", "changed"),
    [
        pytest.param("", reads(3, 9), reads(1, 3), reads(3, 9), id="report"),
        pytest.param("/summary", reads(2, 6), reads(1, 2), reads(3, 7), id="summary"),
        pytest.param(
            # The rows are read with the counts, as far as those are known, and once more where they have changed.
            "/activities",
            reads(3, 8, zrevrangebylex=3),
            reads(1, 2, zrevrangebylex=3),
            reads(3, 7, zrevrangebylex=6),
            id="newest activities",
        ),
    ],
)
async def test_a_request_reads_in_so_many_commands(
    own_redis: RunningRedis, path: str, fresh: dict[str, int], unchanged: dict[str, int], changed: dict[str, int]
) -> None:
    client = Redis.from_url(own_redis.url)
    async with api_over(own_redis, NOW / 1000) as api:
        days = [(MIDNIGHT - 86_400 * day) * 10**9 for day in range(DAYS)]
        api.write([Event(moment, f"e{at}", user=f"u{at}", offset=at) for at, moment in enumerate(days)])
        await api.json("/summary", period="today")  # opens the connections
        async with spent(client) as first:
            answer = await api.get(path, period="last_7_days")
        async with spent(client) as second:
            same = await api.get(path, {"If-None-Match": answer.headers["ETag"]}, period="last_7_days")
        async with spent(client) as once_more:
            await api.get(path, period="last_7_days")
        async with spent(client) as kept:
            await api.get(path, period="last_7_days")
        api.write([Event(days[0], "more", user="u0", offset=99)])
        async with spent(client) as third:
            await api.get(path, period="last_7_days")
    await client.aclose()
    assert same.status_code == 304
    assert not grown(first, fresh)
    assert not grown(second, NOTHING_CHANGED)
    assert not grown(once_more, unchanged)
    assert not grown(kept, NOTHING_CHANGED)
    assert not grown(third, changed)


ROOT = Path(__file__).parents[2]
OURS = (f"{ROOT}/api/", f"{ROOT}/stream/")


@asynccontextmanager
async def calls() -> AsyncIterator[Counter[str]]:
    """Calls of our functions in Python within, by name. A coroutine that goes on is called again."""
    found: Counter[str] = Counter()

    def note(frame: FrameType, event: str, _: Any) -> None:
        if event == "call" and frame.f_code.co_filename.startswith(OURS):
            found[frame.f_code.co_qualname] += 1

    sys.setprofile(note)
    try:
        yield found
    finally:
        sys.setprofile(None)


async def answered(
    api: Api, path: str, query: bytes = b"period=last_7_days", **more: bytes
) -> tuple[int, dict[bytes, bytes]]:
    """The status and the headers of an answer, by the application alone; our server takes those that are whole."""
    named = [(b"host", b"a"), (b"accept", b"*/*"), (b"accept-encoding", b"gzip, br"), (b"user-agent", b"test")]
    named += [(name.replace("_", "-").encode(), value) for name, value in more.items()]
    path = f"{BASE}{path}"
    scope = {"type": "http", "method": "GET", "path": path, "raw_path": path.encode(), "headers": named}
    sent: list[tuple[int, dict[bytes, bytes]]] = []

    async def send_whole(status: int, headers: Sequence[Header], _body: bytes) -> None:
        sent.append((status, dict(headers)))

    async def send(message: Any) -> None:
        if message["type"] == "http.response.start":
            sent.append((message["status"], dict(message["headers"])))

    async def receive() -> Any:
        raise AssertionError("nobody waits for the reader")

    await api.app({**scope, "query_string": query, "extensions": {SEND_WHOLE: send_whole}}, receive, send)
    [answer] = sent
    return answer


async def calls_of(api: Api, path: str, **more: bytes) -> tuple[int, dict[bytes, bytes], int]:
    """The status of an answer, its headers, and how many calls it took."""
    async with calls() as found:
        status, headers = await answered(api, path, **more)
    return status, headers, found.total()


PATHS = [
    "",
    "/timeline",
    "/sources",
    "/summary",
    "/users",
    "/activities",
    "/filters",
    "/timeline.csv",
    "/users.csv",
    "/activities.csv",
]


@pytest.mark.usefixtures("each_sum_form")
async def test_an_answer_leaves_nothing_that_the_garbage_collector_must_find(own_redis: RunningRedis) -> None:
    """What refers to itself stays, with all that it holds, until the collector has looked at everything that was made
    since: a tenth of the CPU of a report.
    """
    async with api_over(own_redis, NOW / 1000) as api:

        async def ask(number: int) -> None:
            api.write([Event((MIDNIGHT - 86_400 * n) * 10**9, f"e{n}", user=f"u{n}", offset=n) for n in range(number)])
            for path in PATHS:
                query = b"" if path == "/filters" else b"period=last_7_days"
                assert (await answered(api, path, query))[0] == 200, path

        for number in range(1, 4):
            await ask(number)
        with garbage() as found:
            await ask(4)
    assert not found


async def test_an_answer_takes_few_calls(own_redis: RunningRedis) -> None:
    """Every answer of a report pays for what lies around its counts: where other processes have run meanwhile, some 5
    us a function. A layer that is added shows here.
    """
    async with api_over(own_redis, NOW / 1000, positions_cache_ms=250) as api:
        api.write([Event(MIDNIGHT * 10**9, "e", user="u")])
        for _ in range(3):
            await calls_of(api, "/timeline")
        status, headers, kept = await calls_of(api, "/timeline")
        assert status == 200
        status, _, remembered = await calls_of(api, "/timeline", if_none_match=headers[b"etag"])
        assert status == 304
        api.app.state.memory.forget(("known", "w"))
        status, _, asked = await calls_of(api, "/timeline", if_none_match=headers[b"etag"])
        assert status == 304
    assert kept <= 49
    assert asked <= 53
    assert remembered <= 25


@pytest.mark.slow
@pytest.mark.usefixtures("core")
@pytest.mark.parametrize(("path", "most"), [("/timeline", 96), ("/sources", 95), ("", 112)])
async def test_an_answer_that_is_made_anew_takes_few_calls_however_many_days_changed(
    own_redis: RunningRedis, path: str, most: int
) -> None:
    """What does not change from one request to the next is kept, and days are looked at all at once."""
    async with api_over(own_redis, NOW / 1000, core=CoreChoice.COMPILED) as api:
        days = [(MIDNIGHT - 86_400 * day) * 10**9 for day in range(14)]
        api.write([Event(day, f"e{day}{n}", user=f"u{n}") for day in days for n in range(20)])
        key, took = f"{api.data.prefix}days:w", 0
        for number in range(5):
            for field, value in api.data.client.hgetall(key).items():
                api.data.client.hset(key, field, b" ".join([b"v%d" % number, *value.split(b" ")[1:]]))
            status, _, took = await calls_of(api, path)
            assert status == 200
    assert took <= most


# ---- bytes ---------------------------------------------------------------------------------------------------


def test_what_is_written_takes_so_many_bytes() -> None:
    """Ids take 8 bytes an event, whatever else is written."""
    state = counted(records(20_000, users=200))
    whole = written(state)
    log = records(2_000, users=200, first=20_000)
    state.apply(Batch(log, log[0].offset, log[-1].offset + 1))
    assert whole <= 211_423
    assert written(state) <= 31_391


def written(state: PartitionState) -> int:
    """Bytes of a commit's changelog records, without what Kafka puts around them."""
    return sum(len(key) + len(value or b"") for key, value in state.encode().table)
