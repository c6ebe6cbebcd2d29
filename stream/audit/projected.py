"""Redis beside the committed tables of a partition, while both may go on.

A workspace-day is settled where neither side has seen an event of it that the other one has not reached: then the bytes
must be equal. The offset of its last event stands in its parts, and both sides have a position. What is not settled, or
differs, is read again, from both: retention may just have dropped it.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from struct import Struct
from typing import Final

import msgspec

from stream.audit.cells import Difference, SeriesNumbers, compare
from stream.kafka.committed import CommittedState
from stream.projection.stored import StoredAggregate, StoredCounts, StoredWorkspace
from stream.storage import day_parts as packed
from stream.storage.formats import FormatError
from stream.tables import counts
from stream.tables.counts import DELTA_SLOT
from stream.tables.merge import summarize

ROUNDS: Final = 20
ROUND_SECONDS: Final = 0.25
BEHIND_SECONDS: Final = 10.0
NEVER: Final = -1

_KEY: Final = Struct(">cIH")


class Mismatch(msgspec.Struct, frozen=True):
    """A settled workspace-day that is not in Redis as it was committed."""

    workspace_id: str
    day: int
    difference: Difference
    damaged: bool
    """The counts are the same, and the bytes are not."""


class Outcome(msgspec.Struct):
    compared: int = 0
    in_motion: int = 0
    problem: str | None = None


class _Aggregate(msgspec.Struct, frozen=True):
    """A workspace-day as it is committed."""

    bases: tuple[tuple[bytes, bytes, bytes], ...] = ()
    """Head, cells and summary."""
    delta: bytes | None = None

    @property
    def changed_at(self) -> int:
        heads = [packed.read_written_at(head) for head, _, _ in self.bases]
        return max([*heads, NEVER if self.delta is None else packed.read_written_at(self.delta)], default=NEVER)


class ProjectedCounts:
    """Compares one deployment's Redis. Raises RedisError and KafkaAway."""

    def __init__(self, stored: StoredCounts) -> None:
        self._stored = stored

    async def compare(self, committed: CommittedState, first_day: int, note: Callable[[Mismatch], None]) -> Outcome:
        """Hold each workspace-day from `first_day` on against Redis; tells each one that is settled and differs."""
        outcome = Outcome()
        if not await self._has_followed(committed):
            outcome.problem = (
                f"partition {committed.partition}: Redis shows nothing of it, or is behind what is committed, for "
                f"{BEHIND_SECONDS:g} s"
            )
            return outcome
        moving = await self._compare_all(committed, first_day, outcome)
        for _ in range(ROUNDS):
            if not moving:
                break
            await asyncio.sleep(ROUND_SECONDS)
            await committed.advance()
            moving = await self._compare_some(committed, moving, note, outcome)
        outcome.in_motion = len(moving)
        return outcome

    async def _has_followed(self, committed: CommittedState) -> bool:
        """Redis gets each commit a moment later."""
        assert committed.position is not None, "there are tables"
        deadline = asyncio.get_running_loop().time() + BEHIND_SECONDS
        while True:
            position = await self._stored.position(committed.partition)
            if position is not None and position >= committed.position.next_offset:
                return True
            if asyncio.get_running_loop().time() > deadline:
                return False
            await asyncio.sleep(ROUND_SECONDS)

    async def _compare_all(self, committed: CommittedState, first_day: int, outcome: Outcome) -> set[tuple[str, int]]:
        """All workspaces that either side has. Returns what is not settled, or differs."""
        slots = _slots(committed.records, first_day)
        moving: set[tuple[str, int]] = set()
        seen: set[str] = set()

        async def look(workspace_id: str) -> None:
            if workspace_id not in seen:
                seen.add(workspace_id)
                stored = await self._stored.read(committed.partition, workspace_id)
                days = slots.get(workspace_id, set()) | {day for day in stored.aggregates if day >= first_day}
                moving.update(self._settle(committed, workspace_id, days, stored, None, outcome))

        async for workspace_id in self._stored.workspaces():
            await look(workspace_id)
        for workspace_id in slots:
            await look(workspace_id)
        return moving

    async def _compare_some(
        self,
        committed: CommittedState,
        moving: Iterable[tuple[str, int]],
        note: Callable[[Mismatch], None],
        outcome: Outcome,
    ) -> set[tuple[str, int]]:
        assert committed.position is not None, "there are tables"
        days: dict[str, set[int]] = defaultdict(set)
        for workspace_id, day in moving:
            if committed.position.counts_from is None or day >= committed.position.counts_from:
                days[workspace_id].add(day)
        left: set[tuple[str, int]] = set()
        for workspace_id, of in days.items():
            stored = await self._stored.read(committed.partition, workspace_id)
            left.update(self._settle(committed, workspace_id, of, stored, note, outcome))
        return left

    def _settle(
        self,
        committed: CommittedState,
        workspace_id: str,
        days: Iterable[int],
        stored: StoredWorkspace,
        note: Callable[[Mismatch], None] | None,
        outcome: Outcome,
    ) -> set[tuple[str, int]]:
        """Compare days of a workspace, as far as they are settled. Returns the others; and those that differ, where
        there is nobody to be told yet.
        """
        assert committed.position is not None, "there are tables"
        moving: set[tuple[str, int]] = set()
        for day in days:
            aggregate, shown = _committed_aggregate(committed.records, workspace_id, day), stored.aggregates.get(day)
            position = shown.position if shown is not None else stored.position
            ahead = _changed_at(shown) >= committed.position.next_offset
            if position is None or ahead or aggregate.changed_at >= position:
                moving.add((workspace_id, day))
                continue
            mismatch = _mismatch(workspace_id, day, aggregate, shown)
            if mismatch is not None and note is None:
                moving.add((workspace_id, day))
                continue
            outcome.compared += 1
            if mismatch is not None and note is not None:
                note(mismatch)
        return moving


