"""Holds the state of a partition and applies records to it: the whole counting decision.

    parse     each record is a contact activity, or rejected, or a tombstone                             events.py
    trust     one whose publisher set its time far ahead of the clock is rejected             record_time.py
    dedupe    an activity whose id was counted within the window is a duplicate
    tables/recent_ids.py
    count     every other one adds one to its cell, and to the rows
    tables/counts.py
    name      and may bring a new label, user or source
    tables/names.py
    note      the offsets of what did not count
    tables/uncounted.py

Pure: no clock and no I/O; the reading of a clock that one verdict needs comes with the batch. The same log gives the
same verdicts and the same counts, into whatever batches it is cut and wherever commits fall; and what the records of
all commits up to one say is a state that goes on in the same way. A verdict that is committed is kept: a recount takes
it from `was_counted`, since the reading is not kept.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import msgspec

from stream.ingest.event import EventRules, Reason, Record, Rejected, bytes_held
from stream.ingest.record_time import parse_believing
from stream.model.activity import ContactActivity
from stream.model.steps import Steps, finish
from stream.model.time import NANOSECONDS_A_MILLISECOND, day_of_hour
from stream.settings.worker import WorkerConfig
from stream.storage.formats import VALUE_BYTES_LIMIT, Changes, FormatError, LostKeysError
from stream.storage.row import PARTITION_LIMIT, encode_row
from stream.tables import counts, names, position, recent_ids, uncounted
from stream.tables.counts import RECORDS_A_STEP, AggregateChange, CountRules, Counts
from stream.tables.lateness import Lateness
from stream.tables.names import NameChanges, Names, NamesAfter
from stream.tables.position import Fingerprint, Position, decode_position, encode_position
from stream.tables.progress import Progress
from stream.tables.recent_ids import RecentIds
from stream.tables.uncounted import Uncounted


class Batch(msgspec.Struct, frozen=True):
    """Records that follow on one another, as they were fetched."""

    records: Sequence[Record]
    start: int
    """The offset that was asked for; the first record's may be higher."""
    end: int
    """The next offset to ask for; higher than the last record's by at least one, for markers of transactions have
    offsets."""
    fetched_at_ms: int = 1 << 63
    """The worker's clock when the records were fetched, in milliseconds since 1970: it judges how far a record's
    timestamp is ahead. As it stands, no timestamp is ahead: for records whose times are believed."""


@dataclass(frozen=True, slots=True)
class CountingRules:
    """What a deployment may set about counting."""

    event: EventRules = field(default_factory=EventRules)
    dedupe_window_hours: int = WorkerConfig.dedupe_window_hours
    dedupe_max_ids: int = WorkerConfig.dedupe_max_ids
    name_limit: int = WorkerConfig.name_limit
    delta_floor: int = 16
    """A delta of at most this many cells is not merged, however small its base."""
    base_bytes_limit: int = 512 * 1024
    """A base that reaches it is cut: well below a broker's limit of a message."""
    keep_rows: bool = True
    """Whether commits carry activity rows."""


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


