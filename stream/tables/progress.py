"""Keeps how far a partition is counted and what became of its records, for both forms of its state: the Python one and
the compiled one.
"""

from __future__ import annotations

import msgspec

from stream.ingest.event import Record, Rejected, bytes_held
from stream.tables.commit import DeadLetter, Outcomes
from stream.tables.position import INCARNATION_BYTES, Position


class Progress:
    def __init__(self) -> None:
        self.outcomes = Outcomes()
        """Since this object was made; each number only grows."""
        self.pending_weight = 0
        """Of what was applied since the last commit was encoded: 1 a record, and 1 more for each KiB of a dead letter,
        which is kept whole."""
        self._position: Position | None = None
        """None until the state begins, or is recovered."""
        self._committed_outcomes = Outcomes()
        self._dead_letters: list[DeadLetter] = []

    def begin(self, *, incarnation: bytes, first_offset: int, partitions: int) -> None:
        """Starts to count where nothing was counted yet: from the topic's first offset on, as a new incarnation."""
        assert self._position is None, "a partition begins once"
        assert len(incarnation) == INCARNATION_BYTES, "an incarnation id is 16 random bytes"
        self._position = Position(first_offset, first_offset, incarnation, None, None, None, 0, partitions)

    @property
    def position(self) -> Position:
        """How far all that was applied is."""
        assert self._position is not None, "a partition has a position once it has begun"
        return self._position

    def note_partitions(self, partitions: int) -> None:
        """Note how many partitions the topic has; the next commit remembers the largest number."""
        self._move(partitions=max(partitions, self.position.partitions))

    def skip_to(self, offset: int) -> None:
        """Goes on at a higher offset: what lies before it is gone from the topic."""
        assert offset >= self.position.next_offset, "a position never goes back"
        self._move(next_offset=offset)

    def _reject(self, record: Record, rejected: Rejected) -> None:
        """Notes a record that cannot be counted, for the next commit."""
        self.outcomes.rejected[rejected.reason] = self.outcomes.rejected.get(rejected.reason, 0) + 1
        self._dead_letters.append(DeadLetter(record, rejected.reason, rejected.message))
        self.pending_weight += bytes_held(record) // 1024

    def _take_outcomes(self) -> tuple[Outcomes, list[DeadLetter]]:
        """Those since the last call, for a commit."""
        outcomes, dead_letters = self.outcomes - self._committed_outcomes, self._dead_letters
        self._committed_outcomes, self._dead_letters, self.pending_weight = self.outcomes.copy(), [], 0
        return outcomes, dead_letters

    def _move(self, **fields: object) -> None:
        self._position = msgspec.structs.replace(self.position, **fields)
