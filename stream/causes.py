"""Ranks what hinders the counting, wherever several things are told: a cause comes before what follows from it."""

from __future__ import annotations

from collections.abc import Iterable
from enum import IntEnum
from typing import NamedTuple


class Cause(IntEnum):
    """What may be wrong, in the order in which one explains the next."""

    KAFKA = 1
    """It does not answer, or does not let us in."""
    TOPIC = 2
    """It is gone, or is another one than was counted."""
    REDIS = 3
    """It does not answer, or does not let us in."""
    REDIS_WRITES = 4
    """It answers, and must not or does not take counts: it evicts, is full, or is a replica."""
    WORKERS = 5
    """None is there, or one is gone."""
    REDIS_EMPTY = 6
    """It holds nothing of the group."""
    SETTINGS = 7
    """Of topics, which counting relies on."""
    PARTITION = 8
    """It is not counted, or has no owner."""
    READERS = 9
    """They get old numbers, or none."""
    WORKER = 10
    """It is not ready."""
    PUBLISHERS = 11
    """They send what cannot be counted."""


class Trouble(NamedTuple):
    """One thing that is wrong, in words for the person on call."""

    cause: Cause
    text: str


def rank(troubles: Iterable[Trouble]) -> list[str]:
    """The words, causes first; of equal ones in the order in which they came."""
    return [trouble.text for trouble in sorted(troubles, key=lambda trouble: trouble.cause)]
