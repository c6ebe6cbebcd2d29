"""Batches taken from inside aiokafka hold what its own getmany gives, and follow on each other without a gap."""

from __future__ import annotations

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.errors import OffsetOutOfRangeError
from faust.types.tuples import TP

from stream.partition import Batch
from stream.transport import fetched_batches
from tests.support.kafka import RunningKafka, create_topic, unique_name

COMPRESSIONS = (None, "gzip", "snappy", "lz4", "zstd")


async def consumer_of(kafka: RunningKafka, topic: str, **options: object) -> AIOKafkaConsumer:
    consumer = AIOKafkaConsumer(
        bootstrap_servers=kafka.bootstrap,
        isolation_level="read_committed",
        enable_auto_commit=False,
        auto_offset_reset="none",
        fetch_max_wait_ms=50,
        **options,
    )
    await consumer.start()
    consumer.assign([TopicPartition(topic, 0)])
    consumer.seek(TopicPartition(topic, 0), 0)
    return consumer


async def publish(kafka: RunningKafka, topic: str) -> list[bytes]:
    """Plain records of every compression, committed and aborted transactions between them; returns what may be read."""
    visible: list[bytes] = []
    transactional = AIOKafkaProducer(bootstrap_servers=kafka.bootstrap, transactional_id=topic)
    await transactional.start()
    for compression in COMPRESSIONS:
        producer = AIOKafkaProducer(bootstrap_servers=kafka.bootstrap, compression_type=compression)
        await producer.start()
        for number in range(7):
            visible.append(f"{compression}-{number}".encode())
            await producer.send_and_wait(topic, visible[-1], partition=0)
        await producer.stop()
        await transactional.begin_transaction()
        await transactional.send_and_wait(topic, b"aborted", partition=0)
        await transactional.abort_transaction()
        async with transactional.transaction():
            visible.append(f"committed after {compression}".encode())
            await transactional.send_and_wait(topic, visible[-1], partition=0)
    await transactional.stop()
    return visible


@pytest.mark.parametrize("limit", [1, 3, 1000])
async def test_batches_hold_every_committed_record_once_and_touch_each_other(kafka: RunningKafka, limit: int) -> None:
    topic = unique_name("batches")
    await create_topic(kafka.bootstrap, topic)
    visible = await publish(kafka, topic)
    consumer = await consumer_of(kafka, topic)
    tp = TopicPartition(topic, 0)
    end = (await consumer.end_offsets([tp]))[tp]

    batches: list[Batch] = []
    while not batches or batches[-1].end < end:
        found = await fetched_batches(consumer._fetcher, {TP(topic, 0)}, 5.0, limit)
        assert found, "nothing came, and the end is not reached"
        batch = found[tp]
        assert isinstance(batch, Batch)
        batches.append(batch)
    await consumer.stop()

    assert [r.value for b in batches for r in b.records] == visible
    assert all(len(b.records) <= limit for b in batches)
    assert [b.start for b in batches] == [0, *(b.end for b in batches[:-1])]
    assert all(b.start <= r.offset < b.end for b in batches for r in b.records)
    # The last thing in the log is a transaction's marker: only the batch's end passes it.
    assert batches[-1].end == end


async def test_a_batch_begins_where_it_was_sought_within_a_record_batch(kafka: RunningKafka) -> None:
    topic = unique_name("batches")
    await create_topic(kafka.bootstrap, topic)
    producer = AIOKafkaProducer(bootstrap_servers=kafka.bootstrap, linger_ms=50)
    await producer.start()
    for answer in [await producer.send(topic, str(n).encode(), partition=0) for n in range(10)]:
        await answer
    await producer.stop()
    consumer = await consumer_of(kafka, topic)
    consumer.seek(TopicPartition(topic, 0), 6)

    batch = (await fetched_batches(consumer._fetcher, {TP(topic, 0)}, 5.0, 1000))[TopicPartition(topic, 0)]
    await consumer.stop()

    assert isinstance(batch, Batch)
    assert (batch.start, batch.end, [r.value for r in batch.records]) == (6, 10, [b"6", b"7", b"8", b"9"])


async def test_an_offset_out_of_range_is_told_and_never_reset(kafka: RunningKafka) -> None:
    topic = unique_name("batches")
    await create_topic(kafka.bootstrap, topic)
    consumer = await consumer_of(kafka, topic)
    consumer.seek(TopicPartition(topic, 0), 5)

    answer = (await fetched_batches(consumer._fetcher, {TP(topic, 0)}, 5.0, 1000))[TopicPartition(topic, 0)]
    await consumer.stop()

    assert isinstance(answer, OffsetOutOfRangeError)
