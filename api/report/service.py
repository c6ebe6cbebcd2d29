"""Reports of a workspace: what a view needs is read in one state, folded, and made into answers."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from api import wire as answers
from api.cache import Memory, size_of_texts
from api.errors import Unavailable
from api.query.periods import Period, TooManyBuckets, local_date, now_quarter, quarter_text
from api.query.question import Query, View, too_many_buckets, view
from api.read.freshness import Positions, as_of_text, freshness, lag_seconds, revision, state
from api.read.manifests import Seen
from api.read.redis import Reader
from api.read.snapshot import RowRange, Snapshot, State, require_complete
from api.report.fold import Counts
from api.report.form import Form, KindFold, UserFold
from api.report.names import label_of
from api.report.plan import Plan, plan_of_bounds, size_of_plan
from api.report.sources import sources
from api.report.summary import total
from api.report.sums import Chosen, Sums, UserFolds
from api.report.timeline import bucket_states, timeline
from api.report.user_fold import NO_USERS, Ranked, UserTotal, columns_of
from api.report.users import MAX_USERS, sum_omitted, user_counts
from api.report.warnings import filter_fields, warnings_of
from api.wire import BucketState, Freshness, FreshnessState
from stream.model.activity import NONE
from stream.settings.api import ApiConfig
from stream.storage.keys import Keys

REMEMBERED_USERS = 1_000
"""Whose labels a workspace's next report asks for at once."""

LABELS_AT_ONCE = 2_000
"""Of more users the labels are read afterwards, piece by piece."""

QUARTER_BYTES = 40
"""A number and its place."""

TRIES = 16
"""A live workspace takes one, and a question that is new two or three."""


class _First(NamedTuple):
    """The quarter-hour of a workspace's first event, and its version and the first day that is kept, then."""

    depends_on: tuple[bytes, int | None]
    quarter: int | None


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
    kinds: KindFold
    counts: Counts
    states: Sequence[BucketState]
    users: Ranked
    """The first of them; `fold` has all."""
    users_total: UserTotal
    fold: UserFold
    labels: Mapping[str | None, str | None]
    warnings: list[answers.Warning]
    snapshot: Snapshot


GuessRows = Callable[[Plan, KindFold], Sequence[RowRange]]
"""The rows that an answer will need, by what the days summed to when they were read last."""

NOTHING = Need(buckets=False)
KINDS = Need(kinds=True)
TOTALS = Need(kinds=True, buckets=False)
USERS = Need(users=2**31, buckets=False)
REPORT = Need(kinds=True, users=MAX_USERS)


