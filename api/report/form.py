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
from api.report.summary import totals
from api.report.timeline import Progress, bucket_states, timeline
from api.report.user_fold import Chosen, Columns, Ranked
from api.report.users import sum_omitted, user_counts
from api.report.written import Labels, Written
from stream.core import CoreChoice, choose_core
from stream.model.steps import MadeOrSteps


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
    ) -> "MadeOrSteps[KindFold]": ...


class UserTable(Protocol):
    """The users of a workspace by number. See `api/report/user_table.py`."""

    @property
    def size_bytes(self) -> int: ...

    def __len__(self) -> int: ...


class FirstUsers(Protocol):
    """The first users of a fold. See `api/report/user_fold.py`."""

    @property
    def rows(self) -> Ranked: ...
    @property
    def total(self) -> tuple[int, int, int]: ...


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
    ) -> "MadeOrSteps[UserFold]": ...
    def day(self, day: int) -> Any: ...
    def first(self, limit: int, users: Chosen) -> "MadeOrSteps[FirstUsers]": ...
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
    def timeline_json(self, fold: Any, progress: Progress) -> bytes: ...
    def sources_json(self, fold: Any, progress: Progress) -> bytes: ...
    def report(self, fold: Any, progress: Progress, users: Any, labels: Labels) -> Written: ...
    def lacks_labels(self, users: Any, labels: Labels) -> bool:
        """Whether some of the first users are not among those with labels. A report is made after this was asked."""


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

    def timeline_json(self, fold: KindFold, progress: Progress) -> bytes:
        return msgspec.json.encode(timeline(fold.plan, fold.counts, bucket_states(progress, fold.counts)))

    def sources_json(self, fold: KindFold, progress: Progress) -> bytes:
        return msgspec.json.encode(sources(fold.plan, fold.counts, bucket_states(progress, fold.counts)))

    def report(self, fold: KindFold, progress: Progress, users: FirstUsers, labels: Labels) -> Written:
        added, deleted = totals(fold.plan, fold.totals())
        return Written(
            msgspec.json.encode(added),
            msgspec.json.encode(deleted),
            self.timeline_json(fold, progress),
            self.sources_json(fold, progress),
            msgspec.json.encode(user_counts(users.rows, labels.by_user)),
            msgspec.json.encode(sum_omitted(users.total, users.rows)),
        )

    def lacks_labels(self, users: FirstUsers, labels: Labels) -> bool:
        return any(user is not None and user not in labels.by_user for user, _, _ in users.rows)


def choose_form(choice: CoreChoice) -> Form:
    """Raises CoreMissingError where the compiled core is asked for and not there."""
    core, why = choose_core(choice, "reports take several times the CPU without it")
    return PythonForm(why) if core is None else compiled.CompiledForm(core, why)
