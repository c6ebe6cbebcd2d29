"""The topic into which a peer writes its counts, as a reader of committed records sees it."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition

from benchmarks.peers.results import Count, total

Record = ConsumerRecord[bytes, bytes]
Decode = Callable[[Record], tuple[str, int] | None]
"""Cell and count of a record; None: it takes one back."""


class Output:
    """Nothing is fetched but by `read`, so that a peer has the machine to itself while it counts."""

    def __init__(self, bootstrap: str, topic: str, partitions: int, decode: Decode) -> None:
        self._consumer: AIOKafkaConsumer[bytes, bytes] = AIOKafkaConsumer(
            bootstrap_servers=bootstrap, isolation_level="read_committed", enable_auto_commit=False
        )
        self._places = [TopicPartition(topic, number) for number in range(partitions)]
        self._decode = decode
        self._next = dict.fromkeys(self._places, 0)
        self._marks = {place.partition: 0 for place in self._places}
        self.counts: list[Count] = []
        """All that was read, in order within each partition."""

    async def __aenter__(self) -> Output:
        await self._consumer.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._consumer.stop()

    async def end(self) -> int:
        """The last stable offsets of all partitions, summed: grows by each commit (and by the markers of an abort)."""
        return sum((await self._consumer.end_offsets(self._places)).values())

    async def read(self) -> int:
        """Read what was committed since; returns how many events all counts come to."""
        ends = await self._consumer.end_offsets(self._places)
        wanted = [place for place in self._places if self._next[place] < ends[place]]
        if wanted:
            self._consumer.assign(wanted)
            for place in wanted:
                self._consumer.seek(place, self._next[place])
            # Markers of transactions are offsets too, so it is the position that reaches the end.
            while any(self._next[place] < ends[place] for place in wanted):
                for place, records in (await self._consumer.getmany(timeout_ms=200)).items():
                    self._keep(place.partition, records)
                for place in wanted:
                    self._next[place] = await self._consumer.position(place)
            self._consumer.unsubscribe()
        return self.events()

    def events(self) -> int:
        return total(self.counts)

    async def mark(self) -> None:
        """Remember what is committed now, without reading it."""
        ends = await self._consumer.end_offsets(self._places)
        self._marks = {place.partition: end for place, end in ends.items()}

    def events_before_mark(self) -> int:
        return total(one for one in self.counts if one.offset < self._marks[one.partition])

    def has_more_than_marked(self) -> bool:
        return any(one.offset >= self._marks[one.partition] for one in reversed(self.counts))

    def _keep(self, partition: int, records: list[Record]) -> None:
        for record in records:
            decoded = self._decode(record)
            if decoded is not None:
                self.counts.append(Count(partition, record.offset, record.timestamp, *decoded))
