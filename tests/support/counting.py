"""Count a topic as a worker would, commit by commit, without the worker: its tables and its changelog alone."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from aiokafka import AIOKafkaProducer

from stream.kafka.source import SourceTopic
from stream.kafka.topics import ensure_topics, open_topics, wanted_topics
from stream.kafka.transaction import TransactionalStore
from stream.settings.worker import WorkerConfig
from stream.tables.batch import Batch
from stream.tables.commit import Commit
from stream.tables.partition import PartitionState
from stream.tables.rules import counting_rules
from stream.worker.attempts import Attempts
from tests.support.kafka import read_partition

Published = tuple[int, bytes | None, bytes | None, Sequence[tuple[str, bytes]]]
"""Partition, key, value and headers."""


async def make_topics(config: WorkerConfig, partitions: int = 2) -> None:
    async with open_topics(config.access) as topics:
        await ensure_topics(topics, wanted_topics(config), partitions_if_new=partitions)


def published(
    value: Mapping[str, Any] | bytes | None,
    partition: int = 0,
    key: bytes | None = b"k",
    headers: Sequence[tuple[str, bytes]] = (),
) -> Published:
    return partition, key, json.dumps(value).encode() if isinstance(value, Mapping) else value, headers


async def send(config: WorkerConfig, records: Iterable[Published]) -> list[int]:
    """Publish in order; the offsets."""
    producer = AIOKafkaProducer(bootstrap_servers=config.kafka, max_request_size=8 << 20)
    await producer.start()
    try:
        return [
            (await producer.send_and_wait(config.topic, value, key, partition, headers=list(headers))).offset
            for partition, key, value, headers in records
        ]
    finally:
        await producer.stop()


async def count(config: WorkerConfig, partition: int = 0, *, upto: int | None = None, first: int = 0) -> Commit:
    """Own a partition, count it to an offset (its end), commit, and let go. `first`: where counting begins at first."""
    source = SourceTopic(config.access, config.topic)
    store = TransactionalStore.of(config, partition, 1 << 21)
    rules = counting_rules(config)
    try:
        await source.start()
        await store.fence()
        state = PartitionState.recover(partition, rules, await store.read(lambda _done, _all: None))
        end = (await source.partition(partition).bounds())[1] if upto is None else upto
        with contextlib.suppress(AssertionError):
            state.begin(incarnation=bytes(range(16)), first_offset=first, partitions=1)
        start = state.position.next_offset
        state.apply(Batch(await source.partition(partition).read(start, end), start, end))
        commit = state.encode()
        await store.commit(commit, Attempts())
        await settle(config, partition)
        return commit
    finally:
        await store.close()
        await source.stop()


async def settle(config: WorkerConfig, partition: int) -> None:
    """Wait until readers see what was committed: the markers of a transaction follow its answer."""
    for topic in (config.changelog_topic, config.dead_letter_topic):
        async with asyncio.timeout(30):
            while len(await read_partition(config.kafka, topic, partition)) < len(
                await read_partition(config.kafka, topic, partition, isolation_level="read_uncommitted")
            ):
                await asyncio.sleep(0.05)
