"""What the worker relies on in Apache Kafka and in aiokafka's way of speaking to it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.errors import IllegalStateError, MessageSizeTooLargeError, OffsetOutOfRangeError, ProducerFenced

from stream.kafka.topics import LOG_APPEND_TIME, TIMESTAMP_TYPE
from tests.support.kafka import (
    KafkaCluster,
    RunningKafka,
    create_topic,
    end_offset,
    read_partition,
    settled,
    unique_name,
)


@asynccontextmanager
async def producer(bootstrap: str, transactional_id: str, **options: Any) -> AsyncIterator[AIOKafkaProducer]:
    """A transactional producer; starting it is `init_transactions`."""
    made = AIOKafkaProducer(
        bootstrap_servers=bootstrap, transactional_id=transactional_id, acks="all", **{"linger_ms": 0} | options
    )
    await made.start()
    try:
        yield made
    finally:
        await made.stop()


async def send(made: AIOKafkaProducer, topic: str, *values: bytes) -> "asyncio.Future[Any]":
    """Hand over one batch built by hand; the future is its acknowledgement."""
    batch = made.create_batch()
    for value in values:
        assert batch.append(key=None, value=value, timestamp=None) is not None
    future: asyncio.Future[Any] = await made.send_batch(batch, topic, partition=0)
    return future


async def values(bootstrap: str, topic: str, isolation_level: str = "read_committed") -> list[bytes | None]:
    return [record.value for record in await read_partition(bootstrap, topic, isolation_level=isolation_level)]


async def until(ask: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(30):
        while not await ask():
            await asyncio.sleep(0.02)


async def settled_values(bootstrap: str, topic: str) -> list[bytes | None]:
    await settled(bootstrap, topic)
    return await values(bootstrap, topic)


@pytest.fixture
async def topic(kafka: RunningKafka) -> str:
    name = unique_name("topic")
    await create_topic(kafka.bootstrap, name)
    return name


async def test_a_batch_built_by_hand_belongs_to_the_transaction(kafka: RunningKafka, topic: str) -> None:
    async with producer(kafka.bootstrap, unique_name("txn")) as made:
        # Given a batch that the broker has taken, in a transaction that is open,
        await made.begin_transaction()
        await (await send(made, topic, b"aborted"))
        # then readers of committed records do not see it, others do;
        assert await values(kafka.bootstrap, topic) == []
        assert await values(kafka.bootstrap, topic, "read_uncommitted") == [b"aborted"]
        # and after an abort it is never seen, while what the next transaction commits is.
        await made.abort_transaction()
        await made.begin_transaction()
        await (await send(made, topic, b"one", b"two"))
        await made.commit_transaction()
    assert await settled_values(kafka.bootstrap, topic) == [b"one", b"two"]


async def test_a_second_producer_of_an_id_ends_the_firsts_transaction_and_fences_it(
    kafka: RunningKafka, topic: str
) -> None:
    transactional_id = unique_name("txn")
    async with producer(kafka.bootstrap, transactional_id) as first:
        # Given an owner with a record in an open transaction,
        await first.begin_transaction()
        await (await send(first, topic, b"of the first"))
        # when another one starts under the same id,
        async with producer(kafka.bootstrap, transactional_id) as second:
            # then nothing is open any more,
            assert await end_offset(kafka.bootstrap, topic, "read_committed") == await end_offset(
                kafka.bootstrap, topic, "read_uncommitted"
            )
            # the first can commit nothing, neither what it had sent nor more,
            with pytest.raises(ProducerFenced):
                await first.commit_transaction()
            # and the second goes on.
            await second.begin_transaction()
            await (await send(second, topic, b"of the second"))
            await second.commit_transaction()
    assert await settled_values(kafka.bootstrap, topic) == [b"of the second"]


async def test_a_fenced_producer_cannot_send(kafka: RunningKafka, topic: str) -> None:
    transactional_id = unique_name("txn")
    # aiokafka leaves a future behind that nobody asks for its exception, and logging that while the garbage collector
    # runs inside ast.parse breaks Python 3.11.
    asyncio.get_running_loop().set_exception_handler(lambda *_: None)
    async with producer(kafka.bootstrap, transactional_id) as first, producer(kafka.bootstrap, transactional_id):
        await first.begin_transaction()
        sent = await send(first, topic, b"late")
        with pytest.raises(ProducerFenced):
            await sent
    assert await values(kafka.bootstrap, topic, "read_uncommitted") == []


async def test_a_transaction_that_takes_too_long_is_ended_by_the_broker_and_its_producer_is_fenced(
    kafka: RunningKafka, topic: str
) -> None:
    async with producer(kafka.bootstrap, unique_name("txn"), transaction_timeout_ms=1_000) as slow:
        await slow.begin_transaction()
        await (await send(slow, topic, b"slow"))

        # The broker ends it by itself: the last stable offset passes the record and the marker behind it.
        async def ended() -> bool:
            return await end_offset(kafka.bootstrap, topic, "read_committed") == 2

        await until(ended)
        with pytest.raises(ProducerFenced):
            await slow.commit_transaction()
    assert await settled_values(kafka.bootstrap, topic) == []


async def test_a_commit_succeeds_although_a_batch_failed(kafka: RunningKafka, topic: str) -> None:
    """Which is why every batch's answer is awaited before the commit."""
    small = unique_name("small")
    await create_topic(kafka.bootstrap, small, settings={"max.message.bytes": "1000"})
    async with producer(kafka.bootstrap, unique_name("txn")) as made:
        await made.begin_transaction()
        taken = await send(made, topic, b"taken")
        refused = await send(made, small, b"x" * 2_000)
        answers = await asyncio.gather(taken, refused, return_exceptions=True)
        assert isinstance(answers[1], MessageSizeTooLargeError)
        await made.commit_transaction()
    assert await settled_values(kafka.bootstrap, topic) == [b"taken"]
    assert await values(kafka.bootstrap, small) == []


