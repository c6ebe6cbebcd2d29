"""Reports of a workspace: what a view needs is read in one state, folded, and made into answers."""

import time
from collections.abc import Callable, Hashable, Iterable, Sequence
from types import GeneratorType
from typing import Any, NamedTuple

from msgspec import Struct

from api import wire as answers
from api.cache import Memory, size_of_texts
from api.errors import Unavailable, ValidationErrors
from api.query.periods import Period, TooManyBuckets, local_date, now_quarter, quarter_text
from api.query.question import Query, View, too_many_buckets, view
from api.read.freshness import Limits, Positions, freshness, state
from api.read.manifests import Prepared, Seen
from api.read.redis import Reader
from api.read.snapshot import RowRange, Snapshot, State, require_complete
from api.report.form import FirstUsers, Form, KindFold, UserFold
from api.report.names import label_of
from api.report.plan import Plan, plan_of_bounds, size_of_plan
from api.report.summary import totals
from api.report.sums import Chosen, Range, Sums, UserFolds
from api.report.timeline import Progress, progress_of
from api.report.user_fold import NOBODY
from api.report.users import MAX_USERS
from api.report.warnings import filter_fields, warnings_of
from api.report.written import Labels
from api.wire import Freshness, FreshnessState
from stream.model.activity import NONE
from stream.model.time import QUARTER_SECONDS
from stream.settings.api import ApiConfig
from stream.slices import run_in_slices
from stream.storage.keys import Keys

REMEMBERED_USERS = 1_000
"""Whose labels a workspace's next report asks for at once."""

LABELLED_BYTES = 250
"""Of a user whose label is remembered: its places, and what its value takes beside its text."""

NO_LABELS = Labels({})

LABELS_AT_ONCE = 2_000
"""Of more users the labels are read afterwards, piece by piece."""

QUARTER_BYTES = 40
"""A number and its place."""

OUTLINE_BYTES = 1_000
"""Of an outline beside its view and its plans."""

TRIES = 16
"""A live workspace takes one, and a question that is new two or three."""


class _First(NamedTuple):
    """The quarter-hour of a workspace's first event, and its version and the first day that is kept, then."""

    depends_on: tuple[bytes, int | None]
    quarter: int | None


class Stamp(Struct, frozen=True):
    """What is known of an answer before it is computed."""

    view: View
    state: State
    progress: Progress
    """Of the view's buckets."""
    freshness: Freshness

    @property
    def revision(self) -> str:
        return self.freshness.revision


class Need(Struct, frozen=True):
    """Which folds an answer is made of. `users`: how many of them are listed; 0: they are not asked for.

    `buckets` False: the range as one bucket, without the earlier side.
    """

    kinds: bool = False
    users: int = 0
    buckets: bool = True


class Outline:
    """What of an answer its view alone decides."""

    __slots__ = ("answer", "key", "names", "ranges", "sources", "users", "view")

    def __init__(self, of: View, key: Hashable | None = None) -> None:
        self.view, self.key = of, key
        self.answer = query_answer(of)
        self.sources, self.users = resolve_choice(of.query.sources), resolve_choice(of.query.users)
        self.names = filter_fields(of.query)
        self.ranges: dict[bool, Range] = {}
        """With its buckets, and as one bucket; each once it was asked for."""

    def remember(self, memory: Memory) -> None:
        """With the plans that it has by now."""
        if self.key is not None:
            shared = [(of.plan, size_of_plan) for of in self.ranges.values()]
            memory.put(self.key, self, OUTLINE_BYTES + size_of_view(self.view), shared=shared)


class Labelled:
    """Users whose labels a report asks for, and what they were when it asked last."""

    __slots__ = ("_labels", "_values", "bytes", "fields", "users")

    def __init__(self, users: Iterable[str]) -> None:
        self.users = tuple(users)
        self.fields = list(map(Keys.user_field, self.users))
        self.bytes = 0
        """In memory."""
        self._values: Sequence[bytes | None] = []
        self._labels = NO_LABELS

    def labels(self, snapshot: Snapshot) -> Labels:
        """Those of a snapshot that was asked for the `fields`; the same as before where these are."""
        values = snapshot.texts
        if snapshot.fields is not self.fields:
            values = list(map(snapshot.names().__getitem__, self.fields))
        if values != self._values:
            self._values = values
            labels: dict[str | None, str | None] = dict(zip(self.users, map(label_of, values), strict=True))
            if labels != self._labels.by_user:  # not only whence they are
                self._labels = Labels(labels)
                # As texts, and once more as they are written in answers.
                written = size_of_texts((*self.users, *labels.values()))
                texts = 2 * written + size_of_texts(self.fields) + sum(map(len, filter(None, values)))
                self.bytes = texts + LABELLED_BYTES * len(values)
        return self._labels


