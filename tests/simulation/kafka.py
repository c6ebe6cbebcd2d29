"""A model broker: logs with transactions, as a reader of committed records sees them, and the coordinator that
decides who may write.

What is modelled is what Kafka promises: a transaction is decided at its coordinator, and its marker arrives at each
log afterwards; a log's last stable
offset is the first of an open transaction; a producer that begins under a transactional id makes the one before it a
stranger, and waits until what that one
left is ended. What Kafka does not promise does not hold here: answers are lost, and requests arrive whenever they like.
"""

import asyncio
from collections.abc import Callable, Iterator
from typing import Any


class SimRecord:
    """A record, in the shape of aiokafka's."""

    __slots__ = ("headers", "key", "offset", "published_ms", "timestamp", "timestamp_type", "truth", "txn", "value")

    def __init__(self, key: bytes | None, value: bytes | None, headers: Any, timestamp: int, truth: Any = None) -> None:
        self.key, self.value, self.headers, self.timestamp, self.truth = key, value, headers, timestamp, truth
        self.timestamp_type = 1
        self.published_ms = timestamp  # by the true time
        self.offset = -1
        self.txn: Txn | None = None


class Txn:
    """A transaction: open, then committed or not."""

    __slots__ = ("committed", "decided", "ended", "first")

    def __init__(self) -> None:
        self.first: dict[Log, int] = {}  # where it begins in each log it writes to
        self.committed = False
        self.decided = False
        self.ended: set[Log] = set()

    @property
    def complete(self) -> bool:
        return self.decided and len(self.ended) == len(self.first)


class Log:
    """One partition of a topic. Offsets are places in a list; a place without a record held a marker, or was
    compacted.
    """

    def __init__(self, name: str, clock: Callable[[], float]) -> None:
        self.name = name
        self.first = 0
        self._clock = clock
        self._items: list[SimRecord | None] = []
        self._open: list[Txn] = []
        self.stable_history: list[tuple[float, int]] = [(-1.0, 0)]
        self.on_stable: Callable[[], None] | None = None

    @property
    def end(self) -> int:
        return len(self._items)

    @property
    def stable(self) -> int:
        """The first offset that a reader of committed records does not see yet."""
        return min((txn.first[self] for txn in self._open), default=len(self._items))

    def append(self, record: SimRecord, txn: Txn | None = None) -> int:
        record.offset, record.txn = len(self._items), txn
        if txn is not None and self not in txn.first:
            txn.first[self] = record.offset
            self._open.append(txn)
        self._items.append(record)
        self._note()
        return record.offset

    def mark(self, txn: Txn) -> None:
        """The marker of an ended transaction takes an offset of its own."""
        if self not in txn.ended:
            txn.ended.add(self)
            self._open.remove(txn)
            self._items.append(None)
            self._note()

    def _note(self) -> None:
        stable = self.stable
        if stable != self.stable_history[-1][1]:
            self.stable_history.append((self._clock(), stable))
            if self.on_stable is not None:
                self.on_stable()

    def stable_at(self, seconds: float) -> int:
        """The last stable offset at a moment."""
        for when, stable in reversed(self.stable_history):
            if when <= seconds:
                return stable
        return 0

    def visible(self, start: int, end: int, *, dirty: bool = False) -> Iterator[SimRecord]:
        """The committed records of these offsets; `dirty`: the others too."""
        if not dirty:
            end = min(end, self.stable)
        for record in self._items[max(start, self.first) : end]:
            if record is not None and (dirty or record.txn is None or record.txn.committed):
                yield record

    def at(self, offset: int) -> SimRecord | None:
        return self._items[offset]

    def compact(self, dirty_from: int, keep_tombstones: bool) -> None:
        """Remove what a later record of the same key replaces, as a cleaner does: below the last stable offset, and
        only up to some offset.
        """
        upto = min(dirty_from, self.stable)
        latest: dict[bytes | None, int] = {}
        for record in self.visible(0, upto):
            latest[record.key] = record.offset
        for offset in range(upto):
            record = self._items[offset]
            if record is None:
                continue
            aborted = record.txn is not None and not record.txn.committed
            gone = record.value is None and not keep_tombstones
            if aborted or gone or latest.get(record.key) != offset:
                self._items[offset] = None


