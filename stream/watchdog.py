"""A worker that has events to count and counts none, that tells Redis nothing, or that does not begin what Kafka gave
it, is ended, with the reason. Faust's own detector of such stalls compares two clocks: it misses a real one, and from
the fifth minute on calls a healthy worker stalled, so stream/transport.py switches it off.
"""

from __future__ import annotations

import msgspec


class _Seen(msgspec.Struct):
    offset: int
    since: float
    """When the offset moved last, or nothing waited."""
    told: float
    """When Redis was told something last."""


class Watchdog:
    """Told what each partition does; asked, now and then, whether one stands still. Seconds, of any steady clock."""

    def __init__(self, stall_seconds: float) -> None:
        self._stall_seconds = stall_seconds
        self._seen: dict[int, _Seen] = {}
        self._unbegun: dict[int, float] = {}

    def keep(self, partitions: set[int]) -> None:
        """Forget the partitions that are no longer this worker's."""
        self._seen = {partition: seen for partition, seen in self._seen.items() if partition in partitions}

    def note(self, partition: int, *, offset: int, lag: int, told: float, now: float, excused: bool) -> None:
        """All before `offset` is committed, `lag` offsets wait; Redis was `told` something last then, which is to
        happen every second. `excused`: the partition waits for something that is known to be away, and says so.
        """
        seen = self._seen.get(partition)
        if seen is None or excused:
            self._seen[partition] = _Seen(offset, now, now)
            return
        if seen.offset != offset or lag <= 0:
            seen.offset, seen.since = offset, now
        seen.told = max(seen.told, told)

    def note_unbegun(self, partitions: set[int], now: float) -> None:
        """Kafka has given these partitions, and no others, to this worker that are not begun."""
        self._unbegun = {partition: self._unbegun.get(partition, now) for partition in partitions}

    def stalled(self, now: float) -> str | None:
        """Which partition has stood still for too long, in words; None where all is well."""
        for partition, seen in self._seen.items():
            if now - seen.since > self._stall_seconds:
                return (
                    f"partition {partition} has stood at offset {seen.offset} for {now - seen.since:.0f} s with events "
                    "waiting"
                )
            if now - seen.told > self._stall_seconds:
                return f"partition {partition} has told Redis nothing for {now - seen.told:.0f} s"
        for partition, since in self._unbegun.items():
            if now - since > self._stall_seconds:
                return f"partition {partition} has been this worker's for {now - since:.0f} s, and is not begun"
        return None
