"""Reads the committed state of a partition from its changelog, while its owner may go on committing.

A recovery fences the owner before it reads. Who only looks must not: so what is read is taken commit by commit, up to a
position, and read on to the end as it is then. Compaction takes a value only where a later one replaces it, and that
one is read before the end is reached.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Final

from stream.kafka.reading import TopicReader
from stream.tables.position import KEY, Position, decode_position

# A stretch that came while the one before it was read: once it is so short, none of it was compacted meanwhile.
SHORT_STRETCH: Final = 20_000
PASSES: Final = 20


class CommittedState:
    """The changelog of one partition, up to its last position."""

    def __init__(self, reader: TopicReader, partition: int, kinds: Collection[bytes] | None = None) -> None:
        """`kinds`: the only ones to keep, the position apart; None: all."""
        self.partition = partition
        self.records: dict[bytes, bytes] = {}
        self.position: Position | None = None
        """None: nothing is committed."""
        self._reader, self._kinds = reader, kinds
        self._pending: dict[bytes, bytes | None] = {}
        self._next: int | None = None

    async def advance(self, progress: Callable[[int, int], None] = lambda _done, _all: None) -> None:
        """Read to the present end. Raises KafkaAway and FormatError."""
        for _ in range(PASSES):
            first, end = (await self._reader.bounds([self.partition]))[self.partition]
            start = first if self._next is None else max(self._next, first)
            async for _partition, batch in self._reader.read({self.partition: (start, end)}):
                for record in batch.records:
                    assert record.key is not None, "each record of a changelog has a key"
                    self._take(record.key, record.value)
                progress(batch.end - start, end - start)
            self._next = max(start, end)
            if end - start < SHORT_STRETCH:
                return

    @property
    def lost_keys(self) -> int:
        """How many records the last position names beyond those that are there; below zero where there are more."""
        assert self._kinds is None, "only who keeps all can count them"
        known = None if self.position is None else self.position.live_keys
        return 0 if known is None else known - len(self.records)

    def _take(self, key: bytes, value: bytes | None) -> None:
        if self._kinds is None or key == KEY or key[:1] in self._kinds:
            self._pending[key] = value
        if key != KEY:
            return
        assert value is not None, "a position is never deleted"
        for each, new in self._pending.items():
            if new is None:
                self.records.pop(each, None)
            else:
                self.records[each] = new
        self._pending = {}
        self.position = decode_position(value)
