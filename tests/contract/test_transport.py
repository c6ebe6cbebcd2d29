"""Batches taken from inside aiokafka hold what its own getmany gives, and follow on each other without a gap."""

from __future__ import annotations

import asyncio
import contextlib
import time
from types import SimpleNamespace
from unittest.mock import MagicMock

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.consumer.subscription_state import SubscriptionState
from aiokafka.errors import GroupAuthorizationFailedError, KafkaConnectionError, OffsetOutOfRangeError
from aiokafka.producer import message_accumulator
from aiokafka.record.default_records import _DefaultRecordBatchBuilderPy
from faust.types.tuples import TP

from stream.agents.transport import Consumer
from stream.ingest.event import LeftOut, Record
from stream.kafka.changelog import read_changelog
from stream.kafka.fetch import keep_fetched_bytes, take_fetched_batches
from stream.kafka.fetch_pacing import PacedFetches
from stream.kafka.source import SourceTopic
from stream.ports import KafkaAway, ReadTooLarge
from stream.settings.kafka import KafkaAccess
from stream.tables.batch import Batch
from tests.support.kafka import RunningKafka, create_topic, settled, unique_name

COMPRESSIONS = (None, "gzip", "snappy", "lz4", "zstd")


async def consumer_of(kafka: RunningKafka, topic: str, **options: object) -> AIOKafkaConsumer:
    keep_fetched_bytes()
    consumer = AIOKafkaConsumer(
        bootstrap_servers=kafka.bootstrap,
        isolation_level="read_committed",
        enable_auto_commit=False,
        auto_offset_reset="none",
        fetch_max_wait_ms=50,
        **options,
    )
    await consumer.start()
    PacedFetches.install(consumer._fetcher, topic, enough_bytes=16_384, rest_seconds=0.02)
    consumer.assign([TopicPartition(topic, 0)])
    consumer.seek(TopicPartition(topic, 0), 0)
    return consumer


async def topic_of_one_record(kafka: RunningKafka) -> str:
    topic = unique_name("one")
    await create_topic(kafka.bootstrap, topic)
    producer = AIOKafkaProducer(bootstrap_servers=kafka.bootstrap)
    await producer.start()
    await producer.send_and_wait(topic, b"0", key=b"k", partition=0)
    await producer.stop()
    return topic


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
    await settled(kafka.bootstrap, topic)
    return visible


@pytest.mark.parametrize("raw", [False, True])
@pytest.mark.parametrize("limit", [1, 3, 1000])
async def test_batches_hold_every_committed_record_once_and_touch_each_other(
    kafka: RunningKafka, limit: int, raw: bool
) -> None:
    topic = unique_name("batches")
    await create_topic(kafka.bootstrap, topic)
    visible = await publish(kafka, topic)
    consumer = await consumer_of(kafka, topic)
    tp = TopicPartition(topic, 0)
    end = (await consumer.end_offsets([tp]))[tp]

    batches: list[Batch] = []
    while not batches or batches[-1].end < end:
        found = await take_fetched_batches(consumer._fetcher, {TP(topic, 0)}, 5.0, limit, raw=raw)
        assert found, "nothing came, and the end is not reached"
        batch = found[tp]
        assert isinstance(batch, Batch)
        batches.append(batch)
    await consumer.stop()

    assert [r.value for b in batches for r in b.records] == visible
    assert all(len(b.records) <= limit for b in batches)
    assert [b.start for b in batches] == [0, *(b.end for b in batches[:-1])]
    assert all(b.start <= r.offset < b.end for b in batches for r in b.records)
    assert all(abs(b.fetched_at_ms / 1000 - time.time()) < 60 for b in batches)
    # The last thing in the log is a transaction's marker: only the batch's end passes it.
    assert batches[-1].end == end


class Odd(str):
    """A header's name that is no UTF-8."""

    __slots__ = ()

    def encode(self, encoding: str = "utf-8", errors: str = "strict") -> bytes:
        return b"caf\xe9"


