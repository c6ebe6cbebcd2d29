"""By which rules records that counted are read again: those that refuse nothing for what a deployment may set."""

from __future__ import annotations

from typing import Final

from stream.ingest.event import EventRules

BELIEVING: Final = EventRules(
    max_event_bytes=1 << 40,
    future_tolerance_seconds=1 << 32,
    retention_days=None,
    record_future_tolerance_seconds=1 << 32,
)
"""For a record that is known to have counted: whatever the settings were then, its cell is that of its content."""
