"""Decides when a partition commits."""

from __future__ import annotations

import math
from dataclasses import dataclass

REST_LIMIT_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class CommitPolicy:
    """How often a partition commits, and how many events at most.

    A commit follows the one before at the interval, and not before a rest of what the shorter of the last two took, a
    second at most: with many partitions, or a slow broker, a partition spends no more than half of its time in small
    commits; one that is slow among others delays nothing, and after a large one nothing waits for long.
    """

    interval_seconds: float = 0.05
    max_events: int = 50_000

    def next_commit(self, started: float, ended: float, before_seconds: float = math.inf) -> float:
        """When the commit is due that follows one of this time. `before_seconds`: what the one before that took."""
        rest = min(ended - started, before_seconds, REST_LIMIT_SECONDS)
        return max(started + self.interval_seconds, ended + rest)
