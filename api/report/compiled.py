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
from api.report.fold import Counts
from api.report.plan import Plan
from api.report.sources import MAX_NAMES, REST, sources
from api.report.timeline import Progress, bucket_states
from api.report.user_fold import ROWS_A_PIECE, Chosen, Columns, columns_of
from api.report.written import Labels, Written
from stream.core import CoreFailed
from stream.model.activity import KNOWN_SOURCES, NONE
from stream.model.steps import MadeOrSteps, Steps
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
            quarter: int | None = self._core.first_quarter(parts.of([day]))
        except self.failures as failure:
            raise self.explain(failure) from failure
        return quarter

    def timeline_json(self, fold: "KindFold", progress: Progress) -> bytes:
        json: bytes = fold.core.timeline(progress)
        return json

    def sources_json(self, fold: "KindFold", progress: Progress) -> bytes:
        found: bytes | None = fold.core.sources(progress, self._names)
        return found or _many_sources(fold, progress)

    def report(self, fold: "KindFold", progress: Progress, users: Any, labels: Labels) -> Written:
        written: Written = fold.core.report(progress, self._names, users, labels.written)
        added, deleted, timeline, sources, listed, omitted = written
        return written if sources else Written(added, deleted, timeline, _many_sources(fold, progress), listed, omitted)

    def lacks_labels(self, users: Any, labels: Labels) -> bool:
        lacks: bool | None = users.lack(labels.written)
        if lacks is not None:
            return lacks
        labels.written = users.write(labels.by_user)
        return bool(users.lack(labels.written))

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
            yield
            try:
                found = folding.step(STEP_BYTES)
            except self.failures as failure:
                raise self.explain(failure) from failure
            if found is not None:
                return found


class KindFold:
    """As in `api/report/fold.py`."""

    __slots__ = ("_counts", "_form", "core", "manifests", "plan", "size_bytes")

    def __init__(
        self, form: CompiledForm, plan: Plan, core: Any, size_bytes: int = 0, manifests: Sequence[bytes | None] = ()
    ) -> None:
        self.plan, self.core, self.size_bytes, self.manifests = plan, core, size_bytes, manifests
        self._form = form
        self._counts: Counts | None = None

    def exchange(
        self,
        manifests: Sequence[bytes | None],
        gone: Collection[int],
        known: Mapping[int, Any],
        parts: DayParts,
        users: Chosen,
    ) -> "MadeOrSteps[KindFold]":
        """The fold, where one step makes it, as nearly always; else the steps that are left."""
        form = self._form
        try:
            made = self.core.exchange(gone, known, parts, users, STEP_BYTES)
        except form.failures as failure:
            raise form.explain(failure) from failure
        if type(made) is tuple:
            core, size_bytes = made
            return KindFold(form, self.plan, core, size_bytes, manifests)
        return self._go_on(made, manifests)

    def _go_on(self, folding: Any, manifests: Sequence[bytes | None]) -> "Steps[KindFold]":
        core, size_bytes = yield from self._form.finish(folding)
        return KindFold(self._form, self.plan, core, size_bytes, manifests)

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


class UserFold:
    """As in `api/report/user_fold.py`."""

    __slots__ = ("__weakref__", "_first", "_form", "_plan", "core", "manifests", "size_bytes", "table")

    def __init__(
        self,
        form: CompiledForm,
        table: Any,
        core: Any,
        size_bytes: int = 0,
        manifests: Sequence[bytes | None] = (),
        plan: Any = None,
    ) -> None:
        self.table, self.core, self.size_bytes, self.manifests = table, core, size_bytes, manifests
        self._form = form
        self._plan = plan
        """As the core takes it, once something was exchanged."""
        self._first: dict[int, Any] = {}

    def exchange(
        self,
        manifests: Sequence[bytes | None],
        gone: Collection[int],
        known: Mapping[int, Any],
        plan: Plan,
        parts: DayParts,
        sources: Chosen,
    ) -> "MadeOrSteps[UserFold]":
        form, of_plan = self._form, self._plan or self._form.plan_of(plan)
        try:
            made = self.core.exchange(gone, known, of_plan, self.table, parts, sources, STEP_BYTES)
        except form.failures as failure:
            raise form.explain(failure) from failure
        if type(made) is tuple:
            core, size_bytes = made
            return UserFold(form, self.table, core, size_bytes, manifests, of_plan)
        return self._go_on(made, manifests, of_plan)

    def _go_on(self, folding: Any, manifests: Sequence[bytes | None], of_plan: Any) -> "Steps[UserFold]":
        core, size_bytes = yield from self._form.finish(folding)
        return UserFold(self._form, self.table, core, size_bytes, manifests, of_plan)

    def day(self, day: int) -> Any:
        return self.core.sums_of(day)

    def first(self, limit: int, users: Chosen) -> MadeOrSteps[Any]:
        """They stay numbers in the core."""
        if users is not None:
            return self.core.first_of(self.table, users, limit)
        known = self._first.get(limit)
        if known is None:
            if len(self.table) > USERS_A_STEP:
                return self._ranked_first(limit)
            known = self._first[limit] = self.core.listed(self.table, [], 0, limit)
        return known

    def _ranked_first(self, limit: int) -> Steps[Any]:
        best: list[int] = []
        start = 0
        while start + USERS_A_STEP < len(self.table):
            best = self.core.first(self.table, best, start, USERS_A_STEP, limit)
            start += USERS_A_STEP
            yield
        found = self._first[limit] = self.core.listed(self.table, best, start, limit)
        return found

    async def all(self, users: Chosen) -> AsyncIterator[Columns]:
        if users is not None:
            ranked = self.core.first_of(self.table, users, len(users)).rows
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


def _many_sources(fold: KindFold, progress: Progress) -> bytes:
    """Of more sources than are named, or where one has a name of ours."""
    return msgspec.json.encode(sources(fold.plan, fold.counts, bucket_states(progress, fold.counts)))
