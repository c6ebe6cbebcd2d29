"""The commit of the embedded broker, which has no transactions: nothing is kept. Only `./dev run` asks for it, for its
own broker.

Each run has a group of its own and counts the topic from its beginning; broker, topic and counts die together. One
worker, no fencing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from aiokafka import AIOKafkaProducer
from aiokafka.errors import MessageSizeTooLargeError

from stream.kafka.clients import BROKER_AWAY, close_in_bounded_time, describe
from stream.kafka.dead_letters import PARTS, encode_dead_letter
from stream.kafka.metadata import limit_metadata
from stream.ports import CommitFailed, Earlier, KafkaAway, Progress, WorkerMustStop
from stream.settings.kafka import KafkaAccess
from stream.tables.changelog import RawTable
from stream.tables.commit import Commit, DeadLetter

REQUEST_BYTES = 8 << 20


class EmbeddedStore:
    """Dead letters are sent, the rest is forgotten."""

    def __init__(
        self,
        *,
        kafka: KafkaAccess,
        partition: int,
        dead_letters: str,
        source: str,
        timeout_seconds: float,
        letter_bytes: int,
        begun: set[int],
    ) -> None:
        """`begun`: the worker's partitions with a commit, which cannot begin once more."""
        self._begun = begun
        self._partition, self._dead_letters, self._source, self._timeout_seconds = (
            partition,
            dead_letters,
            source,
            timeout_seconds,
        )
        self._letter_bytes = min(letter_bytes, REQUEST_BYTES // 2)
        self._producer = AIOKafkaProducer(**kafka.options(), acks="all", max_request_size=REQUEST_BYTES)
        limit_metadata(self._producer.client, [dead_letters])

    async def fence(self) -> None:
        try:
            async with asyncio.timeout(self._timeout_seconds):
                await self._producer.start()
        except BROKER_AWAY as error:
            raise KafkaAway(f"the broker did not answer: {describe(error)}") from error

    async def read(self, progress: Progress) -> Mapping[bytes, bytes]:
        self._require_new()
        return {}

    async def read_into(self, table: RawTable, progress: Progress) -> None:
        self._require_new()

    def _require_new(self) -> None:
        if self._partition in self._begun:
            raise WorkerMustStop(
                f"the embedded broker did not answer, and what was counted of partition {self._partition} is not kept: "
                "start again"
            )

    async def commit(self, commit: Commit, earlier: Earlier) -> None:
        try:
            async with asyncio.timeout(self._timeout_seconds):
                await asyncio.gather(*(self._post(letter) for letter in commit.dead_letters))
        except BROKER_AWAY as error:
            raise CommitFailed(f"dead letters were not taken: {describe(error)}") from error
        self._begun.add(self._partition)

    async def _post(self, letter: DeadLetter) -> None:
        """Send a dead letter, and with ever less where the broker, which tells no limits, refuses it for its size."""
        for omitted in range(PARTS + 1):
            encoded = encode_dead_letter(
                letter, self._source, self._partition, self._letter_bytes, omit_at_least=omitted
            )
            try:
                await self._producer.send_and_wait(
                    self._dead_letters,
                    value=encoded.value,
                    key=encoded.key,
                    headers=encoded.headers,
                    partition=self._partition,
                )
            except MessageSizeTooLargeError:
                if omitted == PARTS:
                    raise
            else:
                return

    async def close(self) -> None:
        await close_in_bounded_time(self._producer)
