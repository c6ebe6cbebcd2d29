"""The sums that an answer is folded from: remembered ones, and what must be read because its day changed since.

Two things are remembered under one limit in bytes: sums of days, good for every range that cuts them alike, and whole
folds, in which changed days alone are exchanged. Each knows the manifests (with the versions in them) that it is true
of. All sums of one workspace and filter are one entry of the memory: one a day took longer to remember than to sum.
"""

from asyncio import Lock
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary, WeakValueDictionary

from api.cache import Memory, Shared, size_of_texts
from api.read.parts import CELLS, HEADS, NOTHING, SUMMARIES, PartitionDay, Parts
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
"""Of a fold: a day's places in it. A fold keeps its days' sums and manifests, also where they are forgotten elsewhere,
so those count with it too."""


DAY_BYTES = 400
"""Of the sums of a day: their places in dictionaries, beside the manifest."""

DAYS_SHARE = 4
"""The days of one workspace and filter take no more than one in so many of the bytes that may be remembered."""


class _Day(NamedTuple):
    manifest: bytes
    sums: Any
    shared: tuple[Shared, ...]
    """What other days' sums may hold too."""


class DaySums:
    """Sums of a workspace's days, of one kind and filter, each of a day that is cut in one way and has one manifest."""

    def __init__(self) -> None:
        self.size_bytes = 0
        self._days: dict[Any, _Day] = {}
        self._shared: dict[int, tuple[Shared, int]] = {}
        """By an object's id: with how many days hold it. They hold it, so the id stays its own."""

    def get(self, place: Any, manifest: bytes) -> Any:
        """`place`: the day and how it is cut. None: there are none of this manifest."""
        found = self._days.get(place)
        return found.sums if found is not None and found.manifest == manifest else None

    def put(self, place: Any, manifest: bytes, sums: Any, shared: Iterable[Shared]) -> None:
        # The new ones first, so that what both hold stays.
        day = _Day(manifest, sums, tuple([self._hold(of) for of in shared]))
        before = self._days.get(place)
        if before is not None:
            self.size_bytes -= _size_of_day(before)
            for of in before.shared:
                self._let_go(of)
        self._days[place] = day
        self.size_bytes += _size_of_day(day)

    @property
    def shared(self) -> list[Shared]:
        """Each object that days hold, once."""
        return [of for of, _ in self._shared.values()]

    def _hold(self, of: Shared) -> Shared:
        held, days = self._shared.get(id(of[0]), (of, 0))
        self._shared[id(of[0])] = held, days + 1
        return held

    def _let_go(self, of: Shared) -> None:
        held, days = self._shared[id(of[0])]
        if days > 1:
            self._shared[id(of[0])] = held, days - 1
        else:
            del self._shared[id(of[0])]


