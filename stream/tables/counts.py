"""Counts the events of each series in each quarter-hour.

    key    63 ("c"), u32 UTC day, u16 slot, big-endian, then the workspace id in UTF-8
    value  slot 0, 1, 2…: a base; slot FFFF: the delta                                    (stream/storage/day_parts.py)

A day aggregate is one workspace and UTC day of this partition: bases 0 to n, of which only the last still changes, and
the delta, what came since that one was written. At a commit, a delta of more than max(delta_floor, sqrt(cells of the
last base)) cells is merged into the base (merge.py), and its slot deleted.

A day aggregate lies in memory as the bytes that were committed, beside the counts of the events since: the delta, and
which series the last base has, are unpacked by the next commit.

Once retention has moved on, the earlier days are gone at once from what is whole, and their keys are deleted over the
next commits: so no commit is larger because a day ended.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from math import isqrt
from operator import attrgetter
from struct import Struct
from typing import Final

from stream.model.activity import ContactActivity
from stream.model.time import QUARTER_NANOSECONDS, QUARTERS_A_DAY
from stream.storage import day_parts as packed
from stream.storage.formats import Changes, FormatError
from stream.tables.commit import AggregateChange, ChangedBase
from stream.tables.merge import NO_BASE, CellCounts, merge, pack_delta, summarize, unpack_delta
from stream.tables.rules import CountingRules

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
        self.counted = CellCounts()
        self.rows: list[bytes] = []
        """Both: of the events since the last commit."""

    def encode(self, rules: CountingRules, changes: Changes) -> AggregateChange:
        """Adds the changelog records of what was counted since the last commit."""
        last = self.bases[-1] if self.bases else NO_BASE
        head = packed.decode_head(packed.decode_base(last)[0])
        delta = self.counted if self.delta is None else unpack_delta(head, self.delta) + self.counted
        first_changed = len(self.bases)
        if len(delta) > max(rules.delta_floor, isqrt(sum(head.cell_counts))):
            first_changed = max(first_changed - 1, 0)
            self.bases[first_changed:] = merge(last, delta, self.changed_at, rules.base_bytes_limit)
            assert len(self.bases) <= DELTA_SLOT, f"{len(self.bases)} bases of one workspace and day"
            changes.update((self._key(slot), self.bases[slot]) for slot in range(first_changed, len(self.bases)))
            if self.delta is not None:
                changes[self._key(DELTA_SLOT)] = self.delta = None
        else:
            changes[self._key(DELTA_SLOT)] = self.delta = pack_delta(head, delta, self.changed_at)
        bases = self._bases_from(first_changed)
        change = AggregateChange(self.workspace_id, self.day, bases, self.delta, len(self.bases), self.rows)
        self.rows, self.counted = [], CellCounts()
        return change

    def drop(self, changes: Changes) -> AggregateChange:
        """Deletes what the changelog has of it."""
        slots = [*range(len(self.bases)), *([DELTA_SLOT] if self.delta is not None else [])]
        changes.update((self._key(slot), None) for slot in slots)
        return AggregateChange(self.workspace_id, self.day, (), None, len(self.bases), [], dropped=True)

    def whole(self) -> AggregateChange:
        """All of the day aggregate as it is committed."""
        bases = self._bases_from(0)
        return AggregateChange(self.workspace_id, self.day, bases, self.delta, len(self.bases), [], whole=True)

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

    def _bases_from(self, first: int) -> tuple[ChangedBase, ...]:
        """The bases from this one on, as they are committed."""
        bases = []
        for number, value in enumerate(self.bases[first:], first):
            head, cells = packed.decode_base(value, self._key(number))
            bases.append((number, head, cells, summarize(head, cells)))
        return tuple(bases)

    def _key(self, slot: int) -> bytes:
        return key_of(self.workspace_id, self.day, slot)


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
        self._to_drop: list[DayAggregate] = []

    def add(self, event: ContactActivity, offset: int, row: bytes | None) -> bool:
        """Adds one to the cell of an event, which may have a row. False: it has none, since retention has dropped its
        day."""
        day, quarter = divmod(event.occurred_at // QUARTER_NANOSECONDS, QUARTERS_A_DAY)
        aggregate = self._get_or_begin(event.workspace_id, day)
        if aggregate is None:
            return False
        aggregate.counted[(event.activity, event.source, event.user_id), quarter] += 1
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
        to_drop, self._to_drop = self._to_drop[:DROPS_A_COMMIT], self._to_drop[DROPS_A_COMMIT:]
        return aggregates + [old.drop(changes) for old in to_drop if old.bases or old.delta is not None]

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
