"""Reports of a workspace: what a view needs is read in one state, folded, and made into answers."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from api import wire as answers
from api.cache import Memory, size_of_texts
from api.errors import Unavailable, no_position
from api.query.periods import Period, TooManyBuckets, local_date, now_quarter, quarter_text
from api.query.question import Query, View, too_many_buckets, view
from api.read.freshness import Positions, as_of_text, freshness, lag_seconds, revision, state
from api.read.parts import Parts
from api.read.redis import Reader, Snapshot, State
from api.report.days import KindSums
from api.report.fold import Counts
from api.report.plan import Plan, plan_of_bounds, size_of_plan
from api.report.sources import sources
from api.report.summary import total
from api.report.sums import Chosen, Sums, UserFolds, first_quarter_of
from api.report.timeline import bucket_states, timeline
from api.report.user_fold import NO_USERS, Ranked, UserFold, UserTotal
from api.report.users import MAX_USERS, omitted, user_counts
from api.wire import BucketState, Freshness, FreshnessState
from stream.model.activity import KNOWN_SOURCES, NONE
from stream.model.time import QUARTERS_A_DAY, date_of
from stream.settings.api import ApiConfig
from stream.storage.keys import Keys, parse_label

REMEMBERED_USERS = 1_000
"""Whose labels a workspace's next report asks for at once."""

LABELS_AT_ONCE = 2_000
"""Of more users the labels are read afterwards, piece by piece."""

QUARTER_BYTES = 40
"""A number and its place."""

TRIES = 8


_Kept = tuple[bytes, int | None]
"""What a workspace's first event depends on: its version, and the UTC day from which counts are kept."""


@dataclass(frozen=True, slots=True)
class Stamp:
    """What is known of an answer before it is computed."""

    view: View
    state: State
    now: float
    word: FreshnessState
    revision: str

    @property
    def as_of(self) -> str:
        return as_of_text(self.state.positions, self.now)

    @property
    def lag_seconds(self) -> float:
        return lag_seconds(self.state.positions, self.now)

    @property
    def freshness(self) -> Freshness:
        return freshness(self.state.positions, self.now, self.word, self.revision)


@dataclass(frozen=True, slots=True)
class Need:
    """Which folds an answer is made of. `users`: how many of them are listed; 0: they are not asked for.

    `buckets` False: the range as one bucket, without the earlier side.
    """

    kinds: bool = False
    users: int = 0
    buckets: bool = True


@dataclass(frozen=True, slots=True)
class Reading:
    """The folded counts of a view in one state."""

    stamp: Stamp
    plan: Plan
    days: Mapping[int, KindSums]
    counts: Counts
    states: Sequence[BucketState]
    users: Ranked
    """The first of them; `fold` has all."""
    users_total: UserTotal
    fold: UserFold
    labels: Mapping[str, str | None]
    warnings: list[answers.Warning]
    snapshot: Snapshot


KINDS = Need(kinds=True)
TOTALS = Need(kinds=True, buckets=False)
USERS = Need(users=2**31, buckets=False)
REPORT = Need(kinds=True, users=MAX_USERS)


