"""Sums of days -> counts of a view. A fold is kept, and what changed in it since is exchanged day by day."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from api.cache import Shared
from api.read.parts import DayParts
from api.report.days import COUNT_BYTES, KindSums, kind_sums, kind_sums_of_users
from api.report.plan import DayPlan, Plan
from stream.model.activity import ACTIVITIES, ADDED, DELETED
from stream.model.dimensions import Kind
from stream.model.steps import Steps


@dataclass(frozen=True, slots=True)
class Counts:
    """Counts of a view: one item a bucket. `…_before` are those of the earlier bucket beside it; empty where nothing is
    compared.
    """

    added: list[int]
    deleted: list[int]
    added_by_source: dict[str | None, list[int]]
    added_before: list[int]
    deleted_before: list[int]
    added_by_source_before: dict[str | None, list[int]]


@dataclass(frozen=True)
class KindFold:
    """The days of a plan, added up by kind; only the given sources, or all. Never changed: `update` makes another."""

    plan: Plan
    sources: frozenset[str | None] | None
    manifests: Sequence[bytes | None] = ()
    """Of each day of the plan the value in `days` that it is true of; None: it is not in it. Empty: no day is."""
    sums: Mapping[int, KindSums] = field(default_factory=dict)
    rows: Mapping[Kind, list[int]] = field(default_factory=dict)
    """By kind, one item a column of the plan."""

    def sum_days(self, parts: DayParts, users: frozenset[str | None] | None) -> Steps[dict[int, KindSums]]:
        """The sums of days of the plan, of all users or some."""
        found: dict[int, KindSums] = {}
        for day, of_day in parts.items():
            if found:
                yield
            cuts = self.plan.days[day].cuts
            if users is None:
                found[day] = kind_sums(of_day, cuts)
            else:
                found[day] = yield from kind_sums_of_users(of_day, cuts, users)
        return found

    def day(self, day: int) -> KindSums:
        """The sums of a day that is in it, for `exchange` alone."""
        return self.sums[day]

    def sums_of(self, day: int) -> KindSums | None:
        """Those of a day that is in it."""
        return self.sums.get(day)

    def exchange(
        self,
        manifests: Sequence[bytes | None],
        gone: Collection[int],
        known: Mapping[int, KindSums],
        parts: DayParts,
        users: frozenset[str | None] | None,
    ) -> "Steps[KindFold]":
        """The fold of other manifests: without the days that are `gone`, with those whose sums are `known`, and with
        those of the parts. A day that is another one is gone and comes again.
        """
        changed = {**known, **(yield from self.sum_days(parts, users))}
        if len(gone) == len(self.sums):  # to begin anew is less work
            rows, sums, gone = {}, {}, ()
        else:
            rows, sums = {kind: list(row) for kind, row in self.rows.items()}, dict(self.sums)
        adder = _Adder(rows, self.plan, self.sources)
        for day in gone:
            before = sums.pop(day)
            adder.add(self.plan.days[day], KindSums(before.kinds, tuple([-count for count in before.counts])))
        for day, after in changed.items():
            adder.add(self.plan.days[day], after)
            sums[day] = after
        return KindFold(self.plan, self.sources, manifests, sums, rows)

    @cached_property
    def counts(self) -> Counts:
        buckets, earlier = slice(self.plan.buckets), self.plan.earlier_columns
        totals = [[0] * self.plan.columns for _ in ACTIVITIES]
        for activity in range(len(ACTIVITIES)):
            mine = [row for (of, _), row in self.rows.items() if of == activity]
            if mine:
                totals[activity] = list(map(sum, zip(*mine, strict=True)))
        added, deleted = totals[ADDED], totals[DELETED]
        return Counts(
            added[buckets],
            deleted[buckets],
            self._by_source(buckets),
            added[earlier],
            deleted[earlier],
            self._by_source(earlier),
        )

    def totals(self) -> tuple[int, int, int, int]:
        """Added, deleted, and both of the earlier side."""
        of = self.counts
        return sum(of.added), sum(of.deleted), sum(of.added_before), sum(of.deleted_before)

    @property
    def size_bytes(self) -> int:
        """With its days, which may be forgotten elsewhere; without what `shared` tells."""
        return size_of_rows(self.plan, len(self.rows)) + sum(sums.size_bytes for sums in self.sums.values())

    @property
    def shared(self) -> list[Shared]:
        tables = {id(sums.kinds): sums.shared for sums in self.sums.values()}
        return list(tables.values())

    def _by_source(self, columns: slice) -> dict[str | None, list[int]]:
        """Added, of the sources that have any there."""
        return {
            source: row[columns]
            for (activity, source), row in self.rows.items()
            if activity == ADDED and any(row[columns])
        }


def size_of_rows(plan: Plan, rows: int) -> int:
    """Of rows, and as much again for the counts that are made of them."""
    return 2 * (COUNT_BYTES * plan.columns + 200) * (2 + rows)


class _Adder:
    """Adds days to rows; the rows of a table of kinds are looked up once."""

    def __init__(self, rows: dict[Kind, list[int]], plan: Plan, sources: frozenset[str | None] | None) -> None:
        self._rows = rows
        self._columns = plan.columns
        self._sources = sources
        self._known: dict[int, list[list[int]]] = {}
        self._unwanted = [0] * plan.columns

    def add(self, day: DayPlan, sums: KindSums) -> None:
        kinds, counts = sums
        rows = self._known.get(id(kinds))
        if rows is None:
            rows = self._known[id(kinds)] = [self._row(kind) for kind in kinds]
        columns = day.columns
        width = len(columns)
        if width == 1:
            [only] = columns
            for row, count in zip(rows, counts, strict=True):
                row[only] += count
        elif width == 2:
            first, second = columns
            for row, one, two in zip(rows, counts[::2], counts[1::2], strict=True):
                row[first] += one
                row[second] += two
        else:
            for i, row in enumerate(rows):
                for column, count in zip(columns, counts[i * width : (i + 1) * width], strict=True):
                    row[column] += count
        for piece, column in day.also:
            for row, count in zip(rows, counts[piece::width], strict=True):
                row[column] += count

    def _row(self, kind: Kind) -> list[int]:
        if self._sources is not None and kind[1] not in self._sources:
            return self._unwanted
        row = self._rows.get(kind)
        if row is None:
            row = self._rows[kind] = [0] * self._columns
        return row
