"""A topic read from an offset to its present end, or on and on, outside of any group.

For commands that look at what is there. What comes is what the worker would be given: committed records alone, in the
order of offsets within a partition, with records that are too large to be read left out.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Final, TypeVar

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import CorruptRecordException

from stream.ingest.event import Record
from stream.kafka.clients import BROKER_AWAY, close_in_bounded_time, describe
from stream.kafka.fetch import keep_fetched_bytes, take_fetched_batches
from stream.kafka.metadata import fetch_partition_counts, limit_metadata
from stream.kafka.reach import why_not_begun
from stream.kafka.unpacking import UNPACKED_BYTES
from stream.ports import KafkaAway
from stream.settings.kafka import KafkaAccess
from stream.tables.batch import Batch

T = TypeVar("T")

ANSWER_SECONDS: Final = 20.0
SILENCE_SECONDS: Final = 60.0
"""Of a partition that has more: aiokafka may have given up without a word."""
FETCH_SECONDS: Final = 0.5
FETCH_BYTES: Final = 2 << 20
"""Of one partition at once: with what is unpacked of it, all that is in memory of a topic."""
MAX_RECORDS: Final = 5_000

Progress = Callable[[int, int, int], None]
"""A partition, offsets read so far, offsets in all."""


class Unreadable(KafkaAway):
    """The broker answered, and what it holds cannot be read: a record batch that is corrupt."""


class TopicReader:
    """One topic. Each call raises KafkaAway. Made by `open_reader`."""

    def __init__(self, consumer: AIOKafkaConsumer, topic: str, unpacked_bytes: int) -> None:
        self.topic = topic
        self._consumer, self._unpacked_bytes = consumer, unpacked_bytes

    async def partitions(self) -> int:
        """How many partitions the topic has; 0 where there is no such topic."""
        counts = await self._ask(fetch_partition_counts(self._consumer._client, [self.topic]))
        return counts.get(self.topic, 0)

    async def bounds(self, partitions: Sequence[int]) -> dict[int, tuple[int, int]]:
        """The first offset that is kept, and the present end (read committed), of each partition."""
        if not partitions:
            return {}
        places = [TopicPartition(self.topic, partition) for partition in partitions]
        first = await self._ask(self._consumer.beginning_offsets(places))
        ends = await self._ask(self._consumer.end_offsets(places))
        return {place.partition: (first[place], ends[place]) for place in places}

    async def offsets_at(self, milliseconds: int, partitions: Sequence[int]) -> dict[int, int | None]:
        """The offset of each partition's first record that is not older; None where all are older."""
        if not partitions:
            return {}
        asked = {TopicPartition(self.topic, partition): max(milliseconds, 0) for partition in partitions}
        found = await self._ask(self._consumer.offsets_for_times(asked))
        return {place.partition: None if at is None else at.offset for place, at in found.items()}

    async def spans(self, partitions: Sequence[int], from_ms: int | None) -> dict[int, tuple[int, int]]:
        """What there is to read of each partition: from the first record that is not older, to the present end."""
        bounds = await self.bounds(partitions)
        if from_ms is None:
            return bounds
        begins = await self.offsets_at(from_ms, partitions)
        spans = {}
        for partition, (first, end) in bounds.items():
            begin = begins[partition]
            spans[partition] = (end if begin is None else max(first, min(begin, end)), end)
        return spans

    async def read(self, spans: Mapping[int, tuple[int, int | None]]) -> AsyncIterator[tuple[int, Batch]]:
        """The batches of partitions from an offset on and below an end; without an end for ever. A batch that has no
        record moves the end all the same.
        """
        ends = {p: end for p, (start, end) in spans.items() if end is None or start < end}
        if not ends:
            return
        places = {TopicPartition(self.topic, partition) for partition in ends}
        self._consumer.assign(list(places))
        for partition in ends:
            self._consumer.seek(TopicPartition(self.topic, partition), spans[partition][0])
        time = asyncio.get_running_loop().time
        heard = time()
        while places:
            found = await self._ask(
                take_fetched_batches(self._consumer._fetcher, places, FETCH_SECONDS, MAX_RECORDS, self._unpacked_bytes)
            )
            for place, batch in found.items():
                if isinstance(batch, Exception):
                    kind = Unreadable if isinstance(batch, CorruptRecordException) else KafkaAway
                    raise kind(f"{self.topic} {place.partition} cannot be read: {describe(batch)}") from batch
                heard, end = time(), ends[place.partition]
                if end is not None and batch.end >= end:
                    places.discard(place)
                    self._consumer.pause(place)
                    batch = cut(batch, end)
                yield place.partition, batch
            if time() - heard > SILENCE_SECONDS and all(ends[place.partition] is not None for place in places):
                raise KafkaAway(f"nothing of {self.topic} came for {SILENCE_SECONDS:g} s")

    async def _ask(self, question: Awaitable[T]) -> T:
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                return await question
        except BROKER_AWAY as error:
            raise KafkaAway(f"Kafka did not answer: {describe(error)}") from error


class PartitionReader:
    """One partition of a topic: a Source (stream/ports.py) beside the reader's batches."""

    def __init__(self, reader: TopicReader, partition: int) -> None:
        self._reader, self._partition = reader, partition

    async def bounds(self) -> tuple[int, int]:
        return (await self._reader.bounds([self._partition]))[self._partition]

    async def partitions(self) -> int:
        return await self._reader.partitions()

    async def read(self, start: int, end: int) -> Sequence[Record]:
        records: list[Record] = []
        async for _, batch in self._reader.read({self._partition: (start, end)}):
            records += batch.records
        return records


def cut(batch: Batch, end: int) -> Batch:
    """The part of a batch that lies below an offset."""
    if batch.end <= end:
        return batch
    records = [record for record in batch.records if record.offset < end]
    return Batch(records, batch.start, end, batch.fetched_at_ms)


@asynccontextmanager
async def open_reader(
    kafka: KafkaAccess, topic: str, unpacked_bytes: int = UNPACKED_BYTES
) -> AsyncIterator[TopicReader]:
    """A reader of one topic. Raises KafkaAway."""
    keep_fetched_bytes()
    consumer = AIOKafkaConsumer(
        **kafka.options(),
        isolation_level="read_committed",
        enable_auto_commit=False,
        auto_offset_reset="none",
        fetch_max_wait_ms=100,
        max_partition_fetch_bytes=FETCH_BYTES,
    )
    limit_metadata(consumer._client, [topic])
    try:
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                await consumer.start()
        except BROKER_AWAY as error:
            raise KafkaAway(await why_not_begun(kafka, error)) from error
        yield TopicReader(consumer, topic, unpacked_bytes)
    finally:
        await close_in_bounded_time(consumer)
