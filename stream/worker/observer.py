"""Turns what partitions report into metrics, log lines and the facts of the probes."""

from __future__ import annotations

import contextlib
import logging
from typing import Any, TypeVar

from prometheus_client import Counter, Gauge

from stream.faults import Fault, FaultWatch
from stream.ingest.record_time import broker_time
from stream.ports import Clock
from stream.tables.batch import Batch
from stream.tables.commit import Commit
from stream.worker.attempts import STUCK_AFTER
from stream.worker.listener import Listener, Phase, Resync, Stage
from stream.worker.metrics import Metrics
from stream.worker.tally import Tally

log = logging.getLogger(__name__)

PROGRESS_MS = 2_000


Metric = TypeVar("Metric", Gauge, Counter)


class Reporter(Listener):
    def __init__(self, metrics: Metrics, clock: Clock) -> None:
        self._metrics, self._clock = metrics, clock
        self._series: dict[tuple[object, int], Any] = {}
        self.tally = Tally(clock)
        self._faults: dict[int, FaultWatch] = {}
        self._uncommitted: set[int] = set()
        """Of what the last commit failed."""
        self._unread_ms: dict[int, int] = {}  # broker time of the newest event that is committed, and not shown yet
        self._facts: dict[int, dict[str, Any]] = {}
        self._ends: dict[int, int] = {}
        self._furthest: dict[int, int] = {}
        self._told_ms = 0

    def partitions(self) -> dict[str, dict[str, Any]]:
        """Of each owned partition: phase, position, lag, how far a recovery is, and its last failure, with when that
        began and when it was over (null: it lasts). Keys are text, for JSON.
        """
        return {str(p): {**facts, "lag": self.lag(p), **self._failure(p)} for p, facts in sorted(self._facts.items())}

    def lasting(self, partition: int) -> Fault | None:
        """What hinders the partition now."""
        watch = self._faults.get(partition)
        return None if watch is None else watch.lasting

    def _failure(self, partition: int) -> dict[str, Any]:
        watch = self._faults.get(partition)
        return {} if watch is None or watch.fault is None else {"failure": watch.fault.facts()}

    def lag(self, partition: int) -> int | None:
        """Offsets between the end of the partition, when it was asked last, and what is committed; None while that is
        not known.
        """
        position = self._facts.get(partition, {}).get("position")
        end = self._ends.get(partition)
        return None if position is None or end is None else max(0, end - position)

    def end(self, partition: int, end: int) -> None:
        self._ends[partition] = end
        self._show(partition)

    def note_phase(self, partition: int, phase: Phase) -> None:
        for one in Phase:
            self._metrics.phase.labels(partition, one.value).set(one is phase)
        if phase is Phase.ENDED:
            self._facts.pop(partition, None)
            self._furthest.pop(partition, None)
            self._faults.pop(partition, None)
            self._uncommitted.discard(partition)
            self._unread_ms.pop(partition, None)
            self.tally.note_ended(partition)
            for gauge in self._metrics.of_owned:
                with contextlib.suppress(KeyError):
                    gauge.remove(partition)
                self._series.pop((gauge, partition), None)
        else:
            self._facts.setdefault(partition, {"position": None})["phase"] = phase.value
            self._end_fault(partition)
            self._of(self._metrics.stuck, partition)
            for counter in self._metrics.counted_of_owned:
                self._of(counter, partition)

    def note_rebalance(self, owned: set[int], given: set[int], taken: set[int], seconds: float) -> None:
        """The group has dealt out its partitions; for so many seconds it had taken this worker's."""
        self._metrics.rebalance_seconds.observe(seconds)
        log.info(
            "the group has dealt out its partitions, within %.1f s: this worker has %s; given %s; taken away %s",
            seconds,
            named(owned),
            named(given),
            named(taken),
        )

    def note_reading(self, partition: int, done: int, total: int) -> None:
        self._facts[partition]["recovery"] = {"read": done, "of": total}
        self._of(self._metrics.recovery_remaining, partition).set(total - done)
        now = self._clock.now_ms()
        if now - self._told_ms > PROGRESS_MS:
            self._told_ms = now
            log.info("partition %d: %d of %d changelog offsets read", partition, done, total)

    def note_recovered(self, partition: int, keys: int, position: int, seconds: float) -> None:
        facts = self._facts[partition]
        facts.pop("recovery", None)
        self._of(self._metrics.recovery_remaining, partition).set(0)
        facts["position"] = position
        self._show(partition)
        self._metrics.recovery_seconds.observe(seconds)
        log.info("partition %d: recovered at offset %d from %d keys in %.2f s", partition, position, keys, seconds)

    def covered(self, partition: int, offset: int) -> None:
        """All before this offset is committed, or is nothing to commit: the end of a partition may be a marker."""
        if partition in self._facts:
            self._facts[partition]["position"] = offset
            self._show(partition)

    def note_applied(self, batch: Batch) -> None:
        stamped = broker_time(batch.records)
        if stamped is not None:
            self.note_stage(Stage.FETCHED, (batch.fetched_at_ms - stamped) / 1000)
        self.note_stage(Stage.APPLIED, (self._clock.now_ms() - batch.fetched_at_ms) / 1000)

    def note_stage(self, stage: Stage, seconds: float) -> None:
        self._metrics.stage_seconds[stage].observe(max(seconds, 0.0))

    def note_committed(self, partition: int, commit: Commit, seconds: float) -> None:
        metrics, outcomes = self._metrics, commit.outcomes
        self.tally.note_committed(partition, commit)
        self.covered(partition, commit.position.next_offset)
        for outcome, number in (
            ("counted", outcomes.counted),
            ("duplicate", outcomes.duplicate),
            ("skipped", outcomes.skipped),
            ("expired", outcomes.expired),
        ):
            if number:
                metrics.events.labels(outcome).inc(number)
        for reason, number in outcomes.rejected.items():
            metrics.events.labels("rejected").inc(number)
            metrics.rejected.labels(reason.value).inc(number)
        self._of(metrics.ids, partition).set(commit.ids)
        self._of(metrics.skipped, partition).set(commit.position.skipped)
        self._of(metrics.state_keys, partition).set(commit.position.live_keys or 0)
        if outcomes.ids_dropped_early:
            self._of(metrics.ids_early, partition).inc(outcomes.ids_dropped_early)
        if outcomes.names_not_kept:
            self._of(metrics.names_not_kept, partition).inc(outcomes.names_not_kept)
        self._of(metrics.last_commit, partition).set(self._clock.now_ms() / 1000)
        metrics.commit_seconds.observe(seconds)
        metrics.commit_bytes.inc(commit.bytes_committed)
        metrics.lateness.add(commit.lateness)
        if outcomes.counted:
            self._unread_ms[partition] = commit.position.greatest_broker_ms
            metrics.projection_bytes.inc(commit.bytes_projected)

    def note_projected(self, partition: int, offsets_to_backfill: int) -> None:
        self.tally.note_projected(partition)
        taken_ms = self._unread_ms.pop(partition, None)
        if taken_ms is not None:
            self._metrics.readable_seconds.observe(max(self._clock.now_ms() - taken_ms, 0) / 1000)
        self._of(self._metrics.last_projection, partition).set(self._clock.now_ms() / 1000)
        self._of(self._metrics.offsets_to_backfill, partition).set(offsets_to_backfill)

    def note_failed(self, partition: int, why: str) -> None:
        self._facts.setdefault(partition, {"position": None})
        watch = self._faults.get(partition)
        if watch is None:
            watch = self._faults[partition] = FaultWatch(
                subject=f"partition {partition}: ", over="counting again", now_ms=self._clock.now_ms
            )
        watch.note(why)
        self._of(self._metrics.failures, partition).inc()

    def note_rows_failed(self, partition: int, why: str) -> None:
        log.warning("partition %d: cannot read the topic to backfill rows, tried again: %s", partition, why)
        self._of(self._metrics.failures, partition).inc()

    def note_claim(self, why: Resync) -> None:
        self._metrics.claims.labels(why.value).inc()

    def note_resynced(self, partition: int, why: Resync, position: int, seconds: float) -> None:
        self._metrics.resyncs.labels(why.value).inc()
        level = logging.WARNING if why is Resync.REDIS_LOST else logging.INFO
        log.log(
            level,
            "partition %d: Redis is in sync at offset %d after %.1f s: %s",
            partition,
            position,
            seconds,
            why.words,
        )

    def note_waiting(self, partition: int, why: str | None) -> None:
        """Why what was fetched of a partition is not applied yet."""
        facts = self._facts.get(partition)
        if facts is not None:
            facts["waiting"] = why

    def note_attempts(self, partition: int, failures: int) -> None:
        self._of(self._metrics.stuck, partition).set(failures >= STUCK_AFTER)
        if failures:
            self._uncommitted.add(partition)
        else:
            self._uncommitted.discard(partition)
            self._end_fault(partition)

    def _end_fault(self, partition: int) -> None:
        """Where the partition counts: one that has only been recovered may fail at the same event again."""
        watch = self._faults.get(partition)
        counting = self._facts.get(partition, {}).get("phase") == Phase.COUNTING.value
        if watch is not None and counting and partition not in self._uncommitted:
            watch.clear()

    def _of(self, metric: Metric, partition: int) -> Metric:
        """A partition's series of a metric, looked up once: a commit sets twenty of them, and the client library takes
        a lock and makes texts for each look-up.
        """
        series: Metric | None = self._series.get((metric, partition))
        if series is None:
            series = self._series[metric, partition] = metric.labels(partition)
        return series

    def _show(self, partition: int) -> None:
        position, lag = self._facts.get(partition, {}).get("position"), self.lag(partition)
        if position is not None:
            self._of(self._metrics.position, partition).set(position)
        if lag is not None:
            self._of(self._metrics.lag, partition).set(lag)
        if position is not None and (lag == 0 or position > self._furthest.get(partition, -1)):
            self._furthest[partition] = position
            self._of(self._metrics.moved, partition).set(self._clock.now_ms() / 1000)

    def note_lost(self, partition: int, offsets: int) -> None:
        self._of(self._metrics.lost, partition).inc(offsets)
        self._of(self._metrics.last_loss, partition).set(self._clock.now_ms() / 1000)


def named(partitions: set[int]) -> str:
    return ", ".join(map(str, sorted(partitions))) or "none"