class PartitionState(Progress):
    """All that is known of one source partition, up to its position."""

    def __init__(self, partition: int, rules: CountingRules) -> None:
        assert 0 <= partition < PARTITION_LIMIT, f"partition {partition}"
        self.partition: Final = partition
        self.outcomes = Outcomes()
        """Since this object was made; each number only grows."""
        self.pending_weight = 0
        """Of what was applied since the last commit was encoded: 1 a record, and 1 more for each KiB of a dead letter,
        which is kept whole."""
        self._rules: Final = rules
        self._ids = RecentIds(rules.dedupe_window_hours, rules.dedupe_max_ids)
        self._uncounted = Uncounted()
        self._names = Names(rules.name_limit)
        self._counts = Counts(CountRules(rules.delta_floor, rules.base_bytes_limit))
        self._encoded_outcomes = Outcomes()
        self._lateness = Lateness()
        self._dead_letters: list[DeadLetter] = []

    @classmethod
    def recover(cls, partition: int, rules: CountingRules, records: Mapping[bytes, bytes]) -> PartitionState:
        """The state of the latest changelog record of each key; without any, one that is still to `begin`.

        Raises FormatError (a ValueError) for a value of an unknown format, for records without a position, and for
        more or fewer of them than that one was committed with.
        """
        return finish(cls.unpack(partition, rules, records))

    @classmethod
    def unpack(cls, partition: int, rules: CountingRules, records: Mapping[bytes, bytes]) -> Steps[PartitionState]:
        """As `recover`, in steps: a million ids take 1.3 s in all."""
        state = cls(partition, rules)
        if not records:
            return state
        kinds: dict[bytes, list[tuple[bytes, bytes]]] = {kind: [] for kind in _KINDS}
        for number, (key, value) in enumerate(records.items()):
            check_kind(key)
            kinds[key[:1]].append((key, value))
            if number % RECORDS_A_STEP == 0:
                yield
        known = read_position(records)
        state._ids = yield from RecentIds.unpack(
            rules.dedupe_window_hours, rules.dedupe_max_ids, known.latest_hour, kinds[recent_ids.KIND]
        )
        state._uncounted = Uncounted.recover(kinds[uncounted.KIND])
        for number, (key, value) in enumerate(kinds[names.KIND]):
            state._names.adopt(key, value)
            if number % RECORDS_A_STEP == 0:
                yield
        yield from state._counts.adopt(kinds[counts.KIND], known.counts_from)
        state._position = known
        return state

    def pass_over(self, offset: int) -> None:
        """Goes on behind the next offset without judging its record, by hand: it does not count, nor in a recount."""
        assert offset == self.position.next_offset, f"{offset} is not the next offset, {self.position.next_offset}"
        self._uncounted.add(offset)
        self._move(next_offset=offset + 1, skipped=self.position.skipped + 1)

    def apply(self, batch: Batch) -> None:
        """Judges and counts the records of a batch that follows on the position, or overlaps it: what lies below the
        position was judged, and is passed over. No record's time may be ahead by the broker's own clock
        (`broker_ahead`): who owns the partition waits with such a batch."""
        next_offset = self.position.next_offset
        assert batch.start <= next_offset, f"a batch from {batch.start} on does not follow on {next_offset}"
        if batch.end <= next_offset:
            return
        records = batch.records
        if records and records[0].offset < next_offset:
            records = [record for record in records if record.offset >= next_offset]
        if not records:
            self._move(next_offset=batch.end)
            return
        assert records[-1].offset < batch.end, f"a batch up to {batch.end} ends with {records[-1].offset}"
        trusted_ms = batch.fetched_at_ms + self._rules.event.record_future_tolerance_seconds * 1000
        self._judge(records, trusted_ms)
        believed = (record.timestamp for record in records if record.timestamp <= trusted_ms)
        self.pending_weight += len(records)
        self._move(
            next_offset=batch.end,
            fingerprint=Fingerprint.of(records[-1]),
            counts_from=self._counts.counts_from,
            latest_hour=self._ids.latest_hour,
            greatest_broker_ms=max((self.position.greatest_broker_ms, *believed)),
        )

    def encode(self) -> Commit:
        """Everything that changed since the last call; the position alone where nothing did. The state is clean after
        it."""
        table: Changes = {}
        self._ids.encode(table)
        self._uncounted.encode(table)
        moved = self._names.encode(table)
        aggregates = self._counts.encode(table)
        self._move(live_keys=1 + self._ids.keys + self._uncounted.keys + self._names.keys + self._counts.keys)
        table[position.KEY] = encode_position(self.position)
        for key, value in table.items():
            assert value is None or len(value) <= VALUE_BYTES_LIMIT, f"{key!r} has {len(value)} bytes"
        outcomes = self.outcomes - self._encoded_outcomes
        self._encoded_outcomes = self.outcomes.copy()
        dead_letters, self._dead_letters = self._dead_letters, []
        lateness, self._lateness = self._lateness, Lateness()
        self.pending_weight = 0
        records, ids = list(table.items()), len(self._ids)
        return Commit(self.position, records, dead_letters, aggregates, moved, outcomes, ids, lateness)

    def whole(self, after: int) -> Iterator[AggregateChange]:
        """Every day aggregate whose last event has an offset above this one (-1: every day aggregate), all of it. Only
        of a clean state: between `encode` and the next `apply`."""
        return (change for _, change in finish(self.whole_in_order(after)))

    def whole_in_order(self, after: int) -> Steps[Iterator[tuple[int, AggregateChange]]]:
        """The same in steps, with the offset of the day aggregate's last event, ascending."""
        return self._counts.whole(after)

    def draw(self, chance: float) -> tuple[int, AggregateChange] | None:
        """One of the day aggregates, all of it, with the offset of its last event; None: none was found. `chance` is in
        [0, 1) and says which. Only of a clean state."""
        return self._counts.draw(chance)

    def find(self, workspace_id: str, day: int) -> tuple[int, AggregateChange] | None:
        """That of a workspace and UTC day, as `draw` gives it; None: there is none. Only of a clean state."""
        return self._counts.find(workspace_id, day)

    def names_after(self, after: int) -> Steps[NamesAfter]:
        """The users whose label moved last, and the sources first seen, at an offset above this one. As the day
        aggregates, they are read while they are taken: nothing is applied until then."""
        return self._names.after(after)

    def was_counted(self, offset: int) -> bool:
        """Whether the record at an offset counted, by the verdict that was given when it was applied. Where there is no
        record at an offset, the answer means nothing."""
        return self.position.first_offset <= offset < self.position.next_offset and offset not in self._uncounted

    def uncounted(self, after: int, upto: int) -> Iterator[tuple[int, int]]:
        """The offsets in (after, upto] whose record did not count: ranges, first and last, ascending."""
        return self._uncounted.ranges(after, upto)

    def forget_uncounted_before(self, offset: int) -> None:
        """The topic has lost what lies before this offset: the verdicts on it are no longer needed. It goes with the
        next commit."""
        self._uncounted.forget_before(offset)

    @property
    def ids(self) -> int:
        """How many recent ids are remembered."""
        return len(self._ids)

    def _judge(self, records: Sequence[Record], trusted_ms: int) -> None:
        """`trusted_ms`: the latest timestamp that a record may have."""
        counting: list[tuple[Record, ContactActivity]] = []
        for record in records:
            event = parse_believing(record, self._rules.event, trusted_ms)
            if isinstance(event, ContactActivity) and self._ids.remember(
                event.workspace_id, event.event_id, record.timestamp
            ):
                counting.append((record, event))
                continue
            self._uncounted.add(record.offset)
            self._note_uncounted(record, event)
        self._keep_retention()
        late_ms: list[int] = []
        for record, event in counting:
            if self._count(event, record.offset):
                self.outcomes.counted += 1
                late_ms.append(record.timestamp - event.occurred_at // NANOSECONDS_A_MILLISECOND)
            else:
                self.outcomes.expired += 1
        self._lateness.add(late_ms)
        self.outcomes.ids_dropped_early = self._ids.dropped_early
        self.outcomes.names_not_kept = self._names.not_kept

    def _note_uncounted(self, record: Record, event: ContactActivity | Rejected | None) -> None:
        """Notes why a record does not count. An activity here is a duplicate."""
        if event is None:
            self.outcomes.skipped += 1
        elif isinstance(event, Rejected):
            self.outcomes.rejected[event.reason] = self.outcomes.rejected.get(event.reason, 0) + 1
            self._dead_letters.append(DeadLetter(record, event.reason, event.message))
            self.pending_weight += bytes_held(record) // 1024
        else:
            self.outcomes.duplicate += 1

    def _keep_retention(self) -> None:
        """Moves on the day from which counts are kept, by the broker time of records that count: so that by the rules
        of `parse` no event of the latest hour is older."""
        days, latest_hour = self._rules.event.retention_days, self._ids.latest_hour
        if days is not None and latest_hour is not None:
            self._counts.drop_before(day_of_hour(latest_hour) - days)

    def _count(self, event: ContactActivity, offset: int) -> bool:
        """Counts one event. False: retention has dropped its day."""
        self._names.see_user(event, offset)
        self._names.see_source(event.workspace_id, event.source, offset)
        row = encode_row(event, self.partition, offset) if self._rules.keep_rows else None
        return self._counts.add(event, offset, row)


def check_kind(key: bytes) -> None:
    """Raises FormatError where a key is of no known kind."""
    if key[:1] not in _KINDS:
        raise FormatError(f"{key!r} is a key of no known kind")


def read_position(records: Mapping[bytes, bytes]) -> Position:
    """Raises FormatError where there is none, or more or fewer records than it was committed with."""
    if position.KEY not in records:
        raise FormatError("there are records without a position")
    known = decode_position(records[position.KEY])
    if known.live_keys is not None and known.live_keys != len(records):
        raise LostKeysError(
            f"the changelog has {len(records)} keys, where the commit of offset {known.next_offset} left "
            f"{known.live_keys}: it lost records (is its cleanup.policy `compact`?). A new CONTACTS_GROUP counts "
            "the topic from its beginning"
        )
    return known


_KINDS: Final = (counts.KIND, recent_ids.KIND, uncounted.KIND, names.KIND, position.KEY)
