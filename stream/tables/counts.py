"""Counts the events of each series in each quarter-hour.

    key    63 ("c"), u32 UTC day, u16 slot, big-endian, then the workspace id in UTF-8
    value  slot 0, 1, 2…: a base; slot FFFF: the delta                                    (stream/storage/day_parts.py)

A day aggregate is one workspace and UTC day of this partition: bases 0 to n, of which only the last still changes, and
the delta, what came since that one was written. To count is `delta[cell] += 1`: the base is not read. At a commit, a
delta of more than max(delta_floor, sqrt(cells of the last base)) cells is merged into the base (merge.py), and its slot
deleted.

A day aggregate lies in memory as the bytes that were committed. While it is counted in, it also has the numbers of its
series and its delta as dicts (Counting): 60 to 100 bytes a series, a kilobyte for one alone. Where that was not touched
for IDLE_OFFSETS, or there are too many of them, it goes, and is made again from the bytes when the next event comes
(0.2 us a series).
"""

from __future__ import annotations

from array import array
from collections import OrderedDict, deque
from collections.abc import Iterator, Sequence
from functools import partial
from math import isqrt
from operator import attrgetter
from struct import Struct
from typing import Final

import msgspec

from stream.model.activity import ACTIVITIES
from stream.model.dimensions import activity_of, kind_of, source_number_of
from stream.model.steps import Steps, order_after
from stream.model.time import QUARTERS_A_DAY
from stream.storage import day_parts as packed
from stream.storage.formats import Changes, FormatError
from stream.tables.merge import Addition, merge, summarize

KIND: Final = b"c"
DELTA_SLOT: Final = 0xFFFF

IDLE_OFFSETS: Final = 20_000
"""Offsets of the partition after its last event for which a day aggregate keeps its dicts, for making them again costs
as much as keeping them does memory, whatever its size."""
FREE_SERIES: Final = 50_000
"""Series of idle day aggregates to keep in memory anyway: 5 MB, or 25 where each is alone in its day aggregate."""
SERIES_LIMIT: Final = 600_000
"""More are not kept even if they are not idle: some 60 MB a partition."""
RECORDS_A_STEP: Final = 500
"""Of a changelog, where one takes some microseconds."""
DROPS_A_COMMIT: Final = 1_000
"""Day aggregates that one commit deletes at most, when retention has moved on: 60 KB of keys."""
DRAW_PLACES: Final = 1_000
"""Places that a draw looks at before it gives up: of a partition from which retention has just dropped much."""

_KEY: Final = Struct(">cIH")


ChangedBase = tuple[int, bytes, bytes, bytes]
"""Number, head, cells and summary."""


class AggregateChange(msgspec.Struct, frozen=True, gc=False):
    """What became of a day aggregate of a workspace and UTC day of one partition."""

    workspace_id: str
    day: int
    bases: tuple[ChangedBase, ...]
    """Number, head, cells and summary of each base that is new or was written again; of every base where `whole`."""
    delta: bytes | None
    """None: no delta; delete the stored one, if any."""
    base_count: int
    """Bases 0 up to this number, exclusive, exist; where `dropped`, they did."""
    rows: list[bytes]
    """Packed activity rows (stream/storage/row.py) of the events counted since the last commit; none where
    `whole`."""
    whole: bool = False
    """This is all of the day aggregate, in place of whatever was there."""
    dropped: bool = False
    """The day is older than the retention allows: nothing of it is left."""


