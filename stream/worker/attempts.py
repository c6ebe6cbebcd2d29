"""Commits of one partition that failed at one offset, one after the other: what is tried otherwise the next time, and
when a person must look.

Recoveries that fail in between are no attempts: then Kafka is away, which is another trouble.
"""

from __future__ import annotations

from typing import Final

from stream.ports import KafkaAway, TooLarge

# Failed commits at one offset before a person is called.
STUCK_AFTER: Final = 5
# Failed commits before dead letters are limited to what any broker takes: it does not refuse a request that is too
# large for it, but closes the connection.
CAREFUL_AFTER: Final = 3


class Attempts:
    def __init__(self) -> None:
        self.failures = 0
        """In a row, at this offset."""
        self._offset = 0
        self._refused: dict[int, int] = {}

    @property
    def careful(self) -> bool:
        return self.failures >= CAREFUL_AFTER

    def refusals(self, offset: int) -> int:
        """How often the broker refused the dead letter of this offset for its size."""
        return self._refused.get(offset, 0)

    def note_failure(self, offset: int, error: KafkaAway) -> None:
        """A commit that goes on from this offset failed."""
        self.failures = self.failures + 1 if offset == self._offset else 1
        self._offset = offset
        if isinstance(error, TooLarge):
            for letter in error.letters:
                self._refused[letter] = self._refused.get(letter, 0) + 1

    def note_position(self, offset: int) -> None:
        """All before this offset is committed. A commit of the position alone moves nothing, and does not say that what
        comes next can be committed.
        """
        if offset > self._offset:
            self.failures = 0
            self._refused = {letter: times for letter, times in self._refused.items() if letter >= offset}

    def forget(self) -> None:
        """Nothing waits to be committed."""
        self.failures = 0
        self._refused.clear()
