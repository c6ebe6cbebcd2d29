"""Reads one partition of a changelog: the latest committed value of each key, into a dict or into the compiled core."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from typing import Final

from aiokafka import AIOKafkaConsumer, TopicPartition

from stream.core import CoreFailed, load_core
from stream.ingest.raw import RawRecords
from stream.kafka.clients import close_in_bounded_time
from stream.kafka.fetch import keep_fetched_bytes, take_fetched_batches
from stream.kafka.metadata import fetch_partition_counts, limit_metadata
from stream.ports import Fenced, Progress, WorkerMustStop
from stream.settings.kafka import KafkaAccess
from stream.tables.batch import Batch
from stream.tables.changelog import RawTable

# Give up reading a changelog when nothing comes for this long: aiokafka may have given up silently.
READING_SECONDS: Final = 30.0
FETCH_SECONDS: Final = 0.5
RECORDS_AT_ONCE: Final = 20_000
"""That the core takes in a step of some milliseconds."""

Take = Callable[[AIOKafkaConsumer, TopicPartition], Awaitable[None]]
"""Takes the records that were fetched next; waits a moment where there are none."""


async def read_changelog(
    kafka: KafkaAccess, topic: str, dead_letters: str, partition: int, progress: Progress
) -> dict[bytes, bytes]:
    """The latest committed value of each key of one changelog partition. Raises Fenced and WorkerMustStop, and what
    aiokafka raises.
    """
    latest: dict[bytes, bytes] = {}

    async def take(consumer: AIOKafkaConsumer, tp: TopicPartition) -> None:
        for records in (await consumer.getmany(tp, timeout_ms=int(FETCH_SECONDS * 1000))).values():
            for record in records:
                if record.value is None:
                    latest.pop(record.key, None)
                else:
                    latest[record.key] = record.value

    await _read(kafka, topic, dead_letters, partition, progress, take)
    return latest


async def read_changelog_into(
    table: RawTable, kafka: KafkaAccess, topic: str, dead_letters: str, partition: int, progress: Progress
) -> None:
    """As `read_changelog`: no record becomes an object of Python."""

    async def take(consumer: AIOKafkaConsumer, tp: TopicPartition) -> None:
        found = await take_fetched_batches(consumer._fetcher, {tp}, FETCH_SECONDS, RECORDS_AT_ONCE, raw=True)
        for batch in found.values():
            if isinstance(batch, Exception):
                raise batch
            _put(batch, table)
        await asyncio.sleep(0)  # what was fetched before is here at once

    keep_fetched_bytes()
    await _read(kafka, topic, dead_letters, partition, progress, take)


def _put(batch: Batch, table: RawTable) -> None:
    records = batch.records
    assert isinstance(records, RawRecords), "batches of bytes were asked for"
    module = load_core()
    fetched = module.Fetched(records.raw, batch.start, [], False, records.unpacked_bytes)
    try:
        # What the core does not read, aiokafka does, or says what is wrong.
        with suppress(module.UnsupportedError, module.TooLargeError, module.CorruptError):
            table.read(fetched)
    except module.Panic as panic:  # is no Exception
        raise CoreFailed(f"a bug in the compiled core, in a changelog from offset {batch.start} on: {panic}") from panic
    if fetched.left:
        for record in records:
            assert record.key is not None, "each record of a changelog has a key"
            table.put(record.key, record.value)


async def _read(
    kafka: KafkaAccess, topic: str, dead_letters: str, partition: int, progress: Progress, take: Take
) -> None:
    """The end is asked first; the consumer's own position passes it even where the last thing in the log is a
    transaction's marker. It is asked again afterwards: who has fenced the last owner is the only one to write. Where it
    moved, another owner writes, and compaction may have taken what that one replaced. Raises Fenced then.
    """
    tp = TopicPartition(topic, partition)
    consumer = changelog_consumer(kafka, topic)
    time = asyncio.get_running_loop().time
    try:
        async with asyncio.timeout(READING_SECONDS) as limit:
            await consumer.start()
            check_partitions(
                await fetch_partition_counts(consumer._client, (topic, dead_letters)), (topic, dead_letters), partition
            )
            consumer.assign([tp])
            first = (await consumer.beginning_offsets([tp]))[tp]
            end = (await consumer.end_offsets([tp]))[tp]
            consumer.seek(tp, first)
            position = first
            while position < end:
                await take(consumer, tp)
                before, position = position, await consumer.position(tp)
                if position > before:
                    limit.reschedule(time() + READING_SECONDS)
                progress(position - first, end - first)
            if (await consumer.end_offsets([tp]))[tp] != end:
                raise Fenced(f"partition {partition} was counted on by another worker while its state was read")
    finally:
        await close_in_bounded_time(consumer)


def changelog_consumer(kafka: KafkaAccess, topic: str) -> AIOKafkaConsumer:
    """Of committed records, in large fetches; to be started and assigned."""
    consumer = AIOKafkaConsumer(
        **kafka.options(),
        isolation_level="read_committed",
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        max_partition_fetch_bytes=8 << 20,
        fetch_max_wait_ms=100,
    )
    limit_metadata(consumer._client, [topic])
    return consumer


def check_partitions(counts: Mapping[str, int], topics: Sequence[str], partition: int) -> None:
    """Raises WorkerMustStop where a topic lacks the partition: then the source was raised before it."""
    for topic in topics:
        there = counts.get(topic, 0)
        if partition >= there:
            raise WorkerMustStop(
                f"{topic} has {there} partitions, and the source has a partition {partition}: "
                f"`contacts-report topics --partitions {partition + 1}` raises it"
            )
