"""Computes from the positions of all partitions how fresh an answer is, what is kept, and the answer's revision."""

from collections.abc import Sequence
from functools import lru_cache
from hashlib import blake2b
from typing import NamedTuple

import msgspec

from api.query.periods import utc_text
from api.query.zones import TZDATA_VERSION
from api.wire import Freshness, FreshnessState
from stream.model.time import DAY_MILLISECONDS
from stream.storage.keys import MISSING_ROWS_SLACK_MS, parse_missing_rows
from stream.version import VERSION

READ_FIELDS = ("position", "owed", "as_of", "moved", "counts_from", "rows_from")
"""What is read of each partition, in this order."""


class Positions(msgspec.Struct, frozen=True):
    """The positions of all partitions as they were read together."""

    partitions: tuple[tuple[int, int], ...]
    """(as_of, moved) of each, ms since 1970."""
    complete: bool
    """Whether every partition has a position; without one, half of a count would be shown."""
    counts_from: int | None
    """UTC day before which retention has dropped counts."""
    rows_from: int | None
    """First UTC day from which on the rows are complete; None: all are."""
    missing: tuple[int, ...]
    """The partitions without a position."""
    as_of: float
    """Seconds since 1970: the minimum over all partitions; 0 where none has a position."""
    latest_as_of: float
    """The maximum over all partitions; 0 where none has a position."""

    @property
    def number(self) -> int:
        """How many partitions there are; 0: Redis holds nothing of the deployment."""
        return len(self.partitions) + len(self.missing)


def read_positions(number: int, fields: Sequence[bytes | None]) -> Positions:
    """Positions from READ_FIELDS of partitions 0..number-1, one after the other."""
    width = len(READ_FIELDS)
    partitions: list[tuple[int, int]] = []
    missing: list[int] = []
    counts_from: list[int] = []
    rows_from: list[int] = []
    for at in range(0, number * width, width):
        position, missing_rows, as_of, moved, counts, rows = fields[at : at + width]
        if position is None or as_of is None:
            missing.append(at // width)
            continue
        partitions.append((int(as_of), int(moved or 0)))
        if counts:
            counts_from.append(int(counts))
        if rows:
            rows_from.append(int(rows))
        if missing_rows and missing_rows != b"[]":
            newest = max((greatest for _, _, greatest in parse_missing_rows(missing_rows)), default=None)
            if newest is not None:
                rows_from.append((newest + MISSING_ROWS_SLACK_MS) // DAY_MILLISECONDS + 1)
    return Positions(
        tuple(partitions),
        number > 0 and not missing,
        max(counts_from, default=None) or None,
        max(rows_from, default=None) or None,
        tuple(missing),
        min(partitions)[0] / 1000 if partitions else 0.0,
        max(partitions)[0] / 1000 if partitions else 0.0,
    )


def lag_seconds(positions: Positions, now: float) -> float:
    """How far `as_of` is behind now, to the millisecond, never negative."""
    return max(0.0, round(now - positions.as_of, 3))


class Limits(NamedTuple):
    """The settings of the same names."""

    live_lag_seconds: float
    stalled_after_seconds: float


def state(positions: Positions, now: float, limits: Limits) -> FreshnessState:
    """One word for it. Partitions that are behind are catching up only if each of them advances.

    What lies ahead by as much is not live either: a clock was set back, and nobody has said anything true since.
    """
    live_lag_seconds, stalled_after_seconds = limits
    if max(now - positions.as_of, positions.latest_as_of - now) < live_lag_seconds:
        return "live"  # as nearly always, and no partition is looked at
    now_ms = now * 1000
    behind = [moved for as_of, moved in positions.partitions if abs(now_ms - as_of) >= live_lag_seconds * 1000]
    if not behind:
        return "live"
    silent_ms = max(abs(now_ms - moved) for moved in behind)
    return "catching_up" if silent_ms < stalled_after_seconds * 1000 else "stalled"


def as_of_text(positions: Positions, now: float) -> str:
    """`as_of` on the wire; a worker's clock that is ahead of ours never makes it later than now."""
    return utc_text(min(positions.as_of, now))


def freshness(
    positions: Positions, version: bytes, key: bytes, progress: Sequence[int], now: float, limits: Limits
) -> Freshness:
    """Of an answer, with the revision that it is known by, without computing it.

    That changes with whatever the answer is made of but the exact `as_of`: the workspace's version, the question
    (`key`), how far now and `as_of` are among the buckets (`progress`), what is kept, and the versions of code and
    rules.
    """
    word, as_of = state(positions, now, limits), positions.as_of
    revision = _digest(version, key, progress, word, positions.counts_from, positions.rows_from)
    # `as_of_text` and `lag_seconds`, written out: every answer pays for a call.
    return Freshness(word, utc_text(min(as_of, now)), max(0.0, round(now - as_of, 3)), revision)


@lru_cache(maxsize=64)
def _digest(*parts: bytes | str | Sequence[int] | int | None) -> str:
    """A digest of what an answer depends on, with the versions of code and rules."""
    return blake2b(msgspec.msgpack.encode((*parts, _VERSIONS)), digest_size=12).hexdigest()


_VERSIONS = f"{VERSION} {TZDATA_VERSION}"
