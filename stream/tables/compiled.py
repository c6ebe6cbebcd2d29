"""A partition counted by the compiled core, which takes the bytes of record batches and gives those of changelog
records and calls to Redis. What its quick reader does not decide, the strict reader in `stream/ingest` decides, in the
order of offsets; what is right, `stream/tables/partition.py` says.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from heapq import merge
from typing import Any, Final

import msgspec

from stream.core import CoreFailed, load_core
from stream.ingest.event import PlainRecord, Record, Rejected
from stream.ingest.raw import RawRecords
from stream.ingest.record_time import parse_believing
from stream.model.activity import ContactActivity
from stream.model.steps import ITEMS_A_STEP, Steps, finish
from stream.storage.formats import FormatError
from stream.storage.row import PARTITION_LIMIT
from stream.tables import position, recent_ids, uncounted
from stream.tables.batch import Batch
from stream.tables.changelog import RawTable, check_kind, read_position
from stream.tables.commit import (
    AggregateChange,
    Commit,
    NameChanges,
    NamesAfter,
    PackedCall,
    PackedCommit,
    SourceName,
    UserName,
)
from stream.tables.lateness import BOUNDS_MS, Lateness
from stream.tables.position import Fingerprint, encode_position
from stream.tables.progress import Progress
from stream.tables.rules import CountingRules

LATEST_MS: Final = 2**63 - 1
BYTES_A_STEP: Final = 1 << 20
RECORDS_A_STEP: Final = 2_000
"""Of a changelog: some milliseconds."""
UNKEPT_LIMIT: Final = 1_000_000
"""Users, sources and workspaces without a name of which the core remembers the ids, some 120 MB: more than there are
series of open day aggregates (SERIES_LIMIT in core/src/counts.rs), which are numbered by them."""
RECORDS_AT_ONCE: Final = 10_000
"""Of a batch: what the core remembers between reading and judging takes some megabytes."""


class Packing(msgspec.Struct, frozen=True):
    """How a commit is packed for Kafka and Redis."""

    prefix: str
    """Of the deployment's keys in Redis."""
    batch_bytes: int
    """Of the records of one record batch; one alone may be larger."""
    call_bytes: int
    operation_values: int
    """See CALL_BYTES and OPERATION_LIMIT in stream/projection/calls.py."""


Fields = tuple[object, ...]
"""Of an activity, in the order in which the core takes them."""


def new_table() -> RawTable:
    """An empty one."""
    table: RawTable = load_core().LatestRecords()
    return table


