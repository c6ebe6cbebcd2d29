"""What an earlier version wrote to Redis is read by readers and workers of this one, and carried on."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import pytest
import redis as sync
from redis.asyncio import Redis

from stream.ingest.event import EventRules
from stream.projection.backfill import RowBackfill
from stream.projection.projector import Projector
from stream.projection.replica import RedisReplica
from stream.storage.keys import Keys
from stream.tables.partition import PartitionState
from stream.tables.rules import CountingRules
from tests.simulation import reader
from tests.support.partition_log import Recount, batch
from tests.support.recorded import RECORDED, RETENTION_DAYS, recording, records
from tests.support.redis_server import RunningRedis

pytestmark = pytest.mark.usefixtures("each_form")

RULES = CountingRules(EventRules(retention_days=RETENTION_DAYS))
KEYS = Keys("sim")


class Source:
    async def bounds(self) -> tuple[int, int]:
        return 0, RECORDED

    async def partitions(self) -> int:
        return 1

    async def read(self, start: int, end: int) -> list[Any]:
        return list(records(start, end))


class NoClock:
    def now_ms(self) -> int:
        return 0


def content(client: sync.Redis) -> dict[bytes, dict[bytes, bytes]]:
    found: dict[bytes, dict[bytes, bytes]] = {}
    for key in client.keys("*"):
        if client.type(key) == b"hash":
            found[key] = client.hgetall(key)
        else:
            found[key] = dict.fromkeys(client.zrange(key, 0, -1), b"0")
    return found


def shown(state: reader.State) -> tuple[Counter[Any], set[int]]:
    """Cells and offsets with rows, as readers see them."""
    cells: Counter[Any] = Counter()
    rows: set[int] = set()
    reading = reader.Reading()
    for workspace in (name.decode() for name in state[reader.WORKSPACES]):
        for day in [int(day) for day in state[f"{reader.PREFIX}days:{workspace}".encode()] if day != b"all"]:
            aggregate = reading.aggregate(state, workspace, day, 0)
            assert not isinstance(aggregate, str), aggregate
            for (activity, source, user, quarter), count in aggregate.items():
                cells[workspace, day, quarter, activity, source, user] += count
            rows |= {row.offset for row in reader.rows(state, workspace, day)}
    return cells, rows


@pytest.fixture
async def client(own_redis: RunningRedis) -> AsyncIterator[Redis]:
    made = Redis.from_url(own_redis.url)
    yield made
    await made.aclose()


@pytest.mark.parametrize("version", ["40045b9"])
async def test_recorded_content_of_redis_is_read_and_carried_on(
    own_redis: RunningRedis, client: Redis, version: str
) -> None:
    # Given what that version left in Redis,
    recount = Recount(RULES)
    recount.take(records())
    plain, recorded = sync.Redis.from_url(own_redis.url), recording(version)
    recorded.restore(plain, KEYS.prefix)
    before = content(plain)
    assert shown(before) == (recount.kept_cells(), set(recount.rows))
    assert reader.Place(before, 0).position == RECORDED

    # when a worker of this version claims it with the changelog that belongs to it, then it lacks nothing:
    state = PartitionState.recover(0, RULES, recorded.changelog)
    rows = RowBackfill(Source(), 0, 300)
    projector = Projector(
        0,
        keys=KEYS,
        replica=RedisReplica(client, KEYS),
        rows=rows,
        clock=NoClock(),
        worker="new",
        future_tolerance_seconds=300,
    )
    assert await projector.resync(state, RECORDED)
    assert (projector.offsets_to_backfill, shown(content(plain))) == (0, shown(before))

    # and what it counts from then on is added to what was there.
    for at in range(RECORDED, RECORDED + 200, 40):
        some = records(at, at + 40)
        recount.take(some)
        state.apply(batch(some, at))
        assert await projector.project(state.encode())
    assert shown(content(plain)) == (recount.kept_cells(), set(recount.rows))
    plain.close()
