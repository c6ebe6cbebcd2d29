"""Selects and reads dead letters."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping

import msgspec

from stream.kafka.letters import Letter, read_letter
from stream.kafka.reading import TopicReader


class Selection(msgspec.Struct, frozen=True):
    """Dead letters by reason, key, time and place; what is empty or None selects all."""

    reasons: frozenset[str] = frozenset()
    key: bytes | None = None
    from_ms: int | None = None
    before_ms: int | None = None
    places: frozenset[tuple[int, int]] = frozenset()
    """Partitions and offsets on the dead-letter topic."""

    def takes(self, letter: Letter) -> bool:
        return (
            (not self.reasons or letter.reason in self.reasons)
            and (self.key is None or letter.key == self.key)
            and (self.from_ms is None or letter.arrived_ms >= self.from_ms)
            and (self.before_ms is None or letter.arrived_ms < self.before_ms)
            and (not self.places or (letter.partition, letter.offset) in self.places)
        )


class LetterReader:
    """The selected letters of a topic, in the order of partitions and offsets."""

    def __init__(self, reader: TopicReader, selection: Selection) -> None:
        self.others = 0
        """Records that are no dead letters of ours, or too large to be read."""
        self._reader, self._selection = reader, selection

    async def present(self) -> AsyncIterator[Letter]:
        """Those that are there now, one partition after another. Raises KafkaAway."""
        for partition, span in sorted((await self._spans()).items()):
            async for letter in self._read({partition: span}):
                yield letter

    async def follow(self) -> AsyncIterator[Letter]:
        """Those that are there, and those that come, for ever. Raises KafkaAway."""
        spans: dict[int, tuple[int, int | None]] = {p: (start, None) for p, (start, _) in (await self._spans()).items()}
        async for letter in self._read(spans):
            yield letter

    async def _spans(self) -> dict[int, tuple[int, int]]:
        """What must be read: of letters that are named by their places, from the first to the last."""
        partitions = range(await self._reader.partitions())
        places = self._selection.places
        if not places:
            return await self._reader.spans(partitions, self._selection.from_ms)
        found = {}
        bounds = await self._reader.bounds(sorted({p for p, _ in places if p in partitions}))
        for partition, (first, end) in bounds.items():
            offsets = [offset for p, offset in places if p == partition]
            found[partition] = (min(max(first, min(offsets)), end), min(max(offsets) + 1, end))
        return found

    async def _read(self, spans: Mapping[int, tuple[int, int | None]]) -> AsyncIterator[Letter]:
        async for partition, batch in self._reader.read(spans):
            for record in batch.records:
                letter = read_letter(partition, record)
                if letter is None:
                    self.others += 1
                elif self._selection.takes(letter):
                    yield letter
