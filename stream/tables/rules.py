"""By which rules a deployment counts."""

from __future__ import annotations

from stream.ingest.event import EventRules
from stream.settings.worker import WorkerConfig
from stream.tables.partition import CountingRules


def counting_rules(config: WorkerConfig) -> CountingRules:
    """The rules by which each partition judges its records; their `event` is how it reads them."""
    return CountingRules(
        event=EventRules(
            max_event_bytes=config.max_event_bytes,
            future_tolerance_seconds=config.future_tolerance_seconds,
            record_future_tolerance_seconds=config.record_future_tolerance_seconds,
            retention_days=config.retention_days,
        ),
        dedupe_window_hours=config.dedupe_window_hours,
        dedupe_max_ids=config.dedupe_max_ids,
        name_limit=config.name_limit,
        keep_rows=config.row_days != 0,
    )
