"""Computes how long to wait before retrying."""

from __future__ import annotations

FIRST_SECONDS = 0.2
KAFKA_LIMIT_SECONDS = 10.0
REDIS_LIMIT_SECONDS = 1.0
"""Shorter than for Kafka: reports show nothing new until Redis is in sync again, and a try costs Redis little."""


class BackOff:
    """Twice as long after each failure in a row, up to a limit."""

    def __init__(self, first_seconds: float, limit_seconds: float) -> None:
        self._first_seconds, self._limit_seconds = first_seconds, limit_seconds
        self.seconds = first_seconds
        """What `take` returns next, for the log."""

    @classmethod
    def for_kafka(cls) -> BackOff:
        """For a partition whose commit, recovery or read of old records failed."""
        return cls(FIRST_SECONDS, KAFKA_LIMIT_SECONDS)

    @classmethod
    def for_redis(cls) -> BackOff:
        """For a partition whose resync of Redis failed."""
        return cls(FIRST_SECONDS, REDIS_LIMIT_SECONDS)

    def take(self) -> float:
        """The seconds to wait now. The next wait is twice as long."""
        seconds = self.seconds
        self.seconds = min(seconds * 2, self._limit_seconds)
        return seconds

    def reset(self) -> None:
        """It succeeded: the next failure is the first in a row."""
        self.seconds = self._first_seconds
