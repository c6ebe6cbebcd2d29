"""A worker that has events to count and counts none, that tells Redis nothing, or that does not begin what Kafka gave
it, is ended, with the reason. Faust's own detector of such stalls compares two clocks: it misses a real one, and from
the fifth minute on calls a healthy worker stalled, so stream/agents/transport.py switches it off.

Two limits. The first is for a partition that waits for nothing that is known to be away. The second, longer one is for
any: a partition that fails, recovers and fails again says each time what it waits for, and gets nowhere.
"""

from __future__ import annotations

import msgspec


class _Seen(msgspec.Struct):
    offset: int | None
    since: float
    """When the offset moved last, or nothing waited."""
    told: float
    """When Redis was told something last."""
    stuck_since: float
    """As `since`, whatever excuses there were."""


class Watchdog:
    """Told what each partition does; asked, now and then, whether one stands still. Seconds, of any steady clock."""

    def __init__(self, stall_seconds: float, stuck_seconds: float) -> None:
        self._stall_seconds, self._stuck_seconds = stall_seconds, max(stall_seconds, stuck_seconds)
        self._seen: dict[int, _Seen] = {}
        self._unbegun: dict[int, float] = {}

    def keep(self, partitions: set[int]) -> None:
        """Forget the partitions that are no longer this worker's."""
        self._seen = {partition: seen for partition, seen in self._seen.items() if partition in partitions}

    def note(
        self, partition: int, *, offset: int | None, lag: int | None, told: float, now: float, excused: bool
    ) -> None:
        """All before `offset` is committed, `lag` offsets wait, None where that is not known (yet, or at the moment);
        Redis was `told` something last then, which is to happen every second. `excused`: the partition waits for
        something that is known to be away, and says so.
        """
        seen = self._seen.get(partition)
        if seen is None:
            self._seen[partition] = _Seen(offset, now, now, now)
            return
        if lag == 0 or (offset is not None and offset != seen.offset):
            seen.offset, seen.since, seen.stuck_since = offset, now, now
        if not lag:
            seen.since = now
        seen.told = max(seen.told, told)
        if excused:
            seen.since = seen.told = now

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
            if now - seen.stuck_since > self._stuck_seconds:
                where = "is not recovered" if seen.offset is None else f"is stuck at offset {seen.offset}"
                return f"partition {partition} {where} after {now - seen.stuck_since:.0f} s of failures"
        for partition, since in self._unbegun.items():
            if now - since > self._stall_seconds:
                return f"partition {partition} has been this worker's for {now - since:.0f} s, and is not begun"
        return None
