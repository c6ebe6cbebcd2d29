"""The worker's clock beside Redis'."""

from __future__ import annotations

import logging

import pytest

from stream.ingest.event import EventRules
from stream.ports import ReplicaAway
from stream.tables.batch import Batch
from stream.worker.clocks import Clocks, Gate
from tests.support.records import Received, milliseconds

NOW = milliseconds("2026-11-23T12:00:00Z")
MINUTE = 60_000


class World:
    """A steady clock, and how far each of the others is from the truth."""

    def __init__(self) -> None:
        self.seconds = 1000.0
        self.worker_off_ms = self.redis_off_ms = 0
        self.redis_away = False
        self.clocks = Clocks(self, self.ask_redis, lambda: self.seconds)

    def now_ms(self) -> int:
        return NOW + int((self.seconds - 1000) * 1000) + self.worker_off_ms

    async def ask_redis(self) -> int:
        if self.redis_away:
            raise ReplicaAway("away")
        return NOW + int((self.seconds - 1000) * 1000) + self.redis_off_ms

    def why_not(self) -> str | None:
        return self.clocks.why_not(self.now_ms())


async def test_nothing_is_believed_before_redis_has_told_the_time() -> None:
    world = World()
    world.redis_away = True
    await world.clocks.ask()
    assert world.why_not() == "Redis has not told the time yet"
    assert world.clocks.difference_seconds() is None
    assert world.clocks.facts() == {
        "worker": "2026-11-23T12:00:00.000Z",
        "redis": None,
        "waiting": "Redis has not told the time yet",
    }


@pytest.mark.parametrize("off", [5 * MINUTE, -5 * MINUTE, 10**15])
async def test_clocks_that_differ_by_five_minutes_are_both_named(off: int) -> None:
    world = World()
    world.worker_off_ms = off // abs(off) * (abs(off) - 1)
    await world.clocks.ask()
    assert (world.why_not() is None) == (abs(off) == 5 * MINUTE)
    world.worker_off_ms = off
    assert world.why_not() is not None
    assert world.clocks.difference_seconds() == off / 1000
    if abs(off) == 5 * MINUTE:
        worker = "12:05" if off > 0 else "11:55"
        assert world.why_not() == (
            f"this worker's clock says 2026-11-23T{worker}:00.000Z, Redis' 2026-11-23T12:00:00.000Z: "
            "nothing is counted while they differ by 5 minutes or more"
        )


async def test_a_clock_that_is_set_is_seen_before_redis_is_asked_again() -> None:
    world = World()
    await world.clocks.ask()
    world.seconds += 3600
    assert world.why_not() is None
    world.worker_off_ms = -10 * MINUTE
    assert world.why_not() is not None
    # While Redis is away what it said goes on to hold.
    world.redis_away = True
    await world.clocks.ask()
    assert world.why_not() is not None
    world.worker_off_ms = 0
    assert world.why_not() is None


async def test_a_redis_clock_that_is_set_is_seen_when_it_is_asked() -> None:
    world = World()
    await world.clocks.ask()
    world.redis_off_ms = 6 * MINUTE
    await world.clocks.ask()
    assert world.why_not() is not None


async def test_a_difference_is_logged_once_a_minute_and_its_end_once(caplog: pytest.LogCaptureFixture) -> None:
    world = World()
    caplog.set_level(logging.INFO, "stream.worker.clocks")

    def log() -> None:
        world.clocks._log(world.why_not())

    log()  # not known yet: nothing to say
    await world.clocks.ask()
    log()
    world.worker_off_ms = 9 * MINUTE
    for _ in range(62):
        log()
        world.seconds += 1
    world.worker_off_ms = 0
    log()
    log()
    assert [record.levelname for record in caplog.records] == ["WARNING", "WARNING", "INFO"]


async def test_a_gate_asks_the_clocks_first_and_lets_batches_without_a_record_through() -> None:
    world = World()
    gate = Gate(world.clocks, EventRules())
    ahead = Batch([Received(b"{}", timestamp=NOW + 2 * 60 * MINUTE)], 0, 1, NOW)
    assert gate.why_not(ahead) == "Redis has not told the time yet"
    assert gate.why_not(Batch([], 0, 1, NOW)) is None
    await world.clocks.ask()
    assert "the broker stamped offset 0 7200 s ahead" in (gate.why_not(ahead) or "")
    assert gate.why_not(Batch(ahead.records, 0, 1, NOW + 60 * MINUTE)) is not None  # that reading was wrong
    assert gate.why_not(Batch([Received(b"{}", timestamp=NOW)], 0, 1, NOW)) is None
