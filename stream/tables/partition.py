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
from typing import Final

from stream.ingest.event import Record, Rejected
from stream.ingest.record_time import parse_believing
from stream.model.activity import ContactActivity
from stream.model.steps import Steps, finish
from stream.model.time import NANOSECONDS_A_MILLISECOND, day_of_hour
from stream.storage.formats import VALUE_BYTES_LIMIT, Changes
from stream.storage.row import PARTITION_LIMIT, encode_row
from stream.tables import counts, names, position, recent_ids, uncounted
from stream.tables.batch import Batch
from stream.tables.changelog import check_kind, read_position
from stream.tables.commit import AggregateChange, Commit, NamesAfter
from stream.tables.lateness import Lateness
from stream.tables.progress import Progress
from stream.tables.rules import CountingRules


class PartitionState(Progress):
    """All that is known of one source partition, up to its position."""

    def __init__(self, partition: int, rules: CountingRules) -> None:
        assert 0 <= partition < PARTITION_LIMIT, f"partition {partition}"
        super().__init__()
        self.partition: Final = partition
        self._rules: Final = rules
        self._ids = recent_ids.RecentIds(rules.dedupe_window_hours, rules.dedupe_max_ids)
        self._uncounted = uncounted.Uncounted()
        self._names = names.Names(rules.name_limit)
        self._counts = counts.Counts(rules)
        self._keys: set[bytes] = set()
        """Of the changelog, with what was encoded."""
        self._lateness = Lateness()

    @classmethod
    def recover(cls, partition: int, rules: CountingRules, records: Mapping[bytes, bytes]) -> PartitionState:
        """The state of the latest changelog record of each key; without any, one that is still to `begin`.

        Raises FormatError (a ValueError) for a value of an unknown format, for records without a position, and for
        more or fewer of them than that one was committed with.
        """
        return finish(cls.unpack(partition, rules, records))

    @classmethod
    def unpack(cls, partition: int, rules: CountingRules, records: Mapping[bytes, bytes]) -> Steps[PartitionState]:
        """As `recover`, in steps: a record each."""
        state = cls(partition, rules)
        if not records:
            return state
        for key in records:
            check_kind(key)
        known = read_position(records)
        adopt = {
            counts.KIND: state._counts.adopt,
            recent_ids.KIND: state._ids.adopt,
            uncounted.KIND: state._uncounted.adopt,
            names.KIND: state._names.adopt,
        }
        for key, value in sorted(records.items()):
            if key != position.KEY:
                adopt[key[:1]](key, value)
            yield
        state._ids.finish_adopting(known.latest_hour)
        if known.counts_from is not None:
            state._counts.drop_before(known.counts_from)
        state._keys, state._position = set(records), known
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
        records = [record for record in batch.records if record.offset >= next_offset]
        if records:
            assert records[-1].offset < batch.end, f"a batch up to {batch.end} ends with {records[-1].offset}"
            self._apply(records, batch.fetched_at_ms + self._rules.event.record_future_tolerance_seconds * 1000)
        self._move(next_offset=max(batch.end, next_offset))

    def encode(self) -> Commit:
        """Everything that changed since the last call; the position alone where nothing did. The state is clean after
        it."""
        table: Changes = {}
        self._ids.encode(table)
        self._uncounted.encode(table)
        moved = self._names.encode(table)
        aggregates = self._counts.encode(table)
        self._keys -= {key for key, value in table.items() if value is None}
        self._keys |= {key for key, value in table.items() if value is not None} | {position.KEY}
        self._move(live_keys=len(self._keys))
        table[position.KEY] = position.encode_position(self.position)
        for key, value in table.items():
            assert value is None or len(value) <= VALUE_BYTES_LIMIT, f"{key!r} has {len(value)} bytes"
        outcomes, dead_letters = self._take_outcomes()
        lateness, self._lateness = self._lateness, Lateness()
        records = list(table.items())
        return Commit(self.position, records, dead_letters, aggregates, moved, outcomes, self.ids, lateness)

    def whole_in_order(self, after: int) -> Steps[Iterator[tuple[int, AggregateChange]]]:
        """Every day aggregate whose last event has an offset above this one (-1: every day aggregate), all of it, with
        that offset: they ascend. In steps, one here. Only of a clean state: between `encode` and the next `apply`."""
        yield
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
        yield
        return self._names.after(after)

    def was_counted(self, offset: int) -> bool:
        """Whether the record at an offset counted, by the verdict that was given when it was applied. Where there is no
        record at an offset, the answer means nothing."""
        return self.position.first_offset <= offset < self.position.next_offset and offset not in self._uncounted

    def forget_uncounted_before(self, offset: int) -> None:
        """The topic has lost what lies before this offset: the verdicts on it are no longer needed. It goes with the
        next commit."""
        self._uncounted.forget_before(offset)

    @property
    def ids(self) -> int:
        """How many recent ids are remembered."""
        return len(self._ids)

    def _apply(self, records: Sequence[Record], trusted_ms: int) -> None:
        """`trusted_ms`: the latest timestamp that a record may have."""
        counting = self._judge(records, trusted_ms)
        self._keep_retention()
        for record, event in counting:
            self._count(record, event)
        self.outcomes.ids_dropped_early = self._ids.dropped_early
        self.outcomes.names_not_kept = self._names.not_kept
        self.pending_weight += len(records)
        believed = (record.timestamp for record in records if record.timestamp <= trusted_ms)
        self._move(
            fingerprint=position.Fingerprint.of(records[-1]),
            counts_from=self._counts.counts_from,
            latest_hour=self._ids.latest_hour,
            greatest_broker_ms=max((self.position.greatest_broker_ms, *believed)),
        )

    def _judge(self, records: Sequence[Record], trusted_ms: int) -> list[tuple[Record, ContactActivity]]:
        """Those that count, and what became of the others."""
        counting: list[tuple[Record, ContactActivity]] = []
        for record in records:
            event = parse_believing(record, self._rules.event, trusted_ms)
            if event is None:
                self.outcomes.skipped += 1
            elif isinstance(event, Rejected):
                self._reject(record, event)
            elif self._ids.remember(event.workspace_id, event.event_id, record.timestamp):
                counting.append((record, event))
                continue
            else:
                self.outcomes.duplicate += 1
            self._uncounted.add(record.offset)
        return counting

    def _keep_retention(self) -> None:
        """Moves on the day from which counts are kept, by the broker time of records that count: so that by the rules
        of `parse` no event of the latest hour is older."""
        days, latest_hour = self._rules.event.retention_days, self._ids.latest_hour
        if days is not None and latest_hour is not None:
            self._counts.drop_before(day_of_hour(latest_hour) - days)

    def _count(self, record: Record, event: ContactActivity) -> None:
        """Counts one event, unless retention has dropped its day."""
        self._names.see_user(event, record.offset)
        self._names.see_source(event.workspace_id, event.source, record.offset)
        row = encode_row(event, self.partition, record.offset) if self._rules.keep_rows else None
        if self._counts.add(event, record.offset, row):
            self.outcomes.counted += 1
            self._lateness.add(record.timestamp - event.occurred_at // NANOSECONDS_A_MILLISECOND)
        else:
            self.outcomes.expired += 1