def _size_of_day(day: _Day) -> int:
    size: int = DAY_BYTES + len(day.manifest) + day.sums.size_bytes
    return size


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
        self._kind_key = (workspace_id, plan, chosen_sources, chosen_users)
        self._user_key = (workspace_id, plan, chosen_sources, "users")
        self.kinds: KindFold = cache.get(self._kind_key) or form.kind_fold(plan, chosen_sources)
        self._folds = folds
        self._table_key = (workspace_id, "table of users")
        self.users: UserFold = (self._known_users() if users else None) or form.user_fold(self._table())
        self._shared_plan: Shared = (plan, size_of_plan)
        self._shared_choices: list[Shared] = [
            (values, _size_of_choice) for values in (chosen_sources, chosen_users) if values is not None
        ]
        self._wanted = _wanted_of(plan, kinds, users, chosen_users is not None)
        # What is remembered now may be forgotten before it is needed, so it is held.
        self._held: dict[tuple[int, bytes, str], Any] = {}

    @property
    def days(self) -> Sequence[int] | None:
        """The days to be read; None: all that there are."""
        return None if self._every else list(self._days)

    def lacking(self, manifests: Mapping[int, bytes | None], days: Iterable[int] | None = None) -> Mapping[int, Parts]:
        """What must be read of all days that have these manifests, or of some of them; None: it is taken to have
        changed. Days ascend.
        """
        some = manifests if days is None else {day: manifests[day] for day in days}
        found: dict[int, Parts] = {}
        if self._kinds and some != self.kinds.manifests:
            self._add_lacking(found, "kinds", some, self.kinds.manifests, self._wanted.kinds)
        if self._users and some != self.users.manifests:
            self._add_lacking(found, "users", some, self.users.manifests, self._wanted.users)
        if self._every and manifests:
            first = min(manifests)
            if not self._has_first(first, manifests[first]):
                found[first] = found.get(first, NOTHING) | SUMMARIES
        return {day: found[day] for day in sorted(found)}

    def _add_lacking(
        self,
        found: dict[int, Parts],
        what: str,
        some: Mapping[int, bytes | None],
        folded: Mapping[int, bytes],
        wanted: Mapping[int, Parts],
    ) -> None:
        sums = self._day_sums(what)
        for day, manifest in some.items():
            parts = wanted.get(day)
            if parts is None or (manifest is not None and folded.get(day) == manifest):
                continue
            if manifest is None or not self._has(sums, day, manifest, what):
                found[day] = found.get(day, NOTHING) | parts

    def lacks(self, snapshot: Snapshot) -> bool:
        """Whether days that have moved since they were seen are neither in the snapshot nor at hand."""
        if self._every:
            days = snapshot.moved
        else:
            wanted, asked = self._wanted.all, snapshot.asked
            days = [day for day in snapshot.moved if wanted[day] & ~asked.get(day, NOTHING)]
        return not snapshot.holds(self.lacking(snapshot.manifests, days))

    def first_mark(self, snapshot: Snapshot) -> int | None:
        """The quarter of the first event there is, of a snapshot that has what is `lacking`."""
        day = min(snapshot.manifests, default=None)
        if day is None:
            return None
        manifest = snapshot.manifests[day]
        quarter: int | None = self._held.get((day, manifest, "first"))
        if quarter is None:
            quarter = day * QUARTERS_A_DAY + (self._form.first_quarter(snapshot.parts[day]) or 0)
            self._cache.put(self._first_key(day), quarter, 0, manifest)
        return quarter

    async def take(self, snapshot: Snapshot) -> None:
        """Bring the folds to a snapshot that has what is `lacking`."""
        if self._kinds:
            manifests = snapshot.manifests
            if self._every:
                manifests = {day: manifest for day, manifest in manifests.items() if day in self._days}
            if manifests != self.kinds.manifests:
                of_kinds = self.kinds
                changed = await run_in_slices(
                    self._sum_changed(
                        "kinds",
                        snapshot,
                        manifests,
                        of_kinds.manifests,
                        lambda parts: of_kinds.sum_days(parts, self.chosen_users),
                        of_kinds.shared_by,
                    )
                )
                self.kinds = of_kinds.update(manifests, changed)
                self._remember_kinds(manifests)
        if self._users:
            in_range = self._wanted.users
            manifests = {day: manifest for day, manifest in snapshot.manifests.items() if day in in_range}
            if manifests != self.users.manifests:
                async with self._folds.making(self._user_key):
                    await self._take_users(snapshot, manifests)

    def _table(self) -> UserTable:
        table: UserTable | None = self._cache.get(self._table_key) if self._users else self._form.user_table()
        if table is None:
            table = self._form.user_table()
            self._cache.put(self._table_key, table, 0, shared=[_shared_users(table)])
        return table

    def _known_users(self) -> UserFold | None:
        known: UserFold | None = self._cache.get(self._user_key) or self._folds.get(self._user_key)
        return known

    async def _take_users(self, snapshot: Snapshot, manifests: Mapping[int, bytes]) -> None:
        """Whoever asked for the same meanwhile may have made it."""
        known = self._known_users()
        if known is not None and known.manifests == manifests:
            self.users = known
            return
        self.users = await run_in_slices(self._fold_users(snapshot, manifests))
        self._remember_users(manifests)

    def _fold_users(self, snapshot: Snapshot, manifests: Mapping[int, bytes]) -> Steps[UserFold]:
        before, table = self.users, self.users.table
        size = table.size_bytes
        changed = yield from self._sum_changed(
            "users",
            snapshot,
            manifests,
            before.manifests,
            lambda parts: before.sum_days(self.plan, parts, self._chosen_sources),
            lambda _sums: [_shared_users(table)],
        )
        self._cache.grow(table, table.size_bytes - size)
        return (yield from before.update(manifests, changed))

    def _remember_kinds(self, manifests: Mapping[int, bytes]) -> None:
        fold = self.kinds
        shared = [self._shared_plan, *self._shared_choices, *fold.shared]
        self._cache.put(self._kind_key, fold, fold.size_bytes + _size_of_manifests(manifests), shared=shared)

    def _remember_users(self, manifests: Mapping[int, bytes]) -> None:
        fold = self.users
        self._folds.put(self._user_key, fold)
        shared = [self._shared_plan, *self._shared_choices, _shared_users(fold.table)]
        self._cache.put(self._user_key, fold, fold.size_bytes + _size_of_manifests(manifests), shared=shared)
        self._cache.put(self._table_key, fold.table, 0, shared=[_shared_users(fold.table)])

    def _sum_changed(
        self,
        what: str,
        snapshot: Snapshot,
        manifests: Mapping[int, bytes],
        before: Mapping[int, bytes],
        sum_days: Callable[[Mapping[int, Sequence[PartitionDay]]], Steps[Mapping[int, Any]]],
        shared_by: Callable[[Any], list[Shared]],
    ) -> Steps[dict[int, Any]]:
        """The sums of the days whose manifests are not those of before."""
        changed: dict[int, Any] = {}
        unknown: dict[int, Sequence[PartitionDay]] = {}
        for day, manifest in manifests.items():
            if before.get(day) != manifest:
                held = self._held.get((day, manifest, what))
                if held is None:
                    unknown[day] = snapshot.parts[day]
                else:
                    changed[day] = held
        if unknown:
            found = yield from sum_days(unknown)
            self._remember_days(what, found, manifests, shared_by)
            changed |= found
        return changed

    def _remember_days(
        self,
        what: str,
        found: Mapping[int, Any],
        manifests: Mapping[int, bytes],
        shared_by: Callable[[Any], list[Shared]],
    ) -> None:
        known = self._day_sums(what)
        share = self._cache.limit_bytes // DAYS_SHARE
        if known.size_bytes > share:
            known = DaySums()
        for day, sums in found.items():
            if known.size_bytes > share:
                break
            known.put(self._place_of(day, what), manifests[day], sums, shared_by(sums))
        shared = [*self._shared_choices, *known.shared]
        self._cache.put(self._days_key(what), known, known.size_bytes, shared=shared)

    def _day_sums(self, what: str) -> DaySums:
        known: DaySums | None = self._cache.get(self._days_key(what))
        return DaySums() if known is None else known

    def _has(self, sums: DaySums, day: int, manifest: bytes, what: str) -> bool:
        """Whether the sums of a day with this manifest are at hand."""
        if (day, manifest, what) in self._held:
            return True
        found = sums.get(self._place_of(day, what), manifest)
        if found is None or (what == "users" and found.table is not self.users.table):
            return False
        self._held[day, manifest, what] = found
        return True

    def _has_first(self, day: int, manifest: bytes | None) -> bool:
        """Whether the first quarter of a day with this manifest is at hand."""
        if manifest is None:
            return False
        quarter = self._cache.get(self._first_key(day), manifest)
        if quarter is not None:
            self._held[day, manifest, "first"] = quarter
        return (day, manifest, "first") in self._held

    def _place_of(self, day: int, what: str) -> Any:
        of = self._days[day]
        return (day, of.cuts) if what == "kinds" else (day, of.window)

    def _days_key(self, what: str) -> Any:
        return (self._workspace_id, "days", what, self.chosen_users if what == "kinds" else self._chosen_sources)

    def _first_key(self, day: int) -> Any:
        return (self._workspace_id, day, "first")


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
