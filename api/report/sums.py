"""The sums that an answer is folded from: remembered ones, and what must be read because its day changed since.

What is remembered are whole folds, in which changed days alone are exchanged. A fold keeps the sums of its days, each
good for every range that cuts the day alike, and knows the manifests (with the versions in them) that they are true of.
So a range that nobody asked for before has most of its days from the folds of other ranges. To remember each day for
itself took longer than to sum it.
"""

from asyncio import Event
from collections.abc import Callable, Mapping, Sequence
from itertools import compress
from operator import attrgetter, ne
from types import GeneratorType
from typing import Any, NamedTuple
from weakref import ref

from api.cache import Memory, Shared, size_of_texts
from api.read.manifests import CHANGED, Days, Known, Prepared, Seen
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
            folded = dict(zip(other.days, fold.manifests, strict=True))
            mine = [
                day
                for day, manifest in days.items()
                if folded.get(day) == manifest and cut_of(other.days[day]) == cut_of(plan.days[day])
            ]
            if mine:
                gave.append(known)
                found.update({(day, days[day]): fold.day(day) for day in mine})
                days = {day: manifest for day, manifest in days.items() if (day, manifest) not in found}
                if not days:
                    break
        if gave:
            self._plans = [*gave, *(known for known in self._plans if known not in gave)]
        return found


class Wanted(NamedTuple):
    """Which parts are wanted of each day of a plan, in the order of its days."""

    kinds: Sequence[Parts]
    users: Sequence[Parts]
    """NOTHING of days outside the range itself."""


class Range:
    """A plan, and what is read for it, which is the same for each request."""

    __slots__ = ("_wanted", "days", "inside", "nothing", "plan")

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.days = Days(list(plan.days))
        self.nothing: Sequence[None] = [None] * len(plan.days)
        """The manifests of a fold without days."""
        inside = [place for place, of in enumerate(plan.days.values()) if of.window[1]]
        self.inside = slice(inside[0], inside[-1] + 1) if inside else slice(0, 0)
        """Of the days those that lie in the range itself: they follow each other."""
        self._wanted: dict[tuple[bool, bool, bool], Wanted] = {}

    def wanted(self, kinds: bool, users: bool, some_users: bool) -> Wanted:
        found = self._wanted.get((kinds, users, some_users))
        if found is None:
            plans = self.plan.days.values()
            of_kinds = [_parts_of_kinds(of, some_users) if kinds else NOTHING for of in plans]
            of_users = [_parts_of_users(of) if users and of.window[1] else NOTHING for of in plans]
            found = self._wanted[kinds, users, some_users] = Wanted(of_kinds, of_users)
        return found


class _Held(ref[UserFold]):
    __slots__ = ("key",)

    key: Any


class UserFolds:
    """The folds of users that are held anywhere in this process; who needs one that is being made waits for it. A key
    has a plan in it, so it goes with its fold.
    """

    def __init__(self) -> None:
        self._folds: dict[Any, _Held] = {}
        self.making: dict[Any, Event] = {}
        """Those that are being made in steps; each is set when that is over."""

    def get(self, key: Any) -> UserFold | None:
        known = self._folds.get(key)
        return None if known is None else known()

    def put(self, key: Any, fold: UserFold) -> None:
        # A WeakValueDictionary takes four calls in Python for this, and each answer pays for them. The fold before this
        # one is forgotten with its reference, and then calls nobody.
        self._folds[key] = held = _Held(fold, self._forget)
        held.key = key

    def _forget(self, held: ref[UserFold]) -> None:
        assert isinstance(held, _Held)
        if self._folds.get(held.key) is held:
            del self._folds[held.key]


Find = Callable[[Mapping[int, bytes]], dict[Dated, Any]]
"""Tells the sums that other folds have of days with these manifests."""


