"""Counts the events of each series in each quarter-hour.

    key    63 ("c"), u32 UTC day, u16 slot, big-endian, then the workspace id in UTF-8
    value  slot 0, 1, 2…: a base; slot FFFF: the delta                                    (stream/storage/day_parts.py)

A day aggregate is one workspace and UTC day of this partition: bases 0 to n, of which only the last still changes, and
the delta, what came since that one was written. To count is to add one to the delta: the base is not read. At a commit,
a delta of more than max(delta_floor, sqrt(cells of the last base)) cells is merged into the base (merge.py), and its
slot deleted.

A day aggregate lies in memory as the bytes that were committed. From the first event that is counted in it on it is
open: its delta is there by series, and so are the numbers of its base's series (Counting). It is closed after a merge,
and all are closed where they may have more than OPEN_SERIES.

Once retention has moved on, the earlier days are gone at once from what is whole, and their keys are deleted over the
next commits: so no commit is larger because a day ended.
"""

from __future__ import annotations

from collections import ChainMap, Counter, deque
from collections.abc import Iterator
from itertools import chain
from math import isqrt
from operator import attrgetter
from struct import Struct
from typing import Final

from stream.model.activity import ContactActivity
from stream.model.dimensions import Series, kinds_of, numbers_of_kinds
from stream.model.time import QUARTER_NANOSECONDS, QUARTERS_A_DAY
from stream.storage import day_parts as packed
from stream.storage.formats import Changes, FormatError
from stream.tables.commit import AggregateChange, ChangedBase
from stream.tables.merge import CountsOf, merge, series_of, sources_of, summarize
from stream.tables.rules import CountingRules

KIND: Final = b"c"
DELTA_SLOT: Final = 0xFFFF

DROPS_A_COMMIT: Final = 1_000
"""Day aggregates that one commit deletes at most, when retention has moved on: 60 KB of keys."""
OPEN_SERIES: Final = 100_000
"""20 to 90 MB: all day aggregates are closed by the commit after which those that are open may have more."""
_KEY: Final = Struct(">cIH")


class DayAggregate:
    """The counts of a workspace and UTC day."""

    def __init__(self, workspace_id: str, day: int) -> None:
        self.workspace_id: Final = workspace_id
        self.day: Final = day
        self.bases: list[bytes] = []
        """Changelog values of the bases as committed."""
        self.delta: bytes | None = None
        """Changelog value of the delta as committed; None where it is empty."""
        self.changed_at = -1
        """Offset of the last event that is counted here."""
        self.counting: Counting | None = None
        """None where it is closed."""
        self.rows: list[bytes] = []
        """Of the events since the last commit."""

    def open(self) -> Counting:
        """What counting needs, made from what is committed where it is closed."""
        if self.counting is None:
            self.counting = Counting(self.bases[-1] if self.bases else None, self.delta)
        return self.counting

    def encode(self, rules: CountingRules, changes: Changes) -> AggregateChange:
        """Adds the changelog records of what was counted since the last commit."""
        counting, (rows, self.rows) = self.open(), (self.rows, [])
        bases: tuple[ChangedBase, ...] = ()
        delta_key = key_of(self.workspace_id, self.day, DELTA_SLOT)
        if counting.is_to_be_merged(rules.delta_floor):
            bases = self._merge(counting.delta, rules.base_bytes_limit, changes)
            if self.delta is not None:
                changes[delta_key] = self.delta = None
        else:
            changes[delta_key] = self.delta = counting.encode_delta(self.changed_at)
        return AggregateChange(self.workspace_id, self.day, bases, self.delta, len(self.bases), rows)

    def _merge(self, delta: CountsOf, limit_bytes: int, changes: Changes) -> tuple[ChangedBase, ...]:
        """Writes the last base again, and those that follow where one would be too large."""
        last = self.bases.pop() if self.bases else None
        first = len(self.bases)
        parts = merge(last, delta, self.changed_at, limit_bytes)
        assert first + len(parts) <= DELTA_SLOT, f"{first + len(parts)} bases of one workspace and day"
        for number, part in enumerate(parts, first):
            self.bases.append(packed.encode_base(part.head, part.cells))
            changes[key_of(self.workspace_id, self.day, number)] = self.bases[-1]
        self.counting = None
        return tuple((number, *part) for number, part in enumerate(parts, first))

    def drop(self, changes: Changes) -> AggregateChange | None:
        """Deletes what the changelog has of it. None: it has nothing."""
        slots = [*range(len(self.bases)), *([DELTA_SLOT] if self.delta is not None else [])]
        changes.update((key_of(self.workspace_id, self.day, slot), None) for slot in slots)
        if not slots:
            return None
        return AggregateChange(self.workspace_id, self.day, (), None, len(self.bases), [], dropped=True)

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
            self.delta = head = value
        elif slot == len(self.bases):
            self.bases.append(value)
            head, _ = packed.decode_base(value, key)
        else:
            raise FormatError(f"{key!r} does not follow on {len(self.bases)} bases")
        self.changed_at = max(self.changed_at, packed.read_written_at(head, key))


