"""A quiet topic costs few fetches, a busy one is read in gulps, and a partition that was paused waits for no other."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest_asyncio
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.protocol.fetch import FetchRequest

from stream.kafka.fetch import keep_fetched_bytes, notify_waiters, take_fetched_batches
from stream.kafka.fetch_pacing import QUIET_WAIT_SECONDS, PacedFetches
from stream.tables.batch import Batch
from tests.support.kafka import RunningKafka, create_topic, unique_name

REST_SECONDS = 0.02
QUIET_MS, REST_MS = round(QUIET_WAIT_SECONDS * 1000), round(REST_SECONDS * 1000)


class Reader:
    """A consumer of two partitions, and what it asks its broker for."""

    def __init__(self, kafka: RunningKafka, topic: str) -> None:
        self.topic = topic
        self.partitions = [TopicPartition(topic, number) for number in (0, 1)]
        self.consumer = AIOKafkaConsumer(
            bootstrap_servers=kafka.bootstrap, enable_auto_commit=False, auto_offset_reset="none"
        )
        self.asked: list[tuple[set[int], int, int]] = []
        """Of each fetch: partitions, the most milliseconds that the broker may wait, the fewest bytes."""
        self._noted = asyncio.Event()

    async def start(self) -> None:
        keep_fetched_bytes()
        await self.consumer.start()
        PacedFetches.install(self.consumer._fetcher, self.topic, enough_bytes=16_384, rest_seconds=REST_SECONDS)
        send = self.consumer._client.send

        async def noted(node: int, request: Any, *rest: Any, **more: Any) -> Any:
            if isinstance(request, FetchRequest):
                partitions = {partition for _, asked in request.topics for partition, *_ in asked}
                self.asked.append((partitions, request._max_wait_ms, request._min_bytes))
                self._noted.set()
            return await send(node, request, *rest, **more)

        self.consumer._client.send = noted
        self.consumer.assign(self.partitions)
        for partition in self.partitions:
            self.consumer.seek(partition, 0)

    async def take(self, number: int) -> list[bytes]:
        values: list[bytes] = []
        while len(values) < number:
            found = await take_fetched_batches(self.consumer._fetcher, set(self.partitions), 5.0, 1000)
            for batch in found.values():
                assert isinstance(batch, Batch)
                values += [record.value for record in batch.records if record.value is not None]
        return values

    async def next_fetch(self) -> tuple[set[int], int, int]:
        self._noted.clear()
        await self._noted.wait()
        return self.asked[-1]


@pytest_asyncio.fixture
async def reader(kafka: RunningKafka) -> AsyncIterator[Reader]:
    topic = unique_name("paced")
    await create_topic(kafka.bootstrap, topic, partitions=2)
    one = Reader(kafka, topic)
    await one.start()
    yield one
    await one.consumer.stop()


@pytest_asyncio.fixture
async def producer(kafka: RunningKafka) -> AsyncIterator[AIOKafkaProducer]:
    made = AIOKafkaProducer(bootstrap_servers=kafka.bootstrap)
    await made.start()
    yield made
    await made.stop()


async def test_while_nothing_comes_the_broker_waits_for_the_first_event(reader: Reader) -> None:
    await reader.next_fetch()
    assert await reader.next_fetch() == ({0, 1}, QUIET_MS, 1)


async def test_what_comes_is_taken_and_the_next_fetch_follows_a_rest(
    reader: Reader, producer: AIOKafkaProducer, monkeypatch: Any
) -> None:
    rests: list[float] = []
    sleep = asyncio.sleep

    async def noted(seconds: float, result: Any = None) -> Any:
        rests.append(seconds)
        return await sleep(seconds, result)

    monkeypatch.setattr("stream.kafka.fetch_pacing.asyncio.sleep", noted)
    await reader.next_fetch()
    await producer.send_and_wait(reader.topic, b"small", partition=0)
    assert await reader.take(1) == [b"small"]
    await reader.next_fetch()
    assert 0 < max(rests) <= REST_SECONDS

    rests.clear()
    await producer.send_and_wait(reader.topic, b"x" * 20_000, partition=0)
    assert len(await reader.take(1)) == 1
    await reader.next_fetch()
    assert max(rests) <= 0


async def test_while_a_partition_is_paused_no_fetch_waits_for_long(reader: Reader, producer: AIOKafkaProducer) -> None:
    reader.consumer.pause(reader.partitions[1])
    await reader.next_fetch()
    assert await reader.next_fetch() == ({0}, REST_MS, 1)

    await producer.send_and_wait(reader.topic, b"waits", partition=1)
    reader.consumer.resume(reader.partitions[1])
    assert await reader.take(1) == [b"waits"]


async def test_every_event_of_a_trickle_is_taken_once_and_in_order(reader: Reader, producer: AIOKafkaProducer) -> None:
    sent = [b"%d" % number for number in range(60)]

    async def trickle() -> None:
        for value in sent:
            await producer.send_and_wait(reader.topic, value, partition=0)

    taken, _ = await asyncio.gather(reader.take(len(sent)), trickle())
    assert taken == sent


async def test_what_lies_here_of_a_partition_that_may_deliver_again_waits_for_no_other(
    reader: Reader, producer: AIOKafkaProducer
) -> None:
    # Given two partitions of which one may not deliver: what was fetched of it lies here; nothing comes of the other
    one, other = reader.partitions
    await producer.send_and_wait(reader.topic, b"held back", partition=1)
    async with asyncio.timeout(60):
        while other not in reader.consumer._fetcher._records:
            await asyncio.sleep(0.01)
    may_deliver = {one}
    waiting = asyncio.create_task(take_fetched_batches(reader.consumer._fetcher, may_deliver, 600.0, 1000))
    while not reader.consumer._fetcher._fetch_waiters:
        await asyncio.sleep(0)
    # When it may again
    may_deliver.add(other)
    notify_waiters(reader.consumer._fetcher)
    # Then it is taken at once
    async with asyncio.timeout(60):
        found = await waiting
    assert list(found) == [other]
