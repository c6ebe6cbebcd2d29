"""Sums of days and their folds by the compiled core: it takes packed parts, many days at once, and gives counts. What
is right, `days`, `fold`, `user_days` and `user_fold` beside this module say.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final
from weakref import WeakKeyDictionary

from api.cache import Shared
from api.read.parts import PartitionDay
from api.report.days import KindSums
from api.report.fold import Counts, find_gone, size_of_rows
from api.report.plan import Plan
from api.report.user_fold import (
    ROWS_A_PIECE,
    Chosen,
    Columns,
    Ranked,
    UserTotal,
    columns_of,
    in_order,
    size_of_ranked,
)
from stream.core import CoreFailed
from stream.model.steps import Steps
from stream.storage.formats import FormatError

STEP_BYTES: Final = 1 << 20
"""Of packed days, and of their sums by user: a millisecond or two."""


class CompiledForm:
    """Makes what the core sums with."""

    name = "compiled"

    def __init__(self, core: Any) -> None:
        self.why = f"contacts_core {core.__version__}"
        self._core = core
        self._plans: WeakKeyDictionary[Plan, Any] = WeakKeyDictionary()

    def kind_fold(self, plan: Plan, sources: Chosen) -> "KindFold":
        return KindFold(self, plan, self._core.KindFold(self.plan_of(plan), sources))

    def user_table(self) -> Any:
        return self._core.UserTable()

    def user_fold(self, table: Any) -> "UserFold":
        return UserFold(self, table, self._core.UserFold())

    def first_quarter(self, parts: Sequence[PartitionDay]) -> int | None:
        with self.called():
            quarter: int | None = self._core.first_quarter(parts)
            return quarter

    def plan_of(self, plan: Plan) -> Any:
        """A plan as the core takes it."""
        known = self._plans.get(plan)
        if known is None:
            days = [(of.day, of.cuts, of.columns, of.also, of.window) for of in plan.days.values()]
            known = self._plans[plan] = self._core.Plan(plan.buckets, len(plan.earlier_starts), days)
        return known

    @contextmanager
    def called(self) -> Iterator[None]:
        """The core's errors as those of the Python form; a bug in it as an exception, which ends one request."""
        try:
            yield
        except self._core.DamagedError as error:
            raise FormatError(str(error)) from None
        except self._core.Panic as panic:
            raise CoreFailed(f"the compiled core failed: {panic}") from panic

    def sum_days(
        self,
        parts: Mapping[int, Sequence[PartitionDay]],
        sum_from: Callable[[list[tuple[int, Sequence[PartitionDay]]], int], list[Any]],
    ) -> Steps[dict[int, Any]]:
        """The sums of days; `sum_from` gives those of the first ones from a place in the list on."""
        days: list[tuple[int, Sequence[PartitionDay]]] = list(parts.items())
        found: list[Any] = []
        while len(found) < len(days):
            if found:
                yield
            with self.called():
                found += sum_from(days, len(found))
        return dict(zip(parts, found, strict=True))


@dataclass(frozen=True)
class KindFold:
    """As in `api/report/fold.py`."""

    form: CompiledForm
    plan: Plan
    rows: Any
    manifests: Mapping[int, bytes] = field(default_factory=dict)
    sums: Mapping[int, Any] = field(default_factory=dict)

    def sum_days(self, parts: Mapping[int, Sequence[PartitionDay]], users: Chosen) -> Steps[dict[int, Any]]:
        plan = self.form.plan_of(self.plan)
        return self.form.sum_days(parts, lambda days, start: plan.kind_sums(days, start, STEP_BYTES, users))

    def sums_of(self, day: int) -> KindSums | None:
        sums = self.sums.get(day)
        return None if sums is None else KindSums(tuple(sums.kinds), tuple(sums.counts))

    def update(self, manifests: Mapping[int, bytes], changed: Mapping[int, Any]) -> "KindFold":
        gone = find_gone(self.sums, manifests, changed)
        anew = len(gone) == len(self.sums)
        sums = {} if anew else dict(self.sums)
        taken = [] if anew else [(day, sums.pop(day)) for day in gone]
        sums.update(changed)
        with self.form.called():
            rows = self.rows.exchange(anew, taken, list(changed.items()))
        return KindFold(self.form, self.plan, rows, manifests, sums)

    @cached_property
    def counts(self) -> Counts:
        now, before = self.rows.counts()
        return Counts(*now, *before)

    @property
    def size_bytes(self) -> int:
        days: int = sum(sums.size_bytes for sums in self.sums.values())
        return size_of_rows(self.plan, len(self.rows)) + days

    @property
    def shared(self) -> list[Shared]:
        return []

    @staticmethod
    def shared_by(_sums: Any) -> list[Shared]:
        return []


