"""Makes commits durable: one Kafka transaction per source partition holds state, dead letters and position together.

The position is the changelog's last record of each commit, so counts, recent ids and position can never part. The
consumer group's offsets are written
elsewhere, for monitors alone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import NamedTuple, Self

from aiokafka.errors import MessageSizeTooLargeError, ProducerFenced

from stream.kafka.changelog import read_changelog, read_changelog_into
from stream.kafka.clients import BROKER_AWAY, close_in_bounded_time, describe
from stream.kafka.dead_letters import BATCH_OVERHEAD, encode_dead_letter
from stream.kafka.letter_limit import MESSAGE_BYTES
from stream.kafka.producer import TransactionalProducer
from stream.kafka.record_batch import BuiltBatch, PackedBatch, RecordBatch
from stream.kafka.transaction_requests import Place
from stream.ports import CommitFailed, Earlier, Fenced, KafkaAway, Progress, TooLarge
from stream.settings.kafka import KafkaAccess
from stream.settings.worker import WorkerConfig
from stream.tables.changelog import RawTable
from stream.tables.commit import Commit

# A batch holds at most this much, well below the broker's message limit for our topics: so no record is refused for its
# neighbours.
BATCH_BYTES = 1 << 20
PACKED_BYTES = BATCH_BYTES - BATCH_OVERHEAD


class TransactionalStore:
    """The changelog store on Apache Kafka: `transactional.id` is `<group>-<partition>`, so that Kafka itself knows one
    owner at a time.
    """

    def __init__(
        self,
        *,
        kafka: KafkaAccess,
        group: str,
        partition: int,
        changelog: str,
        dead_letters: str,
        source: str,
        timeout_seconds: float,
        letter_bytes: int = MESSAGE_BYTES,
    ) -> None:
        """`letter_bytes`: what a batch on the dead-letter topic may have."""
        self._kafka, self._partition = kafka, partition
        self._letter_bytes = letter_bytes
        self._changelog, self._dead_letters, self._source = changelog, dead_letters, source
        self._timeout_seconds = timeout_seconds
        self._producer = TransactionalProducer(
            **kafka.options(),
            transactional_id=f"{group}-{partition}",
            timeout_seconds=timeout_seconds,
            topics=(changelog, dead_letters),
            batch_bytes=BATCH_BYTES,
        )

    @classmethod
    def of(cls, config: WorkerConfig, partition: int, letter_bytes: int = MESSAGE_BYTES) -> Self:
        """The changelog store of a deployment's partition."""
        return cls(
            kafka=config.access,
            group=config.group,
            partition=partition,
            changelog=config.changelog_topic,
            dead_letters=config.dead_letter_topic,
            source=config.topic,
            timeout_seconds=config.transaction_timeout_seconds,
            letter_bytes=letter_bytes,
        )

    async def fence(self) -> None:
        # A coordinator that reloads may leave this without an answer for ever, hence the limit.
        try:
            async with asyncio.timeout(self._timeout_seconds):
                await self._producer.start()
        except BROKER_AWAY as error:
            raise KafkaAway(f"Kafka did not make us the owner: {describe(error)}") from error

    async def read(self, progress: Progress) -> Mapping[bytes, bytes]:
        with _reading():
            return await read_changelog(self._kafka, self._changelog, self._dead_letters, self._partition, progress)

    async def read_into(self, table: RawTable, progress: Progress) -> None:
        where = self._kafka, self._changelog, self._dead_letters, self._partition
        with _reading():
            await read_changelog_into(table, *where, progress)

    async def commit(self, commit: Commit, earlier: Earlier) -> None:
        letters, state = self._letters(commit, earlier), self._state(commit)
        batches: list[tuple[Place, RecordBatch]] = [((self._dead_letters, self._partition), b) for b, _, _ in letters]
        batches += [((self._changelog, self._partition), b) for b in state]
        try:
            async with asyncio.timeout(self._timeout_seconds):
                # Kafka commits a transaction although a batch in it was refused: each answer is looked at first.
                answers = await self._producer.send(batches)
                refused = find_refused_for_size(letters, answers)
                if refused:
                    raise TooLarge(self._describe_refused(refused), frozenset(refused))
                for answer in answers:
                    if answer is not None:
                        raise answer
                await self._producer.commit()
        except ProducerFenced as error:
            raise Fenced(
                f"partition {self._partition} belongs to another worker, or this one slept too long"
            ) from error
        except BROKER_AWAY as error:
            raise CommitFailed(
                f"{self._describe(commit, letters)} failed or was not answered: {describe(error)}"
            ) from error

    async def close(self) -> None:
        await close_in_bounded_time(self._producer)

    def _state(self, commit: Commit) -> Sequence[RecordBatch]:
        if commit.packed is not None:
            return [PackedBatch(body, count) for body, count in commit.packed.bodies]
        batches = Batches(self._producer)
        for key, value in commit.table:
            batches.put(key, value, [])
        return batches.built

    def _describe(self, commit: Commit, letters: Sequence[Letters]) -> str:
        size = sum(batch.size for batch in letters)
        beside = f" with {len(commit.dead_letters)} dead letters of {size:,} bytes" if size else ""
        return f"the commit up to offset {commit.position.next_offset}{beside}"

    def _describe_refused(self, refused: Mapping[int, int]) -> str:
        """`refused`: of the dead letters' offsets on the source the bytes of the batch that was refused."""
        topic, offsets = self._dead_letters, sorted(refused)
        enough = max(self._letter_bytes, refused[offsets[0]])
        more = f" and of {len(offsets) - 1} more" if len(offsets) > 1 else ""
        return (
            f"the dead letter of offset {offsets[0]}{more} is too large for {topic}: a batch of "
            f"{refused[offsets[0]]:,} bytes was refused, and its max.message.bytes was {self._letter_bytes:,} or more "
            "when this worker began. The next try leaves out more of the record; where even the smallest is refused: "
            f"kafka-configs.sh --alter --topic {topic} --add-config max.message.bytes={enough}"
        )

    def _letters(self, commit: Commit, earlier: Earlier) -> list[Letters]:
        """Batches of dead letters, none larger than the topic takes."""
        limit = min(self._letter_bytes, MESSAGE_BYTES) if earlier.careful else self._letter_bytes
        batches, offsets, sizes = Batches(self._producer, min(limit, BATCH_BYTES)), list[list[int]](), list[int]()
        for letter in commit.dead_letters:
            offset = letter.record.offset
            refused = earlier.refusals(offset)
            encoded = encode_dead_letter(
                letter, self._source, self._partition, limit, omit_at_least=max(refused - 1, 0)
            )
            if refused:
                batches.close()
            batches.put(encoded.key, encoded.value, encoded.headers, encoded.size)
            if refused:
                batches.close()
            if len(offsets) < len(batches.built):
                offsets.append([])
                sizes.append(BATCH_OVERHEAD)
            offsets[-1].append(offset)
            sizes[-1] += encoded.size
        return [Letters(*one) for one in zip(batches.built, offsets, sizes, strict=True)]