class Reading(Struct, frozen=True):
    """The folded counts of a view in one state."""

    stamp: Stamp
    query: answers.QueryAnswer
    plan: Plan
    kinds: KindFold
    users: FirstUsers
    """The first of them; `fold` has all."""
    fold: UserFold | None
    """None: the answer has no users."""
    labels: Labels
    warnings: list[answers.Warning]
    snapshot: Snapshot

    @property
    def users_count(self) -> int:
        """How many users have any activity, listed or not."""
        return self.users.total[0]


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
        self._limits = Limits(config.live_lag_seconds, config.stalled_after_seconds)

    async def stamp(
        self, workspace_id: str, query: Query, more: bytes = b"", *, known: State | None = None, fresh: bool = False
    ) -> Stamp:
        """The revision of the answer that would be given now. `more`: what else the answer depends on; `known`: a state
        that was read already; `fresh`: by one that is read now.
        """
        known = known or require_complete(await self._reader.state(workspace_id, fresh=fresh))
        now = self.clock()
        if query.period is not Period.ALL:
            return self.stamp_view(self._outline(query, now_quarter(now)).view, known, now, more)
        first = self._first_event(workspace_id)
        if first.depends_on == _first_depends_on(known):
            return self.stamp_view(self._outline(query, now_quarter(now), first.quarter).view, known, now, more)
        return (await self.read(workspace_id, query, NOTHING, more=more)).stamp

    def stamp_view(self, of: View, known: State, now: float, more: bytes = b"") -> Stamp:
        positions = known.positions
        progress = progress_of(of.bounds, now, positions.as_of)
        fresh = freshness(positions, known.version, of.key + more, progress, now, self._limits)
        return Stamp(of, known, progress, fresh)

    def plain_freshness(self, known: State, key: bytes) -> Freshness:
        """Of an answer that is about no time."""
        return freshness(known.positions, known.version, key, (), self.clock(), self._limits)

    def word(self, positions: Positions, now: float) -> FreshnessState:
        return state(positions, now, self._limits)

    async def report(self, workspace_id: str, query: Query) -> answers.Report:
        return self._report_of(await self.read(workspace_id, query, REPORT))

    async def stamp_report(self, workspace_id: str, query: Query) -> tuple[Stamp, answers.Report]:
        reading = await self.read(workspace_id, query, REPORT)
        return reading.stamp, self._report_of(reading)

    def _report_of(self, reading: Reading) -> answers.Report:
        written = self._form.report(reading.kinds, reading.stamp.progress, reading.users, reading.labels)
        added, deleted, timeline, sources, users, omitted = map(answers.ENCODED, written)
        of, fresh, warnings = reading.query, reading.stamp.freshness, reading.warnings
        return answers.Report(of, fresh, added, deleted, timeline, sources, users, omitted, warnings)

    async def summary(self, workspace_id: str, query: Query) -> answers.SummaryAnswer:
        reading = await self.read(workspace_id, query, KINDS)
        added, deleted = totals(reading.plan, reading.kinds.totals())
        of, fresh = reading.query, reading.stamp.freshness
        return answers.SummaryAnswer(of, fresh, added, deleted, reading.warnings)

    async def timeline(self, workspace_id: str, query: Query) -> answers.TimelineAnswer:
        reading = await self.read(workspace_id, query, KINDS)
        json = self._form.timeline_json(reading.kinds, reading.stamp.progress)
        buckets = answers.encoded(json, list[answers.Bucket])
        return answers.TimelineAnswer(reading.query, reading.stamp.freshness, buckets, reading.warnings)

    async def sources(self, workspace_id: str, query: Query) -> answers.SourcesAnswer:
        reading = await self.read(workspace_id, query, KINDS)
        json = self._form.sources_json(reading.kinds, reading.stamp.progress)
        found = answers.encoded(json, answers.Sources)
        return answers.SourcesAnswer(reading.query, reading.stamp.freshness, found, reading.warnings)

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
        first = self._known_first(workspace_id, query) if every else None
        known = self._memory.get(("users", workspace_id)) if need.users else None
        labelled, labelled_bytes = known or (_NOBODY, 0)
        seen: Seen | None = None
        for _ in range(TRIES):
            begun = int(self.clock() // QUARTER_SECONDS)
            outline = self._outline(query, begun, first) if of is None else Outline(of)
            sums = self._sums_of(workspace_id, outline, need, every)
            seen = self._reader.seen(workspace_id, sums.days, seen)
            fields = outline.names
            if labelled.fields:
                fields = list(dict.fromkeys([*fields, *labelled.fields])) if fields else labelled.fields
            ranges = () if guess is None else guess(sums.plan, sums.kinds)
            prepared = self._prepare(workspace_id, seen, sums, fields, ranges)
            snapshot = await self._reader.read(workspace_id, seen, prepared)
            now = self.clock()
            if sums.lacks(snapshot):
                continue
            if every:
                before, first = first, sums.first_mark(snapshot)
                self._remember_first(workspace_id, snapshot.state, first)
                if first != before:
                    continue
            await sums.take(snapshot)
            users: FirstUsers = NOBODY
            labels = NO_LABELS
            if need.users:
                ranked: Any = sums.users.first(min(need.users, LABELS_AT_ONCE), outline.users)
                users = await run_in_slices(ranked) if type(ranked) is GeneratorType else ranked
                labels = labelled.labels(snapshot)
                if self._form.lacks_labels(users, labels):
                    labelled = Labelled(row[0] for row in users.rows if row[0] is not None)
                    continue
            ended = int(self.clock() // QUARTER_SECONDS)
            if of is None and ended != begun and self._outline(query, ended, first).view.key != outline.view.key:
                continue
            if need.users and (known is None or known[0] is not labelled or labelled_bytes != labelled.bytes):
                self._remember_labelled(workspace_id, labelled)
            sums.remember_prepared(prepared, seen.known)
            return self._reading(outline, need, sums, snapshot, now, users, labels, more)
        raise Unavailable("busy", "Counts change faster than the API can read them.")

    def _prepare(
        self, workspace_id: str, seen: Seen, sums: Sums, fields: Sequence[str], ranges: Sequence[RowRange]
    ) -> Prepared:
        """The read of what is not at hand, as it was sent last where that still suits."""
        known = None if seen.again or ranges else sums.prepared(seen.known, fields)
        return known or self._reader.prepare(workspace_id, seen, sums.lacking(seen), fields, ranges)

    def _sums_of(self, workspace_id: str, of: Outline, need: Need, every: bool) -> Sums:
        return Sums(
            self._memory,
            self._form,
            workspace_id,
            of.ranges.get(need.buckets) or self._range_of(of, need.buckets),
            self._folds,
            kinds=need.kinds,
            users=need.users > 0,
            chosen_sources=of.sources,
            chosen_users=of.users,
            every=every,
        )

    def _reading(
        self,
        outline: Outline,
        need: Need,
        sums: Sums,
        snapshot: Snapshot,
        now: float,
        users: FirstUsers,
        labels: Labels,
        more: bytes,
    ) -> Reading:
        of = outline.view
        stamp = self.stamp_view(of, snapshot.state, now, more)
        warnings = warnings_of(of, snapshot, sums.kinds)
        return Reading(
            stamp,
            outline.answer,
            sums.plan,
            sums.kinds,
            users,
            sums.users if need.users else None,
            labels,
            warnings,
            snapshot,
        )

    def _first_event(self, workspace_id: str) -> _First:
        """As it was last read."""
        return self._memory.get(("first", workspace_id)) or _First((b"", None), None)

    def _known_first(self, workspace_id: str, query: Query) -> int | None:
        """The quarter of the first event as it was last read, which a read goes by. None too where the query would be
        refused for it: that event may be gone, and the read shows where the first one lies now.
        """
        quarter = self._first_event(workspace_id).quarter
        try:
            self._outline(query, now_quarter(self.clock()), quarter)
        except ValidationErrors:
            return None
        return quarter

    def _remember_first(self, workspace_id: str, known: State, quarter: int | None) -> None:
        self._memory.put(("first", workspace_id), _First(_first_depends_on(known), quarter), 300)

    def _remember_labelled(self, workspace_id: str, labelled: Labelled) -> None:
        """The users whose labels the next report will need."""
        if 0 < len(labelled.users) <= REMEMBERED_USERS:
            self._memory.put(("users", workspace_id), (labelled, labelled.bytes), labelled.bytes)

    def view_at(self, query: Query, quarter: int) -> View:
        """The view of a query with dates or a preset at a quarter; equal ones share it. Raises ValidationErrors: a
        preset may have grown since the query was read.
        """
        return self._outline(query, quarter).view

    def _outline(self, query: Query, quarter: int, first: int | None = None) -> Outline:
        """That of a query at a quarter; `first` is where the first event lies, for `period=all`."""
        key = ("view", query, quarter, first)
        known: Outline | None = self._memory.get(key)
        if known is None:
            date = None if first is None else local_date(query.timezone, first)
            try:
                known = Outline(view(query, quarter, date), key)
            except TooManyBuckets as problem:
                raise too_many_buckets(problem) from None
            known.remember(self._memory)
        return known

    def _range_of(self, outline: Outline, buckets: bool) -> Range:
        """What is read of a view; equal ranges share it, and so what is folded by it."""
        of = outline.view
        bounds, earlier = (of.bounds, of.earlier_bounds) if buckets else ((of.start, of.end), ())
        key = ("plan", of.query.timezone, bounds, earlier)
        found: Range | None = self._memory.get(key)
        if found is None:
            found = Range(plan_of_bounds(of.query.timezone, bounds, earlier))
            size = QUARTER_BYTES * (len(bounds) + len(earlier))
            self._memory.put(key, found, size, shared=[(found.plan, size_of_plan)])
        outline.ranges[buckets] = found
        outline.remember(self._memory)
        return found


_NOBODY = Labelled(())


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


def size_of_view(of: View) -> int:
    return size_of_query(of.query) + QUARTER_BYTES * (len(of.bounds) + len(of.earlier_bounds)) + len(of.key) + 600


def size_of_query(query: Query) -> int:
    return 500 + size_of_texts(query.sources or ()) + size_of_texts(query.users or ())
