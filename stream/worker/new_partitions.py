"""Partitions that are added: made the group's own before the topic has them, so that readers never wait for a worker.

A reader answers only when each partition that it knows of has a position. So `contacts-report topics` acts as the
first owner of each new one: it fences the partition, commits its first position, and shows it in Redis. Only then Redis
is told how many partitions there are, and the activity topic is raised.
"""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable

from stream.kafka.topics import TopicsError
from stream.kafka.transaction import TransactionalStore
from stream.ports import ChangelogStore, KafkaAway, Replica, ReplicaAway, WorkerMustStop
from stream.projection.partitions import Announcements
from stream.projection.projector import Projector
from stream.projection.replica import steady_ms
from stream.settings.worker import WorkerConfig
from stream.storage.keys import Keys
from stream.tables.partition import PartitionState
from stream.tables.rules import CountingRules
from stream.worker.attempts import Attempts
from stream.worker.clocks import SystemClock

WORKER = "contacts-report topics"


async def open_partition(
    partition: int, known: int, store: ChangelogStore, projector: Projector, asked_ms: int
) -> None:
    """Own a partition that the topic has not got yet, for as long as it takes to commit and show its first position.

    `known`: how many partitions the topic has now; the position is not to say that there were more, since Kafka may
    refuse them yet. `asked_ms`: when the topic had not got it, by the loop's clock. May be repeated: what was committed
    before stays. Raises KafkaAway, ReplicaAway, WorkerMustStop.
    """
    rules = CountingRules()
    try:
        await store.fence()
        records = await store.read(lambda _done, _total: None)
        state = PartitionState.recover(partition, rules, records)
        if not records:
            state.begin(incarnation=secrets.token_bytes(16), first_offset=0, partitions=known)
        commit = state.encode()
        await store.commit(commit, Attempts())
        # Before it exists it ends where it begins.
        projector.note_end(0, asked_ms)
        if not await projector.resync(state, commit.position.next_offset):
            raise ReplicaAway("another owner of the partition has begun")
    finally:
        await store.close()


class NewPartitions:
    """Prepares a deployment, on Kafka and in Redis, for more partitions of its activity topic. Raises TopicsError."""

    def __init__(
        self,
        config: WorkerConfig,
        replica: Replica,
        announcements: Announcements,
        count: Callable[[], Awaitable[int]],
    ) -> None:
        """`count` asks Kafka how many partitions the activity topic has, and raises TopicsError."""
        self._config, self._replica, self._announcements, self._count = config, replica, announcements, count

    async def prepare(self, known: int, partitions: int) -> None:
        """Called when changelog and dead letters have this many partitions, and the activity topic has `known`."""
        try:
            begun = [p for p in range(known, partitions) if await self._begin(p)]
            await self._announcements.announce(partitions, begun)
        except ReplicaAway as error:
            raise self._explain_not_raised(
                f"Redis must know of the new partitions first and failed ({error})"
            ) from error
        except (KafkaAway, WorkerMustStop) as error:
            raise self._explain_not_raised(f"the new partitions could not be begun: {error}") from error

    async def _begin(self, partition: int) -> bool:
        """False where the topic has the partition by now: another command was faster, and it is a worker's."""
        asked_ms = steady_ms()
        known = await self._count()
        if known > partition:
            return False
        await open_partition(
            partition, known, TransactionalStore.of(self._config, partition), self._projector(partition), asked_ms
        )
        return True

    async def withdraw(self, partitions: int) -> None:
        """Kafka has refused them: readers must not look for them. Those that another command has added stay."""
        known = await self._count()
        try:
            await self._announcements.withdraw(partitions, known)
        except ReplicaAway as error:
            raise TopicsError(
                f"Kafka refused {partitions} partitions, and Redis, which still names so many, did not answer "
                f"({error}): numbers are shown as stalled until the same command has succeeded"
            ) from error

    def _explain_not_raised(self, why: str) -> TopicsError:
        again = "Give the same command again once it is mended"
        return TopicsError(f"{self._config.topic} was not raised, since {why}. {again}.")

    def _projector(self, partition: int) -> Projector:
        keys = Keys(self._config.group)
        return Projector(
            partition,
            keys=keys,
            replica=self._replica,
            rows=None,
            clock=SystemClock(),
            worker=WORKER,
            future_tolerance_seconds=self._config.future_tolerance_seconds,
        )