class Reports:
    """Answers about workspaces. Raises Unavailable, ValidationErrors (of `period=all` alone), FormatError.

    `clock` gives seconds since 1970.
    """

    def __init__(
        self, config: ApiConfig, reader: Reader, memory: Memory, clock: Callable[[], float] = time.time
    ) -> None:
        self.clock = clock
        self._reader = reader
        self._memory = memory
        self._folds = UserFolds()
        self._config = config

    async def stamp(self, workspace_id: str, query: Query, more: bytes = b"", *, fresh: bool = False) -> Stamp:
        """The revision of the answer that would be given now. `more`: what else the answer depends on; `fresh`: by a
        state that is read now.
        """
        for attempt in range(TRIES):
            known = complete(await self._reader.state(workspace_id, fresh=fresh or attempt > 0))
            now = self.clock()
            if query.period is not Period.ALL:
                return self.stamped(self.view_at(query, now_quarter(now)), known, now, more)
            kept, first = await self._first_quarter(workspace_id, known)
            if kept == _kept(known):
                return self.stamped(self._view_of_all(query, now, first), known, now, more)
        raise Unavailable("busy", "The counts move faster than they can be read.")

    def stamped(self, of: View, known: State, now: float, more: bytes = b"") -> Stamp:
        word = self.word(known.positions, now)
        return Stamp(
            of, known, now, word, revision(known.version, of.key + more, of.bounds, known.positions, now, word)
        )

    def plain_freshness(self, known: State, key: bytes) -> Freshness:
        """Of an answer that is about no time."""
        now = self.clock()
        word = self.word(known.positions, now)
        return freshness(known.positions, now, word, revision(known.version, key, (), known.positions, now, word))

    def word(self, positions: Positions, now: float) -> FreshnessState:
        return state(positions, now, self._config.live_lag_seconds, self._config.stalled_after_seconds)

    async def report(self, workspace_id: str, query: Query) -> answers.Report:
        return (await self.stamped_report(workspace_id, query))[1]

    async def stamped_report(self, workspace_id: str, query: Query) -> tuple[Stamp, answers.Report]:
        reading = await self.read(workspace_id, query, REPORT)
        added, deleted = _totals(reading)
        return reading.stamp, answers.Report(
            query_answer(reading.stamp.view),
            reading.stamp.freshness,
            added,
            deleted,
            timeline(reading.plan, reading.counts, reading.states),
            sources(reading.plan, reading.counts, reading.states),
            user_counts(reading.users[:MAX_USERS], reading.labels),
            omitted(reading.users_total, reading.users[:MAX_USERS]),
            reading.warnings,
        )

    async def summary(self, workspace_id: str, query: Query) -> answers.SummaryAnswer:
        reading = await self.read(workspace_id, query, KINDS)
        added, deleted = _totals(reading)
        of, fresh = query_answer(reading.stamp.view), reading.stamp.freshness
        return answers.SummaryAnswer(of, fresh, added, deleted, reading.warnings)

    async def timeline(self, workspace_id: str, query: Query) -> answers.TimelineAnswer:
        reading = await self.read(workspace_id, query, KINDS)
        of, fresh = query_answer(reading.stamp.view), reading.stamp.freshness
        return answers.TimelineAnswer(
            of, fresh, timeline(reading.plan, reading.counts, reading.states), reading.warnings
        )

    async def sources(self, workspace_id: str, query: Query) -> answers.SourcesAnswer:
        reading = await self.read(workspace_id, query, KINDS)
        of, fresh = query_answer(reading.stamp.view), reading.stamp.freshness
        return answers.SourcesAnswer(of, fresh, sources(reading.plan, reading.counts, reading.states), reading.warnings)

    async def users(self, workspace_id: str, query: Query) -> Reading:
        """All users, of whom the first LABELS_AT_ONCE have their labels."""
        return await self.read(workspace_id, query, USERS)

    async def labels(self, workspace_id: str, users: Sequence[str]) -> dict[str, str | None]:
        """The latest labels of users."""
        names = await self._reader.some_names(workspace_id, [Keys.user_field(user) for user in users])
        return dict(zip(users, map(_label, names.values()), strict=True))

    async def read(
        self, workspace_id: str, query: Query, need: Need, of: View | None = None, more: bytes = b""
    ) -> Reading:
        """The counts of a query now, or of a view that is known already. `more`: as in `stamp`."""
        remembered: tuple[str, ...] = self._memory.get(("users", workspace_id)) or ()
        labelled = list(remembered) if need.users else []
        every = of is None and query.period is Period.ALL
        for attempt in range(TRIES):
            first: int | None = None
            if every:
                known = complete(await self._reader.state(workspace_id, fresh=attempt > 0))
                _, first = await self._first_quarter(workspace_id, known)
            of_now = of or self._view_now(query, first)
            sums = Sums(
                self._memory,
                workspace_id,
                self._plan_of(of_now, need),
                self._folds,
                kinds=need.kinds,
                users=need.users > 0,
                chosen_sources=chosen(query.sources),
                chosen_users=chosen(query.users),
                first=(first,) if every else None,
            )
            reading = await self._read(workspace_id, of_now, need, sums, labelled, more)
            # Midnight or a quarter-hour may have passed meanwhile.
            if reading is not None and (of is not None or self._view_now(query, first).key == of_now.key):
                users = tuple(labelled[:REMEMBERED_USERS])
                if need.users and users != remembered:
                    self._memory.put(("users", workspace_id), users, size_of_texts(users))
                return reading
        raise Unavailable("busy", "The counts move faster than they can be read.")

    def _view_now(self, query: Query, first: int | None) -> View:
        """The view of a query; `first` is where the first event lies, for `period=all`."""
        now = self.clock()
        return (
            self._view_of_all(query, now, first)
            if query.period is Period.ALL
            else self.view_at(query, now_quarter(now))
        )

    async def _read(
        self, workspace_id: str, of: View, need: Need, sums: Sums, labelled: list[str], more: bytes
    ) -> Reading | None:
        """None where it must be done again: another first day, or more users, who are put into `labelled` then."""
        fields = [*_filter_fields(of.query), *map(Keys.user_field, labelled)]
        snapshot = await self._reader.snapshot(workspace_id, sums.days, sums.wanted, list(dict.fromkeys(fields)))
        complete(snapshot.state)
        now = self.clock()
        if not await sums.take(snapshot):
            return None
        users = await sums.users.first(min(need.users, LABELS_AT_ONCE), sums.chosen_users) if need.users else []
        users_total = sums.users.total(sums.chosen_users) if need.users else NO_USERS
        listed = [user for user, _, _ in users if user is not None]
        if any(Keys.user_field(user) not in snapshot.names for user in listed):
            labelled[:] = listed
            return None
        stamp = self.stamped(of, snapshot.state, now, more)
        counts = sums.kinds.counts
        bounds = of.bounds if need.buckets else (of.start, of.end)
        states = bucket_states(bounds, counts, now, min(snapshot.state.positions.as_of, now))
        labels = {user: _label(snapshot.names[Keys.user_field(user)]) for user in listed}
        warnings = _warnings(of, snapshot)
        return Reading(
            stamp,
            sums.plan,
            sums.kinds.sums,
            counts,
            states,
            users,
            users_total,
            sums.users,
            labels,
            warnings,
            snapshot,
        )

    async def _first_quarter(self, workspace_id: str, known: State) -> tuple[_Kept, int | None]:
        """The first quarter that holds an event, with what it is true of."""
        remembered: tuple[_Kept, int | None] | None = self._memory.get(("first", workspace_id))
        if remembered is not None and remembered[0] == _kept(known):
            return remembered

        def first_day(manifests: Mapping[int, bytes | None]) -> Mapping[int, Parts]:
            return {first: Parts.SUMMARIES} if first in manifests else {}

        first = -1
        for _ in range(TRIES):
            snapshot = await self._reader.snapshot(workspace_id, None, first_day, ())
            earliest = min(snapshot.manifests, default=None)
            if earliest is None or earliest == first:
                quarter = None if earliest is None else first_quarter_of(earliest, snapshot.parts[earliest])
                found = (_kept(snapshot.state), quarter)
                self._memory.put(("first", workspace_id), found, 300)
                return found
            first = earliest
        raise Unavailable("busy", "The counts move faster than they can be read.")

    def view_at(self, query: Query, quarter: int) -> View:
        """The view of a query with dates or a preset at a quarter; equal ones share it. Raises ValidationErrors: a
        preset may have grown since the query was read.
        """
        key = ("view", query, quarter)
        known: View | None = self._memory.get(key)
        if known is None:
            try:
                known = view(query, quarter)
            except TooManyBuckets as problem:
                raise too_many_buckets(problem) from None
            self._memory.put(key, known, size_of_view(known))
        return known

    def _plan_of(self, of: View, need: Need) -> Plan:
        """The plan of a view; equal ranges share one, and so what is folded by it."""
        bounds, earlier = (of.bounds, of.earlier_bounds) if need.buckets else ((of.start, of.end), ())
        key = ("plan", of.query.timezone, bounds, earlier)
        plan: Plan | None = self._memory.get(key)
        if plan is None:
            plan = plan_of_bounds(of.query.timezone, bounds, earlier)
            size = QUARTER_BYTES * (len(bounds) + len(earlier))
            self._memory.put(key, plan, size, shared=[(plan, size_of_plan)])
        return plan

    def _view_of_all(self, query: Query, now: float, first: int | None) -> View:
        try:
            return view(query, now_quarter(now), None if first is None else local_date(query.timezone, first))
        except TooManyBuckets as problem:
            raise too_many_buckets(problem) from None