async def test_after_a_refused_batch_an_abort_leaves_nothing_and_the_producer_goes_on(
    kafka: RunningKafka, topic: str
) -> None:
    small = unique_name("small")
    await create_topic(kafka.bootstrap, small, settings={"max.message.bytes": "1000"})
    async with producer(kafka.bootstrap, unique_name("txn")) as made:
        await made.begin_transaction()
        answers = [await send(made, topic, b"lost"), await send(made, small, b"x" * 2_000)]
        await asyncio.gather(*answers, return_exceptions=True)
        await made.abort_transaction()
        await made.begin_transaction()
        await (await send(made, topic, b"kept"))
        await made.commit_transaction()
    assert await settled_values(kafka.bootstrap, topic) == [b"kept"]


async def test_an_empty_batch_builder_takes_one_record_of_any_size(kafka: RunningKafka, topic: str) -> None:
    async with producer(kafka.bootstrap, unique_name("txn"), max_batch_size=1_000) as made:
        batch = made.create_batch()
        assert batch.append(key=None, value=b"x" * 50_000, timestamp=None) is not None
        assert batch.append(key=None, value=b"y", timestamp=None) is None


async def test_an_empty_transaction_commits_and_writes_nothing(kafka: RunningKafka, topic: str) -> None:
    async with producer(kafka.bootstrap, unique_name("txn")) as made:
        await made.begin_transaction()
        await made.commit_transaction()
    assert await end_offset(kafka.bootstrap, topic, "read_uncommitted") == 0


async def test_the_end_for_readers_of_committed_records_is_where_the_first_open_transaction_begins(
    kafka: RunningKafka, topic: str
) -> None:
    async with (
        producer(kafka.bootstrap, unique_name("txn")) as one,
        producer(kafka.bootstrap, unique_name("txn")) as other,
    ):
        # Given a committed record (offset 0, its marker at 1), then one of an open transaction (2), and behind it one
        # that is committed (3, marker 4):
        await one.begin_transaction()
        await (await send(one, topic, b"0"))
        await one.commit_transaction()
        await one.begin_transaction()
        await (await send(one, topic, b"2"))
        await other.begin_transaction()
        await (await send(other, topic, b"3"))
        await other.commit_transaction()

        async def all_written() -> bool:
            return await end_offset(kafka.bootstrap, topic, "read_uncommitted") == 5

        await until(all_written)
        # what is behind the open one is not there yet.
        assert await end_offset(kafka.bootstrap, topic, "read_committed") == 2
        assert await values(kafka.bootstrap, topic) == [b"0"]
        await one.commit_transaction()
    assert await settled_values(kafka.bootstrap, topic) == [b"0", b"2", b"3"]
    assert await end_offset(kafka.bootstrap, topic, "read_committed") == 6


