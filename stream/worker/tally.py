"""Tallies what a worker has done since it started: rates, last times, and where a rejected record lies."""

from __future__ import annotations

from collections import deque
from typing import Any, Final

from stream.ingest.rejects import WINDOW_SECONDS
from stream.ports import Clock
from stream.tables.commit import Commit

SAMPLES: Final = 30
"""Of a partition's events, one each time that somebody asks: a minute, where that is every two seconds."""

RECENT_SLOT_MS: Final = 10_000
"""What happened recently is summed by as much."""


class Tally:
    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._started_ms = clock.now_ms()
        self._counted = self._duplicates = 0
        self._rejected: dict[str, dict[str, int]] = {}
        self._recent: deque[tuple[int, int, int]] = deque()
        """Slots of RECENT_SLOT_MS with their events and how many of those were rejected, the oldest first."""
        self._events: dict[int, int] = {}
        self._samples: dict[int, deque[tuple[int, int]]] = {}
        self._committed_ms: dict[int, int] = {}
        self._projected_ms: dict[int, int] = {}

    def note_committed(self, partition: int, commit: Commit) -> None:
        outcomes = commit.outcomes
        self._counted += outcomes.counted
        self._duplicates += outcomes.duplicate
        rejected = sum(outcomes.rejected.values())
        self._events[partition] = self._events.get(partition, 0) + outcomes.counted + outcomes.duplicate + rejected
        self._note_recent(
            outcomes.counted + outcomes.duplicate + outcomes.skipped + outcomes.expired + rejected, rejected
        )
        self._committed_ms[partition] = self._clock.now_ms()
        for reason, count in outcomes.rejected.items():
            self._rejected.setdefault(reason.value, {"count": 0})["count"] += count
        for letter in commit.dead_letters:
            self._rejected[letter.reason.value] |= {"partition": partition, "offset": letter.record.offset}

    def _note_recent(self, events: int, rejected: int) -> None:
        slot = self._clock.now_ms() // RECENT_SLOT_MS
        if self._recent and self._recent[-1][0] == slot:
            _, events_before, rejected_before = self._recent.pop()
            events, rejected = events + events_before, rejected + rejected_before
        self._recent.append((slot, events, rejected))
        self._forget_old()

    def _forget_old(self) -> None:
        oldest = (self._clock.now_ms() - WINDOW_SECONDS * 1000) // RECENT_SLOT_MS
        while self._recent and self._recent[0][0] <= oldest:
            self._recent.popleft()

    def note_projected(self, partition: int) -> None:
        self._projected_ms[partition] = self._clock.now_ms()

    def note_ended(self, partition: int) -> None:
        for kept in (self._events, self._samples, self._committed_ms, self._projected_ms):
            kept.pop(partition, None)

    def totals(self) -> dict[str, Any]:
        """Of all partitions; of each reason the place of the latest record. `recent`: of the last WINDOW_SECONDS."""
        self._forget_old()
        return {
            "started_ms": self._started_ms,
            "counted": self._counted,
            "duplicates": self._duplicates,
            "rejected": {reason: dict(of) for reason, of in self._rejected.items()},
            "recent": {
                "events": sum(events for _, events, _ in self._recent),
                "rejected": sum(rejected for _, _, rejected in self._recent),
            },
        }

    def partition(self, partition: int) -> dict[str, Any]:
        """When it was committed and Redis told last, and its events a second since it was asked some time ago."""
        now, events = self._clock.now_ms(), self._events.get(partition, 0)
        samples = self._samples.setdefault(partition, deque(maxlen=SAMPLES))
        samples.append((now, events))
        since_ms, before = samples[0]
        rate = (events - before) * 1000 / (now - since_ms) if now > since_ms else 0.0
        return {
            "committed_ms": self._committed_ms.get(partition),
            "projected_ms": self._projected_ms.get(partition),
            "events_per_second": round(rate, 1),
        }
