"""By which rules a deployment counts."""

from __future__ import annotations

from dataclasses import dataclass, field

from stream.ingest.event import EventRules
from stream.settings.worker import WorkerConfig


@dataclass(frozen=True, slots=True)
class CountingRules:
    """What a deployment may set about counting."""

    event: EventRules = field(default_factory=EventRules)
    dedupe_window_hours: int = WorkerConfig.dedupe_window_hours
    dedupe_max_ids: int = WorkerConfig.dedupe_max_ids
    name_limit: int = WorkerConfig.name_limit
    delta_floor: int = 16
    """A delta of at most this many cells is not merged, however small its base."""
    base_bytes_limit: int = 512 * 1024
    """A base that reaches it is cut: well below a broker's limit of a message."""
    keep_rows: bool = True
    """Whether commits carry activity rows."""


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
