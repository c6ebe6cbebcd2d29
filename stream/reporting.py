"""What partitions tell about themselves, turned into metrics, log lines and the facts of the probes."""

from __future__ import annotations

import logging
from typing import Any

from stream.metrics import Metrics
from stream.ownership import Listener, Phase
from stream.partition import Commit
from stream.ports import Clock

log = logging.getLogger(__name__)

PROGRESS_MS = 2_000


class Reporter(Listener):
    def __init__(self, metrics: Metrics, clock: Clock) -> None:
        self._metrics, self._clock = metrics, clock
        self._facts: dict[int, dict[str, Any]] = {}
        self._ends: dict[int, int] = {}
        self._told_ms = 0

    def partitions(self) -> dict[str, dict[str, Any]]:
        """Of each owned partition: phase, position, lag, and how far a recovery is. Keys are text, for JSON."""
        return {
            str(p): {**facts, "lag": self.lag(p)}
            for p, facts in sorted(self._facts.items())
            if facts["phase"] != Phase.ENDED
        }

    def lag(self, partition: int) -> int:
        """Offsets between the end of the partition, when it was asked last, and what is committed."""
        position: int = self._facts.get(partition, {}).get("position", 0)
        return max(0, self._ends.get(partition, 0) - position)

    def end(self, partition: int, end: int) -> None:
        self._ends[partition] = end
        self._metrics.lag.labels(partition).set(self.lag(partition))

    def phase(self, partition: int, phase: Phase) -> None:
        self._facts.setdefault(partition, {"position": 0})["phase"] = phase.value
        for one in Phase:
            self._metrics.phase.labels(partition, one.value).set(one is phase)

    def reading(self, partition: int, done: int, total: int) -> None:
        self._facts[partition]["recovery"] = {"read": done, "of": total}
        now = self._clock.now_ms()
        if now - self._told_ms > PROGRESS_MS:
            self._told_ms = now
            log.info("partition %d: %d of %d changelog offsets read", partition, done, total)

    def recovered(self, partition: int, keys: int, position: int, seconds: float) -> None:
        facts = self._facts[partition]
        facts.pop("recovery", None)
        facts["position"] = position
        self._metrics.recovery_seconds.observe(seconds)
        log.info("partition %d: recovered at offset %d from %d keys in %.2f s", partition, position, keys, seconds)

    def covered(self, partition: int, offset: int) -> None:
        """All before this offset is committed, or is nothing to commit: the end of a partition may be a marker."""
        if partition in self._facts:
            self._facts[partition]["position"] = offset
            self._metrics.position.labels(partition).set(offset)
            self._metrics.lag.labels(partition).set(self.lag(partition))

    def committed(self, partition: int, commit: Commit, seconds: float) -> None:
        metrics, position = self._metrics, commit.position.next_offset
        self._facts[partition]["position"] = position
        outcomes = commit.outcomes
        metrics.events.labels("counted").inc(outcomes.counted)
        metrics.events.labels("duplicate").inc(outcomes.duplicate)
        metrics.events.labels("skipped").inc(outcomes.skipped)
        for reason, number in outcomes.rejected.items():
            metrics.events.labels("rejected").inc(number)
            metrics.rejected.labels(reason.value).inc(number)
        metrics.ids_early.labels(partition).inc(outcomes.ids_dropped_early)
        metrics.position.labels(partition).set(position)
        metrics.last_commit.labels(partition).set(self._clock.now_ms() / 1000)
        metrics.commit_seconds.observe(seconds)

    def projected(self, partition: int, owed: int) -> None:
        self._metrics.last_projection.labels(partition).set(self._clock.now_ms() / 1000)
        self._metrics.owed.labels(partition).set(owed)

    def failed(self, partition: int, why: str) -> None:
        self._facts.setdefault(partition, {"position": 0})["failure"] = why
        self._metrics.failures.labels(partition).inc()

    def lost(self, partition: int, offsets: int) -> None:
        self._metrics.lost.labels(partition).inc(offsets)
