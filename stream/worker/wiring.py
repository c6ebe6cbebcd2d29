"""Builds what the partitions of one worker share, and each partition. The simulation builds its workers here, too."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from stream.kafka.embedded import EmbeddedStore
from stream.kafka.letter_limit import MESSAGE_BYTES
from stream.kafka.source import SourceTopic
from stream.kafka.transaction import TransactionalStore
from stream.ports import ChangelogStore, Clock, FetchControl
from stream.projection.backfill import RowBackfill
from stream.projection.evictions import Evictions
from stream.projection.projector import Projector
from stream.projection.replica import RedisReplica
from stream.projection.sampled import SampledCounts
from stream.settings.worker import CommitMode, WorkerConfig
from stream.storage.keys import Keys
from stream.tables.partition import PartitionState
from stream.tables.rules import CountingRules
from stream.tables.state import NewTable, Unpack
from stream.tracing import NO_TRACER, Tracer
from stream.worker.clocks import Clocks, Gate
from stream.worker.commit_policy import CommitPolicy
from stream.worker.in_flight import InFlightLimit
from stream.worker.listener import Listener
from stream.worker.partition_task import OwnedPartition

if TYPE_CHECKING:
    from redis.asyncio import Redis


MakeStore = Callable[[WorkerConfig, int, int], ChangelogStore]
"""Of a partition; the last number is what a batch on the dead-letter topic may have."""


class Wiring:
    """One worker: its connection to Redis, its clocks and its limits, and the partitions that it comes to own."""

    def __init__(
        self,
        config: WorkerConfig,
        *,
        rules: CountingRules,
        worker: str,
        redis: Redis,
        source: SourceTopic,
        old_records: SourceTopic,
        clock: Clock,
        steady: Callable[[], float],
        listener: Listener,
        note_evictions: Callable[[bool, bool], None],
        stop_worker: Callable[[Exception], None],
        projector_clock: Clock | None = None,
        tracer: Tracer = NO_TRACER,
    ) -> None:
        """`worker` names the process. `source` and `old_records` are two clients of one topic, so that a read of old
        records that takes long holds up no recovery. `steady` gives seconds of a clock that nobody sets.
        `projector_clock`: None where Redis is told the time of the same clock.
        """
        self._config, self._worker = config, worker
        self._source, self._old_records = source, old_records
        self._projector_clock = projector_clock or clock
        self._listener, self._stop_worker = listener, stop_worker
        self._tracer: Tracer = tracer
        self.keys = Keys(config.group)
        self.evictions = Evictions(redis, self.keys, note_evictions)
        self.sampled = SampledCounts(redis, self.keys)
        self._replica = RedisReplica(redis, self.keys, self.evictions)
        self.clocks = Clocks(clock, self._replica.now_ms, steady)
        self.rules = rules
        self._gate = Gate(self.clocks, rules.event)
        self._commit_policy = CommitPolicy(config.commit_interval_seconds, config.commit_max_events)
        self._in_flight = InFlightLimit(2 * config.commit_max_events)
        self._begun: set[int] = set()
        self.unpack: Unpack = PartitionState.unpack
        """The form of the counting; set before the first partition begins."""
        self.new_table: NewTable | None = None
        """Of that form; set with it."""
        self.letter_bytes = MESSAGE_BYTES
        """What a batch on the dead-letter topic may have; set before the first partition begins."""

    def partition(
        self, partition: int, fetch_control: FetchControl, transactional: MakeStore = TransactionalStore.of
    ) -> OwnedPartition:
        """Build a partition that this worker comes to own; its task is not started. `fetch_control`: the stream of its
        batches. `transactional` makes the changelog store on a Kafka that has transactions.
        """
        return OwnedPartition(
            partition,
            rules=self.rules,
            commit_policy=self._commit_policy,
            in_flight=self._in_flight,
            new_store=lambda: self._store(partition, transactional),
            source=self._source.partition(partition),
            projector=self._projector(partition),
            fetch_control=fetch_control,
            listener=self._listener,
            stop_worker=self._stop_worker,
            why_not=self._gate.why_not,
            unpack=self.unpack,
            new_table=self.new_table,
            tracer=self._tracer,
        )

    def _projector(self, partition: int) -> Projector:
        tolerance = self._config.future_tolerance_seconds
        rows = None
        if self.rules.keep_rows:
            rows = RowBackfill(self._old_records.partition(partition), partition, tolerance)
        return Projector(
            partition,
            keys=self.keys,
            replica=self._replica,
            rows=rows,
            clock=self._projector_clock,
            worker=self._worker,
            future_tolerance_seconds=tolerance,
        )

    def _store(self, partition: int, transactional: MakeStore) -> ChangelogStore:
        config = self._config
        if config.commit is CommitMode.EMBEDDED:
            return EmbeddedStore(
                kafka=config.access,
                partition=partition,
                dead_letters=config.dead_letter_topic,
                source=config.topic,
                timeout_seconds=config.transaction_timeout_seconds,
                letter_bytes=self.letter_bytes,
                begun=self._begun,
            )
        return transactional(config, partition, self.letter_bytes)
