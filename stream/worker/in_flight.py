"""Limits how much the partitions of a worker hold that is not committed, and how many unpack a state at once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


class InFlightLimit:
    """Limits the uncommitted events of all partitions of a worker, by `PartitionState.pending_weight`, to two commits'
    worth, and lets one partition at a time unpack its state.
    """

    def __init__(self, weight: int) -> None:
        self.unpacking = asyncio.Lock()
        """A large state takes seconds, 1.3 s a million ids, in slices. Two at once would take no less."""
        self._weight, self._held = weight, 0
        self._waiting: list[Callable[[], None]] = []

    @property
    def full(self) -> bool:
        return self._held >= self._weight

    def take(self, weight: int) -> None:
        self._held += weight

    def give_back(self, weight: int) -> None:
        self._held -= weight
        if not self.full:
            waiting, self._waiting = self._waiting, []
            for go_on in waiting:
                go_on()

    def wait(self, go_on: Callable[[], None]) -> None:
        """Call `go_on` once there is room."""
        self._waiting.append(go_on)