@pytest.mark.parametrize("raw", [False, True])
@pytest.mark.parametrize("compression", [None, "gzip"])
async def test_headers_of_any_name_are_read(
    kafka: RunningKafka, monkeypatch: pytest.MonkeyPatch, compression: str | None, raw: bool
) -> None:
    # Given records with a header whose name is no UTF-8, which aiokafka's own reader does not get past
    topic = unique_name("headers")
    await create_topic(kafka.bootstrap, topic)
    producer = AIOKafkaProducer(bootstrap_servers=kafka.bootstrap, compression_type=compression)
    await producer.start()
    monkeypatch.setattr(message_accumulator, "DefaultRecordBatchBuilder", _DefaultRecordBatchBuilderPy)
    batch = producer.create_batch()
    for number in range(3):
        headers = [(Odd("x"), b"1"), ("plain", b"2")] if number == 1 else []
        batch.append(timestamp=None, key=b"k", value=b"%d" % number, headers=headers)
    await (await producer.send_batch(batch, topic, partition=0))
    monkeypatch.undo()
    await producer.send_and_wait(topic, b"3", partition=0)
    await producer.stop()
    consumer = await consumer_of(kafka, topic)
    tp = TopicPartition(topic, 0)
    # When they are taken as batches, then all are there
    records: list[Record] = []
    while len(records) < 4:
        answer = (await take_fetched_batches(consumer._fetcher, {TP(topic, 0)}, 1.0, 1000, raw=raw)).get(tp)
        if answer is not None:
            assert isinstance(answer, Batch)
            records += answer.records
    await consumer.stop()
    assert [(record.offset, record.key, record.value) for record in records] == [
        (0, b"k", b"0"),
        (1, b"k", b"1"),
        (2, b"k", b"2"),
        (3, None, b"3"),
    ]
    assert list(records[1].headers) == [("caf\\xe9", b"1"), ("plain", b"2")]
    # And so they are where single records are read again
    source = SourceTopic(KafkaAccess(kafka.bootstrap), topic)
    await source.start()
    assert [record.value for record in await source.read(0, 1, 3)] == [b"1", b"2"]
    await source.stop()


@pytest.mark.parametrize("raw", [False, True])
async def test_a_batch_that_is_packed_too_large_is_one_record_that_is_left_out(kafka: RunningKafka, raw: bool) -> None:
    # Given 200 MB of blanks, which are 200 kB on their way, between records like others,
    topic = unique_name("blanks")
    await create_topic(kafka.bootstrap, topic)
    producer = AIOKafkaProducer(
        bootstrap_servers=kafka.bootstrap, compression_type="gzip", max_request_size=1 << 30, max_batch_size=1 << 30
    )
    await producer.start()
    for value in (b"before", b" " * 200_000_000, b"after"):
        await producer.send_and_wait(topic, value, key=b"k", partition=0)
    await producer.stop()
    consumer = await consumer_of(kafka, topic)
    records: list[Record] = []
    while len(records) < 3:
        answer = (await take_fetched_batches(consumer._fetcher, {TP(topic, 0)}, 5.0, 1000, raw=raw)).get(
            TopicPartition(topic, 0)
        )
        assert isinstance(answer, Batch)
        records += answer.records
    await consumer.stop()

    # then the others are there, and of this one what is known without unpacking it.
    assert [(record.offset, record.key, record.value) for record in records] == [
        (0, b"k", b"before"),
        (1, b"k", b""),
        (2, b"k", b"after"),
    ]
    assert isinstance(records[1].value, LeftOut)
    assert records[1].value.size == 200_000_000


async def test_what_is_read_again_at_once_is_bounded_by_its_bytes(kafka: RunningKafka) -> None:
    topic = unique_name("again")
    await create_topic(kafka.bootstrap, topic)
    producer = AIOKafkaProducer(
        bootstrap_servers=kafka.bootstrap, compression_type="gzip", max_request_size=1 << 30, max_batch_size=1 << 30
    )
    await producer.start()
    for number in range(4):
        await producer.send_and_wait(topic, b"%d" % number + b" " * 7_000_000, partition=0)
    await producer.stop()
    source = SourceTopic(KafkaAccess(kafka.bootstrap), topic)
    await source.start()
    with pytest.raises(ReadTooLarge, match="offsets 0 to 3 of partition 0"):
        await source.read(0, 0, 4)
    assert [record.offset for record in await source.read(0, 2, 4)] == [2, 3]
    assert [record.offset for record in await source.read(0, 1, 2)] == [1]
    await source.stop()


