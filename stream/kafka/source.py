"""The topic of events, asked outside of the stream: where a partition begins and ends, how many there are, and single
records again.

One consumer of no group serves all partitions of a worker: the last counted record at a recovery, missing rows, and the
ends that `as_of` rests on.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaConnectionError, KafkaError, LeaderNotAvailableError

from stream.ingest.event import Record, bytes_held
from stream.kafka.clients import BROKER_AWAY, close_in_bounded_time, describe
from stream.kafka.fetch import keep_fetched_bytes, take_fetched_batches
from stream.kafka.metadata import by_leader, fetch_ends, fetch_partition_counts, limit_metadata
from stream.kafka.reach import why_unreachable
from stream.kafka.unpacking import UNPACKED_BYTES
from stream.ports import KafkaAway, ReadTooLarge, TopicGone
from stream.settings.kafka import KafkaAccess

T = TypeVar("T")

ANSWER_SECONDS = 10.0
REQUEST_MS = 8_000  # less, so that aiokafka itself gives up a connection that leads nowhere
FETCH_SECONDS = 0.2
MAX_RECORDS = 5_000
READ_BYTES = 16 << 20  # of records that are asked for at once; of a single one, as many as it has


class SourceTopic:
    def __init__(self, kafka: KafkaAccess, topic: str, unpacked_bytes: int = UNPACKED_BYTES) -> None:
        self._kafka, self._topic, self._unpacked_bytes = kafka, topic, unpacked_bytes
        self._consumer: AIOKafkaConsumer | None = None
        self._made_at = 0.0
        self._reading = asyncio.Lock()
        self._renewing = asyncio.Lock()
        self._retired: set[asyncio.Task[None]] = set()
        self._stopped = asyncio.Event()

    async def start(self) -> None:
        await self._ready()

    async def stop(self) -> None:
        self._stopped.set()
        self._give_up(self._consumer)
        await asyncio.gather(*self._retired)

    def partition(self, partition: int) -> SourcePartition:
        return SourcePartition(self, partition)

    def groups(self, partitions: Sequence[int]) -> list[list[int]]:
        """The partitions by leader, as far as it is known: who asks about one group waits for one broker."""
        if self._consumer is None or not partitions:
            return [list(partitions)] if partitions else []
        return list(by_leader(self._consumer._client, self._topic, partitions).values())

    async def ends(self, partitions: Sequence[int]) -> dict[int, int]:
        """The end of each partition whose leader tells it: all committed records lie before it. Raises KafkaAway where
        none does.
        """
        consumer = None
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                consumer = await self._ready()
                return await self._ask_ends(consumer, partitions)
        except BROKER_AWAY as error:
            # One broker of several may be away for long, and others are asked through the same consumer.
            if asyncio.get_running_loop().time() - self._made_at > ANSWER_SECONDS:
                self._give_up(consumer)
            raise KafkaAway(f"Kafka did not answer: {describe(error)}") from error

    async def _ask_ends(self, consumer: AIOKafkaConsumer, partitions: Sequence[int]) -> dict[int, int]:
        client, failures, ends = consumer._client, list[BaseException](), dict[int, int]()
        groups = by_leader(client, self._topic, partitions)
        if groups.pop(None, None):
            failures.append(LeaderNotAvailableError(self._topic))
        asked = [
            fetch_ends(client, leader, self._topic, group) for leader, group in groups.items() if leader is not None
        ]
        for answer in await asyncio.gather(*asked, return_exceptions=True):
            if isinstance(answer, BaseException):
                failures.append(answer)
                continue
            for partition, end in answer.items():
                if isinstance(end, KafkaError):
                    failures.append(end)
                else:
                    ends[partition] = end
        if failures:  # who leads what may have changed
            client.force_metadata_update()
        if failures and not ends:
            raise failures[0]
        return ends

    async def bounds(self, partition: int) -> tuple[int, int]:
        tp = TopicPartition(self._topic, partition)
        first = await self._answer(lambda consumer: consumer.beginning_offsets([tp]))
        return first[tp], (await self._answer(lambda consumer: consumer.end_offsets([tp])))[tp]

    async def partitions(self) -> int:
        """How many partitions the topic has, by metadata asked for now. Raises KafkaAway."""
        try:
            counts = await self._answer(lambda consumer: fetch_partition_counts(consumer._client, [self._topic]))
        except KafkaAway as error:
            if not isinstance(error.__cause__, KafkaConnectionError):
                raise
            why = await why_unreachable(self._kafka)
            raise KafkaAway(f"cannot reach Kafka at {self._kafka}: {why}") from error
        partitions = counts.get(self._topic, 0)
        if not partitions:
            raise TopicGone(f"there is no topic {self._topic}, or Kafka does not show it to us")
        return partitions

    async def read(self, partition: int, start: int, end: int) -> list[Record]:
        """The committed records with start <= offset < end that are still there, in order. Raises KafkaAway, and
        ReadTooLarge where they are more than one and have more than READ_BYTES.
        """
        tp = TopicPartition(self._topic, partition)
        async with self._reading:  # not within the limit: who waits for its turn has asked nobody yet
            try:
                return await self._answer(lambda consumer: self._read_alone(consumer, tp, start, end))
            except asyncio.CancelledError:  # in its middle: nobody knows what the consumer waits for
                self._give_up(self._consumer)
                raise

    async def _answer(self, ask: Callable[[AIOKafkaConsumer], Awaitable[T]]) -> T:
        """What a consumer answers. One that failed is replaced before the next question: of its tasks one may have
        ended without a word, or its connection lead nowhere.
        """
        consumer = None
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                consumer = await self._ready()
                return await ask(consumer)
        except BROKER_AWAY as error:
            self._give_up(consumer)
            raise KafkaAway(f"Kafka did not answer: {describe(error)}") from error

    async def _ready(self) -> AIOKafkaConsumer:
        async with self._renewing:
            if self._stopped.is_set():
                raise KafkaAway("the source is stopped")
            if self._consumer is None:
                keep_fetched_bytes()
                consumer = AIOKafkaConsumer(
                    **self._kafka.options(),
                    isolation_level="read_committed",
                    enable_auto_commit=False,
                    auto_offset_reset="none",
                    fetch_max_wait_ms=50,
                    max_partition_fetch_bytes=4 << 20,
                    request_timeout_ms=REQUEST_MS,
                )
                limit_metadata(consumer._client, [self._topic])
                try:
                    await consumer.start()
                    await consumer._client.force_metadata_update()
                except BaseException:
                    await close_in_bounded_time(consumer)
                    raise
                self._consumer, self._made_at = consumer, asyncio.get_running_loop().time()
            return self._consumer

    def _give_up(self, consumer: AIOKafkaConsumer | None) -> None:
        if consumer is not None and consumer is self._consumer:
            self._consumer = None
            retired = asyncio.get_running_loop().create_task(self._close_later(consumer))
            self._retired.add(retired)
            retired.add_done_callback(self._retired.discard)

    async def _close_later(self, consumer: AIOKafkaConsumer) -> None:
        """When all that was asked of it has been answered: closed under a question it answers that one much later."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(ANSWER_SECONDS):
                await self._stopped.wait()
        await close_in_bounded_time(consumer)

    async def _read_alone(self, consumer: AIOKafkaConsumer, tp: TopicPartition, start: int, end: int) -> list[Record]:
        found: list[Record] = []
        size = 0
        deadline = asyncio.get_running_loop().time() + ANSWER_SECONDS
        if consumer.assignment() != {tp}:
            consumer.assign([tp])
        consumer.seek(tp, start)
        while await consumer.position(tp) < end:
            # The limit outside sends a cancel, which a library may lose.
            if asyncio.get_running_loop().time() > deadline:
                raise TimeoutError
            # One that was closed meanwhile would answer nothing, at once, for ever.
            if consumer._fetcher._closed:
                raise KafkaConnectionError("the consumer was closed")
            fetched = (
                await take_fetched_batches(consumer._fetcher, {tp}, FETCH_SECONDS, MAX_RECORDS, self._unpacked_bytes)
            ).get(tp)
            if isinstance(fetched, Exception):
                raise KafkaAway(f"partition {tp.partition} cannot be read: {describe(fetched)}") from fetched
            if fetched is not None:
                wanted = [record for record in fetched.records if record.offset < end]
                found += wanted
                size += sum(map(bytes_held, wanted))
                if size > READ_BYTES and end - start > 1:
                    raise ReadTooLarge(f"offsets {start} to {end - 1} of partition {tp.partition}")
        return found


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