class Coordinator:
    """Of one transactional id: who is its producer, and what became of the transaction."""

    def __init__(self) -> None:
        self.epoch = 0
        self.txn: Txn | None = None
        self.reading = 0


class Broker:
    """All topics, and who may write what."""

    def __init__(self, loop: asyncio.AbstractEventLoop, marker_delay: Callable[[], float], partitions: int) -> None:
        self._loop, self._marker_delay = loop, marker_delay
        self.source: list[Log] = []
        self.unborn: list[Log] = []
        """Partitions of the source that the other topics have, and it has not got yet."""
        self.changelog: list[Log] = []
        self.letters: list[Log] = []
        self.coordinators: dict[str, Coordinator] = {}
        self.on_commit: Callable[[Txn], None] | None = None
        self.raise_to(partitions)

    def raise_to(self, partitions: int) -> None:
        self.raise_others_to(partitions)
        more = max(partitions - len(self.source), 0)
        self.source += self.unborn[:more]
        del self.unborn[:more]

    def raise_others_to(self, partitions: int) -> None:
        """All but the source."""
        clock = self._loop.time
        for logs, name in ((self.changelog, "changelog"), (self.letters, "letters")):
            logs += [Log(f"{name}-{p}", clock) for p in range(len(logs), partitions)]
        self.unborn += [Log(f"source-{p}", clock) for p in range(len(self.source) + len(self.unborn), partitions)]

    def source_log(self, partition: int) -> Log:
        """Of a partition that is there, or is to come."""
        return (self.source + self.unborn)[partition]

    def coordinator(self, transactional_id: str) -> Coordinator:
        return self.coordinators.setdefault(transactional_id, Coordinator())

    # ---- transactions of producers with an id ------------------------------------------------------------------------

    def begin(self, transactional_id: str) -> int:
        """A producer begins: it is the only one from now on. Its epoch; what the one before left open is aborted."""
        coordinator = self.coordinator(transactional_id)
        coordinator.epoch += 1
        txn = coordinator.txn
        if txn is not None and not txn.decided:
            self.decide(txn, committed=False)
        return coordinator.epoch

    def add(self, transactional_id: str, epoch: int, timeout: float) -> Txn | None:
        """The open transaction of the producer, begun where there is none; None for a producer that is no longer the
        one.
        """
        coordinator = self.coordinator(transactional_id)
        if coordinator.epoch != epoch:
            return None
        if coordinator.txn is None or coordinator.txn.complete:
            coordinator.txn = Txn()
            self._loop.call_later(timeout, self._time_out, coordinator, coordinator.txn)
        return coordinator.txn

    def _time_out(self, coordinator: Coordinator, txn: Txn) -> None:
        if coordinator.txn is txn and not txn.decided:
            coordinator.epoch += 1
            self.decide(txn, committed=False)

    def commit(self, transactional_id: str, epoch: int, txn: Txn | None) -> bool:
        """Whether the transaction is committed: by the producer that is still the one."""
        coordinator = self.coordinator(transactional_id)
        if coordinator.epoch != epoch:
            return False
        if txn is not None and not txn.decided:
            self.decide(txn, committed=True)
        return True

    # ---- any transaction ---------------------------------------------------------------------------------------------

    def decide(self, txn: Txn, *, committed: bool) -> None:
        txn.decided, txn.committed = True, committed
        if committed and self.on_commit is not None:
            self.on_commit(txn)
        for log in txn.first:
            self._loop.call_later(self._marker_delay(), log.mark, txn)
