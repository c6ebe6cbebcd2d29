"""Which form of the counting a run has: the one in Python, the compiled one, or both side by side, which must give the
same at every apply, encode and recovery.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from enum import StrEnum
from functools import partial
from itertools import groupby
from typing import Any
from unittest.mock import patch

from aiokafka.record.default_records import DefaultRecordBatch, DefaultRecordBatchBuilder

from stream.ingest.event import LOG_APPEND_TIME
from stream.ingest.raw import RawRecords
from stream.kafka.fetch import decode_batches
from stream.kafka.record_batch import PackedBatch
from stream.kafka.unpacking import UNPACKED_BYTES
from stream.model.steps import Steps, finish
from stream.ports import Call
from stream.projection import calls
from stream.storage.keys import Keys
from stream.tables.batch import Batch
from stream.tables.commit import AggregateChange, Commit, NamesAfter, PackedCall
from stream.tables.compiled import CompiledState, Packing
from stream.tables.partition import PartitionState
from stream.tables.position import Position
from stream.tables.rules import CountingRules
from stream.tables.state import Unpack
from tests.simulation import chosen_core
from tests.simulation.chance import Profile
from tests.simulation.kafka import SimRecord

_ATTRIBUTES = slice(21, 23)
_BY_BROKER = 0x08
RECORD = ("offset", "timestamp", "timestamp_type", "key", "value")


class Core(StrEnum):
    PYTHON = "python"
    COMPILED = "compiled"
    BOTH = "both"


chosen_core.load_core_file()


def chosen() -> Core:
    return Core(os.environ.get(chosen_core.FORM, Core.PYTHON))


def unpack(profile: Profile, keys: Keys) -> Unpack:
    """How a partition's state is made in this run."""
    packing = Packing(keys.prefix, profile.batch_bytes, profile.call_bytes, profile.operation_limit)
    if chosen() is Core.PYTHON:
        return PartitionState.unpack
    if chosen() is Core.COMPILED:
        return partial(CompiledState.unpack, packing=packing)
    return partial(BothStates.unpack, packing=packing, keys=keys)


def fetched(records: list[SimRecord], start: int, end: int, at_ms: int) -> Batch:
    """A batch as the chosen form takes it from its consumer."""
    if chosen() is Core.PYTHON:
        return Batch(records, start, end, at_ms)
    by_broker = max(((r.timestamp, r.offset) for r in records if r.timestamp_type == LOG_APPEND_TIME), default=None)
    raw = b"".join(as_batches(records))
    return Batch(RawRecords(raw, start, decode_batches, UNPACKED_BYTES, by_broker), start, end, at_ms)


def as_batches(records: Sequence[SimRecord]) -> Iterator[bytes]:
    """Record batches as a broker holds them: of a broker's time, each has one time for all of its records."""

    def kind(record: SimRecord) -> tuple[int, int]:
        by_broker = record.timestamp_type == LOG_APPEND_TIME
        return record.timestamp_type, record.timestamp if by_broker else 0

    for (timestamp_type, _), group in groupby(records, kind):
        some = list(group)
        builder = DefaultRecordBatchBuilder(2, 0, 0, -1, -1, 0, 1 << 26)
        first = some[0].offset
        for record in some:
            headers = list(record.headers or ())
            added = builder.append(record.offset - first, record.timestamp, record.key, record.value, headers)
            assert added is not None, "the batch has room"
        batch = bytearray(builder.build())
        batch[:8] = first.to_bytes(8, "big")
        if timestamp_type == LOG_APPEND_TIME:
            batch[_ATTRIBUTES] = _BY_BROKER.to_bytes(2, "big")
        yield bytes(batch)


KEYS = Keys("group")


class Apart(AssertionError):
    """The two forms differ."""


