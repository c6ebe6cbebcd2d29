"""Every metric of the worker, declared once; docs/metrics.md is written from them."""

from __future__ import annotations

import time

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics

from stream.ingest.event import Reason
from stream.projection.evictions import Evictions
from stream.projection.row_retention import Dropped
from stream.projection.sampled import Comparison
from stream.worker.lateness import LatenessHistogram
from stream.worker.listener import Resync, Stage

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)


class Metrics:
    """The worker's metrics on a registry of their own, so that two workers in one process do not meet."""

    def __init__(self) -> None:
        self._server: Evictions | None = None
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = registry = CollectorRegistry()
        self.build_info = Gauge(
            "contacts_build_info",
            "1, for the version that runs and the form of its counting: `compiled` or `python`.",
            ["version", "core"],
            registry=registry,
        )
        self.process_start = Gauge(
            "contacts_process_start_timestamp_seconds", "When the process began.", registry=registry
        )
        self.process_start.set(time.time())
        self.worker_info = Gauge(
            "contacts_worker_info",
            "1, for the name by which status, log and `/v1/ops` call this worker: host and process.",
            ["worker"],
            registry=registry,
        )
        self.dependency_up = Gauge(
            "contacts_dependency_up",
            "1 while `kafka` or `redis` answers, 0 while it does not; both are asked every 2 s.",
            ["name"],
            registry=registry,
        )
        self.redis_refuses_writes = Gauge(
            "contacts_redis_refuses_writes",
            "1 while Redis answers and takes no writes: it is full (maxmemory), a read-only replica, or cannot save.",
            registry=registry,
        )
        self.events = Counter(
            "contacts_events",
            "Records applied and committed, by outcome; `expired`: of a day that retention had dropped before.",
            ["outcome"],
            registry=registry,
        )
        self.rejected = Counter("contacts_rejected", "Rejected records, by reason.", ["reason"], registry=registry)
        self.lateness = LatenessHistogram(
            "contacts_event_lateness_seconds",
            "Events that counted, and with them their rows, by how much later than `occurred_at` the broker took "
            "them; 0 where the publisher's clock was ahead.",
            registry=registry,
        )
        self.lag = Gauge(
            "contacts_lag_records",
            "Offsets between the end of the partition and what is committed.",
            ["partition"],
            registry=registry,
        )
        self.position = Gauge(
            "contacts_position", "The next offset that is not committed.", ["partition"], registry=registry
        )
        self.phase = Gauge(
            "contacts_partition_phase",
            "1 for the phase that an owned partition is in.",
            ["partition", "phase"],
            registry=registry,
        )
        self.last_commit = Gauge(
            "contacts_last_commit_timestamp_seconds",
            "When the partition was committed last.",
            ["partition"],
            registry=registry,
        )
        self.moved = Gauge(
            "contacts_position_moved_timestamp_seconds",
            "When the position of the partition moved last, or no event waited.",
            ["partition"],
            registry=registry,
        )
        self.stuck = Gauge(
            "contacts_stuck_offsets",
            "Offsets at which five commits or more in a row have failed: 1 or 0.",
            ["partition"],
            registry=registry,
        )
        self.last_projection = Gauge(
            "contacts_last_projection_timestamp_seconds",
            "When Redis took a call of the partition last.",
            ["partition"],
            registry=registry,
        )
        self.commit_seconds = Histogram(
            "contacts_commit_seconds", "How long commits take.", buckets=SECONDS, registry=registry
        )
        self.recovery_seconds = Histogram(
            "contacts_recovery_seconds",
            "From the fence to the seek.",
            buckets=(*SECONDS, 30, 60, 300),
            registry=registry,
        )
        self.rebalance_seconds = Histogram(
            "contacts_rebalance_seconds",
            "Rebalances of the group, by how long this worker's partitions were taken; those that are kept count on.",
            buckets=(*SECONDS, 30, 60),
            registry=registry,
        )
        self.failures = Counter(
            "contacts_failures",
            "Commits, recoveries and calls to Redis that failed and were tried again.",
            ["partition"],
            registry=registry,
        )
        self.recovery_remaining = Gauge(
            "contacts_recovery_remaining_records",
            "Records of the changelog that a recovery still has to read; 0 when it is done.",
            ["partition"],
            registry=registry,
        )
        self.readable_seconds = Histogram(
            "contacts_event_to_readable_seconds",
            "Of the newest event of each commit: from when the broker took it until Redis shows it.",
            buckets=(*SECONDS, 30, 60, 300),
            registry=registry,
        )
        stage_seconds = Histogram(
            "contacts_stage_seconds",
            "Where an event's time goes, by stage: from the broker's time of the newest event of a fetch until that is "
            "`fetched`; until it is `applied`; has `waited` for its commit; and from the end of that until Redis has "
            "it, `projected`.",
            ["stage"],
            buckets=SECONDS,
            registry=registry,
        )
        self.stage_seconds = {stage: stage_seconds.labels(stage.value) for stage in Stage}
        self.commit_bytes = Counter(
            "contacts_commit_bytes",
            "Bytes of changelog records and dead letters that were committed, before Kafka compresses them.",
            registry=registry,
        )
        self.projection_bytes = Counter(
            "contacts_projection_bytes", "Bytes of what commits changed in Redis.", registry=registry
        )
        self.loop_delay = Histogram(
            "contacts_loop_delay_seconds",
            "How much later than asked the worker's loop came to an appointment; one a second.",
            buckets=SECONDS,
            registry=registry,
        )
        self.rows_dropped = Counter(
            "contacts_rows_dropped",
            "Activity rows that were dropped, by reason: `days`, `limit` (settings), `memory` (nearly full).",
            ["reason"],
            registry=registry,
        )
        self.redis_memory = Gauge(
            "contacts_redis_memory_bytes", "What Redis uses; asked once a minute.", registry=registry
        )
        self.redis_memory_limit = Gauge(
            "contacts_redis_memory_limit_bytes", "Redis' maxmemory, 0: none; asked once a minute.", registry=registry
        )
        self.redis_evicted_keys = Gauge(
            "contacts_redis_evicted_keys",
            "Keys that Redis has evicted since its start, ours or not; asked once a minute.",
            registry=registry,
        )
        self.redis_policy = Gauge(
            "contacts_redis_policy_info",
            "1, for Redis' maxmemory-policy; asked once a minute.",
            ["policy"],
            registry=registry,
        )
        self.certificate_ends = Gauge(
            "contacts_certificate_ends_timestamp_seconds",
            "When the first certificate ends of a file that a setting names, as it was read at the start.",
            ["name"],
            registry=registry,
        )
        self.claims = Counter(
            "contacts_redis_claims",
            "Claims of a partition's counts in Redis, by reason; the first of a resync, and each time that it is tried "
            "again.",
            ["reason"],
            registry=registry,
        )
        self.resyncs = Counter(
            "contacts_redis_resyncs",
            "Partitions brought in sync in Redis, by reason: `start`, `recovery`, `redis_away` (a call failed), "
            "`redis_lost` (it refused a call: emptied, restored, evicted, or another owner).",
            ["reason"],
            registry=registry,
        )
        self.lost = Counter(
            "contacts_lost_offsets",
            "Offsets that left the topic before they were counted.",
            ["partition"],
            registry=registry,
        )
        self.last_loss = Gauge(
            "contacts_lost_timestamp_seconds",
            "When it was seen last that offsets of the partition had left the topic before they were counted.",
            ["partition"],
            registry=registry,
        )
        self.skipped = Gauge(
            "contacts_skipped_offsets",
            "Offsets that were passed over by hand (`contacts-report skip`), and so are not counted.",
            ["partition"],
            registry=registry,
        )
        self.ids = Gauge(
            "contacts_recent_ids",
            "Ids held, by which duplicates are known; at most CONTACTS_DEDUPE_MAX_IDS.",
            ["partition"],
            registry=registry,
        )
        self.state_keys = Gauge(
            "contacts_state_keys",
            "Keys of the changelog: blocks of ids and of uncounted offsets, names, and workspace-days.",
            ["partition"],
            registry=registry,
        )
        self.ids_early = Counter(
            "contacts_recent_ids_dropped_early",
            "Ids dropped before the window ended, for the limit's sake.",
            ["partition"],
            registry=registry,
        )
        self.names_not_kept = Counter(
            "contacts_names_not_kept",
            "Events whose user or source has no name kept, since the partition holds CONTACTS_NAME_LIMIT of them.",
            ["partition"],
            registry=registry,
        )
        self.offsets_to_backfill = Gauge(
            "contacts_owed_offsets",
            "Offsets whose activity rows are still to be written to Redis.",
            ["partition"],
            registry=registry,
        )
        self.topic_differences = Gauge(
            "contacts_topic_differences", "Settings of the topics that are not as they should be.", registry=registry
        )
        self.redis_may_evict = Gauge(
            "contacts_redis_may_evict",
            "1 while Redis' policy lets it evict counts: nothing is counted then.",
            registry=registry,
        )
        self.redis_evictions = Counter(
            "contacts_redis_evictions",
            "Looks at Redis that found keys evicted, perhaps counts: everything was sent again.",
            registry=registry,
        )
        self.clock_difference = Gauge(
            "contacts_clock_difference_seconds",
            "How far the worker's clock is ahead of Redis'; from 300 on, either way, nothing is counted.",
            registry=registry,
        )
        self.verify_samples = Counter(
            "contacts_verify_samples",
            "Looks at a workspace-day in Redis, in the background: `equal`, `different`, or `moving`: nothing could be "
            "said of it.",
            ["outcome"],
            registry=registry,
        )
        self.verify_differences = Gauge(
            "contacts_verify_differences",
            "Workspace-days that Redis did not hold as they are committed, at the last look at them.",
            ["partition"],
            registry=registry,
        )
        self.of_owned = (
            self.lag,
            self.position,
            self.last_commit,
            self.moved,
            self.stuck,
            self.last_projection,
            self.offsets_to_backfill,
            self.skipped,
            self.ids,
            self.state_keys,
            self.recovery_remaining,
            self.verify_differences,
        )
        """Without a value for a partition that this worker does not own, or not any more."""
        self.counted_of_owned = (self.failures, self.lost, self.ids_early, self.names_not_kept)
        """From 0 on for each partition that is owned, so that the first increase is one."""
        for why in Dropped:
            self.rows_dropped.labels(why.value)
        for reason in Resync:
            self.claims.labels(reason.value)
            self.resyncs.labels(reason.value)
        for outcome in ("counted", "duplicate", "rejected", "skipped", "expired"):
            self.events.labels(outcome)
        for rejected in Reason:
            self.rejected.labels(rejected.value)
        for comparison in Comparison:
            self.verify_samples.labels(comparison.name.lower())

    def note_sample(self, partition: int, outcome: Comparison, differences: int) -> None:
        """A workspace-day was held against Redis; so many of the partition differ now."""
        self.verify_samples.labels(outcome.name.lower()).inc()
        self.verify_differences.labels(partition).set(differences)

    def show_server(self, server: Evictions) -> None:
        """Show what looks at Redis find."""
        self.redis_memory.set_function(lambda: server.used_bytes)
        self.redis_memory_limit.set_function(lambda: server.limit_bytes)
        self.redis_evicted_keys.set_function(lambda: server.evicted_keys)
        self._server = server

    def note_dropped_rows(self, why: Dropped, rows: int) -> None:
        self.rows_dropped.labels(why.value).inc(rows)

    def note_evictions(self, may_evict: bool, has_evicted: bool) -> None:
        """What a look at Redis found."""
        self.redis_policy.clear()
        if self._server is not None and self._server.policy is not None:
            self.redis_policy.labels(self._server.policy).set(1)
        self.redis_may_evict.set(may_evict)
        self.redis_evictions.inc(has_evicted)
