"""Writes the transactions of one transactional id, over aiokafka's connections, with no task and no queue of its own.

aiokafka's producer is made for messages that come one by one from anywhere: a task gathers them, others send them, and
each transaction wakes some twenty of them. Here whoever commits asks, and waits for the answer: two requests a
transaction (three before `transaction.version` 2), one after another.

An error is told as one of three: the batch was refused (its own answer), the producer is not the one any more
(ProducerFenced), or it is not known what became of the transaction (any other KafkaError): then nothing more is done
with this producer. What passes by itself is asked again, as long as the caller waits: a leader or coordinator that
moved, a connection that broke, replicas that are missing, markers of the transaction before that are still being
written. Each batch has a number, so that one that is sent again is written once.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, TypeVar

from aiokafka import TopicPartition
from aiokafka.client import AIOKafkaClient, CoordinationType
from aiokafka.errors import (
    KafkaConnectionError,
    KafkaError,
    NodeNotReadyError,
    ProducerFenced,
    RequestTimedOutError,
    for_code,
)

from stream.kafka.clients import NOT_ALLOWED
from stream.kafka.metadata import limit_metadata
from stream.kafka.record_batch import BuiltBatch, RecordBatch
from stream.kafka.transaction_requests import (
    FEATURE,
    Answer,
    Identity,
    Place,
    Request,
    add_partitions,
    ask_features,
    end_transaction,
    init_producer,
    produce,
    read_added,
    read_end,
    read_features,
    read_produced,
    read_producer,
)
from stream.retry import BackOff

T = TypeVar("T")

FIRST_WAIT_SECONDS: Final = 0.005
"""Before a request is sent again. The markers of a transaction are written within some milliseconds."""
WAIT_LIMIT_SECONDS: Final = 0.1

# Answers, by their codes.
NONE: Final = 0
DUPLICATE_SEQUENCE: Final = 46  # it was written when it was sent before
FENCED: Final = frozenset({47, 90})
MOVED: Final = frozenset({15, 16})
"""The coordinator: not available, or another broker."""
BUSY: Final = frozenset({3, 14, 51})
"""The coordinator does not know a partition yet, loads its state, or still ends the transaction before."""
NOT_ATTEMPTED: Final = 55  # because of another partition
STALE: Final = frozenset({3, 5, 6, 9, 56, 74})
"""The leader is another one, or there is none."""
PASSING: Final = MOVED | BUSY | STALE | frozenset({7, 13, 19, 20})
"""Of a batch that may be sent again: no answer in time, a connection of the broker's own, replicas that are missing."""

UNREACHED: Final = (KafkaConnectionError, NodeNotReadyError, RequestTimedOutError, OSError, RuntimeError)
"""Nothing was answered. RuntimeError is uvloop's word for a connection that was reset right before."""