class BothStates:
    """One partition counted by both forms: all that one says, the other must say."""

    def __init__(self, python: PartitionState, compiled: CompiledState, keys: Keys) -> None:
        self._python, self._compiled, self._keys = python, compiled, keys

    @classmethod
    def unpack(
        cls,
        partition: int,
        rules: CountingRules,
        records: Mapping[bytes, bytes],
        packing: Packing | None = None,
        keys: Keys = KEYS,
    ) -> Steps["BothStates"]:
        """`packing`: as in CompiledState, for these `keys`."""
        compiled = error = None
        try:
            compiled = yield from CompiledState.unpack(partition, rules, records, packing)
        except ValueError as caught:
            error = caught
        try:
            python = yield from PartitionState.unpack(partition, rules, records)
        except ValueError as caught:
            if type(caught) is not type(error):
                raise Apart(f"the Python form refuses a changelog, the core says {error!r}") from caught
            raise
        if compiled is None:
            raise Apart("the core refuses a changelog that the Python form reads") from error
        both = cls(python, compiled, keys)
        if records:
            both._compare()
        return both

    def begin(self, *, incarnation: bytes, first_offset: int, partitions: int) -> None:
        for state in (self._python, self._compiled):
            state.begin(incarnation=incarnation, first_offset=first_offset, partitions=partitions)

    @property
    def position(self) -> Position:
        return same("the position", self._python.position, self._compiled.position)

    @property
    def pending_weight(self) -> int:
        return same("the weight", self._python.pending_weight, self._compiled.pending_weight)

    def note_partitions(self, partitions: int) -> None:
        self._python.note_partitions(partitions)
        self._compiled.note_partitions(partitions)

    def skip_to(self, offset: int) -> None:
        self._python.skip_to(offset)
        self._compiled.skip_to(offset)

    def apply(self, batch: Batch) -> None:
        self._python.apply(batch)
        self._compiled.apply(batch)
        self._compare()

    def encode(self) -> Commit:
        python, compiled = self._python.encode(), self._compiled.encode()
        left_out: set[str] = set()
        packing = self._compiled._packing
        if compiled.packed is not None and packing is not None:
            left_out = {"table", "aggregates", "names", "packed"}
            same("the changelog's records", python.table, records_of(compiled.packed.bodies))
            with patch.multiple(calls, CALL_BYTES=packing.call_bytes, OPERATION_LIMIT=max(packing.operation_values, 2)):
                plain = list(calls.calls_of_commit(self._keys, self._python.partition, python))
                same("the calls", [as_packed(call) for call in plain], compiled.packed.calls)
        for name in set(Commit.__struct_fields__) - left_out:
            same(name, as_values(name, getattr(python, name)), as_values(name, getattr(compiled, name)))
        self._compare()
        return compiled

    def whole_in_order(self, after: int) -> Steps[Iterator[tuple[int, AggregateChange]]]:
        python = yield from self._python.whole_in_order(after)
        compiled = yield from self._compiled.whole_in_order(after)
        return iter(same("whole", list(python), list(compiled)))

    def draw(self, chance: float) -> tuple[int, AggregateChange] | None:
        """Each form draws in an order of its own; what one has drawn the other must find."""
        python, compiled = self._python.draw(chance), self._compiled.draw(chance)
        same("whether one was drawn", python is None, compiled is None)
        for one in (python, compiled):
            if one is not None:
                same("what was drawn", one, self.find(one[1].workspace_id, one[1].day))
        return compiled

    def find(self, workspace_id: str, day: int) -> tuple[int, AggregateChange] | None:
        python, compiled = (state.find(workspace_id, day) for state in (self._python, self._compiled))
        return self._found(same("what was found", python, compiled))

    def _found(self, one: tuple[int, AggregateChange] | None) -> tuple[int, AggregateChange] | None:
        if one is not None:
            same("what was found", one[1], dict(finish(self.whole_in_order(one[0] - 1))).get(one[0]))
        return one

    def names_after(self, after: int) -> Steps[NamesAfter]:
        python = yield from self._python.names_after(after)
        compiled = yield from self._compiled.names_after(after)
        users = same("the users", list(python.users), list(compiled.users))
        sources = [sorted(form.sources, key=repr) for form in (python, compiled)]
        return NamesAfter(same("the sources", *sources), iter(users))

    def was_counted(self, offset: int) -> bool:
        return same("a verdict", self._python.was_counted(offset), self._compiled.was_counted(offset))

    def forget_uncounted_before(self, offset: int) -> None:
        self._python.forget_uncounted_before(offset)
        self._compiled.forget_uncounted_before(offset)

    def _compare(self) -> None:
        python, compiled = self._python, self._compiled
        position = self.position
        same("the weight", python.pending_weight, compiled.pending_weight)
        same("the outcomes", python.outcomes, compiled.outcomes)
        same("the ids", python.ids, compiled.ids)
        after, upto = position.first_offset - 1, position.next_offset
        same("the uncounted", list(python._uncounted.ranges(after, upto)), compiled._core.uncounted(after, upto))


def records_of(bodies: list[tuple[bytes, int]]) -> list[tuple[bytes, bytes | None]]:
    return [
        (record.key, record.value)
        for body, count in bodies
        for record in DefaultRecordBatch(PackedBatch(body, count).frame(-1, -1, 0))
    ]


def as_packed(call: Call) -> PackedCall:
    keys, operations = (b"".join(map(bulk, words)) for words in (call.keys, call.operations))
    return PackedCall(keys, len(call.keys), operations, len(call.operations), "\n".join(call.workspaces).encode())


def bulk(item: str | bytes | int) -> bytes:
    """A bulk text of Redis' protocol."""
    content = item if isinstance(item, bytes) else str(item).encode()
    return b"$%d\r\n%b\r\n" % (len(content), content)


def same(what: str, python: Any, compiled: Any) -> Any:
    if python != compiled:
        raise Apart(f"{what}: Python says {python!r:.600}, the core {compiled!r:.600}")
    return compiled


def as_values(name: str, value: Any) -> Any:
    """What is to be equal of a commit's part."""
    if name != "dead_letters":
        return value
    return [
        (*(getattr(one.record, part) for part in RECORD), [*map(tuple, one.record.headers)], one.reason, one.message)
        for one in value
    ]