class CompiledState(Progress):
    """PartitionState, compiled: same methods, same bytes."""

    def __init__(self, partition: int, rules: CountingRules, packing: Packing | None = None) -> None:
        """`packing`: None for commits of records and changes, as the Python form gives them."""
        assert 0 <= partition < PARTITION_LIMIT, f"partition {partition}"
        super().__init__()
        self.partition: Final = partition
        self._module: Final[Any] = load_core()
        self._rules: Final = rules
        self._packing: Final = packing
        self._dropped_before = 0
        """Ids that the recovery dropped, which are none of the outcomes."""
        event = rules.event
        self._core: Final[Any] = self._module.CorePartition(
            partition,
            max_event_bytes=event.max_event_bytes,
            future_tolerance_seconds=event.future_tolerance_seconds,
            retention_days=event.retention_days,
            dedupe_window_hours=rules.dedupe_window_hours,
            dedupe_max_ids=rules.dedupe_max_ids,
            name_limit=rules.name_limit,
            delta_floor=rules.delta_floor,
            base_bytes_limit=rules.base_bytes_limit,
            keep_rows=rules.keep_rows,
            block_ids=recent_ids.BLOCK_IDS,
            uncounted_block_bytes=uncounted.BLOCK_BYTES,
            unkept_limit=UNKEPT_LIMIT,
            lateness_bounds_ms=BOUNDS_MS,
        )

    @classmethod
    def recover(cls, partition: int, rules: CountingRules, records: Mapping[bytes, bytes] | RawTable) -> CompiledState:
        """As PartitionState.recover."""
        return finish(cls.unpack(partition, rules, records))

    @classmethod
    def unpack(
        cls,
        partition: int,
        rules: CountingRules,
        records: Mapping[bytes, bytes] | RawTable,
        packing: Packing | None = None,
    ) -> Steps[CompiledState]:
        """As PartitionState.unpack. A table is empty afterwards."""
        state = cls(partition, rules, packing)
        if not records:
            return state
        if isinstance(records, Mapping):
            table = new_table()
            for number, (key, value) in enumerate(records.items()):
                table.put(key, value)
                if number % RECORDS_A_STEP == 0:
                    yield
        else:
            table = records
        more = True
        while more:
            with state._border(FormatError):
                more = table.arrange()
            yield
        for key in table.one_of_each_kind():
            check_kind(key)
        known = read_position(table)
        more = True
        while more:
            with state._border(FormatError):
                more = state._core.adopt(table, RECORDS_A_STEP, BYTES_A_STEP)
            yield
        with state._border(FormatError):
            state._core.finish_adopting(known.latest_hour, known.counts_from)
        state._dropped_before = state._core.ids_dropped_early
        state._position = known
        return state

    def apply(self, batch: Batch) -> None:
        """As PartitionState.apply. Raises CoreFailed where the core panics."""
        next_offset = self.position.next_offset
        assert batch.start <= next_offset, f"a batch from {batch.start} on does not follow on {next_offset}"
        if batch.end <= next_offset:
            return
        tolerance_ms = self._rules.event.record_future_tolerance_seconds * 1000
        trusted_ms = min(batch.fetched_at_ms + tolerance_ms, LATEST_MS)
        if batch.records:
            with self._border(FormatError):
                self._apply(batch, next_offset, trusted_ms)
        self._move(next_offset=batch.end)

    def _apply(self, batch: Batch, next_offset: int, trusted_ms: int) -> None:
        """Read and judge what a batch has from the position on, some of it at a time."""
        records = batch.records
        if isinstance(records, RawRecords):
            module = self._module
            fetched = module.Fetched(records.raw, next_offset, [], False, records.unpacked_bytes)
            while fetched.has_next:
                try:
                    number, last, greatest, odd = self._core.read(fetched, RECORDS_AT_ONCE, trusted_ms)
                except (module.UnsupportedError, module.TooLargeError, module.CorruptError):
                    break  # nothing of it was judged
                fingerprint = None if last is None else Fingerprint(*last)
                self._judge(batch, number, fingerprint, greatest, [_odd_record(record) for record in odd], trusted_ms)
            if not fetched.left:
                return
            next_offset = fetched.next_offset
        # What the core does not read, aiokafka does, or says what is wrong.
        some = [record for record in records if record.offset >= next_offset]
        if not some:
            return
        self._core.take([(record.offset, record.timestamp, record.value is not None) for record in some])
        believed = [record.timestamp for record in some if record.timestamp <= trusted_ms]
        odd = [record for record in some if record.value is not None]
        self._judge(batch, len(some), Fingerprint.of(some[-1]), max(believed, default=0), odd, trusted_ms)

    def _judge(
        self,
        batch: Batch,
        number: int,
        last: Fingerprint | None,
        greatest: int,
        odd: Sequence[Record],
        trusted_ms: int,
    ) -> None:
        """Judge what the core has read: `number` records, `last` what the last looked like, `greatest` the greatest
        timestamp that is believed, `odd` those that the strict reader is to read.
        """
        if last is None:
            return
        assert last.offset < batch.end, f"a batch up to {batch.end} ends with {last.offset}"
        resolved = [self._read_strictly(record, trusted_ms) for record in odd]
        counted, duplicate, skipped, expired = self._core.judge(resolved)
        core, outcomes = self._core, self.outcomes
        outcomes.counted += counted
        outcomes.duplicate += duplicate
        outcomes.skipped += skipped
        outcomes.expired += expired
        outcomes.ids_dropped_early = core.ids_dropped_early - self._dropped_before
        outcomes.names_not_kept = core.names_not_kept
        self.pending_weight += number
        self._move(
            fingerprint=last,
            counts_from=core.counts_from,
            latest_hour=core.latest_hour,
            greatest_broker_ms=max(self.position.greatest_broker_ms, greatest),
        )

    def _read_strictly(self, record: Record, trusted_ms: int) -> Fields | None:
        """What the core is to count; None for what cannot be counted, which is a dead letter from now on."""
        event = parse_believing(record, self._rules.event, trusted_ms)
        if isinstance(event, Rejected):
            self._reject(record, event)
            return None
        assert isinstance(event, ContactActivity), "a record with a value is counted or rejected"
        return tuple(getattr(event, name) for name in FIELDS)

    def encode(self) -> Commit:
        """As PartitionState.encode, packed where that is wanted. Raises CoreFailed where the core panics."""
        if self._packing is not None:
            return self._commit([], [], NameChanges([], []), self._pack(self._packing))
        with self._border(AssertionError):
            table, aggregates, users, sources = self._core.encode(self.position.next_offset)
        table.append(self._position_record(self._core.keys))
        return self._commit(
            table, [_aggregate_change(aggregate) for aggregate in aggregates], _name_changes(users, sources)
        )

    def _pack(self, packing: Packing) -> PackedCommit:
        with self._border(AssertionError):
            bodies, calls = self._core.encode_packed(
                self.position.next_offset,
                self._position_record,
                packing.prefix,
                packing.batch_bytes,
                packing.call_bytes,
                packing.operation_values,
            )
        return PackedCommit(bodies, [PackedCall(*call) for call in calls])

    def _position_record(self, keys: int) -> tuple[bytes, bytes]:
        """The changelog's record of the position, given the number of other keys."""
        self._move(live_keys=1 + keys)
        return position.KEY, encode_position(self.position)

    def _commit(
        self,
        table: list[tuple[bytes, bytes | None]],
        aggregates: list[AggregateChange],
        moved: NameChanges,
        packed: PackedCommit | None = None,
    ) -> Commit:
        outcomes, dead_letters = self._take_outcomes()
        lateness = Lateness(*self._core.take_lateness())
        return Commit(self.position, table, dead_letters, aggregates, moved, outcomes, self.ids, lateness, packed)

    def whole_in_order(self, after: int) -> Steps[Iterator[tuple[int, AggregateChange]]]:
        pieces = yield from self._walk(self._core.aggregates_piece, after)
        return (
            (offset, self._whole(aggregate)) for offset, aggregate in merge(*(aggregates for [aggregates] in pieces))
        )

    def names_after(self, after: int) -> Steps[NamesAfter]:
        pieces = yield from self._walk(self._core.names_piece, after)
        sources = [SourceName(*source) for _, some in pieces for source in some]
        return NamesAfter(
            sources,
            ((offset, self._user_name(workspace, user)) for offset, workspace, user in merge(*(u for u, _ in pieces))),
        )

    def _walk(self, look: Callable[..., Any], after: int) -> Steps[list[Any]]:
        """All that the core finds above an offset, in pieces."""
        pieces = []
        place: tuple[int, int] | None = (0, 0)
        while place is not None:
            with self._border(FormatError):
                *piece, place = look(after, *place, ITEMS_A_STEP)
            pieces.append(piece)
            yield
        return pieces

    def draw(self, chance: float) -> tuple[int, AggregateChange] | None:
        with self._border(FormatError):
            return self._found(self._core.draw(chance))

    def find(self, workspace_id: str, day: int) -> tuple[int, AggregateChange] | None:
        with self._border(FormatError):
            return self._found(self._core.find(workspace_id, day))

    def _found(self, found: tuple[int, int] | None) -> tuple[int, AggregateChange] | None:
        return None if found is None else (found[0], self._whole(found[1]))

    def _whole(self, aggregate: int) -> AggregateChange:
        with self._border(FormatError):
            return _aggregate_change(self._core.whole_aggregate(aggregate), whole=True)

    def _user_name(self, workspace: int, user: int) -> UserName:
        with self._border(FormatError):
            return UserName(*self._core.user_name(workspace, user))

    def was_counted(self, offset: int) -> bool:
        known = self.position.first_offset <= offset < self.position.next_offset
        return known and not self._core.is_uncounted(offset)

    def forget_uncounted_before(self, offset: int) -> None:
        self._core.forget_uncounted_before(offset)

    @property
    def ids(self) -> int:
        ids: int = self._core.ids
        return ids

    @contextmanager
    def _border(self, damaged: type[Exception]) -> Iterator[None]:
        """Raises CoreFailed for a panic, which is no Exception, and `damaged` where the core cannot read a stored
        value.
        """
        try:
            yield
        except self._module.Panic as panic:
            raise CoreFailed(f"a bug in the compiled core, partition {self.partition}: {panic}") from panic
        except self._module.DamagedError as error:
            raise damaged(str(error)) from error


FIELDS: Final = (
    "event_id",
    "activity",
    "workspace_id",
    "contact_id",
    "contact_name",
    "source",
    "user_id",
    "user_name",
    "occurred_at",
    "fraction_digits",
    "batch_id",
)


def _odd_record(found: tuple[int, int, bool, bytes | None, bytes | None, list[tuple[bytes, bytes]]]) -> PlainRecord:
    offset, timestamp, by_broker, key, value, headers = found
    # A name that is no UTF-8 is written as the lenient reader of stream/kafka/fetch.py writes it.
    named = [(name.decode(errors="backslashreplace"), content) for name, content in headers]
    return PlainRecord(offset, timestamp, int(by_broker), key, value, named)


def _aggregate_change(found: Any, *, whole: bool = False) -> AggregateChange:
    workspace_id, day, bases, delta, base_count, rows, dropped = found
    return AggregateChange(workspace_id, day, tuple(bases), delta, base_count, rows, whole, dropped)


def _name_changes(users: list[Any], sources: list[Any]) -> NameChanges:
    return NameChanges([UserName(*user) for user in users], [SourceName(*source) for source in sources])
