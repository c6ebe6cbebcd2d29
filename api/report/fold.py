"""Sums of days -> counts of a view. A fold is kept, and what changed in it since is exchanged day by day."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from operator import add

from api.read.parts import DayParts
from api.report.days import COUNT_BYTES, KindSums, kind_sums, kind_sums_of_users
from api.report.plan import Plan
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
    """The days of a plan, added up by kind; only the given sources, or all. Never changed: `exchange` makes another."""

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
        sums, rows = dict(self.sums), {kind: list(row) for kind, row in self.rows.items()}
        for day in gone:
            self._add(rows, day, sums.pop(day), -1)
        for day, after in changed.items():
            sums[day] = after
            self._add(rows, day, after)
        return KindFold(self.plan, self.sources, manifests, sums, rows)

    def _add(self, rows: dict[Kind, list[int]], day: int, sums: KindSums, sign: int = 1) -> None:
        """Adds the sums of a day to rows, or, with the sign -1, takes them out."""
        of = self.plan.days[day]
        places = [*enumerate(of.columns), *of.also]
        for kind, pieces in sums.by_kind():
            if self.sources is None or kind[1] in self.sources:
                row = rows.setdefault(kind, [0] * self.plan.columns)
                for piece, column in places:
                    row[column] += sign * pieces[piece]

    @cached_property
    def counts(self) -> Counts:
        buckets, earlier = slice(self.plan.buckets), self.plan.earlier_columns
        totals = [[0] * self.plan.columns for _ in ACTIVITIES]
        for (activity, _), row in self.rows.items():
            totals[activity] = list(map(add, totals[activity], row))
        return Counts(
            totals[ADDED][buckets],
            totals[DELETED][buckets],
            self._by_source(buckets),
            totals[ADDED][earlier],
            totals[DELETED][earlier],
            self._by_source(earlier),
        )

    def totals(self) -> tuple[int, int, int, int]:
        """Added, deleted, and both of the earlier side."""
        of = self.counts
        return sum(of.added), sum(of.deleted), sum(of.added_before), sum(of.deleted_before)

    @property
    def size_bytes(self) -> int:
        """With its days, which may be forgotten elsewhere."""
        return size_of_rows(self.plan, len(self.rows)) + sum(sums.size_bytes for sums in self.sums.values())

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