class Counting:
    """What counting in a day aggregate needs: the delta, and the series and sources that its base has."""

    def __init__(self, base: bytes | None, delta: bytes | None) -> None:
        """Goes on from what is committed."""
        self.delta: CountsOf = {}
        self._base_series: dict[Series, int] = {}
        """The number of each."""
        self._base_sources: list[str] = []
        self._base_cells = 0
        if base is not None:
            head = packed.decode_head(packed.decode_base(base)[0])
            self._base_series = {series: number for number, series in enumerate(series_of(head))}
            self._base_sources, self._base_cells = head.sources, sum(head.cell_counts)
        if delta is not None:
            self._take_delta(packed.decode_delta(delta))

    def _take_delta(self, delta: packed.Delta) -> None:
        assert delta.first_series == len(self._base_series), "a delta continues the series of its base"
        assert delta.first_source == len(self._base_sources), "a delta continues the sources of its base"
        kinds = kinds_of([*self._base_sources, *delta.new_sources])
        users = [user_id for _, _, user_id in self._base_series] + delta.new_users
        for key, count, kind in zip(delta.keys, delta.counts, delta.kinds, strict=True):
            number, quarter = divmod(key, QUARTERS_A_DAY)
            self.delta.setdefault((*kinds[kind], users[number]), Counter())[quarter] = count

    @property
    def size(self) -> int:
        """How many series it has at most."""
        return len(self._base_series) + len(self.delta)

    def add(self, series: Series, quarter: int) -> None:
        """Counts an event of a series in a quarter of the day."""
        self.delta.setdefault(series, Counter())[quarter] += 1

    def is_to_be_merged(self, floor: int) -> bool:
        """Whether the delta has so many cells that it is rewritten more often than it makes its base be."""
        return sum(map(len, self.delta.values())) > max(floor, isqrt(self._base_cells))

    def encode_delta(self, written_at: int) -> bytes:
        """The changelog's value of the delta."""
        first_series, first_source = len(self._base_series), len(self._base_sources)
        new = [series for series in self.delta if series not in self._base_series]
        numbers = ChainMap({series: number for number, series in enumerate(new, first_series)}, self._base_series)
        sources = sources_of(new, self._base_sources)
        kinds = numbers_of_kinds(sources)
        cells = sorted(
            (numbers[series] * QUARTERS_A_DAY + quarter, count, kinds[series[:2]])
            for series, own in self.delta.items()
            for quarter, count in own.items()
        )
        users = [user_id for _, _, user_id in new]
        keys, counts, of_cells = zip(*cells, strict=True)
        columns = packed.make_column(keys, 2), packed.make_column(counts), packed.make_column(of_cells)
        return packed.encode(
            packed.Delta(written_at, first_series, first_source, sources[first_source:], users, *columns)
        )


