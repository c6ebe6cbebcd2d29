"""A worker that has events to count and counts none is ended, with the reason: Faust's own detector of such stalls
compares two clocks and never fires.
"""

from __future__ import annotations


class Watchdog:
    """Told of each partition's committed offset and end; asked, now and then, whether one stands still. Seconds, of any
    steady clock.
    """

    def __init__(self, stall_seconds: float) -> None:
        self._stall_seconds = stall_seconds
        self._seen: dict[int, tuple[int, float]] = {}

    def keep(self, partitions: set[int]) -> None:
        """Forget the partitions that are no longer this worker's."""
        self._seen = {partition: seen for partition, seen in self._seen.items() if partition in partitions}

    def note(self, partition: int, offset: int, lag: int, now: float, *, excused: bool) -> None:
        """Where a partition stands. `excused`: it waits for something that is known to be away, and says so."""
        known = self._seen.get(partition)
        if known is None or known[0] != offset or lag <= 0 or excused:
            self._seen[partition] = (offset, now)

    def stalled(self, now: float) -> str | None:
        """Which partition has stood still for too long, in words; None where all is well."""
        for partition, (offset, since) in self._seen.items():
            if now - since > self._stall_seconds:
                return f"partition {partition} has stood at offset {offset} for {now - since:.0f} s with events waiting"
        return None
