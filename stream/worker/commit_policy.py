"""Decides when a partition commits."""

from __future__ import annotations

from dataclasses import dataclass

REST_LIMIT_SECONDS = 1.0
# A commit of so many events takes about twice as long as one of a single event (docs/benchmarks.md).
DOUBLE_TIME_EVENTS = 1_000


@dataclass(frozen=True, slots=True)
class CommitPolicy:
    """How often a partition commits, and how many events at most.

    A commit follows the one before at the interval, and not before a rest of what that cost however few its events
    were, a second at most: with many partitions, or a slow broker, a partition spends no more than half of its time on
    commits as such. For what the events themselves take there is no rest: it would come again with the next commit, and
    a rest in its measure lets commits grow until each waits for the largest.
    """

    interval_seconds: float = 0.05
    max_events: int = 50_000

    def next_commit(self, started: float, ended: float, overhead_seconds: float) -> float:
        """When the commit is due that follows one of this time. `overhead_seconds`: the lower one of the last two
        commits, so that one that is slow among others delays nothing.
        """
        return max(started + self.interval_seconds, ended + min(overhead_seconds, REST_LIMIT_SECONDS))


def estimate_overhead(seconds: float, events: int) -> float:
    """How much of a commit's time did not come from its events."""
    return seconds / (1 + events / DOUBLE_TIME_EVENTS)
