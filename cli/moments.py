"""Days and instants as commands take and show them."""

import argparse
from datetime import UTC, date, datetime

from stream.model.time import QUARTER_SECONDS


def instant(text: str) -> int:
    """A day (its first instant in UTC) or an instant with an offset, in milliseconds since 1970; for argparse."""
    try:
        if len(text) == 10:
            return _milliseconds(datetime.combine(date.fromisoformat(text), datetime.min.time(), UTC))
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise argparse.ArgumentTypeError(
            f"'{text}' is neither a day (2026-11-23) nor an instant with an offset (2026-11-23T09:00:00Z)"
        )
    return _milliseconds(moment)


def show_ms(milliseconds: int) -> str:
    """An instant in UTC; times that no calendar has are shown as their number."""
    try:
        moment = datetime.fromtimestamp(milliseconds / 1000, UTC)
    except (OverflowError, ValueError, OSError):
        return f"{milliseconds} ms"
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def show_quarter(quarter: int) -> str:
    """When a quarter-hour begins, in UTC."""
    return show_ms(quarter * QUARTER_SECONDS * 1000).replace(".000Z", "Z")


def _milliseconds(moment: datetime) -> int:
    return int(moment.timestamp() * 1000)
