"""One Faust message per fetched batch of one partition, fetched in gulps, read committed.

Faust's cost lies in its plumbing per message: 65 us an event with an empty agent, where aiokafka's `getmany` takes 2-3
us. So the consumer hands the agent
what one fetch brought of one partition as one message, and takes aiokafka's C records as they are, without a
ConsumerRecord for each. A batch tells where it
begins and ends, by the consumer's position: markers of transactions and aborted records leave gaps between the records,
never between the batches.

What is used of aiokafka's and Faust's inside is pinned by the contract tests of this module.
"""

from __future__ import annotations

import asyncio
import logging
import struct
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from concurrent.futures import Future
from itertools import chain, islice
from typing import Any, Protocol

import aiokafka.consumer.fetcher
import faust.transport.consumer
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.consumer.fetcher import FetchError
from aiokafka.errors import (
    CorruptRecordException,
    IllegalStateError,
    KafkaError,
    NoOffsetForPartitionError,
    OffsetOutOfRangeError,
)
from aiokafka.record.default_records import DefaultRecordBatch, _DefaultRecordBatchPy
from aiokafka.record.memory_records import MemoryRecords
from faust.transport.drivers import aiokafka as driver
from faust.types import ConsumerMessage
from faust.types.tuples import TP
from mode import Service

from stream.kafka_clients import BROKER_AWAY, close_in_bounded_time, mute_unread_failures
from stream.kafka_metadata import limit_metadata
from stream.partition import Batch
from stream.unpacking import UNPACKED_BYTES, LargeRecord, unpack, unpacked_limit

log = logging.getLogger(__name__)


class Partitions(Protocol):
    """What the consumer asks of the partitions that this worker owns."""

    def next_needed(self, partition: int) -> int | None: ...

    def wants_more(self, partition: int) -> bool: ...

    def out_of_range(self, partition: int) -> None: ...


class FetchSettings(Protocol):
    topic: str
    fetch_min_bytes: int
    fetch_max_wait_seconds: float
    max_event_bytes: int


# ---- aiokafka: what one fetch brought, in batches ------------------------------------------------------------


class KeptRecords:
    """The record batches of one fetch, as aiokafka reads them; and the bytes of the last one, for a second reader."""

    def __init__(self, fetched: bytes) -> None:
        self._fetched = fetched
        self._records = MemoryRecords(fetched)
        self._start = self._end = 0
        self.has_next = self._records.has_next
        self.size_in_bytes = self._records.size_in_bytes

    def next_batch(self) -> Any:
        batch = self._records.next_batch()
        (length,) = struct.unpack_from(">i", self._fetched, self._end + _LENGTH_AT)
        self._start, self._end = self._end, self._end + _BEFORE_LENGTH + length
        return batch

    def raw(self) -> bytes:
        """The last batch as it came."""
        return self._fetched[self._start : self._end]


def read_leniently(unpacked: bytes | bytearray) -> Iterator[Any]:
    """The records of an unpacked batch, whatever their headers are called: what is no UTF-8 is written as `\\xff`."""
    batch = _DefaultRecordBatchPy(unpacked)
    batch._maybe_uncompress()
    batch._buffer = _Lenient(batch._buffer)
    return iter(batch)


class _Lenient(bytearray):
    """Bytes whose parts are texts, of whatever encoding."""

    def __getitem__(self, at: Any) -> Any:
        part = super().__getitem__(at)
        return _LenientText(part) if isinstance(at, slice) else part


class _LenientText(bytes):
    def decode(self, encoding: str = "utf-8", errors: str = "backslashreplace") -> str:
        return super().decode(encoding, errors)


_LENGTH_AT, _BEFORE_LENGTH = 8, 12
MAGIC_AT = 16

# A batch that is handed on holds about so much, or one record batch: it is all in memory until it is applied.
TAKE_BYTES = 4 << 20

# Kafka takes headers of any name; aiokafka's reader ends at one that is no UTF-8, and with it the whole partition.
aiokafka.consumer.fetcher.MemoryRecords = KeptRecords


