"""Keeps how far a partition is counted, for both forms of its state: the Python one and the compiled one."""

from __future__ import annotations

import msgspec

from stream.tables.position import INCARNATION_BYTES, Position


class Progress:
    """The position of a state; none until it begins, or is recovered."""

    _position: Position | None = None

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

    @property
    def greatest_broker_ms(self) -> int:
        """Greatest broker timestamp among all records applied; 0 before the first."""
        return self.position.greatest_broker_ms

    def note_partitions(self, partitions: int) -> None:
        """Note how many partitions the topic has; the next commit remembers the largest number."""
        self._move(partitions=max(partitions, self.position.partitions))

    def skip_to(self, offset: int) -> None:
        """Goes on at a higher offset: what lies before it is gone from the topic."""
        assert offset >= self.position.next_offset, "a position never goes back"
        self._move(next_offset=offset)

    def _move(self, **fields: object) -> None:
        self._position = msgspec.structs.replace(self.position, **fields)
