"""The interface through which a partition reports its progress."""

from __future__ import annotations

from enum import StrEnum

from stream.tables.batch import Batch
from stream.tables.commit import Commit


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


class Stage(StrEnum):
    """Where an event's time goes in the worker, each from the one before. A commit lies between the last two."""

    FETCHED = "fetched"
    """From the broker's time of the newest event of a fetch until its answer is here."""
    APPLIED = "applied"
    """Until its batch is applied."""
    WAITED = "waited"
    """Until the commit begins that it is part of."""
    PROJECTED = "projected"
    """From the end of that commit until Redis has it."""


class Listener:
    """Receives what an owned partition reports; metrics and probes override what they need."""

    def note_phase(self, partition: int, phase: Phase) -> None: ...

    def note_reading(self, partition: int, done: int, total: int) -> None: ...

    def note_recovered(self, partition: int, keys: int, position: int, seconds: float) -> None: ...

    def note_applied(self, batch: Batch) -> None: ...

    def note_stage(self, stage: Stage, seconds: float) -> None: ...

    def note_committed(self, partition: int, commit: Commit, seconds: float) -> None: ...

    def note_claim(self, why: Resync) -> None:
        """A partition claims Redis now, and sends what that lacks."""

    def note_resynced(self, partition: int, why: Resync, position: int, seconds: float) -> None: ...

    def note_projected(self, partition: int, offsets_to_backfill: int) -> None: ...

    def note_failed(self, partition: int, why: str) -> None: ...

    def note_rows_failed(self, partition: int, why: str) -> None:
        """Missing rows could not be read; counting goes on."""

    def note_attempts(self, partition: int, failures: int) -> None:
        """So many commits in a row have failed at one offset; 0: what there was to commit is committed."""

    def note_lost(self, partition: int, offsets: int) -> None: ...

    def note_waiting(self, partition: int, why: str | None) -> None: ...