class _Side:
    """A fold that an answer is made of, and what it takes to bring it to a state."""

    __slots__ = ("days", "fold", "gone", "held", "known", "manifests", "then", "unknown", "wanted")

    # Since it was settled:
    manifests: Sequence[bytes | None]
    gone: list[int]
    """Days that go out of the fold."""
    known: dict[int, Any]
    """The sums of days that come into it."""
    unknown: list[int]
    """Days whose sums must be made first."""

    def __init__(self, fold: Any, of: Range, wanted: Sequence[Parts]) -> None:
        self.fold = fold
        self.days = of.days.days
        self.then: Sequence[bytes | None] = fold.manifests or of.nothing
        self.wanted = wanted
        # What is remembered now may be forgotten before it is needed, so it is held.
        self.held: dict[Dated, Any] = {}

    def lacking(self, manifests: Sequence[bytes | None], find: Find) -> list[int]:
        """The places of the days whose sums are not at hand."""
        if manifests == self.then:
            return []
        days = self.days
        missing = list(compress(range(len(days)), map(ne, manifests, self.then)))
        now = list(map(manifests.__getitem__, missing))
        if None in now:
            missing = [place for place in missing if manifests[place] is not None]
            now = list(map(manifests.__getitem__, missing))
        known: dict[int, bytes] = {}
        if now.count(CHANGED) < len(now):
            known = {days[place]: manifest for place in missing if (manifest := manifests[place])}
        if known:
            self.held.update(find(known))
        return (
            [place for place in missing if (days[place], manifests[place]) not in self.held] if self.held else missing
        )

    def settle(self, manifests: Sequence[bytes | None], asked: Mapping[int, Parts], find: Find) -> bool:
        """Find out which days must be exchanged; False: there are some whose sums are neither at hand nor `asked`."""
        days, then, wanted, held = self.days, self.then, self.wanted, self.held
        self.manifests, self.gone, self.known, self.unknown = manifests, [], {}, []
        lacking: dict[int, bytes] = {}
        for place in compress(range(len(days)), map(ne, manifests, then)):
            day, manifest = days[place], manifests[place]
            if then[place] is not None:
                self.gone.append(day)
            if manifest is None:
                continue
            if held and (day, manifest) in held:
                self.known[day] = held[day, manifest]
            elif wanted[place] & ~asked.get(day, NOTHING):
                lacking[day] = manifest
            else:
                self.unknown.append(day)
        if not lacking:
            return True
        found = find(lacking)
        held.update(found)
        self.known |= {day: sums for (day, _), sums in found.items()}
        return len(found) == len(lacking)


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
        of: Range,
        folds: UserFolds,
        *,
        kinds: bool,
        users: bool,
        chosen_sources: Chosen,
        chosen_users: Chosen,
        every: bool,
    ) -> None:
        self.plan = plan = of.plan
        self.chosen_users = chosen_users
        self._range = of
        self._cache = cache
        self._form = form
        self._workspace_id = workspace_id
        self._chosen_sources = chosen_sources
        self._every = every
        self._folds = folds
        self._wanted = wanted = of.wanted(kinds, users, chosen_users is not None)
        self._kinds: _Side | None = None
        self._users: _Side | None = None
        self._first: dict[Dated, int] = {}
        self._prepared: Prepared | None = None
        self._counted, self._counted_by_user = (chosen_sources, chosen_users), (chosen_sources, "users")
        """What of the days is in folds by kind and in folds by user: with a plan, what they are remembered by."""
        self._kind_key = (workspace_id, plan, self._counted)
        self._user_key = (workspace_id, plan, self._counted_by_user)
        self.kinds: KindFold = cache.get(self._kind_key) or form.kind_fold(plan, chosen_sources)
        if kinds:
            self._kinds = _Side(self.kinds, of, wanted.kinds)
        self.users: UserFold
        if users:
            self.users = cache.get(self._user_key) or folds.get(self._user_key) or form.user_fold(self._table())
            self._users = _Side(self.users, of, wanted.users)

    @property
    def days(self) -> Days | None:
        """The days to be read; None: all that there are."""
        return None if self._every else self._range.days

    def lacking(self, seen: Seen) -> Mapping[int, Parts]:
        """What must be read, where the days are as they were seen. Days ascend."""
        now = seen.now()
        manifests = self._in_order(seen.days, now) if self._every else now
        days, wanted = self._range.days.days, self._wanted
        of_kinds = [] if self._kinds is None else self._kinds.lacking(manifests, self._find_kinds)
        of_users = [] if self._users is None else self._users.lacking(self._inside(manifests), self._find_users)
        found: dict[int, Parts] = {days[place]: wanted.kinds[place] for place in of_kinds}
        if of_users:
            for place in of_users:
                found[days[place]] = found.get(days[place], NOTHING) | wanted.users[place]
            found = {day: found[day] for day in sorted(found)}
        if self._every and seen.days:
            first = seen.days[0]
            if not self._has_first(first, now[0]):
                found = dict(sorted({**found, first: found.get(first, NOTHING) | SUMMARIES}.items()))
        return found

    def prepared(self, known: Known, names: Sequence[str]) -> Prepared | None:
        """The read that the last answer to this question was made of, where it may be sent again, for these names."""
        kinds, users = self._kinds, self._users
        if (kinds is not None and not kinds.fold.manifests) or (users is not None and not users.fold.manifests):
            return None  # nothing is remembered of it
        found: Prepared | None = self._cache.get(self._prepared_key)
        self._prepared = found if found is not None and found.suits(known, names) else None
        return self._prepared

    def remember_prepared(self, read: Prepared, known: Known) -> None:
        """An answer was made of it."""
        if read is not self._prepared and read.lasts(known):
            shared = [(self.plan, size_of_plan), *self._shared_choices()]
            self._cache.put(self._prepared_key, read, read.size_bytes, shared=shared)

    @property
    def _prepared_key(self) -> Any:
        """Of answers about the workspace that are made of the same folds and ask for the same days."""
        kinds, users = self._kinds and self._kind_key, self._users and self._user_key
        return (self._workspace_id, kinds, users, self._every, "read")

    def lacks(self, snapshot: Snapshot) -> bool:
        """Whether days that have moved since they were seen are neither in the snapshot nor at hand. Else it may be
        taken.
        """
        manifests = snapshot.values
        if self._every:
            manifests = self._in_order(snapshot.days, manifests)
            if self._lacks_first(snapshot):
                return True
        asked = snapshot.asked
        if self._kinds is not None and not self._kinds.settle(manifests, asked, self._find_kinds):
            return True
        return self._users is not None and not self._users.settle(self._inside(manifests), asked, self._find_users)

    def _in_order(self, days: Sequence[int], manifests: Sequence[bytes | None]) -> Sequence[bytes | None]:
        """The manifests of the plan's days, of those of these days."""
        return list(map(dict(zip(days, manifests, strict=True)).get, self._range.days.days))

    def _inside(self, manifests: Sequence[bytes | None]) -> Sequence[bytes | None]:
        """The same without those of days outside the range itself."""
        inside = self._range.inside
        return [*[None] * inside.start, *manifests[inside], *[None] * (len(manifests) - inside.stop)]

    def first_mark(self, snapshot: Snapshot) -> int | None:
        """The quarter of the first event there is, of a snapshot that has what is `lacking`."""
        day, manifest = next(iter(snapshot.manifests.items()), (None, b""))
        if day is None:
            return None
        quarter = self._first.get((day, manifest))
        if quarter is None:
            quarter = day * QUARTERS_A_DAY + (self._form.first_quarter(snapshot.parts, day) or 0)
            self._cache.put(self._first_key(day), (manifest, quarter), len(manifest))
        return quarter

    async def take(self, snapshot: Snapshot) -> None:
        """Bring the folds to a snapshot that lacks nothing."""
        kinds, users, manifests_bytes = self._kinds, self._users, _size_of_manifests(snapshot.values)
        if kinds is not None and kinds.manifests != kinds.then:
            parts = snapshot.parts.of(kinds.unknown)
            made: Any = self.kinds.exchange(kinds.manifests, kinds.gone, kinds.known, parts, self.chosen_users)
            self.kinds = await run_in_slices(made) if type(made) is GeneratorType else made
            self._remember_kinds(kinds, manifests_bytes)
        if users is not None and users.manifests != users.then:
            # Whoever asked for the same meanwhile may have made it, or is making it.
            key = self._user_key
            while (making := self._folds.making.get(key)) is not None:
                await making.wait()
            known = self._folds.get(key)
            if known is not None and known is not self.users and known.manifests == users.manifests:
                self.users = known
            else:
                await self._take_users(users, snapshot, manifests_bytes)

    def _table(self) -> UserTable:
        table: UserTable | None = self._cache.get(self._table_key)
        if table is None:
            table = self._form.user_table()
            self._cache.put(self._table_key, table, 0, shared=[_shared_users(table)])
        return table

    @property
    def _table_key(self) -> Any:
        return self._workspace_id, "table of users"

    def _known_kinds(self, plan: Plan) -> KindFold | None:
        known: KindFold | None = self._cache.get((self._workspace_id, plan, self._counted))
        return known

    def _known_users(self, plan: Plan) -> UserFold | None:
        key = (self._workspace_id, plan, self._counted_by_user)
        known: UserFold | None = self._cache.get(key) or self._folds.get(key)
        return known

    async def _take_users(self, side: _Side, snapshot: Snapshot, manifests_bytes: int) -> None:
        table = self.users.table
        size = table.size_bytes
        parts = snapshot.parts.of(side.unknown)
        made: Any = self.users.exchange(side.manifests, side.gone, side.known, self.plan, parts, self._chosen_sources)
        self.users = await self._finish_users(made) if type(made) is GeneratorType else made
        if table.size_bytes != size:
            self._cache.resize(table, table.size_bytes)  # whoever else numbers users meanwhile tells it too
        self._remember_users(side, manifests_bytes)

    async def _finish_users(self, steps: Steps[UserFold]) -> UserFold:
        key = self._user_key
        self._folds.making[key] = over = Event()
        try:
            return await run_in_slices(steps)
        finally:
            del self._folds.making[key]
            over.set()

    def _remember_kinds(self, side: _Side, manifests_bytes: int) -> None:
        fold = self.kinds
        size = fold.size_bytes + manifests_bytes
        if not side.fold.manifests or not self._cache.renew(self._kind_key, fold, size, self.plan):
            shared = [(self.plan, size_of_plan), *self._shared_choices()]
            self._cache.put(self._kind_key, fold, size, shared=shared)
            self._remember_donor("kinds")

    def _remember_users(self, side: _Side, manifests_bytes: int) -> None:
        fold, key = self.users, self._user_key
        self._folds.put(key, fold)
        size = fold.size_bytes + manifests_bytes
        if not side.fold.manifests or not self._cache.renew(key, fold, size, fold.table):
            table = _shared_users(fold.table)
            shared = [(self.plan, size_of_plan), *self._shared_choices(), table]
            self._cache.put(key, fold, size, shared=shared)
            self._cache.put(self._table_key, fold.table, 0, shared=[table])
            self._remember_donor("users")

    def _shared_choices(self) -> list[Shared]:
        choices = (self._chosen_sources, self.chosen_users)
        return [(values, _size_of_choice) for values in choices if values is not None]

    def _remember_donor(self, what: str) -> None:
        donors = self._donors(what)
        if not donors.has(self.plan):
            donors.add(self.plan)
            self._cache.put(self._donors_key(what), donors, donors.SIZE_BYTES, shared=self._shared_choices())

    def _donors(self, what: str) -> Donors:
        known: Donors | None = self._cache.get(self._donors_key(what))
        return Donors() if known is None else known

    def _find_kinds(self, days: Mapping[int, bytes]) -> dict[Dated, Any]:
        """The sums that folds of other ranges have of days."""
        return self._donors("kinds").find(self.plan, days, self._known_kinds, attrgetter("cuts"))

    def _find_users(self, days: Mapping[int, bytes]) -> dict[Dated, Any]:
        return self._donors("users").find(self.plan, days, self._users_of_table, attrgetter("window"))

    def _users_of_table(self, plan: Plan) -> UserFold | None:
        known = self._known_users(plan)
        return known if known is not None and known.table is self.users.table else None

    def _has_first(self, day: int, manifest: bytes | None) -> bool:
        """Whether the first quarter of a day with this manifest is at hand; never of one that is CHANGED."""
        known: tuple[bytes, int] | None = self._cache.get(self._first_key(day))
        if known is not None and known[0] == manifest:
            self._first[day, manifest] = known[1]
        return (day, manifest) in self._first

    def _lacks_first(self, snapshot: Snapshot) -> bool:
        """Whether the first event cannot be told: it lies on a day that was not read."""
        day, manifest = next(iter(snapshot.manifests.items()), (None, b""))
        return day is not None and not (snapshot.asked.get(day, NOTHING) & SUMMARIES or self._has_first(day, manifest))

    def _donors_key(self, what: str) -> Any:
        return (self._workspace_id, "folds", what, self.chosen_users if what == "kinds" else self._chosen_sources)

    def _first_key(self, day: int) -> Any:
        return (self._workspace_id, day, "first")


def _size_of_manifests(manifests: Sequence[bytes | None]) -> int:
    return sum(map(len, filter(None, manifests))) + FOLDED_DAY_BYTES * len(manifests)


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
