"""Decides when a partition commits."""

from __future__ import annotations

from dataclasses import dataclass

REST_LIMIT_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class CommitPolicy:
    """How often a partition commits, and how many events at most.

    A commit follows the one before at the interval, and not before a rest of twice what that one took, a second at
    most: with many partitions, or a slow broker, a partition spends no more than a third of its time in small commits,
    and after a large one nothing waits for long.
    """

    interval_seconds: float = 0.05
    max_events: int = 50_000

    def next_commit(self, started: float, ended: float) -> float:
        """When the commit is due that follows one of this time."""
        rest = min(2 * (ended - started), REST_LIMIT_SECONDS)
        return max(started + self.interval_seconds, ended + rest)