class TransactionalProducer:
    """The one that may write under a transactional id, from `start` until another one starts."""

    def __init__(
        self,
        *,
        transactional_id: str,
        timeout_seconds: float,
        topics: Iterable[str],
        batch_bytes: int,
        whole: bool | None = None,
        **options: Any,
    ) -> None:
        """`timeout_seconds`: of a transaction, and of a request. `options`: of aiokafka's clients. `whole`: whether
        `transaction.version` is 2; None: as the cluster says.
        """
        self._id, self._timeout_ms, self._batch_bytes = transactional_id, int(timeout_seconds * 1000), batch_bytes
        self._whole = whole
        self.client = AIOKafkaClient(client_id=transactional_id, request_timeout_ms=self._timeout_ms, **options)
        limit_metadata(self.client, topics)
        self._coordinator: int | None = None
        self._who = Identity(transactional_id, -1, -1)
        self._sequences: dict[Place, int] = {}
        self._added: set[Place] = set()

    async def start(self) -> None:
        """End what another producer of this id left open, and fence it. Raises KafkaError."""
        await self.client.bootstrap()
        await self.client.force_metadata_update()
        code, producer_id, epoch = await self._ask_coordinator(
            init_producer(self._id, self._timeout_ms), read_producer, lambda told: told[0]
        )
        self._require(code)
        self._who = Identity(self._id, producer_id, epoch)
        if self._whole is None:
            self._whole = await self._has_whole_transactions()

    async def stop(self) -> None:
        await self.client.close()

    def create_batch(self) -> BuiltBatch:
        return BuiltBatch(self._batch_bytes)

    async def send(self, batches: Sequence[tuple[Place, RecordBatch]]) -> list[KafkaError | None]:
        """Write batches in the open transaction; the first of one opens it. Of each why it was refused; None: written.

        Batches of one partition are written one after another, those of several at once. What follows a refused one is
        tried all the same. Raises ProducerFenced, KafkaError.
        """
        answers: list[KafkaError | None] = [None] * len(batches)
        waiting: dict[Place, deque[int]] = {}
        for at, (place, _) in enumerate(batches):
            waiting.setdefault(place, deque()).append(at)
        if not self._whole:
            await self._add(waiting.keys() - self._added)
        while waiting:
            first = {place: ats[0] for place, ats in waiting.items()}
            codes = await self._write({place: batches[at][1] for place, at in first.items()})
            for place, at in first.items():
                answers[at] = self._judge(place, batches[at][1], codes[place])
                waiting[place].popleft()
                if not waiting[place]:
                    del waiting[place]
        return answers

    async def commit(self) -> None:
        """End the transaction, all of whose batches are written. Raises ProducerFenced, KafkaError."""
        request = end_transaction(self._who, whole=bool(self._whole))
        if self._whole:
            code, producer_id, epoch = await self._ask_coordinator(request, read_producer, lambda told: told[0])
            self._require(code)
            self._who, self._sequences = Identity(self._id, producer_id, epoch), {}
        else:
            self._require(await self._ask_coordinator(request, read_end, lambda code: code))
            self._added.clear()

    # ---- the coordinator -------------------------------------------------------------------------------------

    async def _ask_coordinator(self, request: Request, read: Callable[[Answer], T], code_of: Callable[[T], int]) -> T:
        """The first answer that is neither that it moved nor that it is busy."""
        back_off = BackOff(FIRST_WAIT_SECONDS, WAIT_LIMIT_SECONDS)
        while True:
            try:
                if self._coordinator is None:
                    self._coordinator = await self.client.coordinator_lookup(CoordinationType.TRANSACTION, self._id)
                told = read(await self.client.send(self._coordinator, request))
            except NOT_ALLOWED:
                raise  # it is a RuntimeError too, as all of aiokafka's errors are, and does not pass
            except UNREACHED:
                self._coordinator = None
            else:
                code = code_of(told)
                if code in MOVED:
                    self._coordinator = None
                elif code not in BUSY:
                    return told
            await asyncio.sleep(back_off.take())

    async def _add(self, places: Iterable[Place]) -> None:
        """Name partitions to the coordinator, before `transaction.version` 2."""
        new = sorted(places)
        if not new:
            return
        codes = await self._ask_coordinator(
            add_partitions(self._who, new), read_added, lambda told: find_telling(told.values())
        )
        for code in codes.values():
            self._require(code)
        self._added.update(new)

    async def _has_whole_transactions(self) -> bool:
        answer = await self.client.send(self._coordinator, ask_features())
        return read_features(answer).get(FEATURE, 0) >= 2

    def _require(self, code: int) -> None:
        if code in FENCED:
            raise ProducerFenced
        if code != NONE:
            raise for_code(code)(f"code {code}")

    # ---- the leaders -----------------------------------------------------------------------------------------

    async def _write(self, batches: Mapping[Place, RecordBatch]) -> dict[Place, int]:
        """One batch for each of these partitions, until each has an answer that lasts."""
        framed = {place: batch.frame(*self._who[1:], self._sequences.get(place, 0)) for place, batch in batches.items()}
        back_off, codes = BackOff(FIRST_WAIT_SECONDS, WAIT_LIMIT_SECONDS), dict[Place, int]()
        while True:
            codes |= await self._ask_leaders(framed)
            framed = {place: batch for place, batch in framed.items() if codes[place] in PASSING}
            if not framed:
                return codes
            if any(codes[place] in STALE for place in framed):
                await self.client.force_metadata_update()
            await asyncio.sleep(back_off.take())

    async def _ask_leaders(self, framed: Mapping[Place, bytes]) -> dict[Place, int]:
        leaders: dict[int | None, list[Place]] = {}
        for place in framed:
            leaders.setdefault(self.client.cluster.leader_for_partition(TopicPartition(*place)), []).append(place)
        asked = [self._ask_leader(leader, [(place, framed[place]) for place in of]) for leader, of in leaders.items()]
        codes: dict[Place, int] = {}
        for told in [await asked[0]] if len(asked) == 1 else await asyncio.gather(*asked):
            codes |= told
        return codes

    async def _ask_leader(self, leader: int | None, batches: Sequence[tuple[Place, bytes]]) -> dict[Place, int]:
        unanswered = dict.fromkeys((place for place, _ in batches), 5)
        if leader is None or leader == -1:
            return unanswered
        request = produce(self._who, self._timeout_ms, batches, whole=bool(self._whole))
        try:
            return unanswered | read_produced(await self.client.send(leader, request))
        except UNREACHED:
            return unanswered

    def _judge(self, place: Place, batch: RecordBatch, code: int) -> KafkaError | None:
        if code in (NONE, DUPLICATE_SEQUENCE):
            # The broker's numbers go on from 0 after the largest.
            self._sequences[place] = (self._sequences.get(place, 0) + batch.count) % 2**31
            return None
        if code in FENCED:
            raise ProducerFenced
        refused: KafkaError = for_code(code)(f"code {code}")
        return refused


def find_telling(codes: Iterable[int]) -> int:
    """Of several codes in one answer the one that says what is to be done: one that does not pass, else one that does,
    else that all is well.
    """

    def weight(code: int) -> int:
        if code in (NONE, NOT_ATTEMPTED):
            return int(code != NONE)
        return 2 if code in MOVED or code in BUSY else 3

    return max(codes, key=weight)
