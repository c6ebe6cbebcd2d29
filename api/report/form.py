"""The two forms of the sums: the compiled core, and the one in Python, which says what is right. They give the same
answers; the core is taken where it is installed (`CONTACTS_CORE`).
"""

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from typing import Any, Protocol

import msgspec

from api.read.parts import DayParts
from api.report import compiled, days, fold, user_fold, user_table
from api.report.days import KindSums
from api.report.fold import Counts
from api.report.plan import Plan
from api.report.sources import sources
from api.report.timeline import timeline
from api.report.user_fold import Chosen, Columns, Ranked, UserTotal
from api.wire import BucketState
from stream.core import CoreChoice, choose_core
from stream.model.steps import Steps


class KindFold(Protocol):
    """The days of a plan, added up by kind. Never changed: `exchange` makes another. See `api/report/fold.py`.

    What a day sums to has a `size_bytes`, and is for `exchange` alone.
    """

    @property
    def manifests(self) -> Sequence[bytes | None]: ...
    @property
    def plan(self) -> Plan: ...
    @property
    def counts(self) -> Counts: ...
    @property
    def size_bytes(self) -> int: ...

    def totals(self) -> tuple[int, int, int, int]: ...
    def day(self, day: int) -> Any: ...
    def sums_of(self, day: int) -> KindSums | None: ...
    def exchange(
        self,
        manifests: Sequence[bytes | None],
        gone: Collection[int],
        known: Mapping[int, Any],
        parts: DayParts,
        users: Chosen,
    ) -> "Steps[KindFold]": ...


class UserTable(Protocol):
    """The users of a workspace by number. See `api/report/user_table.py`."""

    @property
    def size_bytes(self) -> int: ...

    def __len__(self) -> int: ...


class UserFold(Protocol):
    """The days of a range, added up by user. Never changed: `exchange` makes another. See `api/report/user_fold.py`."""

    @property
    def table(self) -> Any: ...
    @property
    def manifests(self) -> Sequence[bytes | None]: ...
    @property
    def size_bytes(self) -> int: ...

    def exchange(
        self,
        manifests: Sequence[bytes | None],
        gone: Collection[int],
        known: Mapping[int, Any],
        plan: Plan,
        parts: DayParts,
        sources: Chosen,
    ) -> "Steps[UserFold]": ...
    def day(self, day: int) -> Any: ...
    def total(self, users: Chosen) -> UserTotal: ...
    async def first(self, limit: int, users: Chosen) -> Ranked: ...
    def all(self, users: Chosen) -> AsyncIterator[Columns]: ...


class Form(Protocol):
    """One of the two."""

    @property
    def name(self) -> str: ...
    @property
    def why(self) -> str: ...

    def kind_fold(self, plan: Plan, sources: Chosen) -> KindFold: ...
    def user_table(self) -> UserTable: ...
    def user_fold(self, table: Any) -> UserFold: ...
    def first_quarter(self, parts: DayParts, day: int) -> int | None: ...
    def timeline_json(self, fold: Any, states: Sequence[BucketState]) -> bytes: ...
    def sources_json(self, fold: Any, states: Sequence[BucketState]) -> bytes: ...


class PythonForm:
    """The definition, and the fallback."""

    name = "python"

    def __init__(self, why: str) -> None:
        self.why = why

    def kind_fold(self, plan: Plan, sources: Chosen) -> KindFold:
        return fold.KindFold(plan, sources)

    def user_table(self) -> UserTable:
        return user_table.UserTable()

    def user_fold(self, table: Any) -> UserFold:
        return user_fold.UserFold(table)

    def first_quarter(self, parts: DayParts, day: int) -> int | None:
        return days.first_quarter(parts[day])

    def timeline_json(self, fold: KindFold, states: Sequence[BucketState]) -> bytes:
        return msgspec.json.encode(timeline(fold.plan, fold.counts, states))

    def sources_json(self, fold: KindFold, states: Sequence[BucketState]) -> bytes:
        return msgspec.json.encode(sources(fold.plan, fold.counts, states))


def choose_form(choice: CoreChoice) -> Form:
    """Raises CoreMissingError where the compiled core is asked for and not there."""
    core, why = choose_core(choice, "reports take several times the CPU without it")
    return PythonForm(why) if core is None else compiled.CompiledForm(core, why)
