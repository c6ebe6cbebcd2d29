"""Computes how long to wait before retrying."""

from __future__ import annotations


class BackOff:
    """Twice as long after each failure in a row, up to a limit."""

    def __init__(self, first_seconds: float, limit_seconds: float) -> None:
        self._first_seconds, self._limit_seconds = first_seconds, limit_seconds
        self.seconds = first_seconds
        """What `take` returns next, for the log."""

    def take(self) -> float:
        """The seconds to wait now. The next wait is twice as long."""
        seconds = self.seconds
        self.seconds = min(seconds * 2, self._limit_seconds)
        return seconds

    def reset(self) -> None:
        """It succeeded: the next failure is the first in a row."""
        self.seconds = self._first_seconds
