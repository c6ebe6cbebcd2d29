"""By how much later than they happened events came that counted: how many in each span of time."""

from __future__ import annotations

from bisect import bisect_left
from typing import Final

import msgspec

MINUTE, HOUR, DAY = 60, 3_600, 86_400
BOUNDS_SECONDS: Final = (1, 10, MINUTE, 5 * MINUTE, 15 * MINUTE, HOUR, 6 * HOUR, DAY, 7 * DAY, 30 * DAY)
"""A bucket of a report is closed after 15 minutes at the earliest, and a day after a day."""
BOUNDS_MS: Final = tuple(bound * 1000 for bound in BOUNDS_SECONDS)


class Lateness(msgspec.Struct):
    """Of some events: from when they happened until the broker took them."""

    counts: list[int] = msgspec.field(default_factory=lambda: [0] * (len(BOUNDS_MS) + 1))
    """Events of at most each bound, and of more than the one before; the last: of more than any."""
    total_ms: int = 0

    def add(self, late_ms: int) -> None:
        """What a publisher's clock put ahead of the broker's, below 0 here, is not late."""
        self.counts[bisect_left(BOUNDS_MS, late_ms)] += 1
        self.total_ms += max(late_ms, 0)