async def test_a_consumer_without_a_partition_stays_in_its_group() -> None:
    # Given a consumer that has fetched nothing for ten minutes, since it has nothing to fetch from
    subscription = SubscriptionState()
    subscription._last_fetch_ended -= 600
    assert subscription.fetcher_idle_time >= 600
    consumer = Consumer.__new__(Consumer)
    consumer._thread = SimpleNamespace(_consumer=SimpleNamespace(_subscription=subscription))
    # When Faust's loop turns
    consumer._stay_in_group()
    # Then aiokafka, which would leave the group after five, takes it for alive
    assert subscription.fetcher_idle_time < 60


@pytest.mark.parametrize("raw", [False, True])
async def test_a_batch_begins_where_it_was_sought_within_a_record_batch(kafka: RunningKafka, raw: bool) -> None:
    topic = unique_name("batches")
    await create_topic(kafka.bootstrap, topic)
    producer = AIOKafkaProducer(bootstrap_servers=kafka.bootstrap, linger_ms=50)
    await producer.start()
    for answer in [await producer.send(topic, str(n).encode(), partition=0) for n in range(10)]:
        await answer
    await producer.stop()
    consumer = await consumer_of(kafka, topic)
    consumer.seek(TopicPartition(topic, 0), 6)

    batch = (await take_fetched_batches(consumer._fetcher, {TP(topic, 0)}, 5.0, 1000, raw=raw))[
        TopicPartition(topic, 0)
    ]
    await consumer.stop()

    assert isinstance(batch, Batch)
    assert (batch.start, batch.end, [r.value for r in batch.records]) == (6, 10, [b"6", b"7", b"8", b"9"])


async def test_an_offset_out_of_range_is_told_and_never_reset(kafka: RunningKafka) -> None:
    topic = unique_name("batches")
    await create_topic(kafka.bootstrap, topic)
    consumer = await consumer_of(kafka, topic)
    consumer.seek(TopicPartition(topic, 0), 5)

    answer = (await take_fetched_batches(consumer._fetcher, {TP(topic, 0)}, 5.0, 1000))[TopicPartition(topic, 0)]
    await consumer.stop()

    assert isinstance(answer, OffsetOutOfRangeError)


async def test_a_source_that_has_died_without_a_word_is_made_anew(
    kafka: RunningKafka, monkeypatch: pytest.MonkeyPatch
) -> None:
    topic = await topic_of_one_record(kafka)
    source = SourceTopic(KafkaAccess(kafka.bootstrap), topic)
    await source.start()
    # Given a consumer whose fetching has ended, as it does where a connection is reset at the wrong moment,
    assert source._consumer is not None
    source._consumer._fetcher._fetch_task.cancel()
    monkeypatch.setattr("stream.kafka.source.ANSWER_SECONDS", 1.0)
    with pytest.raises(KafkaAway):
        await source.read(0, 0, 1)
    # then the next question is answered again.
    monkeypatch.undo()
    assert [record.value for record in await source.read(0, 0, 1)] == [b"0"]
    assert await source.ends([0]) == {0: 1}
    await source.stop()


async def test_a_read_that_is_cancelled_in_its_middle_holds_up_no_other(kafka: RunningKafka) -> None:
    topic = await topic_of_one_record(kafka)
    source = SourceTopic(KafkaAccess(kafka.bootstrap), topic)
    await source.start()
    first = source._consumer
    # Given a read that waits for a record that is not there yet,
    waiting = asyncio.create_task(source.read(0, 0, 2))
    await asyncio.sleep(0.5)
    # when it is cancelled, then the next one goes to another consumer, at once.
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    async with asyncio.timeout(5):
        assert [record.value for record in await source.read(0, 0, 1)] == [b"0"]
    assert source._consumer is not first
    await source.stop()


