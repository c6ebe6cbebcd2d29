"""What the embedded broker of `./dev run` can and cannot do: where a new version differs, the worker may do better."""

import asyncio
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from stream.kafka.metadata import list_visible, metadata_of
from stream.kafka.topics import LOG_APPEND_TIME, TIMESTAMP_TYPE
from tests.support.kafka import RunningKafka, create_topic, read_partition, unique_name


@pytest.mark.parametrize(
    "options", [{"transactional_id": "t"}, {"enable_idempotence": True}], ids=lambda o: next(iter(o))
)
async def test_it_refuses_producers_with_an_id(embedded_kafka: RunningKafka, options: dict[str, Any]) -> None:
    """So commits keep nothing there, and `publish` uses a plain producer."""
    producer = AIOKafkaProducer(bootstrap_servers=embedded_kafka.bootstrap, **options)
    try:
        with pytest.raises((KafkaError, TimeoutError)):
            await asyncio.wait_for(_send_one(producer, unique_name("topic")), timeout=3)
    finally:
        await asyncio.wait_for(producer.stop(), timeout=3)


async def _send_one(producer: AIOKafkaProducer, topic: str) -> None:
    await producer.start()
    await producer.send_and_wait(topic, b"value")


async def test_it_keeps_the_producers_time_whatever_the_topic_says(embedded_kafka: RunningKafka) -> None:
    topic = unique_name("topic")
    await create_topic(embedded_kafka.bootstrap, topic, settings={TIMESTAMP_TYPE: LOG_APPEND_TIME})
    async with AIOKafkaProducer(bootstrap_servers=embedded_kafka.bootstrap) as producer:
        await producer.send_and_wait(topic, b"value", timestamp_ms=1_000, partition=0)
    (record,) = await read_partition(embedded_kafka.bootstrap, topic)
    assert record.timestamp == 1_000


async def test_asking_for_a_topic_makes_it_with_four_partitions(embedded_kafka: RunningKafka) -> None:
    """So topics are made before anything asks for them, and `stream.kafka.metadata` asks that none be made."""
    topic = unique_name("topic")
    admin = AIOKafkaAdminClient(bootstrap_servers=embedded_kafka.bootstrap)
    await admin.start()
    try:
        assert list_visible(await admin._send_request(metadata_of([topic]))) == []
        assert topic not in await admin.list_topics()
        (made,) = await admin.describe_topics([topic])
        assert len(made["partitions"]) == 4
        assert topic in await admin.list_topics()
    finally:
        await admin.close()


async def test_records_keep_their_order_keys_and_headers(embedded_kafka: RunningKafka) -> None:
    topic = unique_name("topic")
    await create_topic(embedded_kafka.bootstrap, topic)
    async with AIOKafkaProducer(bootstrap_servers=embedded_kafka.bootstrap) as producer:
        for number in range(3):
            await producer.send_and_wait(topic, b"v%d" % number, key=b"k", headers=[("h", b"%d" % number)], partition=0)
        await producer.send_and_wait(topic, None, key=b"k", partition=0)
    records = await read_partition(embedded_kafka.bootstrap, topic)
    assert [(record.offset, record.key, record.value, record.headers) for record in records] == [
        (0, b"k", b"v0", (("h", b"0"),)),
        (1, b"k", b"v1", (("h", b"1"),)),
        (2, b"k", b"v2", (("h", b"2"),)),
        (3, b"k", None, ()),
    ]


async def test_its_end_offset_is_one_behind_the_first_record_of_the_last_batch(embedded_kafka: RunningKafka) -> None:
    """So a position may lie beyond the end that it tells; of an empty topic it is still 0.

    The high watermark that comes with fetched records is right.
    """
    topic = unique_name("topic")
    await create_topic(embedded_kafka.bootstrap, topic)
    place = TopicPartition(topic, 0)
    async with AIOKafkaConsumer(bootstrap_servers=embedded_kafka.bootstrap) as consumer:
        assert await consumer.end_offsets([place]) == {place: 0}
        async with AIOKafkaProducer(bootstrap_servers=embedded_kafka.bootstrap) as producer:
            for records in (3, 5):
                batch = producer.create_batch()
                for _ in range(records):
                    batch.append(key=None, value=b"value", timestamp=None)
                await (await producer.send_batch(batch, topic, partition=0))
        assert await consumer.end_offsets([place]) == {place: 3 + 1}
        consumer.assign([place])
        consumer.seek(place, 0)
        assert len((await consumer.getmany(place, timeout_ms=5_000))[place]) == 8
        assert (await consumer.position(place), consumer.highwater(place)) == (8, 8)
