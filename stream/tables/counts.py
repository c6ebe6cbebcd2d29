"""Counts the events of each series in each quarter-hour.

    key    63 ("c"), u32 UTC day, u16 slot, big-endian, then the workspace id in UTF-8
    value  slot 0, 1, 2…: a base; slot FFFF: the delta                                    (stream/storage/day_parts.py)

A day aggregate is one workspace and UTC day of this partition: bases 0 to n, of which only the last still changes, and
the delta, what came since that one was written. To count is `delta[cell] += 1`: the base is not read. At a commit, a
delta of more than max(delta_floor, sqrt(cells of the last base)) cells is merged into the base (merge.py), and its slot
deleted.

A day aggregate lies in memory as the bytes that were committed. From the first event that is counted in it on it also
has the numbers of its series and its delta as dicts (Counting); they are made again from the bytes after a merge.

Once retention has moved on, the earlier days are gone at once from what is whole, and their keys are deleted over the
next commits: so no commit is larger because a day ended.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from math import isqrt
from operator import attrgetter
from struct import Struct
from typing import Final

import msgspec

from stream.model.activity import ContactActivity
from stream.model.dimensions import Series, kinds_of, numbers_of_kinds
from stream.model.time import QUARTER_NANOSECONDS, QUARTERS_A_DAY
from stream.storage import day_parts as packed
from stream.storage.formats import Changes, FormatError
from stream.tables.commit import AggregateChange, ChangedBase
from stream.tables.merge import Delta, merge, summarize

KIND: Final = b"c"
DELTA_SLOT: Final = 0xFFFF

DROPS_A_COMMIT: Final = 1_000
"""Day aggregates that one commit deletes at most, when retention has moved on: 60 KB of keys."""
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
        self._counting: Counting | None = None
        self._rows: list[bytes] = []
        """Of the events since the last commit."""

    def add(self, event: ContactActivity, quarter: int, offset: int, row: bytes | None) -> None:
        """Counts an event in a quarter of the day."""
        if self._counting is None:
            self._counting = Counting(self.bases[-1] if self.bases else None, self.delta)
        self._counting.add(event.activity, event.source, event.user_id, quarter)
        self.changed_at = offset
        if row is not None:
            self._rows.append(row)

    def encode(self, rules: CountRules, changes: Changes) -> AggregateChange:
        """Adds the changelog records of what was counted since the last commit."""
        counting = self._counting
        assert counting is not None, "a day aggregate changes when an event is counted in it"
        rows, self._rows = self._rows, []
        bases: tuple[ChangedBase, ...] = ()
        delta_key = key_of(self.workspace_id, self.day, DELTA_SLOT)
        if counting.is_to_be_merged(rules.delta_floor):
            bases = self._merge(counting, rules.base_bytes_limit, changes)
            if self.delta is not None:
                changes[delta_key] = self.delta = None
        else:
            changes[delta_key] = self.delta = counting.encode_delta(self.changed_at)
        return AggregateChange(self.workspace_id, self.day, bases, self.delta, len(self.bases), rows)

    def _merge(self, counting: Counting, limit_bytes: int, changes: Changes) -> tuple[ChangedBase, ...]:
        """Writes the last base again, and those that follow where one would be too large."""
        first = max(len(self.bases) - 1, 0)
        parts = merge(self.bases[-1] if self.bases else None, counting.as_addition(self.changed_at), limit_bytes)
        assert first + len(parts) <= DELTA_SLOT, f"{first + len(parts)} bases of one workspace and day"
        self.bases[first:] = [packed.encode_base(part.head, part.cells) for part in parts]
        for number, value in enumerate(self.bases[first:], first):
            changes[key_of(self.workspace_id, self.day, number)] = value
        self._counting = None
        return tuple((number, part.head, part.cells, part.summary) for number, part in enumerate(parts, first))

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
    """What counting in a day aggregate needs: the series of its last base and of its delta, and the delta."""

    def __init__(self, base: bytes | None, delta: bytes | None) -> None:
        """Goes on from what is committed."""
        self._sources: dict[str, None] = {}
        self._series: dict[Series, int] = {}
        """The number of each."""
        self._delta: dict[int, int] = {}
        """Counts by key of cell."""
        self._base_cells = 0
        if base is not None:
            packed_head, packed_cells = packed.decode_base(base)
            head, self._base_cells = packed.decode_head(packed_head), len(packed.decode_cells(packed_cells).keys)
            self._take(head.sources, head.kinds, head.users)
        self._first_source, self._first_series = len(self._sources), len(self._series)
        if delta is not None:
            self._take_delta(packed.decode_delta(delta))

    def add(self, activity: int, source: str | None, user_id: str | None, quarter: int) -> None:
        """Counts an event of a series in a quarter of the day."""
        if source is not None:
            self._sources.setdefault(source)
        number = self._series.setdefault((activity, source, user_id), len(self._series))
        key = number * QUARTERS_A_DAY + quarter
        self._delta[key] = self._delta.get(key, 0) + 1

    def is_to_be_merged(self, floor: int) -> bool:
        """Whether the delta has so many cells that it is rewritten more often than it makes its base be."""
        return len(self._delta) > max(floor, isqrt(self._base_cells))

    def as_addition(self, written_at: int) -> Delta:
        """The delta, for a merge."""
        return Delta(written_at, self._new_sources(), self._new_series(), self._delta)

    def encode_delta(self, written_at: int) -> bytes:
        keys = sorted(self._delta)
        series, numbers = list(self._series), numbers_of_kinds(self._sources)
        of_cells = [series[key // QUARTERS_A_DAY] for key in keys]
        return packed.encode(
            packed.Delta(
                written_at,
                self._first_series,
                self._first_source,
                self._new_sources(),
                [user_id for _, _, user_id in self._new_series()],
                packed.make_column(keys, 2),
                packed.make_column([self._delta[key] for key in keys]),
                packed.make_column([numbers[activity, source] for activity, source, _ in of_cells]),
            )
        )

    def _new_sources(self) -> list[str]:
        return list(self._sources)[self._first_source :]

    def _new_series(self) -> list[Series]:
        return list(self._series)[self._first_series :]

    def _take_delta(self, delta: packed.Delta) -> None:
        assert delta.first_series == self._first_series, "a delta continues the series of its base"
        assert delta.first_source == self._first_source, "a delta continues the sources of its base"
        kind_of = dict(zip((key // QUARTERS_A_DAY for key in delta.keys), delta.kinds, strict=True))
        new = range(self._first_series, self._first_series + len(delta.new_users))
        self._take(delta.new_sources, [kind_of[number] for number in new], delta.new_users)
        self._delta = dict(zip(delta.keys, delta.counts, strict=True))

    def _take(self, sources: Iterable[str], kinds: Iterable[int], users: Iterable[str | None]) -> None:
        """Numbers more sources and series, by kind and user, in their order."""
        self._sources |= dict.fromkeys(sources)
        by_number = kinds_of(self._sources)
        for kind, user_id in zip(kinds, users, strict=True):
            self._series[(*by_number[kind], user_id)] = len(self._series)


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
        self._all: list[DayAggregate] = []
        self.counts_from: int | None = None
        """UTC day before which retention has dropped counts; it never goes back."""
        self._changed: dict[DayAggregate, None] = {}
        """Those with an event that no commit has."""
        self._to_drop: deque[DayAggregate] = deque()

    def add(self, event: ContactActivity, offset: int, row: bytes | None) -> bool:
        """Adds one to the cell of an event, which may have a row. False: it has none, since retention has dropped its
        day."""
        day, quarter = divmod(event.occurred_at // QUARTER_NANOSECONDS, QUARTERS_A_DAY)
        aggregate = self._get_or_begin(event.workspace_id, day)
        if aggregate is None:
            return False
        aggregate.add(event, quarter, offset, row)
        self._changed.setdefault(aggregate)
        return True

    def _get_or_begin(self, workspace_id: str, day: int) -> DayAggregate | None:
        """The day aggregate, a new one where there is none; None where the day is one that retention has dropped."""
        days = self._days.setdefault(workspace_id, {})
        if day not in days:
            if self.counts_from is not None and day < self.counts_from:
                return None
            days[day] = DayAggregate(workspace_id, day)
            self._all.append(days[day])
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
        self._days = {workspace_id: days for workspace_id, days in self._days.items() if days}
        self._all = [aggregate for aggregate in self._all if self._is_kept(aggregate)]

    def encode(self, changes: Changes) -> list[AggregateChange]:
        """Adds the changelog records of what was counted since the last call."""
        changed, self._changed = self._changed, {}
        kept = [aggregate for aggregate in changed if self._is_kept(aggregate)]
        aggregates = [aggregate.encode(self._rules, changes) for aggregate in kept]
        for _ in range(min(len(self._to_drop), DROPS_A_COMMIT)):
            dropped = self._to_drop.popleft().drop(changes)
            if dropped is not None:
                aggregates.append(dropped)
        return aggregates

    def whole(self, after: int) -> Iterator[tuple[int, AggregateChange]]:
        """Every day aggregate whose last event is at an offset above this one, as it was committed, with that offset:
        they ascend.
        """
        assert not self._changed, "a whole day aggregate is one that is committed"
        found = sorted((one for one in self._all if one.changed_at > after), key=attrgetter("changed_at"))
        return ((aggregate.changed_at, aggregate.whole()) for aggregate in found)

    def draw(self, chance: float) -> tuple[int, AggregateChange] | None:
        """The day aggregate that `chance` in [0, 1) says, as it was committed."""
        assert not self._changed, "a whole day aggregate is one that is committed"
        return self._show(self._all[int(chance * len(self._all))] if self._all else None)

    def find(self, workspace_id: str, day: int) -> tuple[int, AggregateChange] | None:
        """A day aggregate as it was committed, with the offset of its last event; None: there is none."""
        assert not self._changed, "a whole day aggregate is one that is committed"
        return self._show(self._days.get(workspace_id, {}).get(day))

    def adopt(self, key: bytes, value: bytes) -> None:
        """Takes a record of the changelog, in the order of their keys: by day, then by slot, so the bases in theirs.
        Raises FormatError."""
        _, day, slot = _KEY.unpack_from(key)
        aggregate = self._get_or_begin(key[_KEY.size :].decode(), day)
        assert aggregate is not None, "nothing is dropped before all is adopted"
        aggregate.adopt(slot, value, key)

    def _is_kept(self, aggregate: DayAggregate) -> bool:
        return self.counts_from is None or aggregate.day >= self.counts_from

    @staticmethod
    def _show(aggregate: DayAggregate | None) -> tuple[int, AggregateChange] | None:
        return None if aggregate is None else (aggregate.changed_at, aggregate.whole())


def key_of(workspace_id: str, day: int, slot: int) -> bytes:
    """The changelog key of a base or of the delta."""
    return _KEY.pack(KIND, day, slot) + workspace_id.encode()
