"""Sums of days and their folds by the compiled core: it takes packed parts, many days at once, and gives counts. What
is right, `days`, `fold`, `user_days` and `user_fold` beside this module say.
"""

import asyncio
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from functools import cached_property
from typing import Any, Final
from weakref import WeakKeyDictionary

import msgspec

from api.read.parts import DayParts
from api.report.days import KindSums
from api.report.fold import Counts, size_of_rows
from api.report.plan import Plan
from api.report.sources import MAX_NAMES, REST, sources
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
from api.wire import BucketState
from stream.core import CoreFailed
from stream.model.activity import KNOWN_SOURCES, NONE
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

    @cached_property
    def failures(self) -> tuple[type[BaseException], ...]:
        """What the core raises, for `explain`."""
        return self._core.DamagedError, self._core.Panic

    @cached_property
    def _names(self) -> Any:
        """How sources are named."""
        return self._core.Names(KNOWN_SOURCES, NONE, REST, MAX_NAMES)

    def kind_fold(self, plan: Plan, sources: Chosen) -> "KindFold":
        return KindFold(self, plan, self._core.KindFold(self.plan_of(plan), sources))

    def user_table(self) -> Any:
        return self._core.UserTable()

    def user_fold(self, table: Any) -> "UserFold":
        return UserFold(self, table, self._core.UserFold())

    def first_quarter(self, parts: DayParts, day: int) -> int | None:
        try:
            quarter: int | None = self._core.first_quarter(columns_of_parts(parts.of([day])))
        except self.failures as failure:
            raise self.explain(failure) from failure
        return quarter

    def timeline_json(self, fold: "KindFold", states: Sequence[BucketState]) -> bytes:
        json: bytes = fold.core.timeline(states)
        return json

    def sources_json(self, fold: "KindFold", states: Sequence[BucketState]) -> bytes:
        found: bytes | None = fold.core.sources(states, self._names)
        return found or msgspec.json.encode(sources(fold.plan, fold.counts, states))

    def plan_of(self, plan: Plan) -> Any:
        """A plan as the core takes it."""
        known = self._plans.get(plan)
        if known is None:
            days = [(of.day, of.cuts, of.columns, of.also, of.window) for of in plan.days.values()]
            spans = list(zip(plan.starts, plan.ends, strict=True))
            earlier = list(zip(plan.earlier_starts, plan.earlier_ends, strict=True))
            known = self._plans[plan] = self._core.Plan(spans, earlier, days)
        return known

    def explain(self, failure: BaseException) -> Exception:
        """The core's errors as those of the Python form; a bug in it as an exception, which ends one request."""
        if isinstance(failure, self._core.DamagedError):
            return FormatError(str(failure))
        return CoreFailed(f"the compiled core failed: {failure}")

    def finish(self, folding: Any) -> Steps[Any]:
        """The fold that the core has begun to make. A step ends between two bases, also in the midst of a day: one of a
        million users has some fifty.
        """
        while True:
            try:
                found = folding.step(STEP_BYTES)
            except self.failures as failure:
                raise self.explain(failure) from failure
            if found is not None:
                return found
            yield


class KindFold:
    """As in `api/report/fold.py`."""

    __slots__ = ("_counts", "_form", "core", "manifests", "plan")

    def __init__(self, form: CompiledForm, plan: Plan, core: Any, manifests: Sequence[bytes | None] = ()) -> None:
        self.plan, self.core, self.manifests = plan, core, manifests
        self._form = form
        self._counts: Counts | None = None

    def exchange(
        self,
        manifests: Sequence[bytes | None],
        gone: Collection[int],
        known: Mapping[int, Any],
        parts: DayParts,
        users: Chosen,
    ) -> "Steps[KindFold]":
        folding = self.core.exchange(gone, known, columns_of_parts(parts), users)
        core = yield from self._form.finish(folding)
        return KindFold(self._form, self.plan, core, manifests)

    def day(self, day: int) -> Any:
        return self.core.sums_of(day)

    def sums_of(self, day: int) -> KindSums | None:
        sums = self.core.sums_of(day)
        return None if sums is None else KindSums(tuple(sums.kinds), tuple(sums.counts))

    @property
    def counts(self) -> Counts:
        if self._counts is None:
            now, before = self.core.counts()
            self._counts = Counts(*now, *before)
        return self._counts

    def totals(self) -> tuple[int, int, int, int]:
        totals: tuple[int, int, int, int] = self.core.totals()
        return totals

    @property
    def size_bytes(self) -> int:
        days: int = self.core.days_bytes
        return size_of_rows(self.plan, len(self.core)) + days


class UserFold:
    """As in `api/report/user_fold.py`."""

    __slots__ = ("__weakref__", "_first", "_form", "core", "manifests", "table")

    def __init__(self, form: CompiledForm, table: Any, core: Any, manifests: Sequence[bytes | None] = ()) -> None:
        self.table, self.core, self.manifests = table, core, manifests
        self._form = form
        self._first: dict[int, Ranked] = {}

    def exchange(
        self,
        manifests: Sequence[bytes | None],
        gone: Collection[int],
        known: Mapping[int, Any],
        plan: Plan,
        parts: DayParts,
        sources: Chosen,
    ) -> "Steps[UserFold]":
        of_plan = self._form.plan_of(plan)
        folding = self.core.exchange(gone, known, of_plan, self.table, columns_of_parts(parts), sources)
        core = yield from self._form.finish(folding)
        return UserFold(self._form, self.table, core, manifests)

    def day(self, day: int) -> Any:
        return self.core.sums_of(day)

    @property
    def size_bytes(self) -> int:
        size: int = self.core.size_bytes
        return 500 + size + size_of_ranked(len(self.table))

    def total(self, users: Chosen) -> UserTotal:
        if users is None:
            return UserTotal(*self.core.total())
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
        for start in range(0, len(self.table), USERS_A_STEP):
            if start:
                yield
            best = self.core.first(self.table, best, start, USERS_A_STEP, limit)
        rows: Ranked = self.core.rows(self.table, best)
        return rows[:limit]

    async def all(self, users: Chosen) -> AsyncIterator[Columns]:
        if users is not None:
            ranked = in_order(self._rows_of(users))
            for start in range(0, len(ranked), ROWS_A_PIECE):
                yield columns_of(ranked[start : start + ROWS_A_PIECE])
            return
        everyone = self.core.everyone(self.table)
        # It lets go of the interpreter while it sorts.
        await asyncio.to_thread(everyone.sort)
        start = 0
        while (piece := Columns(*everyone.piece(start, ROWS_A_PIECE))).users:
            yield piece
            start += ROWS_A_PIECE
            await asyncio.sleep(0)

    def _rows_of(self, users: frozenset[str | None]) -> Ranked:
        rows = [(user, *self.core.of(self.table, user)) for user in users]
        return [row for row in rows if row[1] or row[2]]


def columns_of_parts(parts: DayParts) -> tuple[Any, ...]:
    """As the core takes them: the days, the shape of each, their values, and which of the days are meant."""
    return parts.asked, parts.shapes, parts.found, parts.days
