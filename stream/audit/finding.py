"""The result of a check: what it means, and the command that mends it."""

from __future__ import annotations

import msgspec


class Finding(msgspec.Struct, frozen=True):
    """One thing that was looked at."""

    subject: str
    good: bool
    found: str
    meaning: str | None = None
    """What comes of it, where it is not good."""
    command: str | None = None
    """What mends it."""


def good(subject: str, found: str) -> Finding:
    return Finding(subject, True, found)


def bad(subject: str, found: str, meaning: str, command: str | None = None) -> Finding:
    return Finding(subject, False, found, meaning, command)
