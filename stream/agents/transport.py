"""One Faust message per fetch, of all partitions that it brought something of; fetched in gulps, read committed.

Faust's cost lies in its plumbing per message: 65 us an event with an empty agent, where aiokafka's `getmany` takes 2-3
us. So the consumer hands the agent what one fetch brought as one message, a batch a partition, and takes aiokafka's C
records as they are, without a ConsumerRecord for each. A batch tells where it begins and ends, by the consumer's
position: markers of transactions and aborted records leave gaps between the records, never between the batches.

What is used of aiokafka's and Faust's inside is pinned by the contract tests of this module.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from concurrent.futures import Future
from typing import Any, Protocol

import faust.transport.consumer
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.errors import (
    IllegalStateError,
    KafkaError,
    NoOffsetForPartitionError,
    OffsetOutOfRangeError,
)
from faust.transport.drivers import aiokafka as driver
from faust.types import ConsumerMessage
from faust.types.tuples import TP
from mode import Service

from stream.agents.handover import Handover
from stream.core import CoreChoice
from stream.kafka.clients import BROKER_AWAY, close_in_bounded_time, mute_unread_failures
from stream.kafka.fetch import keep_fetched_bytes, notify_waiters, take_fetched_batches
from stream.kafka.fetch_pacing import PacedFetches
from stream.kafka.metadata import limit_metadata
from stream.kafka.unpacking import unpacked_limit
from stream.storage.keys import Keys
from stream.tables.batch import Batch
from stream.worker.form import choose_form

log = logging.getLogger(__name__)

FETCHES_AHEAD = 2
"""Fetches that are handed over and not taken: the next is waited for while the last is counted."""
LOOK_SECONDS = 1.0
"""How often the thread looks whether it is to stop."""


Fetched = Mapping[TopicPartition, Batch | Exception]


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
    core: CoreChoice
    group: str


class Delivering:
    """The partitions that may deliver now."""

    def __init__(self, consumer: Any) -> None:
        self._consumer = consumer

    def __contains__(self, tp: object) -> bool:
        consumer = self._consumer
        return consumer.flow_active and tp in (consumer._active_partitions or ())


# ---- Faust ---------------------------------------------------------------------------------------------------


class ConsumerThread(driver.AIOKafkaConsumerThread):
    settings: FetchSettings
    _raw = False  # whether batches are bytes, for the compiled core

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fetched: Handover[tuple[int, Fetched | KafkaError]] = Handover(
            self.thread_loop, self.parent_loop, FETCHES_AHEAD
        )
        """The generation of the group, with what was fetched in it, or why nothing can be."""

    def _create_worker_consumer(self, transport: Any) -> AIOKafkaConsumer:
        keep_fetched_bytes()
        self._raw = choose_form(self.settings.core, Keys(self.settings.group)).compiled
        consumer = super()._create_worker_consumer(transport)
        # Faust fixes these two.
        consumer._isolation_level = "read_committed"
        consumer._auto_offset_reset = "none"  # where to begin is ours to say, and a lost offset is never guessed
        return consumer

    @Service.task
    async def _hand_over(self) -> None:
        """Hand over what is fetched, as it comes. Faust's own is asked for each batch, through the queue of the
        thread's methods.
        """
        consumer, deliver = self._ensure_consumer(), Delivering(self.consumer)
        fetcher = consumer._fetcher
        while not (self.should_stop or fetcher._closed):
            await self.fetched.wait_for_room()
            found: Fetched | KafkaError
            try:
                found = await take_fetched_batches(
                    fetcher,
                    deliver,
                    LOOK_SECONDS,
                    consumer._max_poll_records,
                    unpacked_limit(self.settings.max_event_bytes),
                    raw=self._raw,
                )
            except KafkaError as error:  # as that the group does not let us in
                found = error
            if found:
                self.fetched.give((self.app.consumer_generation_id, found))

    async def on_start(self) -> None:
        mute_unread_failures(self.thread_loop)
        await super().on_start()
        # With Faust's own (1 byte, 1,500 ms) every fetch brings a record or two, at four times the CPU.
        PacedFetches.install(
            self._consumer._fetcher,
            self.settings.topic,
            enough_bytes=self.settings.fetch_min_bytes,
            rest_seconds=self.settings.fetch_max_wait_seconds,
        )

    async def on_thread_stop(self) -> None:
        """Close the consumer in bounded time. Faust's own lets out what aiokafka's closing may raise while no broker
        answers: the thread ends with a traceback, and who stops the worker waits for it until the time is over.
        """
        await super(driver.AIOKafkaConsumerThread, self).on_thread_stop()
        if self._consumer is not None:
            await close_in_bounded_time(self._consumer)

    def verify_event_path(self, now: float, tp: TP) -> None:
        """Nothing: Faust's watch takes our pauses, our commits and the changelog's partitions, which only its own
        recovery would fetch, for failures, and says so every 7 s from the fifth minute on. The worker has its own.
        """

    def verify_recovery_event_path(self, now: float, tp: TP) -> None:
        """Nothing, as above."""

    def look_again(self) -> None:
        """Look again at what was fetched, if the thread waits for more: a partition may be taken from that might not
        before. What was fetched of it already lies here, and no answer of a broker would end the wait.
        """
        if self._consumer is not None:
            self.soon(notify_waiters, self._consumer._fetcher)

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
    """Faust's consumer, a message a fetch; where to begin and which partitions may deliver is the partitions' word."""

    partitions: Partitions
    settings: FetchSettings
    _thread: ConsumerThread
    _monitored: Future[None] | None = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._taken = asyncio.Event()  # whether the agent has the last message
        self._taken.set()

    def _new_consumer_thread(self) -> ConsumerThread:
        thread = ConsumerThread(self, loop=self.loop, beacon=self.beacon)
        thread.settings = self.settings
        return thread

    def note_taken(self) -> None:
        """The agent has given the partitions what the last message holds, and may have another."""
        self._taken.set()

    def stop_flow(self) -> None:
        super().stop_flow()
        self._taken.set()  # Faust drops what waits for the agent

    async def getmany(self, timeout: float) -> AsyncIterator[tuple[TP, ConsumerMessage]]:
        self._stay_in_group()
        # Else messages pile up before the agent, which turns once a batch. Faust may drop one without a word: not long.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LOOK_SECONDS):
                await self._taken.wait()
        if not self.flow_active:
            await self.wait(self.can_resume_flow)
            self._thread.look_again()
        given = await self._thread.fetched.take(timeout)
        if given is None or self.should_stop:
            return
        generation, fetched = given
        if isinstance(fetched, KafkaError):
            raise fetched
        if not self.flow_active:
            await self.perform_seek()
            return
        batches = self._batches(fetched) if self.app.consumer_generation_id == generation else ()
        if batches:
            self._taken.clear()
            yield self._message(batches, generation)

    def _batches(self, fetched: Fetched) -> Sequence[tuple[int, Batch]]:
        batches: list[tuple[int, Batch]] = []
        for tp, answer in fetched.items():
            if tp.topic != self.settings.topic:
                continue
            if isinstance(answer, Batch):
                batches.append((tp.partition, answer))
            elif isinstance(answer, OffsetOutOfRangeError):
                self.partitions.out_of_range(tp.partition)
            elif not isinstance(answer, NoOffsetForPartitionError):  # which is so until we seek
                raise answer
        return batches

    def _stay_in_group(self) -> None:
        """Without a partition to fetch from aiokafka takes the consumer for dead, leaves the group after a while, and
        never goes back. It is asked here as long as Faust's loop turns, so only one that is stuck leaves.
        """
        consumer = self._thread._consumer
        if consumer is not None:
            # One store: the count of fetches under way belongs to the consumer's thread.
            consumer._subscription._last_fetch_ended = time.monotonic()

    def _message(self, batches: Sequence[tuple[int, Batch]], generation: int) -> tuple[TP, ConsumerMessage]:
        """To Faust it is one of the first partition: all of them have one agent, and one channel."""
        partition, first = batches[0]
        tp = TP(self.settings.topic, partition)
        message = ConsumerMessage(
            tp.topic,
            partition,
            first.end - 1,
            0.0,
            0,
            [],
            None,
            batches,
            None,
            0,
            0,
            tp,
            generation_id=generation,
        )
        return tp, message

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
            self._thread.look_again()

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
                # Nothing else than the flow holds a message up: the agent takes each at once. Faust's `wait_first`
                # makes four tasks, each time.
                if self.app.flow_control.is_active():
                    await self.callback(message)
                else:
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