# To Python's garbage collector neither day aggregates nor what counting needs are containers (gc=False): none can hold
# itself, and going through them took a tenth of the counting where nearly every event begins one. So numbers are in
# arrays and dicts below: lists would be containers again.
class DayAggregate(msgspec.Struct, eq=False, gc=False):
    """One workspace and UTC day of one partition."""

    workspace_id: str
    day: int
    place: int
    """Among the partition's day aggregates."""
    changed_at: int = -1
    """Offset of the last event that is counted in it."""
    frozen: tuple[bytes, ...] = ()
    """Changelog values of bases 0, 1, … that will not change."""
    last: bytes | None = None
    """Changelog value of the last base; None where there is none yet."""
    delta: bytes | None = None
    """Changelog value of the delta as committed; None where it is empty."""
    counting: Counting | None = None
    rows: list[bytes] | None = None
    """Rows that no commit has yet; a list from the first event after a commit to the next."""

    @property
    def base_count(self) -> int:
        return len(self.frozen) + (self.last is not None)

    @property
    def keys(self) -> int:
        """How many keys the changelog has of it, with what was encoded."""
        return self.base_count + (self.delta is not None)

    def open(self) -> Counting:
        """Makes what counting needs from what is committed."""
        assert self.counting is None, "a day aggregate is opened once"
        counting = self.counting = Counting()
        if self.last is not None:
            counting.take_base(self.last)
        if self.delta is not None:
            counting.take_delta(packed.decode_delta(self.delta))
        return counting

    def encode(self, rules: CountRules, changes: Changes) -> AggregateChange:
        """Adds the changelog records of what was counted since the last commit."""
        counting = self.counting
        assert counting is not None, "a day aggregate changes while it is open"
        rows, self.rows = self.rows, None
        bases: tuple[ChangedBase, ...] = ()
        if len(counting.delta) > counting.delta_limit(rules.delta_floor):
            bases = self._merge(counting, rules.base_bytes_limit, changes)
            if self.delta is not None:
                changes[key_of(self.workspace_id, self.day, DELTA_SLOT)] = None
            self.delta = None
        else:
            self.delta = counting.encode_delta(self.changed_at)
            changes[key_of(self.workspace_id, self.day, DELTA_SLOT)] = self.delta
        return AggregateChange(self.workspace_id, self.day, bases, self.delta, self.base_count, rows or [])

    def _merge(self, counting: Counting, limit_bytes: int, changes: Changes) -> tuple[ChangedBase, ...]:
        head, cells = packed.decode_base(self.last) if self.last is not None else (None, None)
        parts = merge(head, cells, counting.addition(self.changed_at), limit_bytes)
        values = [packed.encode_base(part.head, part.cells) for part in parts]
        first = len(self.frozen)
        assert first + len(parts) <= DELTA_SLOT, f"{first + len(parts)} bases of one workspace and day"
        for number, value in enumerate(values, first):
            changes[key_of(self.workspace_id, self.day, number)] = value
        self.frozen = (*self.frozen, *values[:-1])
        self.last = values[-1]
        if len(parts) == 1:
            counting.go_on(parts[0].cell_count)
        else:
            self.counting = None
        return tuple((number, part.head, part.cells, part.summary) for number, part in enumerate(parts, first))

    def whole(self) -> AggregateChange:
        """All of the day aggregate as it is committed."""
        values = self.frozen if self.last is None else (*self.frozen, self.last)
        bases = []
        for number, value in enumerate(values):
            head, cells = packed.decode_base(value, key_of(self.workspace_id, self.day, number))
            bases.append((number, head, cells, summarize(head, cells)))
        return AggregateChange(self.workspace_id, self.day, tuple(bases), self.delta, self.base_count, [], whole=True)

    def adopt(self, slot: int, value: bytes, key: bytes) -> None:
        """Takes a record of the changelog; bases in their order. Raises FormatError."""
        if slot == DELTA_SLOT:
            self.delta = value
            self.changed_at = max(self.changed_at, packed.read_written_at(value, key))
            return
        if slot != self.base_count:
            raise FormatError(f"{key!r} does not follow on {self.base_count} bases")
        if self.last is not None:
            self.frozen = (*self.frozen, self.last)
        self.last = value
        head, _ = packed.decode_base(value, key)
        self.changed_at = max(self.changed_at, packed.read_written_at(head, key))


