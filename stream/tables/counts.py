"""Counts the events of each series in each quarter-hour.

    key    63 ("c"), u32 UTC day, u16 slot, big-endian, then the workspace id in UTF-8
    value  slot 0, 1, 2…: a base; slot FFFF: the delta                                    (stream/storage/day_parts.py)

A day aggregate is one workspace and UTC day of this partition: bases 0 to n, of which only the last still changes, and
the delta, what came since that one was written. To count is `delta[cell] += 1`: the base is not read. At a commit, a
delta of more than max(delta_floor, sqrt(cells of the last base)) cells is merged into the base (merge.py), and its slot
deleted.

A day aggregate lies in memory as the bytes that were committed. While it is counted in, it also has the numbers of its
series and its delta as dicts (Counting), some 250 bytes a series. Where there are too many of them, those that were not
touched for longest go, and are made again from the bytes when the next event comes.

Once retention has moved on, the earlier days are gone at once from what is whole, and their keys are deleted over the
next commits: so no commit is larger because a day ended.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterator, Sequence
from math import isqrt
from operator import attrgetter
from struct import Struct
from typing import Final

import msgspec

from stream.model.activity import ContactActivity
from stream.model.dimensions import activity_of, kind_of, source_number_of
from stream.model.steps import Steps, order_after
from stream.model.time import QUARTER_NANOSECONDS, QUARTERS_A_DAY
from stream.storage import day_parts as packed
from stream.storage.formats import Changes, FormatError
from stream.tables.commit import AggregateChange, ChangedBase
from stream.tables.merge import Addition, merge, summarize

KIND: Final = b"c"
DELTA_SLOT: Final = 0xFFFF

SERIES_LIMIT: Final = 200_000
"""Series and cells of day aggregates that are kept as dicts between commits: some 50 MB."""

DROPS_A_COMMIT: Final = 1_000
"""Day aggregates that one commit deletes at most, when retention has moved on: 60 KB of keys."""
RECORDS_A_STEP: Final = 1_000
"""Of a changelog: a millisecond or two."""
DRAW_PLACES: Final = 1_000
"""Places that a draw looks at before it gives up: of a partition from which retention has just dropped much."""
_KEY: Final = Struct(">cIH")


class DayAggregate:
    """The counts of a workspace and UTC day."""

    def __init__(self, workspace_id: str, day: int, place: int) -> None:
        self.workspace_id: Final = workspace_id
        self.day: Final = day
        self.place: Final = place
        """Among the partition's day aggregates."""
        self.bases: list[bytes] = []
        """Changelog values of the bases as committed."""
        self.delta: bytes | None = None
        """Changelog value of the delta as committed; None where it is empty."""
        self.changed_at = -1
        """Offset of the last event that is counted here."""
        self.counting: Counting | None = None
        self.rows: list[bytes] | None = None
        """None: nothing was counted since the last commit."""

    @property
    def keys(self) -> int:
        """How many keys the changelog has of it."""
        return len(self.bases) + (self.delta is not None)

    def open(self) -> Counting:
        """What counting needs, made from what is committed where it is not there."""
        if self.counting is None:
            self.counting = Counting()
            if self.bases:
                self.counting.take_base(self.bases[-1])
            if self.delta is not None:
                self.counting.take_delta(packed.decode_delta(self.delta))
        return self.counting

    def encode(self, rules: CountRules, changes: Changes) -> AggregateChange:
        """Adds the changelog records of what was counted since the last commit."""
        counting = self.counting
        assert counting is not None, "a day aggregate changes while it is open"
        rows, self.rows = self.rows, None
        bases: tuple[ChangedBase, ...] = ()
        delta_key = key_of(self.workspace_id, self.day, DELTA_SLOT)
        if len(counting.delta) > counting.delta_limit(rules.delta_floor):
            bases = self._merge(counting, rules.base_bytes_limit, changes)
            if self.delta is not None:
                changes[delta_key] = self.delta = None
        else:
            changes[delta_key] = self.delta = counting.encode_delta(self.changed_at)
        return AggregateChange(self.workspace_id, self.day, bases, self.delta, len(self.bases), rows or [])

    def _merge(self, counting: Counting, limit_bytes: int, changes: Changes) -> tuple[ChangedBase, ...]:
        """Writes the last base again, and those that follow where one would be too large."""
        head, cells = packed.decode_base(self.bases.pop()) if self.bases else (None, None)
        parts = merge(head, cells, counting.addition(self.changed_at), limit_bytes)
        first = len(self.bases)
        assert first + len(parts) <= DELTA_SLOT, f"{first + len(parts)} bases of one workspace and day"
        for number, part in enumerate(parts, first):
            value = packed.encode_base(part.head, part.cells)
            changes[key_of(self.workspace_id, self.day, number)] = value
            self.bases.append(value)
        if len(parts) == 1:
            counting.go_on(parts[0].cell_count)
        else:
            self.counting = None
        return tuple((number, part.head, part.cells, part.summary) for number, part in enumerate(parts, first))

    def whole(self) -> AggregateChange:
        """All of the day aggregate as it is committed."""
        bases = []
        for number, value in enumerate(self.bases):
            head, cells = packed.decode_base(value, key_of(self.workspace_id, self.day, number))
            bases.append((number, head, cells, summarize(head, cells)))
        return AggregateChange(self.workspace_id, self.day, tuple(bases), self.delta, len(self.bases), [], whole=True)

    def adopt(self, slot: int, value: bytes, key: bytes) -> None:
        """Takes a record of the changelog; bases in their order. Raises FormatError."""
        if slot == DELTA_SLOT:
            self.delta = value
            self.changed_at = max(self.changed_at, packed.read_written_at(value, key))
            return
        if slot != len(self.bases):
            raise FormatError(f"{key!r} does not follow on {len(self.bases)} bases")
        self.bases.append(value)
        head, _ = packed.decode_base(value, key)
        self.changed_at = max(self.changed_at, packed.read_written_at(head, key))


