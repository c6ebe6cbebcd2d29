"""Decides when a partition commits, sends a heartbeat to Redis, and retries what failed."""

from __future__ import annotations

from dataclasses import dataclass

from stream.retry import BackOff


@dataclass(frozen=True, slots=True)
class CommitPolicy:
    """How often things happen.

    A commit follows the one before at the interval, and not before a rest of twice what that one took, a second at
    most: with many partitions, or a slow broker, a partition spends no more than a third of its time in small commits,
    and after a large one nothing waits for long.
    """

    commit_interval_seconds: float = 0.05
    commit_max_events: int = 50_000
    rest_limit_seconds: float = 1.0
    heartbeat_seconds: float = 1.0
    back_off_seconds: float = 0.2
    back_off_limit_seconds: float = 10.0
    replica_back_off_limit_seconds: float = 1.0

    def back_off(self) -> BackOff:
        """Of what asks Kafka."""
        return BackOff(self.back_off_seconds, self.back_off_limit_seconds)

    def next_commit(self, started: float, ended: float) -> float:
        """When the commit is due that follows one of this time."""
        rest = min(2 * (ended - started), self.rest_limit_seconds)
        return max(started + self.commit_interval_seconds, ended + rest)
