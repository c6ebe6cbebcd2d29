"""What a partition's state gives: all that changed since the commit before."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec

from stream.ingest.event import Reason, Record
from stream.tables.lateness import Lateness
from stream.tables.position import Position


class Outcomes(msgspec.Struct):
    """How many records came to which end."""

    counted: int = 0
    duplicate: int = 0
    skipped: int = 0
    """Records without a value."""
    rejected: dict[Reason, int] = {}
    ids_dropped_early: int = 0
    """Not records: ids that were forgotten before their time, since there were too many."""
    expired: int = 0
    """Judged like those that count, and remembered, but of a day that retention had dropped before they came."""
    names_not_kept: int = 0
    """Not records: how often a user or source came whose name is not kept, since there are too many."""

    def __sub__(self, earlier: Outcomes) -> Outcomes:
        """What came since."""
        return Outcomes(
            self.counted - earlier.counted,
            self.duplicate - earlier.duplicate,
            self.skipped - earlier.skipped,
            {
                reason: number - earlier.rejected.get(reason, 0)
                for reason, number in self.rejected.items()
                if number > earlier.rejected.get(reason, 0)
            },
            self.ids_dropped_early - earlier.ids_dropped_early,
            self.expired - earlier.expired,
            self.names_not_kept - earlier.names_not_kept,
        )

    def copy(self) -> Outcomes:
        return msgspec.structs.replace(self, rejected=dict(self.rejected))


class DeadLetter(msgspec.Struct, frozen=True):
    """A record that cannot be counted, and why."""

    record: Record
    reason: Reason
    message: str


ChangedBase = tuple[int, bytes, bytes, bytes]
"""Number, head, cells and summary."""


class AggregateChange(msgspec.Struct, frozen=True):
    """What became of a day aggregate of a workspace and UTC day of one partition."""

    workspace_id: str
    day: int
    """UTC days since 1970."""
    bases: tuple[ChangedBase, ...]
    """Those that were written; all of them where `whole`."""
    delta: bytes | None
    """None: no delta; delete the stored one, if any."""
    base_count: int
    """Bases 0 up to this number, exclusive, exist; where `dropped`, they did."""
    rows: Sequence[bytes]
    """Packed activity rows of the events counted since the last commit; none where `whole`."""
    whole: bool = False
    """This is all of the day aggregate, in place of whatever was there."""
    dropped: bool = False
    """The day is older than the retention allows: nothing of it is left."""


class UserName(msgspec.Struct, frozen=True, gc=False):
    """A user's latest label, and the event that it is from."""

    workspace_id: str
    user_id: str | None
    """None for events without a user."""
    occurred_at: int
    """Nanoseconds since 1970; without a label, of the first event."""
    offset: int
    label: str | None


class SourceName(msgspec.Struct, frozen=True, gc=False):
    """A source that occurs."""

    workspace_id: str
    source: str | None
    """None for events without a source."""


class NameChanges(msgspec.Struct, frozen=True):
    """What a commit changed about names."""

    users: list[UserName]
    sources: list[SourceName]


class NamesAfter(msgspec.Struct, frozen=True):
    """What changed about names after an offset."""

    sources: list[SourceName]
    users: Iterator[tuple[int, UserName]]
    """With the offset that moved each last, ascending."""


class PackedCall(msgspec.Struct, frozen=True):
    """One call to Redis, as its protocol has it: keys behind that of the positions, operations, how many of each."""

    keys: bytes
    key_count: int
    operations: bytes
    operation_count: int
    workspaces: bytes
    """Those that it touches, one a line."""


class PackedCommit(msgspec.Struct, frozen=True):
    """What changed, in the bytes that Kafka and Redis take."""

    bodies: list[tuple[bytes, int]]
    """Records of record batches, and how many; the position is the last of all."""
    calls: list[PackedCall]


class Commit(msgspec.Struct, frozen=True):
    """All that changed since the commit before, encoded: nothing in it changes when the state goes on."""

    position: Position
    table: list[tuple[bytes, bytes | None]]
    """Changelog records, each key once, the position last; None deletes."""
    dead_letters: list[DeadLetter]
    aggregates: list[AggregateChange]
    names: NameChanges
    outcomes: Outcomes
    """Of the records applied since the commit before."""
    ids: int = 0
    """How many recent ids are remembered."""
    lateness: Lateness = msgspec.field(default_factory=Lateness)
    """Of the events that counted since the commit before."""
    packed: PackedCommit | None = None
    """In place of `table`, `aggregates` and `names`, which are empty then."""

    @property
    def bytes_committed(self) -> int:
        """Of changelog records and dead letters, without what Kafka adds."""
        packed = 0 if self.packed is None else sum(len(body) for body, _ in self.packed.bodies)
        table = sum(len(key) + len(value or b"") for key, value in self.table)
        return packed + table + sum(len(letter.record.value or b"") for letter in self.dead_letters)

    @property
    def bytes_projected(self) -> int:
        """Of days and rows as Redis gets them; names, which are few, are not counted in the form in Python."""
        if self.packed is not None:
            return sum(len(call.keys) + len(call.operations) for call in self.packed.calls)
        bases = sum(len(part) for aggregate in self.aggregates for base in aggregate.bases for part in base[1:])
        return bases + sum(len(aggregate.delta or b"") + sum(map(len, aggregate.rows)) for aggregate in self.aggregates)