async def test_a_read_whose_cancel_a_library_lost_ends_by_itself(
    kafka: RunningKafka, monkeypatch: pytest.MonkeyPatch
) -> None:
    topic = await topic_of_one_record(kafka)
    source = SourceTopic(KafkaAccess(kafka.bootstrap), topic)
    await source.start()

    async def losing(*_: object) -> dict[object, object]:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(0.2)
        return {}

    monkeypatch.setattr("stream.kafka.source.take_fetched_batches", losing)
    monkeypatch.setattr("stream.kafka.source.ANSWER_SECONDS", 1.0)
    async with asyncio.timeout(20):
        with pytest.raises(KafkaAway):
            await source.read(0, 0, 2)
    monkeypatch.undo()
    assert [record.value for record in await source.read(0, 0, 1)] == [b"0"]
    await source.stop()


async def test_a_changelog_of_which_nothing_comes_is_not_waited_for_for_ever(
    kafka: RunningKafka, monkeypatch: pytest.MonkeyPatch
) -> None:
    topic = await topic_of_one_record(kafka)

    async def nothing(self: object, *partitions: object, timeout_ms: int) -> dict[object, object]:
        await asyncio.sleep(0.05)
        return {}

    monkeypatch.setattr(AIOKafkaConsumer, "getmany", nothing)
    monkeypatch.setattr("stream.kafka.changelog.READING_SECONDS", 2.0)
    with pytest.raises(TimeoutError):
        await read_changelog(KafkaAccess(kafka.bootstrap), topic, topic, 0, lambda done, total: None)


async def test_a_group_that_aiokafka_has_left_is_told() -> None:
    async def ended() -> None:
        raise GroupAuthorizationFailedError("the group")

    task = asyncio.create_task(ended())
    await asyncio.wait([task])
    left = SimpleNamespace(_coordination_task=task, _pending_exception=None)
    waiting = asyncio.get_running_loop().create_future()
    asked = SimpleNamespace(_coordination_task=waiting, _pending_exception=GroupAuthorizationFailedError("the group"))
    well = SimpleNamespace(_coordination_task=waiting, _pending_exception=None)
    consumer = Consumer.__new__(Consumer)

    told = []
    for coordinator in (left, asked, well):
        consumer._thread = SimpleNamespace(_consumer=SimpleNamespace(_coordinator=coordinator))
        told.append(type(consumer.group_error()))
    assert told == [GroupAuthorizationFailedError, GroupAuthorizationFailedError, type(None)]


async def test_a_reading_whose_consumer_is_given_up_meanwhile_ends(kafka: RunningKafka) -> None:
    topic = unique_name("source")
    await create_topic(kafka.bootstrap, topic)
    source = SourceTopic(KafkaAccess(kafka.bootstrap), topic)
    await source.start()
    # Given one that reads what is not there yet, when another question finds the consumer dead,
    consumer = source._consumer
    assert consumer is not None
    reading = asyncio.create_task(source.read(0, 0, 1))
    await asyncio.sleep(0.5)
    source._give_up(consumer)
    # then the next question is answered by another, and the first is left to end in its own time,
    assert await source.ends([0]) == {0: 0}
    assert not reading.done()
    # or when all is stopped, which closes both;
    await source.stop()
    with pytest.raises(KafkaAway):
        await reading
    assert consumer._closed
    with pytest.raises(KafkaAway):
        await source.ends([0])
    # also between two fetches, where nothing that it awaits takes time.
    with pytest.raises(KafkaConnectionError):
        await source._read_alone(consumer, TopicPartition(topic, 0), 0, 1)


async def test_who_waits_for_its_turn_to_read_has_not_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    async def slowly(self: SourceTopic, consumer: object, tp: TopicPartition, start: int, end: int) -> list[int]:
        await asyncio.sleep(0.5)
        return [tp.partition]

    monkeypatch.setattr(SourceTopic, "_read_alone", slowly)
    monkeypatch.setattr("stream.kafka.source.ANSWER_SECONDS", 2)
    source = SourceTopic(KafkaAccess("127.0.0.1:1"), "topic")
    source._consumer = consumer = MagicMock()
    assert await asyncio.gather(*(source.read(p, 0, 1) for p in range(6))) == [[p] for p in range(6)]
    assert source._consumer is consumer
