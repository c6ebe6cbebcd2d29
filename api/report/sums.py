"""The sums that an answer is folded from: remembered ones, and what must be read because its day changed since.

What is remembered are whole folds, in which changed days alone are exchanged. A fold keeps the sums of its days, each
good for every range that cuts the day alike, and knows the manifests (with the versions in them) that they are true of.
So a range that nobody asked for before has most of its days from the folds of other ranges. To remember each day for
itself took longer than to sum it.
"""

from asyncio import Lock
from collections.abc import Callable, Iterable, Mapping, Sequence
from operator import attrgetter
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary, WeakValueDictionary, ref

from api.cache import Memory, Shared, size_of_texts
from api.read.manifests import moved_days
from api.read.parts import CELLS, HEADS, NOTHING, SUMMARIES, Parts
from api.read.snapshot import Snapshot
from api.report.days import WHOLE_DAY
from api.report.form import Form, KindFold, UserFold, UserTable
from api.report.plan import DayPlan, Plan, size_of_plan
from api.report.user_fold import size_of_table
from stream.model.steps import Steps
from stream.model.time import QUARTERS_A_DAY
from stream.slices import run_in_slices

Chosen = frozenset[str | None] | None
"""Sources or users that are asked for; None: all; None in it: without one."""

FOLDED_DAY_BYTES = 250
"""Of a fold: a day's places in it. A fold keeps its days' sums and manifests, so those count with it too."""

FOLDS_ASKED = 8
"""Folds of one workspace and filter that are asked for days: those that gave some last, or were made last."""

Fold = KindFold | UserFold

Dated = tuple[int, bytes]
"""A day and its manifest."""


class Donors:
    """The plans whose folds, of one workspace and filter, may give days: what a fold has of a day is good for all that
    cut the day alike.

    It holds none of them: a fold that is forgotten gives no more days.
    """

    SIZE_BYTES = 100 * FOLDS_ASKED

    def __init__(self) -> None:
        self._plans: list[ref[Plan]] = []

    def has(self, plan: Plan) -> bool:
        return any(known() is plan for known in self._plans)

    def add(self, plan: Plan) -> None:
        self._plans = [ref(plan), *(known for known in self._plans if known() is not None)][:FOLDS_ASKED]

    def find(
        self,
        plan: Plan,
        days: Mapping[int, bytes],
        fold_of: Callable[[Plan], Fold | None],
        cut_of: Callable[[DayPlan], Any],
    ) -> dict[Dated, Any]:
        """The sums of days that have these manifests and are cut as in a plan."""
        found: dict[Dated, Any] = {}
        gave: list[ref[Plan]] = []
        for known in self._plans if days else ():
            other = known()
            fold = None if other is None or other is plan else fold_of(other)
            if other is None or fold is None:
                continue
            folded = fold.manifests
            mine = [
                day
                for day, manifest in days.items()
                if folded.get(day) == manifest and cut_of(other.days[day]) == cut_of(plan.days[day])
            ]
            if mine:
                gave.append(known)
                found.update({(day, days[day]): fold.sums[day] for day in mine})
                days = {day: manifest for day, manifest in days.items() if (day, manifest) not in found}
                if not days:
                    break
        if gave:
            self._plans = [*gave, *(known for known in self._plans if known not in gave)]
        return found


class Wanted(NamedTuple):
    """Which parts are wanted of each day of a plan."""

    kinds: Mapping[int, Parts]
    users: Mapping[int, Parts]
    """Of the days in the range itself alone."""
    all: Mapping[int, Parts]


_WANTED: WeakKeyDictionary[Plan, dict[tuple[bool, bool, bool], Wanted]] = WeakKeyDictionary()