class Counts:
    """The day aggregates of a partition."""

    def __init__(self, rules: CountingRules) -> None:
        self._rules = rules
        self._days: dict[str, dict[int, DayAggregate]] = {}
        """By workspace and day."""
        self.counts_from: int | None = None
        """UTC day before which retention has dropped counts; it never goes back."""
        self._changed: dict[DayAggregate, None] = {}
        """Those with an event that no commit has."""
        self._to_drop: deque[DayAggregate] = deque()
        self._open_series = 0
        """Of open day aggregates, at most: those that were unpacked since all were closed, and one an event."""

    def add(self, event: ContactActivity, offset: int, row: bytes | None) -> bool:
        """Adds one to the cell of an event, which may have a row. False: it has none, since retention has dropped its
        day."""
        day, quarter = divmod(event.occurred_at // QUARTER_NANOSECONDS, QUARTERS_A_DAY)
        aggregate = self._get_or_begin(event.workspace_id, day)
        if aggregate is None:
            return False
        if aggregate.counting is None:
            self._open_series += aggregate.open().size
        aggregate.open().add((event.activity, event.source, event.user_id), quarter)
        self._open_series += 1
        aggregate.changed_at = offset
        if row is not None:
            aggregate.rows.append(row)
        self._changed[aggregate] = None
        return True

    def _get_or_begin(self, workspace_id: str, day: int) -> DayAggregate | None:
        """The day aggregate, a new one where there is none; None where the day is one that retention has dropped."""
        days = self._days.setdefault(workspace_id, {})
        if day not in days:
            if self.counts_from is not None and day < self.counts_from:
                return None
            days[day] = DayAggregate(workspace_id, day)
        return days[day]

    def drop_before(self, day: int) -> None:
        """Drops the day aggregates of days before this one; never takes it back. They are gone from reports at once,
        and from the changelog within the next commits."""
        if self.counts_from is not None and day <= self.counts_from:
            return
        self.counts_from = day
        for days in self._days.values():
            for old in [old for old in days if old < day]:
                self._changed.pop(days[old], None)
                self._to_drop.append(days.pop(old))
        self._days = {workspace_id: days for workspace_id, days in self._days.items() if days}

    def encode(self, changes: Changes) -> list[AggregateChange]:
        """Adds the changelog records of what was counted since the last call."""
        aggregates = [aggregate.encode(self._rules, changes) for aggregate in self._changed]
        self._changed = {}
        to_drop = [self._to_drop.popleft() for _ in range(min(len(self._to_drop), DROPS_A_COMMIT))]
        dropped = [aggregate.drop(changes) for aggregate in to_drop]
        if self._open_series > OPEN_SERIES:
            self._open_series = 0
            for aggregate in self._all():
                aggregate.counting = None
        return aggregates + [change for change in dropped if change is not None]

    def whole(self, after: int) -> Iterator[tuple[int, AggregateChange]]:
        """Every day aggregate whose last event is at an offset above this one, as it was committed, with that offset:
        they ascend.
        """
        found = sorted((one for one in self._all() if one.changed_at > after), key=attrgetter("changed_at"))
        return map(self._whole, found)

    def draw(self, chance: float) -> tuple[int, AggregateChange] | None:
        """The day aggregate that `chance` in [0, 1) says, as it was committed."""
        among = list(self._all())
        return self._whole(among[int(chance * len(among))]) if among else None

    def find(self, workspace_id: str, day: int) -> tuple[int, AggregateChange] | None:
        """A day aggregate as it was committed, with the offset of its last event; None: there is none."""
        found = self._days.get(workspace_id, {}).get(day)
        return None if found is None else self._whole(found)

    def adopt(self, key: bytes, value: bytes) -> None:
        """Takes a record of the changelog, in the order of their keys: by day, then by slot, so the bases in theirs.
        Raises FormatError."""
        _, day, slot = _KEY.unpack_from(key)
        aggregate = self._get_or_begin(key[_KEY.size :].decode(), day)
        assert aggregate is not None, "nothing is dropped before all is adopted"
        aggregate.adopt(slot, value, key)

    def _all(self) -> Iterator[DayAggregate]:
        return chain.from_iterable(days.values() for days in self._days.values())

    def _whole(self, aggregate: DayAggregate) -> tuple[int, AggregateChange]:
        assert not self._changed, "a whole day aggregate is one that is committed"
        return aggregate.changed_at, aggregate.whole()


def key_of(workspace_id: str, day: int, slot: int) -> bytes:
    """The changelog key of a base or of the delta."""
    return _KEY.pack(KIND, day, slot) + workspace_id.encode()
