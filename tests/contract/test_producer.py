"""The producer of transactions on a real Kafka, in both ways in which a transaction is said."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiokafka.errors import KafkaConnectionError, MessageSizeTooLargeError, ProducerFenced

from stream.kafka.producer import TransactionalProducer
from stream.kafka.record_batch import BuiltBatch
from stream.kafka.transaction_requests import END_TXN, PRODUCE
from tests.contract.test_kafka import settled_values, values
from tests.support.kafka import KafkaCluster, RunningKafka, create_topic, unique_name

WHOLE = pytest.mark.parametrize("whole", [True, False], ids=["version 2", "before"])


@asynccontextmanager
async def producer(
    bootstrap: str, transactional_id: str, *topics: str, whole: bool | None, timeout_seconds: float = 20
) -> AsyncIterator[TransactionalProducer]:
    made = TransactionalProducer(
        bootstrap_servers=bootstrap,
        transactional_id=transactional_id,
        timeout_seconds=timeout_seconds,
        topics=topics,
        batch_bytes=1 << 20,
        whole=whole,
    )
    try:
        async with asyncio.timeout(60):
            await made.start()
        yield made
    finally:
        await made.stop()


def batch(*records: bytes) -> BuiltBatch:
    built = BuiltBatch(1 << 20)
    for value in records:
        assert built.append(None, value, [])
    return built


async def write(made: TransactionalProducer, topic: str, *batches: BuiltBatch) -> list[Any]:
    async with asyncio.timeout(60):
        return await made.send([((topic, 0), one) for one in batches])


async def commit(made: TransactionalProducer) -> None:
    async with asyncio.timeout(60):
        await made.commit()


@pytest.fixture
async def topic(kafka: RunningKafka) -> str:
    name = unique_name("topic")
    await create_topic(kafka.bootstrap, name)
    return name


async def test_apache_kafka_of_today_has_whole_transactions(kafka: RunningKafka, topic: str) -> None:
    async with producer(kafka.bootstrap, unique_name("txn"), topic, whole=None) as made:
        assert made._whole is True


@WHOLE
async def test_what_is_committed_is_read_in_order_and_nothing_before(
    kafka: RunningKafka, topic: str, whole: bool
) -> None:
    other = unique_name("other")
    await create_topic(kafka.bootstrap, other)
    async with producer(kafka.bootstrap, unique_name("txn"), topic, other, whole=whole) as made:
        # Given batches of two topics that are written, in a transaction that is open,
        batches = [((topic, 0), batch(b"1", b"2")), ((other, 0), batch(b"a")), ((topic, 0), batch(b"3"))]
        assert await made.send(batches) == [None, None, None]
        # then readers of committed records do not see them until it is committed;
        assert await values(kafka.bootstrap, topic) == []
        assert await values(kafka.bootstrap, topic, "read_uncommitted") == [b"1", b"2", b"3"]
        await commit(made)
        # and the next transactions follow at once, while markers of the one before are on their way.
        for number in range(10):
            assert await write(made, topic, batch(b"n%d" % number)) == [None]
            await commit(made)
    assert await settled_values(kafka.bootstrap, topic) == [b"1", b"2", b"3", *(b"n%d" % n for n in range(10))]
    assert await settled_values(kafka.bootstrap, other) == [b"a"]


@WHOLE
async def test_a_second_one_of_an_id_ends_what_the_first_left_open_and_fences_it(
    kafka: RunningKafka, topic: str, whole: bool
) -> None:
    name = unique_name("txn")
    async with (
        producer(kafka.bootstrap, name, topic, whole=whole) as first,
        producer(kafka.bootstrap, name, topic, whole=whole) as second,
        producer(kafka.bootstrap, name, topic, whole=whole) as third,
    ):
        # Given a third that wrote, and a fourth that began after it,
        await write(third, topic, batch(b"of the third"))
        async with producer(kafka.bootstrap, name, topic, whole=whole) as fourth:
            # then none of those before can write or commit, and the fourth can.
            with pytest.raises(ProducerFenced):
                await commit(third)
            for fenced in (first, second):
                with pytest.raises(ProducerFenced):
                    await write(fenced, topic, batch(b"late"))
            await write(fourth, topic, batch(b"of the fourth"))
            await commit(fourth)
    assert await settled_values(kafka.bootstrap, topic) == [b"of the fourth"]


@WHOLE
async def test_of_a_refused_batch_the_neighbours_are_written(kafka: RunningKafka, topic: str, whole: bool) -> None:
    small = unique_name("small")
    await create_topic(kafka.bootstrap, small, settings={"max.message.bytes": "1000"})
    async with producer(kafka.bootstrap, unique_name("txn"), topic, small, whole=whole) as made:
        answers = await made.send(
            [((small, 0), batch(b"x" * 2_000)), ((topic, 0), batch(b"taken")), ((small, 0), batch(b"small"))]
        )
        assert isinstance(answers[0], MessageSizeTooLargeError)
        assert answers[1:] == [None, None]
        await commit(made)
    assert await settled_values(kafka.bootstrap, topic) == [b"taken"]
    assert await settled_values(kafka.bootstrap, small) == [b"small"]


@WHOLE
@pytest.mark.parametrize("of", [PRODUCE, END_TXN], ids=["Produce", "EndTxn"])
async def test_a_request_whose_answer_is_lost_is_asked_again_and_counts_once(
    kafka: RunningKafka, topic: str, whole: bool, of: int
) -> None:
    async with producer(kafka.bootstrap, unique_name("txn"), topic, whole=whole) as made:
        send, lost = made.client.send, list[int]()

        async def lose(node: int, request: Any, **more: Any) -> Any:
            answer = await send(node, request, **more)
            if getattr(request, "api_key", None) == of:
                lost.append(of)
                if len(lost) in (1, 3):
                    raise KafkaConnectionError("the connection broke before the answer came")
            return answer

        made.client.send = lose
        for number in range(3):
            assert await write(made, topic, batch(b"%d" % number)) == [None]
            await commit(made)
        assert len(lost) >= 5
    assert await settled_values(kafka.bootstrap, topic) == [b"0", b"1", b"2"]


@WHOLE
async def test_a_transaction_outlives_a_broker_that_is_killed_and_comes_back(
    kafka_cluster: Callable[..., KafkaCluster], whole: bool
) -> None:
    cluster = await asyncio.to_thread(kafka_cluster)
    name = unique_name("topic")
    await create_topic(cluster.bootstrap, name)
    async with producer(cluster.bootstrap, unique_name("txn"), name, whole=whole, timeout_seconds=60) as made:
        assert await write(made, name, batch(b"before")) == [None]
        await asyncio.to_thread(cluster.nodes[0].kill)
        back = asyncio.create_task(asyncio.to_thread(cluster.nodes[0].start))
        assert await write(made, name, batch(b"after")) == [None]
        await commit(made)
        await back
    assert await settled_values(cluster.bootstrap, name) == [b"before", b"after"]