def _wanted_of(plan: Plan, kinds: bool, users: bool, some_users: bool) -> Wanted:
    known = _WANTED.setdefault(plan, {})
    wanted = known.get((kinds, users, some_users))
    if wanted is None:
        of_kinds = {day: _parts_of_kinds(of, some_users) for day, of in plan.days.items()} if kinds else {}
        of_users = {day: _parts_of_users(of) for day, of in plan.days.items() if of.window[1]} if users else {}
        both = {day: of_kinds.get(day, NOTHING) | of_users.get(day, NOTHING) for day in plan.days}
        wanted = known[kinds, users, some_users] = Wanted(of_kinds, of_users, both)
    return wanted


class UserFolds:
    """The folds of users that are held anywhere in this process; who needs one that is being made waits for it."""

    def __init__(self) -> None:
        self._folds: WeakValueDictionary[Any, UserFold] = WeakValueDictionary()
        self._making: WeakValueDictionary[Any, Lock] = WeakValueDictionary()

    def get(self, key: Any) -> UserFold | None:
        return self._folds.get(key)

    def put(self, key: Any, fold: UserFold) -> None:
        self._folds[key] = fold

    def making(self, key: Any) -> Lock:
        return self._making.setdefault(key, Lock())


class Sums:
    """What one answer needs of the days of a plan.

    Without `kinds` or `users` those are left empty. `every`: the plan begins with the first event (`first_mark`), so
    all days that there are must be looked at.
    """

    def __init__(
        self,
        cache: Memory,
        form: Form,
        workspace_id: str,
        plan: Plan,
        folds: UserFolds,
        *,
        kinds: bool,
        users: bool,
        chosen_sources: Chosen,
        chosen_users: Chosen,
        every: bool,
    ) -> None:
        self.plan = plan
        self.chosen_users = chosen_users
        self._cache = cache
        self._form = form
        self._workspace_id = workspace_id
        self._chosen_sources = chosen_sources
        self._days = plan.days
        self._every = every
        self._kinds, self._users = kinds, users
        self._kind_key, self._user_key = self._key_of_kinds(plan), self._key_of_users(plan)
        self.kinds: KindFold = self._known_kinds(plan) or form.kind_fold(plan, chosen_sources)
        self._folds = folds
        self._table_key = (workspace_id, "table of users")
        self.users: UserFold = (self._known_users(plan) if users else None) or form.user_fold(self._table())
        self._shared_plan: Shared = (plan, size_of_plan)
        self._shared_choices: list[Shared] = [
            (values, _size_of_choice) for values in (chosen_sources, chosen_users) if values is not None
        ]
        self._wanted = _wanted_of(plan, kinds, users, chosen_users is not None)
        # What is remembered now may be forgotten before it is needed, so it is held.
        self._held_kinds: dict[Dated, Any] = {}
        self._held_users: dict[Dated, Any] = {}
        self._first: dict[Dated, int] = {}

    @property
    def days(self) -> Sequence[int] | None:
        """The days to be read; None: all that there are."""
        return None if self._every else list(self._days)

    def lacking(self, manifests: Mapping[int, bytes | None], days: Iterable[int] | None = None) -> Mapping[int, Parts]:
        """What must be read of all days that have these manifests, or of some of them; None: it is taken to have
        changed. Days ascend.
        """
        some = manifests if days is None else {day: manifests[day] for day in days}
        wanted = self._wanted
        of_kinds = self._lacking(some, self.kinds, wanted.kinds, self._held_kinds, "kinds") if self._kinds else []
        of_users = self._lacking(some, self.users, wanted.users, self._held_users, "users") if self._users else []
        if len(of_kinds) == len(self._days) and len(of_users) == len(wanted.users):
            found = wanted.all
        else:
            parts = {day: wanted.kinds[day] for day in of_kinds}
            for day in of_users:
                parts[day] = parts.get(day, NOTHING) | wanted.users[day]
            found = {day: parts[day] for day in sorted(parts)}
        if self._every and manifests:
            first = min(manifests)
            if not self._has_first(first, manifests[first]):
                found = dict(sorted({**found, first: found.get(first, NOTHING) | SUMMARIES}.items()))
        return found

    def _lacking(
        self,
        some: Mapping[int, bytes | None],
        fold: Fold,
        wanted: Mapping[int, Parts],
        held: dict[Dated, Any],
        what: str,
    ) -> list[int]:
        """The days whose sums are not at hand."""
        folded = fold.manifests
        if some == folded:
            return []
        missing = [day for day, manifest in some.items() if folded.get(day, b"") != manifest and day in wanted]
        known = {
            day: manifest for day in missing if (manifest := some[day]) is not None and (day, manifest) not in held
        }
        if known:
            held.update(self._find_held(what, known))
        return [day for day in missing if (day, some[day]) not in held] if held else missing

    def lacks(self, snapshot: Snapshot) -> bool:
        """Whether days that have moved since they were seen are neither in the snapshot nor at hand."""
        if self._every:
            days = snapshot.moved
        else:
            wanted, asked = self._wanted.all, snapshot.asked
            days = [day for day in snapshot.moved if wanted[day] & ~asked.get(day, NOTHING)] if asked != wanted else []
        return not snapshot.holds(self.lacking(snapshot.manifests, days))

    def first_mark(self, snapshot: Snapshot) -> int | None:
        """The quarter of the first event there is, of a snapshot that has what is `lacking`."""
        day = min(snapshot.manifests, default=None)
        if day is None:
            return None
        manifest = snapshot.manifests[day]
        quarter = self._first.get((day, manifest))
        if quarter is None:
            quarter = day * QUARTERS_A_DAY + (self._form.first_quarter(snapshot.parts, day) or 0)
            self._cache.put(self._first_key(day), quarter, 0, manifest)
        return quarter

    async def take(self, snapshot: Snapshot) -> None:
        """Bring the folds to a snapshot that has what is `lacking`."""
        if self._kinds:
            manifests = snapshot.manifests
            if self._every:
                manifests = {day: manifest for day, manifest in manifests.items() if day in self._days}
            if manifests != self.kinds.manifests:
                await self._take_kinds(snapshot, manifests)
        if self._users:
            in_range = self._wanted.users
            manifests = {day: manifest for day, manifest in snapshot.manifests.items() if day in in_range}
            if manifests != self.users.manifests:
                async with self._folds.making(self._user_key):
                    await self._take_users(snapshot, manifests)

    async def _take_kinds(self, snapshot: Snapshot, manifests: Mapping[int, bytes]) -> None:
        before = self.kinds
        known, unknown = _changed(manifests, before.manifests, self._held_kinds)
        if unknown:
            parts = snapshot.parts.of(unknown)
            known |= await run_in_slices(before.sum_days(parts, self.chosen_users))
        self.kinds = before.update(manifests, known)
        self._remember_kinds(manifests)

    def _table(self) -> UserTable:
        table: UserTable | None = self._cache.get(self._table_key) if self._users else self._form.user_table()
        if table is None:
            table = self._form.user_table()
            self._cache.put(self._table_key, table, 0, shared=[_shared_users(table)])
        return table

    def _known_kinds(self, plan: Plan) -> KindFold | None:
        known: KindFold | None = self._cache.get(self._key_of_kinds(plan))
        return known

    def _known_users(self, plan: Plan) -> UserFold | None:
        key = self._key_of_users(plan)
        known: UserFold | None = self._cache.get(key) or self._folds.get(key)
        return known

    def _key_of_kinds(self, plan: Plan) -> Any:
        return (self._workspace_id, plan, self._chosen_sources, self.chosen_users)

    def _key_of_users(self, plan: Plan) -> Any:
        return (self._workspace_id, plan, self._chosen_sources, "users")

    async def _take_users(self, snapshot: Snapshot, manifests: Mapping[int, bytes]) -> None:
        """Whoever asked for the same meanwhile may have made it."""
        known = self._known_users(self.plan)
        if known is not None and known.manifests == manifests:
            self.users = known
            return
        self.users = await run_in_slices(self._fold_users(snapshot, manifests))
        self._remember_users(manifests)

    def _fold_users(self, snapshot: Snapshot, manifests: Mapping[int, bytes]) -> Steps[UserFold]:
        before, table = self.users, self.users.table
        size = table.size_bytes
        known, unknown = _changed(manifests, before.manifests, self._held_users)
        if unknown:
            parts = snapshot.parts.of(unknown)
            known |= yield from before.sum_days(self.plan, parts, self._chosen_sources)
        self._cache.grow(table, table.size_bytes - size)
        return (yield from before.update(manifests, known))

    def _remember_kinds(self, manifests: Mapping[int, bytes]) -> None:
        fold = self.kinds
        shared = [self._shared_plan, *self._shared_choices, *fold.shared]
        self._cache.put(self._kind_key, fold, fold.size_bytes + _size_of_manifests(manifests), shared=shared)
        self._remember_donor("kinds")

    def _remember_users(self, manifests: Mapping[int, bytes]) -> None:
        fold = self.users
        self._folds.put(self._user_key, fold)
        table = _shared_users(fold.table)
        shared = [self._shared_plan, *self._shared_choices, table]
        self._cache.put(self._user_key, fold, fold.size_bytes + _size_of_manifests(manifests), shared=shared)
        self._cache.put(self._table_key, fold.table, 0, shared=[table])
        self._remember_donor("users")

    def _remember_donor(self, what: str) -> None:
        donors = self._donors(what)
        if not donors.has(self.plan):
            donors.add(self.plan)
            self._cache.put(self._donors_key(what), donors, donors.SIZE_BYTES, shared=self._shared_choices)

    def _donors(self, what: str) -> Donors:
        known: Donors | None = self._cache.get(self._donors_key(what))
        return Donors() if known is None else known

    def _find_held(self, what: str, days: Mapping[int, bytes]) -> dict[Dated, Any]:
        """The sums that folds of other ranges have of days."""
        donors = self._donors(what)
        if what == "kinds":
            return donors.find(self.plan, days, self._known_kinds, attrgetter("cuts"))
        return donors.find(self.plan, days, self._users_of_table, attrgetter("window"))

    def _users_of_table(self, plan: Plan) -> UserFold | None:
        known = self._known_users(plan)
        return known if known is not None and known.table is self.users.table else None

    def _has_first(self, day: int, manifest: bytes | None) -> bool:
        """Whether the first quarter of a day with this manifest is at hand."""
        if manifest is None:
            return False
        quarter = self._cache.get(self._first_key(day), manifest)
        if quarter is not None:
            self._first[day, manifest] = quarter
        return (day, manifest) in self._first

    def _donors_key(self, what: str) -> Any:
        return (self._workspace_id, "folds", what, self.chosen_users if what == "kinds" else self._chosen_sources)

    def _first_key(self, day: int) -> Any:
        return (self._workspace_id, day, "first")


def _changed(
    manifests: Mapping[int, bytes], before: Mapping[int, bytes], held: Mapping[Dated, Any]
) -> tuple[dict[int, Any], list[int]]:
    """The days whose manifests are not those of before: the sums that are held, and the days of the others."""
    changed = moved_days(manifests, before)
    if not held:
        return {}, changed
    known = {day: sums for day in changed if (sums := held.get((day, manifests[day]))) is not None}
    return known, [day for day in changed if day not in known]


def _size_of_manifests(manifests: Mapping[int, bytes]) -> int:
    return sum(map(len, manifests.values())) + FOLDED_DAY_BYTES * len(manifests)


def _size_of_choice(values: frozenset[str | None]) -> int:
    return 300 + 60 * len(values) + size_of_texts(values)


def _shared_users(table: UserTable) -> Shared:
    return table, size_of_table


def _parts_of_kinds(of: DayPlan, some_users: bool) -> Parts:
    if not some_users:
        return SUMMARIES
    return HEADS if of.cuts == WHOLE_DAY else HEADS | CELLS


def _parts_of_users(of: DayPlan) -> Parts:
    return HEADS if of.window == (0, QUARTERS_A_DAY) else HEADS | CELLS