def _kept(known: State) -> _Kept:
    return known.version, known.positions.counts_from


def complete(known: State) -> State:
    """The state, if it is a whole one. Raises Unavailable."""
    if not known.positions.complete:
        raise no_position(known.positions.missing, known.positions.number)
    return known


def chosen(values: Sequence[str] | None) -> Chosen:
    """Values of a parameter as sources or users inside."""
    return None if values is None else frozenset(None if value == NONE else value for value in values)


def query_answer(of: View) -> answers.QueryAnswer:
    query, zone = of.query, of.query.timezone
    side = of.earlier
    compared = None
    if side is not None:
        compared = answers.ComparisonAnswer(
            side.mode, quarter_text(zone, side.start), quarter_text(zone, side.end), side.to_same_time
        )
    return answers.QueryAnswer(
        of.dates.first.isoformat(),
        of.dates.last.isoformat(),
        zone,
        of.interval,
        query.week_start,
        quarter_text(zone, of.start),
        quarter_text(zone, of.end),
        None if query.sources is None else list(query.sources),
        None if query.users is None else list(query.users),
        compared,
    )


def _totals(reading: Reading) -> tuple[answers.Total, answers.Total]:
    counts, compared = reading.counts, reading.plan.compared
    return (
        total(counts.added, sum(counts.added_before) if compared else None),
        total(counts.deleted, sum(counts.deleted_before) if compared else None),
    )


