"""The commit of the embedded broker, which has no transactions: nothing is kept. Only `./dev run` asks for it, for its
own broker.

Each run has a group of its own and counts the topic from its beginning; broker, topic and counts die together. One
worker, no fencing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

from aiokafka import AIOKafkaProducer
from aiokafka.errors import MessageSizeTooLargeError

from stream.dead_letters import posted
from stream.kafka_access import KafkaAccess
from stream.kafka_clients import BROKER_AWAY, close_in_bounded_time, describe
from stream.kafka_metadata import limit_metadata
from stream.partition import Commit, DeadLetter
from stream.ports import CommitFailed, KafkaAway, WorkerMustStop


class EmbeddedLedger:
    """Dead letters are sent, the rest is forgotten."""

    def __init__(
        self,
        *,
        kafka: KafkaAccess,
        partition: int,
        dead_letters: str,
        source: str,
        timeout_seconds: float,
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
        self._producer = AIOKafkaProducer(**kafka.options(), acks="all", max_request_size=8 << 20)
        limit_metadata(self._producer.client, [dead_letters])

    async def fence(self) -> None:
        try:
            async with asyncio.timeout(self._timeout_seconds):
                await self._producer.start()
        except BROKER_AWAY as error:
            raise KafkaAway(f"the broker did not answer: {describe(error)}") from error

    async def read(self, progress: Callable[[int, int], None]) -> Mapping[bytes, bytes]:
        if self._partition in self._begun:
            raise WorkerMustStop(
                f"the embedded broker did not answer, and what was counted of partition {self._partition} is not kept: "
                "start again"
            )
        return {}

    async def commit(self, commit: Commit, *, valueless: frozenset[int] = frozenset()) -> None:
        letters = commit.dead_letters
        try:
            async with asyncio.timeout(self._timeout_seconds):
                sent = [await self._post(letter, letter.record.offset in valueless) for letter in letters]
                for letter, answer in zip(letters, await asyncio.gather(*sent, return_exceptions=True), strict=True):
                    if isinstance(answer, MessageSizeTooLargeError):
                        await (await self._post(letter, True))
                    elif isinstance(answer, BaseException):
                        raise answer
        except BROKER_AWAY as error:
            raise CommitFailed(f"dead letters were not taken: {describe(error)}") from error
        self._begun.add(self._partition)

    async def _post(self, letter: DeadLetter, valueless: bool) -> asyncio.Future[object]:
        value, headers = posted(letter, self._source, self._partition, valueless)
        sent: asyncio.Future[object] = await self._producer.send(
            self._dead_letters, value=value, key=letter.record.key, headers=headers, partition=self._partition
        )
        return sent

    async def close(self) -> None:
        await close_in_bounded_time(self._producer)