@contextmanager
def _reading() -> Iterator[None]:
    try:
        yield
    except BROKER_AWAY as error:
        raise KafkaAway(f"the changelog could not be read: {describe(error)}") from error


class Letters(NamedTuple):
    """A batch of dead letters."""

    batch: BuiltBatch
    offsets: list[int]
    """Of their records, on the source."""
    size: int
    """Bytes of it, at most."""


def find_refused_for_size(letters: Sequence[Letters], answers: Sequence[object]) -> dict[int, int]:
    """The offsets of the dead letters whose batches, the first of those that were answered, are too large, each with
    the bytes of its batch.
    """
    pairs = zip(letters, answers, strict=False)
    return {
        offset: one.size
        for one, answer in pairs
        if isinstance(answer, MessageSizeTooLargeError)
        for offset in one.offsets
    }


class Batches:
    """Records in as few batches as the size allows. Without a record there is no batch."""

    def __init__(self, producer: TransactionalProducer, limit: int = BATCH_BYTES) -> None:
        """`limit`: of the bytes of a batch with several records, by their `size`."""
        self._producer, self._limit = producer, limit
        self._size, self._closed = 0, False
        self.built: list[BuiltBatch] = []

    def close(self) -> None:
        """What comes next goes into another batch."""
        self._closed = True

    def put(
        self, key: bytes | None, value: bytes | None, headers: Sequence[tuple[str, bytes | None]], size: int = 0
    ) -> None:
        self._size += size
        full = not self.built or self._closed or self._size > self._limit
        if full or not self.built[-1].append(key, value, headers):
            self._size, self._closed = BATCH_OVERHEAD + size, False
            self.built.append(self._producer.create_batch())
            if not self.built[-1].append(key, value, headers):
                raise AssertionError("an empty batch takes any one record")
