"""Owns the partitions that the group gives to this worker: makes and closes one OwnedPartition each at rebalances, and
feeds it from the stream.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator

from stream.tables.batch import Batch
from stream.worker.partition_task import OwnedPartition


class OwnedPartitions:
    """The stream's view of the partitions, and theirs of the stream."""

    def __init__(self, topic: str, make: Callable[[int], OwnedPartition], revoke_seconds: float) -> None:
        self.topic = topic
        self._make, self._revoke_seconds = make, revoke_seconds
        self._owned: dict[int, OwnedPartition] = {}
        self._closing: set[asyncio.Task[None]] = set()
        self._closed = False
        self._rebalanced: Callable[[set[int], set[int], set[int], float], None] = lambda *_: None
        self._revoked_at: float | None = None
        self.assigned = False
        """Whether the group has told which partitions are this worker's, though it may be none."""

    def __iter__(self) -> Iterator[OwnedPartition]:
        return iter(list(self._owned.values()))

    def listen(self, rebalanced: Callable[[set[int], set[int], set[int], float], None]) -> None:
        """Have `rebalanced` called after each change of hands: what is owned now, what was given, what was taken, and
        for how many seconds the group had taken all.
        """
        self._rebalanced = rebalanced

    async def own(self, partitions: set[int]) -> None:
        """After a rebalance: keep, close and begin. A partition that is kept keeps its state: whether it is still
        valid, its next commit says. Once all are closed none begins any more.
        """
        if self._closed:
            return
        before = set(self._owned)
        for partition in [p for p, owned in self._owned.items() if p not in partitions or not owned.keep()]:
            self._close_soon(self._owned.pop(partition))
        for partition in sorted(partitions - set(self._owned)):
            owned = self._owned[partition] = self._make(partition)
            owned.start()
        self.assigned = True
        now = asyncio.get_running_loop().time()
        seconds = 0.0 if self._revoked_at is None else now - self._revoked_at
        self._revoked_at = None
        self._rebalanced(partitions, partitions - before, before - partitions, seconds)

    def _close_soon(self, owned: OwnedPartition) -> None:
        """Not awaited: heartbeats go on only after the callback of the assignment."""
        task = asyncio.get_running_loop().create_task(owned.close())
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    def numbers(self) -> set[int]:
        return set(self._owned)

    async def revoke(self, partitions: Iterable[int]) -> None:
        self._revoked_at = asyncio.get_running_loop().time()
        await self._revoke([self._owned[p] for p in partitions if p in self._owned])

    async def _revoke(self, revoked: list[OwnedPartition]) -> None:
        for owned in revoked:
            owned.revoke()
        await asyncio.gather(*(owned.settle(self._revoke_seconds) for owned in revoked))

    async def close(self) -> None:
        self._closed = True
        owned, self._owned = list(self._owned.values()), {}
        await self._revoke(owned)
        await asyncio.gather(*(o.close() for o in owned), *self._closing)

    def accept(self, partition: int, batch: Batch) -> None:
        owned = self._owned.get(partition)
        if owned is not None:
            owned.accept(batch)

    def next_needed(self, partition: int) -> int | None:
        owned = self._owned.get(partition)
        return owned.next_needed if owned is not None else None

    def wants_more(self, partition: int) -> bool:
        owned = self._owned.get(partition)
        return owned is not None and owned.wants_more

    def out_of_range(self, partition: int) -> None:
        owned = self._owned.get(partition)
        if owned is not None:
            owned.out_of_range()

    def covered_offsets(self) -> dict[int, int]:
        offsets = {p: owned.covered_offset for p, owned in self._owned.items() if owned.counting}
        return {p: offset for p, offset in offsets.items() if offset is not None}
