"""What a partition tells about itself, as it goes on."""

from __future__ import annotations

from enum import StrEnum

from stream.tables.partition import Commit


class Phase(StrEnum):
    RECOVERING = "recovering"
    REPAIRING = "repairing"
    COUNTING = "counting"
    ENDED = "ended"


class Resync(StrEnum):
    """Why Redis is claimed, and sent what it lacks."""

    START = "start"
    """This worker begins with the partition."""
    RECOVERY = "recovery"
    """What is committed was read again, since Kafka did not answer, or not as it should."""
    REDIS_AWAY = "redis_away"
    """A call was not answered, or Redis took no writes: it may hold what it did not confirm."""
    REDIS_LOST = "redis_lost"
    """It refused a call: it was emptied, has evicted, was set back, or another owner has claimed the partition."""

    @property
    def words(self) -> str:
        return {
            Resync.START: "this worker begins with the partition",
            Resync.RECOVERY: "the partition was recovered from the changelog",
            Resync.REDIS_AWAY: "a call to Redis failed",
            Resync.REDIS_LOST: "Redis refused a call: it was emptied, restored or has evicted, or another owner came",
        }[self]


class Listener:
    """What an owned partition tells about itself: metrics and probes override what they need."""

    def phase(self, partition: int, phase: Phase) -> None: ...

    def reading(self, partition: int, done: int, total: int) -> None: ...

    def recovered(self, partition: int, keys: int, position: int, seconds: float) -> None: ...

    def committed(self, partition: int, commit: Commit, seconds: float) -> None: ...

    def claims(self, why: Resync) -> None:
        """A partition claims Redis now, and sends what that lacks."""

    def resynced(self, partition: int, why: Resync, position: int, seconds: float) -> None: ...

    def projected(self, partition: int, offsets_to_backfill: int) -> None: ...

    def failed(self, partition: int, why: str) -> None: ...

    def rows_failed(self, partition: int, why: str) -> None:
        """Rows that are owed were not read; counting goes on."""

    def stuck(self, partition: int, stuck: bool) -> None: ...

    def lost(self, partition: int, offsets: int) -> None: ...

    def waiting(self, partition: int, why: str | None) -> None: ...