@pytest.mark.parametrize("end_of", ["commit", "abort"])
async def test_a_consumers_position_passes_the_markers_at_the_end(kafka: RunningKafka, topic: str, end_of: str) -> None:
    """So `position < end` comes to its end although the last offset holds no record."""
    async with producer(kafka.bootstrap, unique_name("txn")) as made:
        await made.begin_transaction()
        await (await send(made, topic, b"one"))
        await (made.commit_transaction() if end_of == "commit" else made.abort_transaction())
    await settled(kafka.bootstrap, topic)
    records = await read_partition(kafka.bootstrap, topic)  # which returns when the position is the end
    assert [record.offset for record in records] == ([0] if end_of == "commit" else [])
    assert await end_offset(kafka.bootstrap, topic, "read_committed") == 2


async def test_with_log_append_time_the_broker_decides_the_timestamp(kafka: RunningKafka) -> None:
    name = unique_name("topic")
    await create_topic(kafka.bootstrap, name, settings={TIMESTAMP_TYPE: LOG_APPEND_TIME})
    async with producer(kafka.bootstrap, unique_name("txn")) as made:
        await made.begin_transaction()
        batch = made.create_batch()
        for claimed in (1_000, 4_102_444_800_000):
            batch.append(key=None, value=b"", timestamp=claimed)
        answer = await (await made.send_batch(batch, name, partition=0))
        await made.commit_transaction()
    await settled(kafka.bootstrap, name)
    times = [(record.timestamp, record.timestamp_type) for record in await read_partition(kafka.bootstrap, name)]
    # One time for the whole batch, the one that the acknowledgement tells.
    assert times == [(answer.timestamp, 1)] * 2
    assert 1_577_836_800_000 < answer.timestamp < 4_102_444_800_000


async def test_an_offset_that_is_gone_is_said_and_not_guessed_without_a_reset(kafka: RunningKafka, topic: str) -> None:
    consumer = AIOKafkaConsumer(bootstrap_servers=kafka.bootstrap, auto_offset_reset="none", enable_auto_commit=False)
    await consumer.start()
    try:
        place = TopicPartition(topic, 0)
        consumer.assign([place])
        consumer.seek(place, 7)
        with pytest.raises(OffsetOutOfRangeError):
            await asyncio.wait_for(_first_records(consumer), timeout=30)
    finally:
        await consumer.stop()


async def test_a_partition_that_is_not_assigned_is_an_illegal_state(kafka: RunningKafka, topic: str) -> None:
    """Which the transport passes over: a rebalance may take a partition at any time."""
    async with AIOKafkaConsumer(bootstrap_servers=kafka.bootstrap) as consumer:
        consumer.assign([TopicPartition(topic, 0)])
        with pytest.raises(IllegalStateError):
            consumer.seek(TopicPartition(topic, 1), 0)
        await asyncio.sleep(0)  # aiokafka ends a task of its own with a CancelledError where that had no turn yet


async def _first_records(consumer: AIOKafkaConsumer) -> Any:
    while not (found := await consumer.getmany(timeout_ms=200)):
        pass
    return found


async def test_what_was_committed_outlives_a_killed_broker_and_is_there_for_the_next_owner(
    kafka_cluster: Callable[..., KafkaCluster],
) -> None:
    cluster = await asyncio.to_thread(kafka_cluster)
    name = unique_name("topic")
    await create_topic(cluster.bootstrap, name)
    async with producer(cluster.bootstrap, "txn") as made:
        await made.begin_transaction()
        await (await send(made, name, b"kept"))
        await made.commit_transaction()
    # The broker may be killed before it has written the marker of the commit, and then writes it some time later:
    await asyncio.to_thread(cluster.nodes[0].kill)
    await asyncio.to_thread(cluster.nodes[0].start)
    # who becomes the owner has waited for it, and so reads all that was committed.
    async with producer(cluster.bootstrap, "txn"):
        assert await values(cluster.bootstrap, name) == [b"kept"]
