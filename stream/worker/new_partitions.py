"""Partitions that are added: made the group's own before the topic has them, so that readers never wait for a worker.

A reader answers only when each partition that it knows of has a position. So `contacts-report topics` acts as the
first owner of each new one: it fences the partition, commits its first position, and shows it in Redis. Only then Redis
is told how many partitions there are, and the activity topic is raised.
"""

from __future__ import annotations

import secrets
import time

from stream.kafka.topics import TopicsError
from stream.kafka.transaction import TransactionalLedger
from stream.ports import Clock, KafkaAway, Ledger, Replica, ReplicaAway, WorkerMustStop
from stream.projection.partitions import Announcements
from stream.projection.projector import Follower
from stream.settings.worker import WorkerConfig
from stream.storage.keys import Keys
from stream.tables.partition import CountingRules, PartitionState
from stream.worker.attempts import Attempts

WORKER = "contacts-report topics"


class SystemClock:
    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000


async def open_partition(partition: int, known: int, ledger: Ledger, follower: Follower, clock: Clock) -> None:
    """Own a partition that the topic has not got yet, for as long as it takes to commit and show its first position.

    `known`: how many partitions the topic has now; the position is not to say that there were more, since Kafka may
    refuse them yet. May be repeated: what was committed before stays. Raises KafkaAway, ReplicaAway, WorkerMustStop.
    """
    rules = CountingRules()
    try:
        asked_ms = clock.now_ms()
        await ledger.fence()
        records = await ledger.read(lambda _done, _total: None)
        state = PartitionState.recovered(partition, rules, records)
        if not records:
            state.begin(history=secrets.token_bytes(16), first_offset=0, partitions=known)
        commit = state.encode()
        await ledger.commit(commit, Attempts())
        # Before it exists it ends where it begins.
        follower.note_end(0, asked_ms)
        if not await follower.bring_up(state, commit.position.next_offset):
            raise ReplicaAway("another owner of the partition has begun")
    finally:
        await ledger.close()


class NewPartitions:
    """Prepares a deployment, on Kafka and in Redis, for more partitions of its activity topic. Raises TopicsError."""

    def __init__(self, config: WorkerConfig, replica: Replica, announcements: Announcements) -> None:
        self._config, self._replica, self._announcements = config, replica, announcements
        self._before = 0

    async def prepare(self, known: int, partitions: int) -> None:
        """Called when changelog and dead letters have so many partitions, and the activity topic has `known`."""
        try:
            for partition in range(known, partitions):
                await open_partition(
                    partition, known, self._ledger(partition), self._follower(partition), SystemClock()
                )
            self._before = await self._announcements.announce(partitions)
        except ReplicaAway as error:
            raise self._not_raised(f"Redis must know of the new partitions first and failed ({error})") from error
        except (KafkaAway, WorkerMustStop) as error:
            raise self._not_raised(f"the new partitions could not be begun: {error}") from error

    async def withdraw(self, partitions: int) -> None:
        """Kafka has refused them: readers must not look for them."""
        try:
            await self._announcements.withdraw(partitions, self._before)
        except ReplicaAway as error:
            raise TopicsError(
                f"Kafka refused {partitions} partitions, and Redis, which still names so many, did not answer "
                f"({error}): numbers are shown as stalled until the same command has succeeded"
            ) from error

    def _not_raised(self, why: str) -> TopicsError:
        again = "Give the same command again once it is mended"
        return TopicsError(f"{self._config.topic} was not raised, since {why}. {again}.")

    def _ledger(self, partition: int) -> TransactionalLedger:
        config = self._config
        return TransactionalLedger(
            kafka=config.access,
            group=config.group,
            partition=partition,
            changelog=config.changelog_topic,
            dead_letters=config.dead_letter_topic,
            source=config.topic,
            timeout_seconds=config.transaction_timeout_seconds,
        )

    def _follower(self, partition: int) -> Follower:
        keys = Keys(self._config.group)
        return Follower(
            partition,
            keys=keys,
            replica=self._replica,
            rows=None,
            clock=SystemClock(),
            worker=WORKER,
            future_tolerance_seconds=self._config.future_tolerance_seconds,
        )
