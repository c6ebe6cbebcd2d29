"""Sums of days and their folds by the compiled core: it takes packed parts, many days at once, and gives counts. What
is right, `days`, `fold`, `user_days` and `user_fold` beside this module say.
"""

import asyncio
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from operator import attrgetter
from typing import Any, Final
from weakref import WeakKeyDictionary

from api.cache import Shared
from api.read.parts import DayParts
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
from stream.slices import run_in_slices
from stream.storage.formats import FormatError

STEP_BYTES: Final = 1 << 18
"""Of packed days, and of their sums by user: a base or two, some milliseconds where its users have no numbers yet."""

USERS_A_STEP: Final = 20_000
"""Some milliseconds, where all have the same counts, so that their ids decide."""


class CompiledForm:
    """Makes what the core sums with."""

    name = "compiled"

    def __init__(self, core: Any, why: str = "") -> None:
        self._core, self.why = core, why
        self._plans: WeakKeyDictionary[Plan, Any] = WeakKeyDictionary()

    def kind_fold(self, plan: Plan, sources: Chosen) -> "KindFold":
        return KindFold(self, plan, self._core.KindFold(self.plan_of(plan), sources))

    def user_table(self) -> Any:
        return self._core.UserTable()

    def user_fold(self, table: Any) -> "UserFold":
        return UserFold(self, table, self._core.UserFold())

    def first_quarter(self, parts: DayParts, day: int) -> int | None:
        with self.called():
            quarter: int | None = self._core.first_quarter(columns_of_parts(parts.of([day])))
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

    def sum_days(self, days: Iterable[int], summing: Any) -> Steps[dict[int, Any]]:
        """The sums of days, as the core has begun to make them. A step ends between two bases, also in the midst of a
        day: one of a million users has some fifty.
        """
        while True:
            with self.called():
                sums = summing.step(STEP_BYTES)
            if sums is not None:
                return dict(zip(days, sums, strict=True))
            yield


@dataclass(frozen=True)
class KindFold:
    """As in `api/report/fold.py`."""

    form: CompiledForm
    plan: Plan
    rows: Any
    manifests: Mapping[int, bytes] = field(default_factory=dict)
    sums: Mapping[int, Any] = field(default_factory=dict)
    sums_bytes: int = 0

    def sum_days(self, parts: DayParts, users: Chosen) -> Steps[dict[int, Any]]:
        with self.form.called():
            summing = self.form.plan_of(self.plan).kind_sums(columns_of_parts(parts), users)
        return self.form.sum_days(parts, summing)

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
        sums_bytes = _size_of(changed.values()) + (0 if anew else self.sums_bytes - _size_of(of for _, of in taken))
        return KindFold(self.form, self.plan, rows, manifests, sums, sums_bytes)

    @cached_property
    def counts(self) -> Counts:
        now, before = self.rows.counts()
        return Counts(*now, *before)

    @property
    def size_bytes(self) -> int:
        return size_of_rows(self.plan, len(self.rows)) + self.sums_bytes

    @property
    def shared(self) -> list[Shared]:
        return []


@dataclass(frozen=True, slots=True, weakref_slot=True)
class UserFold:
    """As in `api/report/user_fold.py`."""

    form: CompiledForm
    table: Any
    columns: Any
    manifests: Mapping[int, bytes] = field(default_factory=dict)
    sums: Mapping[int, Any] = field(default_factory=dict)
    sums_bytes: int = 0
    _first: dict[int, Ranked] = field(default_factory=dict)

    def sum_days(self, plan: Plan, parts: DayParts, sources: Chosen) -> Steps[dict[int, Any]]:
        with self.form.called():
            summing = self.form.plan_of(plan).user_sums(self.table, columns_of_parts(parts), sources)
        return self.form.sum_days(parts, summing)

    def update(self, manifests: Mapping[int, bytes], changed: Mapping[int, Any]) -> "Steps[UserFold]":
        gone = find_gone(self.sums, manifests, changed)
        anew = len(gone) == len(self.sums)
        sums = {} if anew else dict(self.sums)
        taken = [] if anew else [sums.pop(day) for day in gone]
        sums.update(changed)
        with self.form.called():
            columns = self.columns.copy(self.table, anew)
        pieces = [*((piece, []) for piece in _pieces(taken)), *(([], piece) for piece in _pieces([*changed.values()]))]
        for out, into in pieces:
            yield
            with self.form.called():
                columns.exchange(out, into)
        sums_bytes = _size_of(changed.values()) + (0 if anew else self.sums_bytes - _size_of(taken))
        return UserFold(self.form, self.table, columns, manifests, sums, sums_bytes)

    @property
    def size_bytes(self) -> int:
        size: int = self.columns.size_bytes + self.sums_bytes
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
            known = self._first[limit] = await run_in_slices(self._ranked_first(limit))
        return known

    def _ranked_first(self, limit: int) -> Steps[Ranked]:
        best: list[int] = []
        with self.form.called():
            for start in range(0, len(self.table), USERS_A_STEP):
                if start:
                    yield
                best = self.columns.first(self.table, best, start, USERS_A_STEP, limit)
            rows: Ranked = self.columns.rows(self.table, best)
        return rows[:limit]

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


def columns_of_parts(parts: DayParts) -> tuple[Any, ...]:
    """As the core takes them: the days, the shape of each, their values, and which of the days are meant."""
    return parts.asked, parts.shapes, parts.found, parts.days


def _size_of(days: Iterable[Any]) -> int:
    """The bytes of sums of days, which are told one by one: a fold of a year is not asked for all of them again."""
    return sum(map(_size_bytes, days))


_size_bytes = attrgetter("size_bytes")


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