def _slots(records: Mapping[bytes, bytes], first_day: int) -> dict[str, set[int]]:
    """The days of each workspace that the changelog has."""
    found: dict[str, set[int]] = defaultdict(set)
    for key in records:
        if key[:1] == counts.KIND:
            _, day, _ = _KEY.unpack_from(key)
            if day >= first_day:
                found[key[_KEY.size :].decode()].add(day)
    return found


def _committed_aggregate(records: Mapping[bytes, bytes], workspace_id: str, day: int) -> _Aggregate:
    bases: list[tuple[bytes, bytes, bytes]] = []
    while (value := records.get(counts.key_of(workspace_id, day, len(bases)))) is not None:
        head, cells = packed.decode_base(value)
        bases.append((head, cells, summarize(head, cells)))
    return _Aggregate(tuple(bases), records.get(counts.key_of(workspace_id, day, DELTA_SLOT)))


def _changed_at(shown: StoredAggregate | None) -> int:
    """The offset of the last event that Redis shows of a day aggregate, as far as it can be read."""
    if shown is None:
        return NEVER
    parts = [head for head, _, _ in shown.bases] + [shown.delta]
    try:
        return max((packed.read_written_at(part) for part in parts if part is not None), default=NEVER)
    except FormatError:
        return NEVER


def _mismatch(workspace_id: str, day: int, aggregate: _Aggregate, shown: StoredAggregate | None) -> Mismatch | None:
    if shown is not None and (shown.bases, shown.delta) == (aggregate.bases, aggregate.delta):
        return None
    if shown is None and aggregate == _Aggregate():
        return None
    numbers = SeriesNumbers()
    right = numbers.unpack(((head, cells) for head, cells, _ in aggregate.bases), aggregate.delta)
    try:
        found = {} if shown is None else numbers.unpack(_whole(shown), shown.delta)
    except FormatError:
        found = {}
    difference = compare(right, found)
    return Mismatch(workspace_id, day, difference, damaged=not difference)


def _whole(shown: StoredAggregate) -> list[tuple[bytes, bytes]]:
    """Raises FormatError where a part is missing: then nothing of the day can be read."""
    whole = [(head, cells) for head, cells, _ in shown.bases if head is not None and cells is not None]
    if len(whole) < len(shown.bases):
        raise FormatError("a part of a day is missing")
    return whole