class Reports:
    """Answers about workspaces. Raises Unavailable, ValidationErrors (of `period=all` alone), FormatError.

    `clock` gives seconds since 1970.
    """

    def __init__(
        self, config: ApiConfig, form: Form, reader: Reader, memory: Memory, clock: Callable[[], float] = time.time
    ) -> None:
        self.clock = clock
        self._form = form
        self._reader = reader
        self._memory = memory
        self._folds = UserFolds()
        self._config = config

    async def stamp(
        self, workspace_id: str, query: Query, more: bytes = b"", *, known: State | None = None, fresh: bool = False
    ) -> Stamp:
        """The revision of the answer that would be given now. `more`: what else the answer depends on; `known`: a state
        that was read already; `fresh`: by one that is read now.
        """
        known = known or require_complete(await self._reader.state(workspace_id, fresh=fresh))
        now = self.clock()
        if query.period is not Period.ALL:
            return self.stamp_view(self.view_at(query, now_quarter(now)), known, now, more)
        first = self._first_event(workspace_id)
        if first.depends_on == _first_depends_on(known):
            return self.stamp_view(self._view_of_all(query, now, first.quarter), known, now, more)
        return (await self.read(workspace_id, query, NOTHING, more=more)).stamp

    def known_state(self, workspace_id: str) -> State | None:
        """The state of a workspace that was read a moment ago, if it is complete."""
        known = self._reader.known_state(workspace_id)
        return known if known is not None and known.positions.complete else None

    async def ask_state(self, workspace_id: str) -> State:
        """The state of a workspace as it is read now, complete."""
        return require_complete(await self._reader.state(workspace_id, fresh=True))

    def stamp_view(self, of: View, known: State, now: float, more: bytes = b"") -> Stamp:
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
        return (await self.stamp_report(workspace_id, query))[1]

    async def stamp_report(self, workspace_id: str, query: Query) -> tuple[Stamp, answers.Report]:
        reading = await self.read(workspace_id, query, REPORT)
        added, deleted = _totals(reading)
        return reading.stamp, answers.Report(
            query_answer(reading.stamp.view),
            reading.stamp.freshness,
            added,
            deleted,
            timeline(reading.plan, reading.counts, reading.states),
            sources(reading.plan, reading.counts, reading.states),
            user_counts(columns_of(reading.users[:MAX_USERS]), reading.labels),
            sum_omitted(reading.users_total, reading.users[:MAX_USERS]),
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

    async def labels(self, workspace_id: str, users: Sequence[str]) -> dict[str | None, str | None]:
        """The latest labels of users."""
        values = await self._reader.some_names(workspace_id, [Keys.user_field(user) for user in users])
        return dict(zip(users, map(label_of, values), strict=True))

    async def read(
        self,
        workspace_id: str,
        query: Query,
        need: Need,
        of: View | None = None,
        more: bytes = b"",
        guess: GuessRows | None = None,
    ) -> Reading:
        """The counts of a query now, or of a view that is known already. `more`: as in `stamp`; `guess`: which rows are
        read with them.

        Question, plan, one read of what is not at hand, fold, answer. All of it again where a day moved after it was
        seen last, where the first event is another one, where another user is to be labelled, or where midnight or a
        quarter-hour passed meanwhile.
        """
        every = of is None and query.period is Period.ALL
        first = self._first_event(workspace_id).quarter if every else None
        labelled: tuple[str, ...] = self._labelled(workspace_id) if need.users else ()
        seen: Seen | None = None
        for _ in range(TRIES):
            begun = self.clock()
            of_now = of or self._view_of(query, begun, first)
            sums = self._sums_of(workspace_id, of_now, need, every)
            seen = self._reader.seen(workspace_id, sums.days, seen)
            fields = list(dict.fromkeys([*filter_fields(query), *labelled]))
            ranges = () if guess is None else guess(sums.plan, sums.kinds)
            snapshot = await self._reader.read(workspace_id, seen, sums.lacking(seen.now), fields, ranges)
            require_complete(snapshot.state)
            now = self.clock()
            if sums.lacks(snapshot):
                continue
            if every:
                before, first = first, sums.first_mark(snapshot)
                self._remember_first(workspace_id, snapshot.state, first)
                if first != before:
                    continue
            await sums.take(snapshot)
            users = await sums.users.first(min(need.users, LABELS_AT_ONCE), sums.chosen_users) if need.users else []
            listed = {user: Keys.user_field(user) for user, _, _ in users if user is not None}
            if not snapshot.names.keys() >= set(listed.values()):
                labelled = tuple(listed.values())
                continue
            ended = self.clock()
            later = of is None and now_quarter(ended) != now_quarter(begun)
            if later and self._view_of(query, ended, first).key != of_now.key:
                continue
            if need.users:
                self._remember_labelled(workspace_id, labelled[:REMEMBERED_USERS])
            return self._reading(of_now, need, sums, snapshot, now, users, listed, more)
        raise Unavailable("busy", "Counts change faster than the API can read them.")

    def _sums_of(self, workspace_id: str, of: View, need: Need, every: bool) -> Sums:
        return Sums(
            self._memory,
            self._form,
            workspace_id,
            self._plan_of(of, need),
            self._folds,
            kinds=need.kinds,
            users=need.users > 0,
            chosen_sources=resolve_choice(of.query.sources),
            chosen_users=resolve_choice(of.query.users),
            every=every,
        )

    def _view_of(self, query: Query, now: float, first: int | None) -> View:
        """The view of a query at a time; `first` is where the first event lies, for `period=all`."""
        if query.period is Period.ALL:
            return self._view_of_all(query, now, first)
        return self.view_at(query, now_quarter(now))

    def _reading(
        self,
        of: View,
        need: Need,
        sums: Sums,
        snapshot: Snapshot,
        now: float,
        users: Ranked,
        listed: Mapping[str, str],
        more: bytes,
    ) -> Reading:
        """`listed`: users with their fields in `names`."""
        users_total = sums.users.total(sums.chosen_users) if need.users else NO_USERS
        stamp = self.stamp_view(of, snapshot.state, now, more)
        counts = sums.kinds.counts
        bounds = of.bounds if need.buckets else (of.start, of.end)
        states = bucket_states(bounds, counts, now, min(snapshot.state.positions.as_of, now))
        names = snapshot.names
        labels: dict[str | None, str | None] = {user: label_of(names[field]) for user, field in listed.items()}
        warnings = warnings_of(of, snapshot, anything=any(counts.added) or any(counts.deleted))
        return Reading(
            stamp,
            sums.plan,
            sums.kinds,
            counts,
            states,
            users,
            users_total,
            sums.users,
            labels,
            warnings,
            snapshot,
        )

    def _first_event(self, workspace_id: str) -> _First:
        """As it was last read."""
        return self._memory.get(("first", workspace_id)) or _First((b"", None), None)

    def _remember_first(self, workspace_id: str, known: State, quarter: int | None) -> None:
        self._memory.put(("first", workspace_id), _First(_first_depends_on(known), quarter), 300)

    def _labelled(self, workspace_id: str) -> tuple[str, ...]:
        """The fields of the users whose labels the last report had."""
        return self._memory.get(("users", workspace_id)) or ()

    def _remember_labelled(self, workspace_id: str, fields: tuple[str, ...]) -> None:
        if fields != self._labelled(workspace_id):
            self._memory.put(("users", workspace_id), fields, size_of_texts(fields))

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


def _first_depends_on(known: State) -> tuple[bytes, int | None]:
    return known.version, known.positions.counts_from


def resolve_choice(values: Sequence[str] | None) -> Chosen:
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


def size_of_view(of: View) -> int:
    return size_of_query(of.query) + QUARTER_BYTES * (len(of.bounds) + len(of.earlier_bounds)) + len(of.key) + 600


def size_of_query(query: Query) -> int:
    return 500 + size_of_texts(query.sources or ()) + size_of_texts(query.users or ())