def _unknowable(query: Query) -> tuple[list[str], list[str]]:
    """Sources and users of the query that may be unknown in the workspace."""
    known = {NONE, *KNOWN_SOURCES}
    return (
        [source for source in query.sources or () if source not in known],
        [user for user in query.users or () if user != NONE],
    )


def _filter_fields(query: Query) -> list[str]:
    sources, users = _unknowable(query)
    return [*map(Keys.source_field, sources), *map(Keys.user_field, users)]


def _warnings(of: View, snapshot: Snapshot) -> list[answers.Warning]:
    return [*_unknown_values(of.query, snapshot), *_before_retention(of, snapshot.state.positions)]


def _unknown_values(query: Query, snapshot: Snapshot) -> Iterator[answers.Warning]:
    sources, users = _unknowable(query)
    for source in sources:
        if snapshot.names[Keys.source_field(source)] is None:
            yield answers.Warning("unknown_source", "source", source, _unknown_source(source))
    for user in users:
        if snapshot.names[Keys.user_field(user)] is None:
            yield answers.Warning("unknown_user", "user", user, "No event of this workspace has this user.")


def _unknown_source(source: str) -> str:
    message = "No event of this workspace has this source."
    lower = source.lower()
    return message if lower == source else f"{message} Sources are in lower case: is {lower} meant?"


def _before_retention(of: View, positions: Positions) -> Iterator[answers.Warning]:
    kept_from = positions.counts_from
    if kept_from is None or of.query.period is Period.ALL:
        return
    message = f"Counts before {date_of(kept_from)} (UTC) are no longer kept."
    if of.start < kept_from * QUARTERS_A_DAY:
        period = of.query.period
        parameter, value = ("period", str(period)) if period else ("from", of.dates.first.isoformat())
        yield answers.Warning("before_retention", parameter, value, message)
    if of.earlier is not None and of.earlier.start < kept_from * QUARTERS_A_DAY:
        yield answers.Warning("before_retention", "compare", str(of.earlier.mode), message)


def _label(value: bytes | None) -> str | None:
    if not value:
        return None
    label = parse_label(value)
    return label.label if label.has_label else None


def size_of_view(of: View) -> int:
    return size_of_query(of.query) + QUARTER_BYTES * (len(of.bounds) + len(of.earlier_bounds)) + len(of.key) + 600


def size_of_query(query: Query) -> int:
    return 500 + size_of_texts(query.sources or ()) + size_of_texts(query.users or ())
