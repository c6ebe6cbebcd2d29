"""The topic of events, asked outside of the stream: where a partition begins and ends, how many there are, and single
records again.

One consumer of no group serves all partitions of a worker: the witness of a recovery, rows that are owed, and the ends
that `as_of` rests on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence
from typing import TypeVar

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from stream.commit import close_in_bounded_time, describe
from stream.events import Record
from stream.kafka_access import KafkaAccess
from stream.ports import KafkaAway
from stream.transport import fetched_batches

T = TypeVar("T")

ANSWER_SECONDS = 10.0
FETCH_SECONDS = 0.2
MAX_RECORDS = 1 << 30


class SourceTopic:
    def __init__(self, kafka: KafkaAccess, topic: str) -> None:
        self._kafka, self._topic = kafka, topic
        self._consumer: AIOKafkaConsumer | None = None
        self._reading = asyncio.Lock()

    async def start(self) -> None:
        self._consumer = AIOKafkaConsumer(
            **self._kafka.options(),
            isolation_level="read_committed",
            enable_auto_commit=False,
            auto_offset_reset="none",
            fetch_max_wait_ms=50,
            max_partition_fetch_bytes=4 << 20,
        )
        await self._consumer.start()

    async def stop(self) -> None:
        if self._consumer is not None:
            await close_in_bounded_time(self._consumer)

    def partition(self, partition: int) -> SourcePartition:
        return SourcePartition(self, partition)

    async def ends(self, partitions: Sequence[int]) -> dict[int, int]:
        """The end of each partition: all committed records lie before it. Raises KafkaAway."""
        tps = [TopicPartition(self._topic, p) for p in partitions]
        return {tp.partition: end for tp, end in (await answer(self._ready().end_offsets(tps))).items()}

    async def bounds(self, partition: int) -> tuple[int, int]:
        tp = TopicPartition(self._topic, partition)
        consumer = self._ready()
        return (await answer(consumer.beginning_offsets([tp])))[tp], (await answer(consumer.end_offsets([tp])))[tp]

    async def partitions(self) -> int:
        """How many partitions the topic has, by metadata asked for now. Raises KafkaAway."""
        cluster = await answer(self._ready()._client.fetch_all_metadata())
        partitions = len(cluster.partitions_for_topic(self._topic) or ())
        if not partitions:
            raise KafkaAway(f"Kafka knows no topic {self._topic}, or does not show it")
        return partitions

    async def read(self, partition: int, start: int, end: int) -> list[Record]:
        """The committed records with start <= offset < end that are still there, in order. Raises KafkaAway."""
        return await answer(self._read(TopicPartition(self._topic, partition), start, end))

    async def _read(self, tp: TopicPartition, start: int, end: int) -> list[Record]:
        async with self._reading:
            return await self._read_alone(tp, start, end)

    async def _read_alone(self, tp: TopicPartition, start: int, end: int) -> list[Record]:
        consumer, found = self._ready(), []
        if consumer.assignment() != {tp}:
            consumer.assign([tp])
        consumer.seek(tp, start)
        while await consumer.position(tp) < end:
            fetched = (await fetched_batches(consumer._fetcher, {tp}, FETCH_SECONDS, MAX_RECORDS)).get(tp)
            if isinstance(fetched, Exception):
                raise fetched
            if fetched is not None:
                found += [record for record in fetched.records if record.offset < end]
        return found

    def _ready(self) -> AIOKafkaConsumer:
        assert self._consumer is not None, "the source is asked before it is started"
        return self._consumer


class SourcePartition:
    """One partition of it, in the form that `stream.ports.Source` describes."""

    def __init__(self, topic: SourceTopic, partition: int) -> None:
        self._topic, self._partition = topic, partition

    async def bounds(self) -> tuple[int, int]:
        return await self._topic.bounds(self._partition)

    async def partitions(self) -> int:
        return await self._topic.partitions()

    async def read(self, start: int, end: int) -> Sequence[Record]:
        return await self._topic.read(self._partition, start, end)


async def answer(asked: Awaitable[T]) -> T:
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            return await asked
    except (KafkaError, OSError, TimeoutError) as error:
        raise KafkaAway(f"Kafka did not answer: {describe(error)}") from error
