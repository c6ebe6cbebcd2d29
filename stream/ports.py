"""The interfaces that counting a partition needs: its changelog store, its source, its replica, the control of its
fetches, and the clock.

Each has a real form (Kafka, Redis, the clock) and a model with the same contract tests, so that the very code that
counts can be run against both.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import msgspec

from stream.ingest.event import Record
from stream.tables.changelog import RawTable
from stream.tables.commit import Commit, PackedCall


class WorkerMustStop(Exception):
    """Going on would be a guess: the worker ends with this reason, and counts nothing more. Its text is for the person
    on call.
    """


class Fenced(WorkerMustStop):
    """Another producer of this partition's transactional id has begun: somebody else owns the partition, or this worker
    slept too long.
    """


class KafkaAway(Exception):
    """Kafka did not answer, or not as it should: the partition is dropped and recovered from what is committed."""


class TopicGone(KafkaAway):
    """Kafka answers, and has no such topic, or does not show it to us."""


class ReadTooLarge(Exception):
    """What was asked for at once would take too much memory: ask for fewer offsets."""


class CommitFailed(KafkaAway):
    """A commit failed, or its outcome is not known."""


class TooLarge(CommitFailed):
    """The broker refused batches of dead letters for their size, of which their topic's limit said nothing."""

    def __init__(self, message: str, letters: frozenset[int]) -> None:
        super().__init__(message)
        self.letters = letters
        """The offsets of their records."""


class ReplicaAway(Exception):
    """Redis did not answer or rejected a write. The partition resyncs Redis once it is reachable."""


Progress = Callable[[int, int], None]
"""Is told now and then how many records were read, and how many there are in all."""


class Earlier(Protocol):
    """What earlier attempts to commit the same have taught."""

    @property
    def careful(self) -> bool:
        """No dead letter may be larger than what any broker takes."""

    def refusals(self, offset: int) -> int:
        """How often the dead letter of this offset was refused for its size. From the first time on it goes in a batch
        of its own, from the second on with one part less each time.
        """


class ChangelogStore(Protocol):
    """What is committed of one partition: the only truth about its state."""

    async def fence(self) -> None:
        """End what the last owner left open and make this the only store that can commit. Raises KafkaAway."""

    async def read(self, progress: Progress) -> Mapping[bytes, bytes]:
        """The latest committed value of each key. Raises KafkaAway, and Fenced where another worker was seen to
        go on.
        """

    async def read_into(self, table: RawTable, progress: Progress) -> None:
        """The same, into an empty table."""

    async def commit(self, commit: Commit, earlier: Earlier) -> None:
        """All of the commit, or nothing. Encodes before its first await. Raises Fenced, TooLarge, CommitFailed.

        `earlier`: what attempts that failed have taught about the size of dead letters.
        """

    async def close(self) -> None:
        """Let go, in bounded time, whatever the state of the broker."""


class Source(Protocol):
    """One partition of the topic of events. Each call raises KafkaAway."""

    async def bounds(self) -> tuple[int, int]:
        """The first offset that is kept, and the end (read committed)."""

    async def partitions(self) -> int:
        """How many partitions the topic has now."""

    async def read(self, start: int, end: int) -> Sequence[Record]:
        """The committed records with start <= offset < end that the topic still has, in order. Raises ReadTooLarge;
        never of a single offset."""


class Claim(msgspec.Struct, frozen=True):
    """What Redis holds of a partition: the next offset not yet counted there (None where nothing is shown yet), the
    rows it lacks, and how far a whole copy came that was disturbed.
    """

    position: int | None
    missing_rows: tuple[tuple[int, int, int], ...]
    copied: int | None = None
    """All that changed last below this offset is there whole."""

    @property
    def reached(self) -> int | None:
        """The offset below which everything is there; None: nothing is known to be."""
        return max((at for at in (self.position, self.copied) if at is not None), default=None)


class AnotherIncarnation(WorkerMustStop):
    """Redis holds the counts of another deployment of this name, or of another time."""


class Replica(Protocol):
    """Redis as a replica of the committed state of one partition."""

    async def claim(self, partition: int, incarnation: bytes, fencing_token: str) -> Claim:
        """Become the only one whose calls are taken. Raises ReplicaAway, AnotherIncarnation."""

    async def project(self, partition: int, fencing_token: str, sequence_number: int, call: Call) -> bool:
        """Send one call; False where it was refused: another claim came after ours, or a call before this one was lost.
        Raises ReplicaAway.
        """

    async def project_all(
        self, partition: int, fencing_token: str, sequence_number: int, calls: Sequence[Call]
    ) -> bool:
        """Send calls at once, the first with this number; False where one was refused, and with it all behind it. Those
        behind one that was not answered may arrive all the same. Raises ReplicaAway.
        """

    async def notice_evictions(self) -> None:
        """Have all calls refused from now on where Redis has evicted keys since they were looked for last. Raises
        ReplicaAway.
        """


class Call(msgspec.Struct):
    """One call of `project`: operations on keys, in the order of `replica.lua`; which workspaces it touches; fields of
    the partition's position.
    """

    keys: list[str]
    operations: list[bytes | str | int]
    workspaces: list[str]
    fields: dict[str, str]
    asked_ms: int | None = None
    """When the question was asked whose answer `as_of` rests on, in ms of the loop's clock."""
    clock_ms: int = 0
    """What the worker's clock shows as it is sent."""
    partitions: int | None = None
    packed: PackedCall | None = None
    """In place of `keys`, `operations` and `workspaces`, which are empty then."""


class FetchControl(Protocol):
    """The stream of batches of the worker's partitions. Calls return at once."""

    def seek(self, partition: int, offset: int) -> None:
        """The next batch of the partition begins at this offset."""

    def pause(self, partition: int) -> None: ...

    def resume(self, partition: int) -> None: ...


class Clock(Protocol):
    def now_ms(self) -> int:
        """Milliseconds since 1970."""
