"""By which rules records are read again: today's, and those that refuse nothing for what a deployment may set."""

from __future__ import annotations

from typing import Final

from stream.ingest.event import EventRules
from stream.settings.worker import WorkerConfig

BELIEVING: Final = EventRules(
    max_event_bytes=1 << 40,
    future_tolerance_seconds=1 << 32,
    retention_days=None,
    record_future_tolerance_seconds=1 << 32,
)
"""For a record that is known to have counted: whatever the settings were then, its cell is that of its content."""


def rules_of(config: WorkerConfig) -> EventRules:
    """The rules that a worker of this configuration reads records by."""
    return EventRules(
        max_event_bytes=config.max_event_bytes,
        future_tolerance_seconds=config.future_tolerance_seconds,
        record_future_tolerance_seconds=config.record_future_tolerance_seconds,
        retention_days=config.retention_days,
    )