class Counting(msgspec.Struct, eq=False, gc=False):
    """What counting in a day aggregate needs: the numbers of the series of its last base and delta, and the delta."""

    series: tuple[Series, ...] = msgspec.field(default_factory=lambda: tuple({} for _ in ACTIVITIES))
    """By activity: source -> user -> key of the series' first quarter."""
    delta: dict[int, int] = {}
    """Counts by key of cell."""
    _kinds: array[int] = msgspec.field(default_factory=partial(array, "I"))
    _source_numbers: dict[str, int] = {}
    """From 1 on; 0 is "without a source"."""
    _base_cells: int = 0
    _first_series: int = 0
    _first_source: int = 0
    _new_users: dict[int, str | None] = {}
    """Of the delta's new series, by their number, ascending."""

    def begin_series(self, activity: int, source: str | None, user_id: str | None) -> int:
        """Gives the next number to a series that is not there. Returns the key of its first quarter."""
        number = 0
        if source is not None:
            number = self._source_numbers.get(source, 0)
            if not number:
                number = self._source_numbers[source] = len(self._source_numbers) + 1
        self._new_users[len(self._kinds)] = user_id
        return self._number_series(kind_of(number, activity), source, user_id)

    def delta_limit(self, floor: int) -> int:
        """A delta of more cells is merged: so it is rewritten about as often as it makes its base be."""
        return max(floor, isqrt(self._base_cells))

    def encode_delta(self, written_at: int) -> bytes:
        delta, kinds = self.delta, self._kinds
        keys = sorted(delta)
        return packed.encode_delta(
            written_at,
            self._first_series,
            self._first_source,
            self._new_sources(),
            list(self._new_users.values()),
            packed.encode_column(keys, 2),
            packed.encode_column([delta[key] for key in keys]),
            packed.encode_column([kinds[key // QUARTERS_A_DAY] for key in keys]),
        )

    def addition(self, written_at: int) -> Addition:
        """The delta, for a merge."""
        return Addition(
            written_at, self.delta, self._kinds.tolist(), self._new_sources(), list(self._new_users.values())
        )

    def go_on(self, base_cells: int) -> None:
        """The delta is part of the base now, which has so many cells."""
        self._base_cells = base_cells
        self._first_series = len(self._kinds)
        self._first_source = len(self._source_numbers)
        self._new_users, self.delta = {}, {}

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
            self._new_users[number] = user_id
        self.delta = dict(zip(delta.keys, delta.counts, strict=True))

    def _new_sources(self) -> list[str]:
        """Those of the delta."""
        if len(self._source_numbers) == self._first_source:
            return []
        return list(self._source_numbers)[self._first_source :]

    def _number_sources(self, more: Sequence[str]) -> list[str | None]:
        """Gives sources the next numbers. Returns all of them by their number."""
        for source in more:
            self._source_numbers[source] = len(self._source_numbers) + 1
        return [None, *self._source_numbers]

    def _number_series(self, kind: int, source: str | None, user_id: str | None) -> int:
        key = len(self._kinds) * QUARTERS_A_DAY
        self._kinds.append(kind)
        by_source = self.series[activity_of(kind)]
        by_user = by_source.get(source)
        if by_user is None:
            by_user = by_source[source] = {}
        by_user[user_id] = key
        return key


Series = dict[str | None, dict[str | None, int]]


class CountRules(msgspec.Struct, frozen=True):
    """How day aggregates are kept."""

    delta_floor: int
    base_bytes_limit: int


class Counts:
    """The day aggregates of a partition."""

    def __init__(self, rules: CountRules) -> None:
        self._rules = rules
        self._days: dict[str, dict[int, DayAggregate]] = {}
        self._places: list[DayAggregate | None] = []
        """All day aggregates, for a draw; None: a place that is free."""
        self._free: list[int] = []
        self.counts_from: int | None = None
        """UTC day before which retention has dropped counts; it never goes back."""
        self.changed: list[DayAggregate] = []
        """Day aggregates with an event that no commit has; the counting loop adds to it."""
        self._open: OrderedDict[DayAggregate, int] = OrderedDict()
        """Weights of the day aggregates with a Counting, in the order of their last commit. A dict that loses its first
        keys would look for the next one from its beginning each time."""
        self._open_series = 0
        self._to_drop: deque[DayAggregate] = deque()
        self.keys = 0
        """How many keys the changelog has of the day aggregates, with what was encoded."""

    def days_of(self, workspace_id: str) -> dict[int, DayAggregate]:
        """The day aggregates of a workspace by day; `begin` adds to it."""
        return self._days.setdefault(workspace_id, {})

    def begin(self, workspace_id: str, day: int) -> DayAggregate | None:
        """A new day aggregate; None where the day is one that retention has dropped."""
        if self.counts_from is not None and day < self.counts_from:
            return None
        return self._new(workspace_id, day)

    def _new(self, workspace_id: str, day: int) -> DayAggregate:
        place = self._free.pop() if self._free else len(self._places)
        aggregate = self._days[workspace_id][day] = DayAggregate(workspace_id, day, place)
        if place == len(self._places):
            self._places.append(aggregate)
        else:
            self._places[place] = aggregate
        return aggregate

    def drop_before(self, day: int) -> list[str]:
        """Drops the day aggregates of days before this one; never takes it back. They are gone from reports at once,
        and from the changelog within the next commits. Returns the workspaces of which nothing is left; `days_of`
        begins them anew."""
        if self.counts_from is not None and day <= self.counts_from:
            return []
        self.counts_from = day
        for days in self._days.values():
            for old in [old for old in days if old < day]:
                self._to_drop.append(days.pop(old))
        empty = [workspace_id for workspace_id, days in self._days.items() if not days]
        for workspace_id in empty:
            del self._days[workspace_id]
        return empty

    def encode(self, upto: int, changes: Changes) -> list[AggregateChange]:
        """Adds the changelog records of what was counted since the last call; `upto` is the next offset."""
        changed, self.changed = self.changed, []
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
                    AggregateChange(gone.workspace_id, gone.day, (), None, gone.base_count, [], dropped=True)
                )
        self._close_some(changed, upto)
        return aggregates

    def whole(self, after: int) -> Steps[Iterator[tuple[int, AggregateChange]]]:
        """Every day aggregate whose last event is at an offset above this one, as it was committed, with that offset:
        they ascend.
        """
        assert not self.changed, "a whole day aggregate is one that is committed"
        aggregates = yield from order_after(self, attrgetter("changed_at"), after)
        return ((aggregate.changed_at, aggregate.whole()) for aggregate in aggregates)

    def draw(self, chance: float) -> tuple[int, AggregateChange] | None:
        """The day aggregate at the place that `chance` in [0, 1) says, or at the next one that has one, as it was
        committed."""
        assert not self.changed, "a whole day aggregate is one that is committed"
        number, first = len(self._places), int(chance * len(self._places))
        for step in range(min(number, DRAW_PLACES)):
            aggregate = self._places[(first + step) % number]
            if aggregate is not None and self._is_kept(aggregate):
                return aggregate.changed_at, aggregate.whole()
        return None

    def find(self, workspace_id: str, day: int) -> tuple[int, AggregateChange] | None:
        """A day aggregate as it was committed, with the offset of its last event; None: there is none."""
        assert not self.changed, "a whole day aggregate is one that is committed"
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
        workspace_id = key[_KEY.size :].decode()
        days = self.days_of(workspace_id)
        aggregate = days.get(day) or self._new(workspace_id, day)
        aggregate.adopt(slot, value, key)

    def __iter__(self) -> Iterator[DayAggregate]:
        """All day aggregates."""
        return (aggregate for days in self._days.values() for aggregate in days.values())

    def _is_kept(self, aggregate: DayAggregate) -> bool:
        return self.counts_from is None or aggregate.day >= self.counts_from

    def _drop(self, aggregate: DayAggregate, changes: Changes) -> bool:
        """Deletes what the changelog has of a day aggregate. Whether it has anything."""
        slots = [*range(aggregate.base_count), *([DELTA_SLOT] if aggregate.delta is not None else [])]
        for slot in slots:
            changes[key_of(aggregate.workspace_id, aggregate.day, slot)] = None
        self.keys -= len(slots)
        self._forget_open(aggregate)
        return bool(slots)

    def _close_some(self, changed: list[DayAggregate], upto: int) -> None:
        """Takes back the dicts of day aggregates that were not touched for long, or for longest."""
        for aggregate in changed:
            self._forget_open(aggregate)
            if aggregate.counting is not None and self._is_kept(aggregate):
                weight = self._open[aggregate] = aggregate.counting.weight()
                self._open_series += weight
        while self._open_series > FREE_SERIES:
            aggregate = next(iter(self._open))
            if self._open_series <= SERIES_LIMIT and aggregate.changed_at > upto - IDLE_OFFSETS:
                return
            self._forget_open(aggregate)
            aggregate.counting = None

    def _forget_open(self, aggregate: DayAggregate) -> None:
        self._open_series -= self._open.pop(aggregate, 0)


def key_of(workspace_id: str, day: int, slot: int) -> bytes:
    """The changelog key of a base or of the delta."""
    return _KEY.pack(KIND, day, slot) + workspace_id.encode()
