"""A partition whose batches must wait, for a clock that is wrong: on a real Redis, which tells the second time."""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
from redis.asyncio import Redis

from stream.tables.batch import Batch
from stream.tables.rules import CountingRules
from stream.worker.clocks import Clocks, Gate
from stream.worker.commit_policy import CommitPolicy
from stream.worker.in_flight import InFlightLimit
from stream.worker.metrics import Metrics
from stream.worker.observer import Reporter
from stream.worker.partition_task import OwnedPartition
from tests.integration.test_projection_guards import NoFetchControl, Site, until
from tests.support.redis_server import RunningRedis

HOUR = 3_600_000
RULES = CountingRules()


class WrongClock:
    def __init__(self) -> None:
        self.off_ms = 0

    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000 + self.off_ms


class FetchControl(NoFetchControl):
    def __init__(self) -> None:
        self.sought: list[int] = []
        self.paused = False

    def seek(self, partition: int, offset: int) -> None:
        self.sought.append(offset)

    def pause(self, partition: int) -> None:
        self.paused = True

    def resume(self, partition: int) -> None:
        self.paused = False


class Waiting(Site):
    """An owner that counts, with a clock that can be set."""

    def __init__(self, client: Redis) -> None:
        super().__init__(client)
        self.clock, self.fetch_control = WrongClock(), FetchControl()
        self.clocks = Clocks(self.clock, self.replica.now_ms, time.monotonic)
        self.reporter = Reporter(Metrics(), self.clock)
        self.owned = OwnedPartition(
            0,
            rules=RULES,
            commit_policy=CommitPolicy(interval_seconds=0.0),
            heartbeat_seconds=3600,
            in_flight=InFlightLimit(1000),
            new_store=self.stores.new,
            source=self.topic,
            projector=self.projector(),
            fetch_control=self.fetch_control,
            listener=self.reporter,
            stop_worker=self.reasons.append,
            why_not=Gate(self.clocks, RULES.event).why_not,
        )

    def fetch(self, *, stamped_ahead_ms: int = 0) -> None:
        """What a consumer delivers now of the topic's one record."""
        (record,) = self.topic.records
        stamped = record.__class__(record.value, timestamp=time.time_ns() // 1_000_000 + stamped_ahead_ms)
        self.owned.accept(Batch([stamped], 0, 1, self.clock.now_ms()))

    def stand_still(self) -> None:
        """What the broker answers meanwhile about the end."""
        for _ in range(5):
            self.owned.note_end(1, 0)

    def facts(self) -> dict[str, Any]:
        return self.reporter.partitions()["0"]

    async def position(self) -> str:
        return await self.field("position")


@pytest.fixture
async def waiting(own_redis: RunningRedis) -> AsyncIterator[Waiting]:
    client = Redis.from_url(own_redis.url)
    site = Waiting(client)
    site.topic.publish(1)
    site.owned.start()
    await until(lambda: site.owned.counting)
    yield site
    await site.owned.close()
    await client.aclose()


async def test_nothing_is_counted_until_the_clocks_agree(waiting: Waiting, caplog: pytest.LogCaptureFixture) -> None:
    # Given a worker whose clock is six minutes ahead of Redis',
    caplog.set_level(logging.WARNING)
    waiting.clock.off_ms = 6 * 60_000
    await waiting.clocks.ask()

    # when a batch comes, then it is not applied, both clocks are named, and it is asked for again;
    for _ in range(2):
        waiting.fetch_control.sought.clear()
        waiting.fetch()
        assert (waiting.owned.next_needed, waiting.fetch_control.paused) == (0, True)
        assert "this worker's clock says" in waiting.facts()["waiting"]
        assert "Redis' 2" in waiting.facts()["waiting"]
        waiting.stand_still()
        assert (waiting.fetch_control.sought, waiting.fetch_control.paused) == ([0], False)
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert await waiting.position() == "0"

    # and if the clock is set right, then it counts.
    waiting.clock.off_ms = 0
    waiting.fetch()
    await until(lambda: waiting.owned.covered_offset == 1)
    assert waiting.facts()["waiting"] is None


async def test_what_a_broker_stamped_hours_ahead_waits(waiting: Waiting) -> None:
    await waiting.clocks.ask()
    waiting.fetch(stamped_ahead_ms=3 * HOUR)
    assert waiting.owned.next_needed == 0
    assert "CONTACTS_RECORD_FUTURE_TOLERANCE_SECONDS above 1" in waiting.facts()["waiting"]

    waiting.fetch(stamped_ahead_ms=HOUR - 60_000)
    await until(lambda: waiting.owned.covered_offset == 1)
    assert waiting.facts()["waiting"] is None


async def test_nothing_is_counted_before_redis_has_told_the_time(waiting: Waiting) -> None:
    waiting.fetch()
    assert (waiting.owned.next_needed, waiting.facts()["waiting"]) == (0, "Redis has not told the time yet")