class Cursor:
    """What one fetch brought of one partition, taken out in batches."""

    def __init__(self, partition_records: Any, unpacked_bytes: int = UNPACKED_BYTES) -> None:
        self._from, self._unpacked_bytes = partition_records, unpacked_bytes
        self._left: Iterator[Any] | None = None
        """Of the record batch that was begun."""
        self._end = partition_records.next_fetch_offset

    @property
    def exhausted(self) -> bool:
        return self._left is None and not self._from._records.has_next()

    def take(self, limit: int) -> Batch:
        """The next records, in order, at most `limit`, and no further record batch once TAKE_BYTES are reached. None,
        where only markers or aborted records came: the end has moved all the same.
        """
        start = self._from.next_fetch_offset
        records: list[Any] = []
        size = 0
        while self._left is not None or (len(records) < limit and size < TAKE_BYTES and self._from._records.has_next()):
            if self._left is None:
                batch = self._from._records.next_batch()
                self._end = batch.next_offset
                self._left, unpacked = self._visible(batch, start)
                size += unpacked
            records += islice(self._left, limit - len(records))
            following = next(self._left, None)
            if following is not None:
                self._left = chain((following,), self._left)
                break
            self._left = None
        end = self._end if self._left is None else records[-1].offset + 1
        self._from.next_fetch_offset = end
        return Batch(records=records, start=start, end=end, fetched_at_ms=time.time_ns() // 1_000_000)

    def _visible(self, batch: Any, start: int) -> tuple[Iterator[Any], int]:
        """The records of a record batch that a reader of committed records sees, from an offset on; and how many bytes
        they take.
        """
        of = self._from
        if of._check_crcs and not batch.validate_crc():
            raise CorruptRecordException(f"a record batch of {of._tp} is corrupt")
        if batch.producer_id is not None:
            of._consume_aborted_up_to(batch.base_offset)
            if batch.is_control_batch and of._contains_abort_marker(batch):
                of._aborted_producers.discard(batch.producer_id)
            if batch.is_transactional and batch.producer_id in of._aborted_producers:
                return iter(()), 0
        if batch.is_control_batch:
            return iter(()), 0
        raw = of._records.raw()
        if raw[MAGIC_AT] < 2:
            return (record for record in batch if record.offset >= start), len(raw)
        unpacked = unpack(raw, self._unpacked_bytes)
        if isinstance(unpacked, LargeRecord):
            return (record for record in (unpacked,) if record.offset >= start), len(unpacked.key or b"")
        if batch.base_offset < start:
            return (record for record in read_unpacked(unpacked) if record.offset >= start), len(unpacked)
        return read_unpacked(unpacked), len(unpacked)


def read_unpacked(unpacked: bytes | bytearray) -> Iterator[Any]:
    """The records of a batch, one after another."""
    offset = -1
    try:
        for record in DefaultRecordBatch(unpacked):
            offset = record.offset
            yield record
    except UnicodeDecodeError:
        for record in read_leniently(unpacked):
            if record.offset > offset:
                yield record


async def fetched_batches(
    fetcher: Any, partitions: set[TP], timeout: float, limit: int, unpacked_bytes: int = UNPACKED_BYTES
) -> dict[TopicPartition, Batch | Exception]:
    """What has been fetched of these partitions, a batch each, or why there is none; waits up to `timeout` seconds for
    the first.
    """
    deadline = asyncio.get_running_loop().time() + timeout
    while True:
        if fetcher._subscriptions.reassignment_in_progress:
            await fetcher._subscriptions.wait_for_assignment()
        found: dict[TopicPartition, Batch | Exception] = {}
        for tp in list(fetcher._records):
            if tp in partitions:
                answer = taken(fetcher, tp, limit, unpacked_bytes)
                if answer is not None:
                    found[tp] = answer
            elif not fetcher._subscriptions.is_assigned(tp):
                del fetcher._records[tp]
        left = deadline - asyncio.get_running_loop().time()
        if found or left <= 0 or fetcher._closed:
            return found
        waiter = fetcher._create_fetch_waiter()
        await asyncio.wait([waiter], timeout=left)
        if waiter.done():
            waiter.result()  # raises what the coordinator found
        else:
            waiter.cancel()


def taken(fetcher: Any, tp: TopicPartition, limit: int, unpacked_bytes: int) -> Batch | Exception | None:
    result = fetcher._records[tp]
    answer: Batch | Exception | None = None
    if isinstance(result, FetchError):
        answer = result._error
        result = None
    elif result.check_assignment(tp) and result.has_more():
        if not hasattr(result, "cursor"):
            result.cursor = Cursor(result._partition_records, unpacked_bytes)
        try:
            answer = result.cursor.take(limit)
        except CorruptRecordException as error:
            answer, result = error, None
        else:
            result._update_position()
            if result.cursor.exhausted:
                result = None
    else:
        result = None
    if result is None:
        del fetcher._records[tp]
        fetcher._notify(fetcher._wait_consume_future)
    return answer


# ---- Faust ---------------------------------------------------------------------------------------------------


class ConsumerThread(driver.AIOKafkaConsumerThread):
    settings: FetchSettings

    def _create_worker_consumer(self, transport: Any) -> AIOKafkaConsumer:
        consumer = super()._create_worker_consumer(transport)
        # Faust fixes these four. With its own (1 byte, 1,500 ms) every fetch brings a record or two, at four times the
        # CPU, or waits for up to 1.5 s.
        consumer._isolation_level = "read_committed"
        consumer._fetch_min_bytes = self.settings.fetch_min_bytes
        consumer._fetch_max_wait_ms = round(self.settings.fetch_max_wait_seconds * 1000)
        consumer._auto_offset_reset = "none"  # where to begin is ours to say, and a lost offset is never guessed
        return consumer

    async def _fetch_records(
        self,
        consumer: AIOKafkaConsumer,
        active_partitions: set[TP],
        timeout: float | None = None,
        max_records: int | None = None,
    ) -> Mapping[TopicPartition, Batch | Exception]:
        if not self.consumer.flow_active:
            return {}
        with consumer._fetcher._subscriptions.fetch_context():
            return await fetched_batches(
                consumer._fetcher,
                active_partitions,
                timeout or 0.0,
                max_records or 1 << 30,
                unpacked_limit(self.settings.max_event_bytes),
            )

    async def on_start(self) -> None:
        mute_unread_failures(self.thread_loop)
        await super().on_start()

    async def on_thread_stop(self) -> None:
        """Close the consumer in bounded time. Faust's own lets out what aiokafka's closing may raise while no broker
        answers: the thread ends with a traceback, and who stops the worker waits for it until the time is over.
        """
        await super(driver.AIOKafkaConsumerThread, self).on_thread_stop()
        if self._consumer is not None:
            await close_in_bounded_time(self._consumer)

    def verify_event_path(self, now: float, tp: TP) -> None:
        """Nothing: Faust's watch takes our pauses, our commits and the changelog's partitions, which only its own
        recovery would fetch, for failures, and says so every 7 s from the fifth minute on. Ours is stream/watchdog.py.
        """

    def verify_recovery_event_path(self, now: float, tp: TP) -> None:
        """Nothing, as above."""

    def soon(self, act: Callable[..., None], *args: Any) -> None:
        """Call something in the consumer's own thread; what it complains about a partition that has just gone is no
        error.
        """

        def quietly() -> None:
            try:
                act(*args)
            except IllegalStateError as error:
                log.debug("%s: %s", args, error)

        self.thread_loop.call_soon_threadsafe(quietly)


class Consumer(driver.Consumer):
    """Faust's consumer, a message a batch; where to begin and which partitions may deliver is the partitions' word."""

    partitions: Partitions
    settings: FetchSettings
    _thread: ConsumerThread
    _monitored: Future[None] | None = None

    def _new_consumer_thread(self) -> ConsumerThread:
        thread = ConsumerThread(self, loop=self.loop, beacon=self.beacon)
        thread.settings = self.settings
        return thread

    async def getmany(self, timeout: float) -> AsyncIterator[tuple[TP, ConsumerMessage]]:
        self._stay_in_group()
        fetched, _active = await self._wait_next_records(timeout)
        generation = self.app.consumer_generation_id
        if fetched is None or self.should_stop:
            return
        if not self.flow_active:
            await self.perform_seek()
            return
        for aio_tp, answer in fetched.items():
            if not self.flow_active or self.app.consumer_generation_id != generation:
                return
            tp = TP(aio_tp.topic, aio_tp.partition)
            if isinstance(answer, Batch):
                yield tp, self._message(tp, answer)
            elif isinstance(answer, OffsetOutOfRangeError):
                self.partitions.out_of_range(tp.partition)
            elif not isinstance(answer, NoOffsetForPartitionError):  # which is so until we seek
                raise answer

    def _stay_in_group(self) -> None:
        """Without a partition to fetch from aiokafka takes the consumer for dead, leaves the group after a while, and
        never goes back. It is asked here as long as Faust's loop turns, so only one that is stuck leaves.
        """
        consumer = self._thread._consumer
        if consumer is not None:
            # One store: the count of fetches under way belongs to the consumer's thread.
            consumer._subscription._last_fetch_ended = time.monotonic()

    def _message(self, tp: TP, batch: Batch) -> ConsumerMessage:
        last = batch.end - 1
        return ConsumerMessage(
            tp.topic,
            tp.partition,
            last,
            0.0,
            0,
            [],
            None,
            batch,
            None,
            0,
            0,
            tp,
            generation_id=self.app.consumer_generation_id,
        )

    async def seek_to_committed(self) -> Mapping[TP, int]:
        """After a rebalance: to the positions that the partitions know. Those that are not ready wait."""
        offsets: dict[TP, int] = {}
        for tp in self.assignment():
            if tp.topic != self.settings.topic:
                continue
            needed = self.partitions.next_needed(tp.partition)
            if needed is not None:
                offsets[tp] = needed
                self.seek_soon(tp.partition, needed)
            if needed is None or not self.partitions.wants_more(tp.partition):
                self.pause_partitions({tp})
        return offsets

    def assigned_partitions(self) -> set[int]:
        """The source's partitions that Kafka has given to this worker, as the consumer's thread knows it now."""
        return {tp.partition for tp in self.assignment() if tp.topic == self.settings.topic}

    def group_error(self) -> BaseException | None:
        """Why aiokafka takes no part in the group any more: it waits until somebody asks, and Faust never does."""
        if self._thread._consumer is None:
            return None
        coordinator = self._thread._consumer._coordinator
        task = coordinator._coordination_task
        if task.done():
            ended = KafkaError("the coordination of the group has ended")
            return ended if task.cancelled() else task.exception() or ended
        error: BaseException | None = coordinator._pending_exception
        return error

    def resume_owned(self, partition: int) -> None:
        """Let a partition deliver again, unless a rebalance has taken it meanwhile."""
        tp = TP(self.settings.topic, partition)
        if tp in self._paused_partitions and tp in self.assignment():
            self.resume_partitions({tp})

    def seek_soon(self, partition: int, offset: int) -> None:
        consumer = self._thread._consumer
        if consumer is not None:
            self._thread.soon(consumer.seek, TopicPartition(self.settings.topic, partition), offset)

    def commit_for_monitors(self, offsets: Mapping[int, int]) -> None:
        """Write the group's offsets, for tools that look at consumer groups; nothing of ours reads them."""
        consumer = self._thread._consumer
        # Without a coordinator one waits for it: the next may go when it has.
        if consumer is not None and (self._monitored is None or self._monitored.done()):
            self._monitored = asyncio.run_coroutine_threadsafe(
                commit_quietly(consumer, self.settings.topic, offsets), self._thread.thread_loop
            )

    async def _drain_messages(self, fetcher: Any) -> None:
        """Hand over what was fetched, until told to stop. Faust's own keeps offsets to filter and gaps to remember, for
        acknowledgements that we do not use.
        """
        while not (self.should_stop or fetcher.should_stop):
            async for _tp, message in self.getmany(timeout=1.0):
                await self.wait_first(self.callback(message), self.suspend_flow.wait())
            await asyncio.sleep(0)

    async def commit(self, topics: Any = None, start_new_transaction: bool = True) -> bool:
        return False  # Faust's own commits know nothing of what is counted

    def verify_event_path(self, now: float, tp: TP) -> None:
        """Nothing, as in the thread."""

    def verify_recovery_event_path(self, now: float, tp: TP) -> None:
        """Nothing, as in the thread."""


async def commit_quietly(consumer: AIOKafkaConsumer, topic: str, offsets: Mapping[int, int]) -> None:
    try:
        await consumer.commit({TopicPartition(topic, partition): offset for partition, offset in offsets.items()})
    except BROKER_AWAY as error:  # a rebalance, a broker that is away: the next one will do
        log.debug("the group's offsets were not written: %s", error)


class Fetcher(faust.transport.consumer.Fetcher):
    """Drains the consumer until it is stopped."""

    @Service.task
    async def _fetcher(self) -> None:
        """Faust's own calls a stop in the middle of a rebalance a crash, twice and with tracebacks; and a cancel that
        nobody asked for, at any other time, it swallows, and the worker counts nothing more.
        """
        consumer = self.app.consumer
        assert isinstance(consumer, Consumer)
        try:
            await consumer._drain_messages(self)
        except asyncio.CancelledError:
            if not self.should_stop:
                raise RuntimeError("the task that fetches was cancelled unexpectedly") from None
        finally:
            self.set_shutdown()


class Producer(driver.Producer):
    """Faust's producer, by which nothing is sent."""

    settings: FetchSettings

    def _new_producer(self, transactional_id: str | None = None) -> AIOKafkaProducer:
        producer = super()._new_producer(transactional_id)
        limit_metadata(producer.client, [self.settings.topic])
        return producer


class Transport(driver.Transport):
    Consumer = Consumer
    Producer = Producer
    Fetcher = Fetcher
