"""Dead letters sent again to the partition that they came from, each once: who has replayed one writes that down in the
same transaction.

    <topic>              the record, with the key, the value and the headers that it had
    <topic>.dlq.replayed compacted; `<partition>:<offset>` of the rejected record -> where its letter lies, and when

Both are committed together, under one transactional id for all replays of a group: a second one fences the first, and
reads what that one has committed before it sends anything.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

from aiokafka import AIOKafkaProducer
from aiokafka.errors import InvalidProducerEpoch, ProducerFenced

from stream.kafka.clients import BROKER_AWAY, close_in_bounded_time, describe
from stream.kafka.letters import Letter
from stream.kafka.metadata import limit_metadata
from stream.kafka.reading import open_reader
from stream.kafka.topics import CLEANUP_POLICY, COMPACT, LOG_APPEND_TIME, TIMESTAMP_TYPE, Role, WantedTopic, open_topics
from stream.ports import CommitFailed, Fenced, KafkaAway
from stream.settings.worker import WorkerConfig

TRANSACTION_LETTERS: Final = 500
TRANSACTION_BYTES: Final = 4 << 20
"""Of one transaction, but for a letter that is larger alone."""
REQUEST_BYTES: Final = 72 << 20
"""The largest record that may be set to be read as an event is 64 MiB."""

Place = tuple[int, int]
"""Partition and offset of a rejected record on the activity topic."""


def replayed_topic(config: WorkerConfig) -> WantedTopic:
    """The topic that says what was replayed; made by the first replay."""
    settings = {CLEANUP_POLICY: COMPACT, TIMESTAMP_TYPE: LOG_APPEND_TIME}
    return WantedTopic(f"{config.dead_letter_topic}.replayed", Role.DEAD_LETTERS, config.replication_factor, settings)


async def read_replayed(config: WorkerConfig) -> set[Place]:
    """The records whose letters were replayed. Raises KafkaAway."""
    places: set[Place] = set()
    async with open_reader(config.access, replayed_topic(config).name) as reader:
        spans = await reader.bounds(range(await reader.partitions()))
        async for _, batch in reader.read(spans):
            places |= {_place(record.key) for record in batch.records if record.key}
    return places


class Replayer:
    """Sends letters, and knows which were sent before. Made by `open_replayer`."""

    def __init__(self, producer: AIOKafkaProducer, config: WorkerConfig, replayed: Collection[Place]) -> None:
        self.replayed: Final = set(replayed)
        self._producer, self._config = producer, config
        self._marks = replayed_topic(config).name

    async def send(self, letters: Sequence[Letter]) -> list[int]:
        """Send them in one transaction; the offsets that the records have now. Raises Fenced, CommitFailed."""
        try:
            async with asyncio.timeout(self._config.transaction_timeout_seconds):
                await self._producer.begin_transaction()
                try:
                    offsets = await self._send_all(letters)
                except BaseException:
                    # Else readers of the topic wait until the broker ends it. Who is fenced has nothing to end.
                    with contextlib.suppress(*BROKER_AWAY, AssertionError):
                        await self._producer.abort_transaction()
                    raise
                await self._producer.commit_transaction()
        except (ProducerFenced, InvalidProducerEpoch) as error:
            raise Fenced("another replay has begun meanwhile") from error
        except BROKER_AWAY as error:
            raise CommitFailed(
                f"Kafka did not take the letters, or did not say so ({describe(error)}): give the same command again; "
                "what was taken is not sent twice"
            ) from error
        self.replayed.update((letter.source_partition, letter.source_offset) for letter in letters)
        return offsets

    async def _send_all(self, letters: Sequence[Letter]) -> list[int]:
        now = int(time.time() * 1000)
        sent = []
        for letter in letters:
            mark = {"letter": {"partition": letter.partition, "offset": letter.offset}, "replayed_ms": now}
            key = f"{letter.source_partition}:{letter.source_offset}".encode()
            sent.append(
                await self._producer.send(
                    self._config.topic,
                    letter.value,
                    letter.key,
                    letter.source_partition,
                    headers=list(letter.headers),
                )
            )
            sent.append(await self._producer.send(self._marks, json.dumps(mark).encode(), key, 0))
        # aiokafka commits a transaction although a batch in it failed: each answer is awaited first.
        answers: list[Any] = await asyncio.gather(*sent, return_exceptions=True)
        for answer in answers:
            if isinstance(answer, BaseException):
                raise answer
        return [answer.offset for answer in answers[::2]]


@asynccontextmanager
async def open_replayer(config: WorkerConfig) -> AsyncIterator[Replayer]:
    """The only replayer of the group: another one is fenced. Raises KafkaAway, TopicsError."""
    wanted = replayed_topic(config)
    async with open_topics(config.access) as topics:
        if wanted.name not in await topics.partitions([wanted.name]):
            await topics.create(wanted, 1)
    producer = AIOKafkaProducer(
        **config.access.options(),
        transactional_id=f"{config.group}-dlq-replay",
        transaction_timeout_ms=int(config.transaction_timeout_seconds * 1000),
        acks="all",
        max_request_size=REQUEST_BYTES,
    )
    limit_metadata(producer.client, (config.topic, wanted.name))
    try:
        try:
            async with asyncio.timeout(config.transaction_timeout_seconds):
                await producer.start()
        except BROKER_AWAY as error:
            raise KafkaAway(f"Kafka does not let us replay: {describe(error)}") from error
        yield Replayer(producer, config, await read_replayed(config))
    finally:
        await close_in_bounded_time(producer)


def _place(key: bytes) -> Place:
    partition, _, offset = key.partition(b":")
    return int(partition), int(offset)