@dataclass(frozen=True, slots=True, weakref_slot=True)
class UserFold:
    """As in `api/report/user_fold.py`."""

    form: CompiledForm
    table: Any
    columns: Any
    manifests: Mapping[int, bytes] = field(default_factory=dict)
    sums: Mapping[int, Any] = field(default_factory=dict)
    _first: dict[int, Ranked] = field(default_factory=dict)

    def sum_days(
        self, plan: Plan, parts: Mapping[int, Sequence[PartitionDay]], sources: Chosen
    ) -> Steps[dict[int, Any]]:
        of = self.form.plan_of(plan)
        return self.form.sum_days(parts, lambda days, start: of.user_sums(self.table, days, start, STEP_BYTES, sources))

    def update(self, manifests: Mapping[int, bytes], changed: Mapping[int, Any]) -> "Steps[UserFold]":
        gone = find_gone(self.sums, manifests, changed)
        anew = len(gone) == len(self.sums)
        sums = {} if anew else dict(self.sums)
        taken = [] if anew else [sums.pop(day) for day in gone]
        sums.update(changed)
        columns = self.columns
        with self.form.called():
            for piece in _pieces(taken):
                columns = columns.exchange(self.table, False, piece, [])
                yield
            for piece in _pieces(list(changed.values())) or [[]]:
                columns = columns.exchange(self.table, anew, [], piece)
                anew = False
                yield
        return UserFold(self.form, self.table, columns, manifests, sums)

    @property
    def size_bytes(self) -> int:
        size: int = self.columns.size_bytes + sum(sums.size_bytes for sums in self.sums.values())
        return 500 + size + size_of_ranked(len(self.table))

    def total(self, users: Chosen) -> UserTotal:
        if users is None:
            return UserTotal(*self.columns.total())
        rows = self._rows_of(users)
        return UserTotal(len(rows), sum(row[1] for row in rows), sum(row[2] for row in rows))

    async def first(self, limit: int, users: Chosen) -> Ranked:
        if users is not None:
            return in_order(self._rows_of(users))[:limit]
        known = self._first.get(limit)
        if known is None:
            known = self._first[limit] = self.columns.first(self.table, limit)
        return known

    async def all(self, users: Chosen) -> AsyncIterator[Columns]:
        if users is not None:
            ranked = in_order(self._rows_of(users))
            for start in range(0, len(ranked), ROWS_A_PIECE):
                yield columns_of(ranked[start : start + ROWS_A_PIECE])
            return
        everyone = self.columns.everyone(self.table)
        # It lets go of the interpreter while it sorts.
        await asyncio.to_thread(everyone.sort)
        start = 0
        while (piece := Columns(*everyone.piece(start, ROWS_A_PIECE))).users:
            yield piece
            start += ROWS_A_PIECE
            await asyncio.sleep(0)

    def _rows_of(self, users: frozenset[str | None]) -> Ranked:
        rows = [(user, *self.columns.of(self.table, user)) for user in users]
        return [row for row in rows if row[1] or row[2]]


def _pieces(days: Sequence[Any]) -> list[list[Any]]:
    """Days whose sums by user are added in one step."""
    pieces: list[list[Any]] = []
    left = 0
    for sums in days:
        if left <= 0:
            pieces.append([])
            left = STEP_BYTES
        pieces[-1].append(sums)
        left -= sums.size_bytes
    return pieces
