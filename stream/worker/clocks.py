"""Compares this worker's clock with that of Redis. Only while they agree, records are judged by how far ahead they are.

A worker whose clock is wrong would reject good events, or let one through that ends deduplication for years. Redis'
clock is the second opinion that every worker of a deployment shares.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Any

from stream.ingest.event import EventRules
from stream.ingest.record_time import broker_ahead
from stream.model.time import show_time
from stream.ports import Clock, ReplicaAway
from stream.tables.batch import Batch

log = logging.getLogger(__name__)

TOLERANCE_MS = 5 * 60_000
ASK_SECONDS = 5.0
# While Redis has not answered yet, or the clocks differ.
ASK_AGAIN_SECONDS = 1.0
LOG_SECONDS = 60.0


class SystemClock:
    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000


class Clocks:
    """The worker's clock beside Redis' `TIME`, as it was asked last and has gone on since by a steady clock: so a clock
    that is set in between is seen at once."""

    def __init__(self, clock: Clock, ask_redis: Callable[[], Awaitable[int]], steady: Callable[[], float]) -> None:
        """`ask_redis` tells milliseconds since 1970, or raises ReplicaAway; `steady` tells seconds."""
        self._clock, self._ask_redis, self._steady = clock, ask_redis, steady
        self._redis_ms_at_zero: float | None = None
        self._logged: float | None = None

    async def watch(self) -> None:
        """Ask Redis over and over, and log while the clocks differ."""
        while True:
            await self.ask()
            differ = self.why_not(self._clock.now_ms())
            self._log(differ)
            await asyncio.sleep(ASK_SECONDS if differ is None else ASK_AGAIN_SECONDS)

    async def ask(self) -> None:
        """Ask Redis once. Where it is away, what it said before goes on to hold."""
        asked = self._steady()
        try:
            redis_ms = await self._ask_redis()
        except ReplicaAway as error:
            log.debug("Redis did not tell the time: %s", error)
            return
        self._redis_ms_at_zero = redis_ms - (asked + self._steady()) / 2 * 1000

    def why_not(self, reading_ms: int) -> str | None:
        """Why a reading of the worker's clock, which was just taken, is not to be believed; None where it is."""
        redis_ms = self._redis_ms()
        if redis_ms is None:
            return "Redis has not told the time yet"
        if abs(reading_ms - redis_ms) < TOLERANCE_MS:
            return None
        return (
            f"this worker's clock says {show_time(reading_ms)}, Redis' {show_time(redis_ms)}: nothing is counted while "
            f"they differ by {TOLERANCE_MS // 60_000} minutes or more"
        )

    def difference_seconds(self) -> float | None:
        """How far this worker's clock is ahead of Redis'; None where Redis has not told the time yet."""
        redis_ms = self._redis_ms()
        return None if redis_ms is None else (self._clock.now_ms() - redis_ms) / 1000

    def facts(self) -> dict[str, Any]:
        """For `/readyz?verbose`."""
        now_ms, redis_ms = self._clock.now_ms(), self._redis_ms()
        return {
            "worker": show_time(now_ms),
            "redis": None if redis_ms is None else show_time(redis_ms),
            "waiting": self.why_not(now_ms),
        }

    def _redis_ms(self) -> int | None:
        if self._redis_ms_at_zero is None:
            return None
        return int(self._redis_ms_at_zero + self._steady() * 1000)

    def _log(self, differ: str | None) -> None:
        now = self._steady()
        if differ is None or self._redis_ms_at_zero is None:
            if self._logged is not None:
                log.info("this worker's clock and Redis' agree again")
            self._logged = None
        elif self._logged is None or now - self._logged > LOG_SECONDS:
            self._logged = now
            log.warning("%s", differ)


class Gate:
    """Whether a batch that was just fetched may be applied."""

    def __init__(self, clocks: Clocks, rules: EventRules) -> None:
        self._clocks, self._rules = clocks, rules

    def why_not(self, batch: Batch) -> str | None:
        """Why the batch must wait, and be fetched again; None where it may be applied."""
        if not batch.records:
            return None
        return self._clocks.why_not(batch.fetched_at_ms) or broker_ahead(
            batch.records, batch.fetched_at_ms, self._rules
        )
