"""What a partition tells about itself, as it goes on."""

from __future__ import annotations

from enum import StrEnum

from stream.tables.partition import Commit


class Phase(StrEnum):
    RECOVERING = "recovering"
    REPAIRING = "repairing"
    COUNTING = "counting"
    ENDED = "ended"


class Listener:
    """What an owned partition tells about itself: metrics and probes override what they need."""

    def phase(self, partition: int, phase: Phase) -> None: ...

    def reading(self, partition: int, done: int, total: int) -> None: ...

    def recovered(self, partition: int, keys: int, position: int, seconds: float) -> None: ...

    def committed(self, partition: int, commit: Commit, seconds: float) -> None: ...

    def projected(self, partition: int, offsets_to_backfill: int) -> None: ...

    def failed(self, partition: int, why: str) -> None: ...

    def stuck(self, partition: int, stuck: bool) -> None: ...

    def lost(self, partition: int, offsets: int) -> None: ...

    def waiting(self, partition: int, why: str | None) -> None: ...