class Counting:
    """What counting in a day aggregate needs: the numbers of the series of its last base and delta, and the delta."""

    def __init__(self) -> None:
        self.delta: dict[int, int] = {}
        """Counts by key of cell."""
        self._series: dict[tuple[int, str | None, str | None], int] = {}
        """By activity, source and user: the number of the series."""
        self._kinds: list[int] = []
        """Of each series."""
        self._source_numbers: dict[str, int] = {}
        """From 1 on; 0 is "without a source"."""
        self._base_cells = 0
        self._first_series = 0
        self._first_source = 0
        self._new_users: list[str | None] = []
        """Of the delta's new series."""

    def add(self, activity: int, source: str | None, user_id: str | None, quarter: int, count: int = 1) -> None:
        """Counts events of a series in a quarter of the day."""
        number = self._series.get((activity, source, user_id))
        if number is None:
            if source is not None:
                self._source_numbers.setdefault(source, len(self._source_numbers) + 1)
            source_number = 0 if source is None else self._source_numbers[source]
            number = self._number_series(kind_of(source_number, activity), source, user_id)
            self._new_users.append(user_id)
        key = number * QUARTERS_A_DAY + quarter
        self.delta[key] = self.delta.get(key, 0) + count

    def delta_limit(self, floor: int) -> int:
        """A delta of more cells is merged: so it is rewritten about as often as it makes its base be."""
        return max(floor, isqrt(self._base_cells))

    def encode_delta(self, written_at: int) -> bytes:
        keys = sorted(self.delta)
        return packed.encode_delta(
            written_at,
            self._first_series,
            self._first_source,
            self._new_sources(),
            self._new_users,
            packed.encode_column(keys, 2),
            packed.encode_column([self.delta[key] for key in keys]),
            packed.encode_column([self._kinds[key // QUARTERS_A_DAY] for key in keys]),
        )

    def addition(self, written_at: int) -> Addition:
        """The delta, for a merge."""
        return Addition(written_at, self.delta, self._kinds, self._new_sources(), self._new_users)

    def go_on(self, base_cells: int) -> None:
        """The delta is part of the base now, which has so many cells."""
        self._base_cells = base_cells
        self._first_series = len(self._kinds)
        self._first_source = len(self._source_numbers)
        self._new_users, self.delta = [], {}

    def weight(self) -> int:
        """The number of series and delta cells."""
        return len(self._kinds) + len(self.delta)

    def take_base(self, base: bytes) -> None:
        """The committed base that counting goes on with."""
        head, cells = packed.decode_base(base)
        series = packed.decode_head(head)
        sources = self._number_sources(series.sources)
        for kind, user_id in zip(series.kinds, series.users, strict=True):
            self._number_series(kind, sources[source_number_of(kind)], user_id)
        self.go_on(len(packed.decode_cells(cells).keys))

    def take_delta(self, delta: packed.Delta) -> None:
        """The committed delta, after its base."""
        assert delta.first_series == self._first_series, "a delta continues the series of its base"
        assert delta.first_source == self._first_source, "a delta continues the sources of its base"
        sources = self._number_sources(delta.new_sources)
        kinds = dict(zip((key // QUARTERS_A_DAY for key in delta.keys), delta.kinds, strict=True))
        for number, user_id in enumerate(delta.new_users, self._first_series):
            kind = kinds[number]
            self._number_series(kind, sources[source_number_of(kind)], user_id)
        self._new_users = list(delta.new_users)
        self.delta = dict(zip(delta.keys, delta.counts, strict=True))

    def _new_sources(self) -> list[str]:
        """Those of the delta."""
        return list(self._source_numbers)[self._first_source :]

    def _number_sources(self, more: Sequence[str]) -> list[str | None]:
        """Gives sources the next numbers. Returns all of them by their number."""
        for source in more:
            self._source_numbers[source] = len(self._source_numbers) + 1
        return [None, *self._source_numbers]

    def _number_series(self, kind: int, source: str | None, user_id: str | None) -> int:
        """Gives the next number to a series that is not there."""
        number = self._series[activity_of(kind), source, user_id] = len(self._kinds)
        self._kinds.append(kind)
        return number


class CountRules(msgspec.Struct, frozen=True):
    """How day aggregates are kept."""

    delta_floor: int
    base_bytes_limit: int


class Counts:
    """The day aggregates of a partition."""

    def __init__(self, rules: CountRules) -> None:
        self._rules = rules
        self._days: dict[str, dict[int, DayAggregate]] = {}
        """By workspace and day."""
        self._places: list[DayAggregate | None] = []
        """All day aggregates, for a draw; None: a place that is free."""
        self._free: list[int] = []
        self.counts_from: int | None = None
        """UTC day before which retention has dropped counts; it never goes back."""
        self._changed: list[DayAggregate] = []
        """Those with an event that no commit has."""
        self._open: OrderedDict[DayAggregate, int] = OrderedDict()
        """Weights of those with a Counting, in the order of their last commit."""
        self._open_weight = 0
        self._to_drop: deque[DayAggregate] = deque()
        self.keys = 0
        """How many keys the changelog has of the day aggregates, with what was encoded."""

    def add(self, event: ContactActivity, offset: int, row: bytes | None) -> bool:
        """Adds one to the cell of an event, which may have a row. False: it has none, since retention has dropped its
        day."""
        day, quarter = divmod(event.occurred_at // QUARTER_NANOSECONDS, QUARTERS_A_DAY)
        aggregate = self._get_or_begin(event.workspace_id, day)
        if aggregate is None:
            return False
        if aggregate.rows is None:
            aggregate.rows = []
            self._changed.append(aggregate)
        if row is not None:
            aggregate.rows.append(row)
        aggregate.changed_at = offset
        aggregate.open().add(event.activity, event.source, event.user_id, quarter)
        return True

    def _get_or_begin(self, workspace_id: str, day: int) -> DayAggregate | None:
        """The day aggregate, a new one where there is none; None where the day is one that retention has dropped."""
        days = self._days.setdefault(workspace_id, {})
        if day not in days:
            if self.counts_from is not None and day < self.counts_from:
                return None
            place = self._free.pop() if self._free else len(self._places)
            days[day] = DayAggregate(workspace_id, day, place)
            self._places[place : place + 1] = [days[day]]
        return days[day]

    def drop_before(self, day: int) -> None:
        """Drops the day aggregates of days before this one; never takes it back. They are gone from reports at once,
        and from the changelog within the next commits."""
        if self.counts_from is not None and day <= self.counts_from:
            return
        self.counts_from = day
        for days in self._days.values():
            for old in [old for old in days if old < day]:
                self._to_drop.append(days.pop(old))
        for workspace_id in [workspace_id for workspace_id, days in self._days.items() if not days]:
            del self._days[workspace_id]

    def encode(self, changes: Changes) -> list[AggregateChange]:
        """Adds the changelog records of what was counted since the last call."""
        changed, self._changed = self._changed, []
        kept = [aggregate for aggregate in changed if self._is_kept(aggregate)]
        self.keys -= sum(aggregate.keys for aggregate in kept)
        aggregates = [aggregate.encode(self._rules, changes) for aggregate in kept]
        self.keys += sum(aggregate.keys for aggregate in kept)
        for _ in range(min(len(self._to_drop), DROPS_A_COMMIT)):
            gone = self._to_drop.popleft()
            self._places[gone.place] = None
            self._free.append(gone.place)
            if self._drop(gone, changes):
                aggregates.append(
                    AggregateChange(gone.workspace_id, gone.day, (), None, len(gone.bases), [], dropped=True)
                )
        self._close_some(kept)
        return aggregates

    def whole(self, after: int) -> Steps[Iterator[tuple[int, AggregateChange]]]:
        """Every day aggregate whose last event is at an offset above this one, as it was committed, with that offset:
        they ascend.
        """
        assert not self._changed, "a whole day aggregate is one that is committed"
        aggregates = yield from order_after(self, attrgetter("changed_at"), after)
        return ((aggregate.changed_at, aggregate.whole()) for aggregate in aggregates)

    def draw(self, chance: float) -> tuple[int, AggregateChange] | None:
        """The day aggregate at the place that `chance` in [0, 1) says, or at the next one that has one, as it was
        committed."""
        assert not self._changed, "a whole day aggregate is one that is committed"
        number, first = len(self._places), int(chance * len(self._places))
        for step in range(min(number, DRAW_PLACES)):
            aggregate = self._places[(first + step) % number]
            if aggregate is not None and self._is_kept(aggregate):
                return aggregate.changed_at, aggregate.whole()
        return None

    def find(self, workspace_id: str, day: int) -> tuple[int, AggregateChange] | None:
        """A day aggregate as it was committed, with the offset of its last event; None: there is none."""
        assert not self._changed, "a whole day aggregate is one that is committed"
        aggregate = self._days.get(workspace_id, {}).get(day)
        return None if aggregate is None else (aggregate.changed_at, aggregate.whole())

    def adopt(self, records: list[tuple[bytes, bytes]], counts_from: int | None) -> Steps[None]:
        """Takes the changelog's records, a few a step. Raises FormatError."""
        self.keys += len(records)
        of_days: dict[int, list[tuple[bytes, bytes]]] = {}
        for number, record in enumerate(records):
            of_days.setdefault(_KEY.unpack_from(record[0])[1], []).append(record)
            if number % RECORDS_A_STEP == 0:
                yield
        for day in sorted(of_days):
            for number, (key, value) in enumerate(sorted(of_days[day])):  # by slot: the bases in their order
                self._adopt(day, key, value)
                if number % RECORDS_A_STEP == 0:
                    yield
        if counts_from is not None:
            self.drop_before(counts_from)

    def _adopt(self, day: int, key: bytes, value: bytes) -> None:
        _, _, slot = _KEY.unpack_from(key)
        aggregate = self._get_or_begin(key[_KEY.size :].decode(), day)
        assert aggregate is not None, "nothing is dropped before all is adopted"
        aggregate.adopt(slot, value, key)

    def __iter__(self) -> Iterator[DayAggregate]:
        """All day aggregates."""
        return (aggregate for days in self._days.values() for aggregate in days.values())

    def _is_kept(self, aggregate: DayAggregate) -> bool:
        return self.counts_from is None or aggregate.day >= self.counts_from

    def _drop(self, aggregate: DayAggregate, changes: Changes) -> bool:
        """Deletes what the changelog has of a day aggregate. Whether it has anything."""
        slots = [*range(len(aggregate.bases)), *([DELTA_SLOT] if aggregate.delta is not None else [])]
        for slot in slots:
            changes[key_of(aggregate.workspace_id, aggregate.day, slot)] = None
        self.keys -= len(slots)
        self._forget_open(aggregate)
        return bool(slots)

    def _close_some(self, changed: list[DayAggregate]) -> None:
        """Takes back the dicts of day aggregates that were not touched for longest."""
        for aggregate in changed:
            self._forget_open(aggregate)
            if aggregate.counting is not None:
                self._open[aggregate] = aggregate.counting.weight()
                self._open_weight += self._open[aggregate]
        while self._open_weight > SERIES_LIMIT:
            aggregate = next(iter(self._open))
            self._forget_open(aggregate)
            aggregate.counting = None

    def _forget_open(self, aggregate: DayAggregate) -> None:
        self._open_weight -= self._open.pop(aggregate, 0)


def key_of(workspace_id: str, day: int, slot: int) -> bytes:
    """The changelog key of a base or of the delta."""
    return _KEY.pack(KIND, day, slot) + workspace_id.encode()
