"""Publishes many records to a topic quickly.

Batches are built by hand: 2 us a record instead of the 40 us of a producer's `send`, which makes a future for each.
The producer is not idempotent, since the embedded broker takes none of those: where an answer is lost a batch is sent
again, and its events are copies that count once.
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from functools import lru_cache
from random import Random
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError
from aiokafka.partitioner import murmur2

from stream.kafka.topics import BROKER_MESSAGE_BYTES, MESSAGE_BYTES, TopicsError, open_topics
from stream.settings.kafka import KafkaAccess

BATCH_BYTES = 512 * 1024
"""Half of what a broker takes in one batch where nothing is set; a larger record goes alone."""
RECORD_OVERHEAD_BYTES = 128
"""At most, of a batch with one record: the batch's header, and lengths and times of the record."""
REQUEST_TIMEOUT_SECONDS = 30.0
CLOSE_TIMEOUT_SECONDS = 5.0

KeyedValue = tuple[bytes | None, bytes]


class BulkError(Exception):
    """Kafka did not take what was sent; the text is for the person who sent it."""


class BulkProducer:
    """Sends to one topic, in order within a key. Made by `open_bulk`."""

    def __init__(self, producer: AIOKafkaProducer, topic: str, partitions: int, message_bytes: int) -> None:
        self.topic = topic
        self.partitions = partitions
        self.message_bytes = message_bytes
        """The largest batch that the topic takes."""
        self.acknowledged = 0
        self._producer = producer
        self._open: dict[int, Any] = {}
        self._sent: deque[tuple[asyncio.Future[Any], int]] = deque()
        # Keys are spread as all Kafka clients do it, so that copies from another publisher meet in one partition.
        self._partition_of: Callable[[bytes], int] = lru_cache(65_536)(
            lambda key: (murmur2(key) & 0x7FFFFFFF) % partitions
        )
        self._keyless = Random(0)

    def takes(self, key: bytes | None, value: bytes) -> bool:
        """Whether a record is small enough for the topic."""
        return len(key or b"") + len(value) + RECORD_OVERHEAD_BYTES <= self.message_bytes

    async def put_all(self, records: Iterable[KeyedValue]) -> None:
        """Send records; returns when all are on their way, `flush` when they have arrived. Raises BulkError."""
        for key, value in records:
            partition = self._partition_of(key) if key is not None else self._keyless.randrange(self.partitions)
            batch = self._open.get(partition)
            if batch is None:
                batch = self._open[partition] = self._producer.create_batch()
            if batch.append(key=key, value=value, timestamp=None) is None:
                await self._send(partition)
                batch = self._open[partition] = self._producer.create_batch()
                batch.append(key=key, value=value, timestamp=None)

    async def flush(self) -> None:
        """Return when all that was put has been acknowledged. Raises BulkError."""
        for partition in list(self._open):
            await self._send(partition)
        while self._sent:
            await self._settle()

    async def _send(self, partition: int) -> None:
        batch = self._open.pop(partition)
        batch.close()
        try:
            # Waits while the batch before it of this partition waits: at most two are in memory.
            future = await self._producer.send_batch(batch, self.topic, partition=partition)
        except KafkaError as error:
            raise self._explain_failure(error) from error
        self._sent.append((future, batch.record_count()))
        while self._sent and self._sent[0][0].done():
            await self._settle()

    async def _settle(self) -> None:
        future, records = self._sent.popleft()
        try:
            await future
        except KafkaError as error:
            raise self._explain_failure(error) from error
        self.acknowledged += records

    def _explain_failure(self, error: KafkaError) -> BulkError:
        return BulkError(f"Kafka did not take all for {self.topic}: {error or type(error).__name__}")


@asynccontextmanager
async def open_bulk(kafka: KafkaAccess, topic: str, *, compression: str | None = None) -> AsyncIterator[BulkProducer]:
    """A producer for a topic that is there. Raises BulkError where it is not, or where Kafka is away.

    `compression` is None, gzip, snappy, lz4 or zstd. What was not flushed when the block ends is dropped.
    """
    try:
        async with open_topics(kafka) as topics:
            there = (await topics.describe([topic])).get(topic)
    except TopicsError as error:
        raise BulkError(str(error)) from error
    if there is None:
        raise BulkError(f"there is no topic {topic}; `contacts-report topics` creates it")
    message_bytes = int(there.settings.get(MESSAGE_BYTES, BROKER_MESSAGE_BYTES))
    producer = AIOKafkaProducer(
        **kafka.options(),
        acks="all",
        compression_type=compression,
        max_batch_size=min(BATCH_BYTES, message_bytes),
        request_timeout_ms=int(REQUEST_TIMEOUT_SECONDS * 1000),
    )
    try:
        await producer.start()
        yield BulkProducer(producer, topic, there.partitions, message_bytes)
    except KafkaError as error:
        raise BulkError(f"Kafka at {kafka} failed: {error or type(error).__name__}") from error
    finally:
        # Where Kafka is away, stopping would wait for what can no longer be sent.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_TIMEOUT_SECONDS):
                await producer.stop()
