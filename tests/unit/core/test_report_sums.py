"""The compiled core sums days and folds them as the Python form does: for any days, cuts, zones and filters, with any
of them changed since; and damaged parts are an error.
"""

import asyncio
import json
import sys
from collections.abc import Callable, Generator, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from random import Random
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from api.query.periods import Compare, Dates, Interval, Weekday
from api.query.question import Query, view_of_dates
from api.read.parts import PartitionDay
from api.report import compiled
from api.report.compiled import CompiledForm
from api.report.days import KindSums
from api.report.form import Form, KindFold, PythonForm, UserFold
from api.report.plan import Plan, plan_of
from api.report.timeline import Progress
from api.report.user_fold import Chosen, Ranked
from api.report.written import Labels
from stream.core import CoreFailed
from stream.model.steps import MadeOrSteps, Steps, finish
from stream.storage.formats import FormatError
from stream.tables.rules import CountingRules
from tests.support.day_parts import day_parts
from tests.support.redis_data import DAY, QUARTER, Event, RedisData
from tests.support.user_columns import bases

T = TypeVar("T")

pytestmark = pytest.mark.timeout(900)  # the first one builds the core

FIRST = date(2026, 3, 26)
"""Clocks change in Berlin three days later, and a week after that on Lord Howe."""
DAYS = 14
START = int(datetime(2026, 3, 26, tzinfo=UTC).timestamp()) * 10**9
NOW = (START + DAYS * DAY) // QUARTER

ZONES = ["UTC", "Europe/Berlin", "Asia/Kathmandu", "Australia/Lord_Howe", "America/St_Johns", "Pacific/Kiritimati"]
SOURCES = [None, "user", "contact_import", "ü", "x", 'a"\\\n/\x1f\x7f\u2028𝔲']
USERS = [None, "u1", "u2", "u3", "ß"]

TEXTS = [*SOURCES[1:], *map(chr, range(32)), "", "\x7f", "\u2028\u2029\ufeff\uffff", "</script>", "'&é"]

EVENTS = st.lists(
    st.builds(
        lambda quarter, activity, source, user, partition: Event(
            START + quarter * QUARTER, "e", activity, source, user, partition=partition
        ),
        st.one_of(st.integers(0, DAYS * 96 - 1), st.integers(0, DAYS - 1).map(lambda day: day * 96 + 95)),
        st.sampled_from(["added", "added", "deleted"]),
        st.sampled_from(SOURCES),
        st.sampled_from(USERS),
        st.integers(0, 2),
    ),
    max_size=80,
)


@st.composite
def plans(draw: st.DrawFn) -> Plan:
    first, last = sorted(draw(st.tuples(st.integers(0, DAYS + 2), st.integers(0, DAYS + 2))))
    interval = draw(st.sampled_from([Interval.HOUR, Interval.DAY, Interval.WEEK, Interval.MONTH]))
    compare, zone = draw(st.sampled_from(Compare)), draw(st.sampled_from(ZONES))
    query = Query(None, None, zone, interval, Weekday.MONDAY, None, None, compare)
    return plan_of(view_of_dates(query, Dates(FIRST + timedelta(first), FIRST + timedelta(last)), NOW))


def chosen(values: Sequence[str | None]) -> st.SearchStrategy[Chosen]:
    return st.none() | st.frozensets(st.sampled_from([*values, "never"]), min_size=1, max_size=3)


def packed(events: Sequence[Event], seed: int) -> dict[int, list[PartitionDay]]:
    """Days as Redis has them, in as many parts as comes up."""
    data: Any = RedisData(None, "group", seed)  # type: ignore[arg-type]
    found: dict[int, list[PartitionDay]] = {}
    for day, partition in sorted({(event.at // DAY, event.partition) for event in events}):
        mine = [event for event in events if (event.at // DAY, event.partition) == (day, partition)]
        parts, bases = data.parts_of(mine)
        summaries, heads, cells = ([parts[f"{number}.{kind}"] for number in range(bases)] for kind in "shc")
        found.setdefault(day, []).append(PartitionDay(summaries, heads, cells, parts.get("t")))
    return found


def whole(made: MadeOrSteps[T]) -> T:
    """With all steps that it takes."""
    return finish(made) if isinstance(made, Generator) else made


async def everyone(fold: UserFold, users: Chosen) -> Ranked:
    return [row for piece in [piece async for piece in fold.all(users)] for row in zip(*piece, strict=True)]


def listed(fold: UserFold, users: Chosen) -> list[Any]:
    firsts = [whole(fold.first(limit, users)) for limit in (1, 3, 500)]
    return [asyncio.run(everyone(fold, users)), *((first.rows, first.total) for first in firsts)]


def counted(sums: KindSums | None, pieces: int) -> dict[Any, tuple[int, ...]] | None:
    """Of each kind that has any."""
    if sums is None:
        return None
    by_kind = {kind: sums.counts[i * pieces : (i + 1) * pieces] for i, kind in enumerate(sums.kinds)}
    return {kind: counts for kind, counts in by_kind.items() if any(counts)}


class Folded:
    """What a form makes of a view."""

    def __init__(self, form: Form, plan: Plan, sources: Chosen, users: Chosen) -> None:
        self.form, self.plan, self.sources, self.users = form, plan, sources, users
        self.kinds: KindFold = form.kind_fold(plan, sources)
        self.by_user: UserFold = form.user_fold(form.user_table())

    def differing(self, now: Sequence[bytes | None], then: Sequence[bytes | None]) -> tuple[list[int], list[int]]:
        """The days that are no longer as they were, and those that are as they were not."""
        days = list(zip(self.plan.days, now, then or [None] * len(now), strict=True))
        return (
            [day for day, new, old in days if new != old and old is not None],
            [day for day, new, old in days if new != old and new is not None],
        )

    def json(self) -> list[Any]:
        """Of buckets in any states, and where all are still to come; of no users, some and all, with labels or none."""
        third = self.plan.buckets // 3
        progresses = [Progress(0, 0, 0), Progress(third, third + 1, 2 * third + 1), Progress(third, 2 * third, 999)]
        labels = [Labels({}), Labels({"u1": 'a "label"', "ß": None})]
        firsts = [whole(self.by_user.first(limit, users)) for limit in (0, 2, 500) for users in (None, self.users)]
        return [
            *(
                make(self.kinds, progress)
                for progress in progresses
                for make in (self.form.timeline_json, self.form.sources_json)
            ),
            *(
                (self.form.lacks_labels(first, some), *self.form.report(self.kinds, progresses[1], first, some))
                for first in firsts
                for some in labels
            ),
        ]

    def update(self, days: Mapping[int, list[PartitionDay]], manifests: Mapping[int, bytes]) -> list[Any]:
        """All that can be asked of the folds of these days."""
        kinds = list(map(manifests.get, self.plan.days))
        gone, changed = self.differing(kinds, self.kinds.manifests)
        parts = day_parts({day: days[day] for day in changed})
        self.kinds = whole(self.kinds.exchange(kinds, gone, {}, parts, self.users))
        users = [manifests.get(of.day) if of.window[1] else None for of in self.plan.days.values()]
        gone, changed = self.differing(users, self.by_user.manifests)
        parts = day_parts({day: days[day] for day in changed})
        self.by_user = whole(self.by_user.exchange(users, gone, {}, self.plan, parts, self.sources))
        assert self.kinds.size_bytes > 0 < self.by_user.size_bytes
        for fold in (self.kinds, self.by_user):
            if isinstance(fold, compiled.KindFold | compiled.UserFold):
                days = [day for day, it in zip(self.plan.days, fold.manifests, strict=True) if it is not None]
                assert fold.core.days_bytes == sum(fold.day(day).size_bytes for day in days)
        by_day = [counted(self.kinds.sums_of(day), len(of.cuts)) for day, of in self.plan.days.items()]
        ranked = [listed(self.by_user, users) for users in (None, self.users)]
        return [
            self.kinds.counts,
            self.kinds.totals(),
            *self.json(),
            by_day,
            *ranked,
        ]


@pytest.mark.parametrize("step_bytes", [1, compiled.STEP_BYTES])
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(EVENTS, min_size=1, max_size=4),
    plans(),
    chosen(SOURCES),
    chosen(USERS),
    st.integers(0, 99),
)
def test_both_forms_sum_and_fold_the_same(
    core: Any, step_bytes: int, then: list[list[Event]], plan: Plan, sources: Chosen, users: Chosen, seed: int
) -> None:
    # Given the folds of a view in both forms, of some sources and users
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compiled, "STEP_BYTES", step_bytes)
        forms = PythonForm("here"), CompiledForm(core)
        python, native = (Folded(form, plan, sources, users) for form in forms)
        manifests: dict[int, bytes] = {}
        days: dict[int, list[PartitionDay]] = {}
        for step, events in enumerate(then):
            # When some of the days are others, and some are gone
            random = Random(seed + step)
            new = packed(events, seed + step)
            kept = {day: parts for day, parts in days.items() if random.random() < 0.6 and day not in new}
            days = kept | new
            manifests = {day: manifests[day] if day in kept else b"%d" % step for day in sorted(days)}
            # Then both forms say the same of all days, of each of them, and of their users
            assert native.update(days, manifests) == python.update(days, manifests)
            for day in new:
                assert forms[1].first_quarter(day_parts(days), day) == forms[0].first_quarter(day_parts(new), day)


@pytest.mark.parametrize("others", [[], ["none"], ["*"], [f"s{number}" for number in range(94)]])
@pytest.mark.parametrize("more", [0, 1])
def test_both_forms_name_the_same_sources_where_there_are_many(core: Any, others: list[str], more: int) -> None:
    # Given as many sources as are named, or one more, some only on the earlier side; and ones with names of ours
    query = Query(None, None, "UTC", Interval.DAY, Weekday.MONDAY, None, None, Compare.PREVIOUS_PERIOD)
    plan = plan_of(view_of_dates(query, Dates(FIRST + timedelta(1), FIRST + timedelta(2)), NOW))
    sources: list[str | None] = [None, *others, *(f"more{number}" for number in range(more)), '\n"\\']
    events = [Event(START + DAY * (i % 3), "e", "added", source, "u") for i, source in enumerate(sources)]
    days = packed(events, 1)
    found = []
    for form in (PythonForm("here"), CompiledForm(core)):
        folded = Folded(form, plan, None, None)
        folded.update(days, dict.fromkeys(days, b"1"))
        found.append(folded.json())
    assert found[0] == found[1]


def test_both_forms_write_the_same_users_and_labels(core: Any) -> None:
    # Given users and labels of all that JSON must write in another way, and the events of nobody
    plan, users = some_plan(), [*TEXTS, None, "unlabelled"]
    events = [Event(START + DAY // 2, "e", "added", "user", user) for n, user in enumerate(users) for _ in range(n + 1)]
    by_user = dict(zip(TEXTS, [None, *TEXTS[1:][::-1], "x"], strict=False))
    days, found = packed(events, 1), []
    for form in (PythonForm("here"), CompiledForm(core)):
        folded = Folded(form, plan, None, None)
        folded.update(days, dict.fromkeys(days, b"1"))
        some, labels = whole(folded.by_user.first(20, None)), Labels(by_user)
        others = Labels({**by_user, TEXTS[-1]: "another", "unlabelled": None})
        # Then whoever has no label lacks one
        assert form.lacks_labels(some, labels)
        written = [form.report(folded.kinds, Progress(0, 0, 1), some, labels) for _ in range(2)]
        # When a label's text changes, it is in the answer
        assert not form.lacks_labels(some, others)
        other = form.report(folded.kinds, Progress(0, 0, 1), some, others)
        assert written[0] == written[1] != other
        # ... also of another table of users
        again = Folded(form, plan, None, None)
        again.update(days, dict.fromkeys(days, b"1"))
        some = whole(again.by_user.first(20, None))
        assert not form.lacks_labels(some, others)
        assert form.report(again.kinds, Progress(0, 0, 1), some, others) == other
        found.append((written, other))
    assert found[0] == found[1]
    rows = json.loads(found[0][0][0].users)
    assert {row["user_id"]: row["user_name"] for row in rows if row["user_id"] in by_user}.items() <= by_user.items()


def test_labels_that_are_written_do_not_hold_the_users_that_they_are_of(core: Any) -> None:
    """They are remembered of workspaces whose users are too many to be."""
    form = CompiledForm(core)
    folded, labels = Folded(form, some_plan(), None, None), Labels({})
    table = folded.by_user.table
    holding = sys.getrefcount(table)
    form.lacks_labels(whole(folded.by_user.first(1, None)), labels)
    assert labels.written is not None
    folded.by_user = form.user_fold(table)
    assert sys.getrefcount(table) == holding


def test_a_fold_counts_what_it_still_holds_of_a_day_that_changed(core: Any) -> None:
    # Given a fold of two days, the second of many sources and users
    query = Query(None, None, "UTC", Interval.DAY, Weekday.MONDAY, None, None, Compare.NONE)
    plan = plan_of(view_of_dates(query, Dates(FIRST, FIRST + timedelta(1)), NOW))
    few = [Event(START + i * DAY, "e", "added", "s", "u") for i in range(2)]
    many = [Event(START + DAY, "e", "added", f"s{number}", f"u{number}") for number in range(100)]
    folded, day = Folded(CompiledForm(core), plan, None, None), START // DAY + 1
    folded.update(packed([*few, *many], 1), {day - 1: b"1", day: b"1"})
    before = folded.kinds.size_bytes, folded.by_user.size_bytes
    # When that one has few, what it had is held until more days have changed
    folded.update(packed(few, 1), {day - 1: b"1", day: b"2"})
    assert folded.kinds.size_bytes > before[0]
    assert folded.by_user.size_bytes > before[1]


def some_plan() -> Plan:
    query = Query(None, None, "Asia/Kathmandu", Interval.DAY, Weekday.MONDAY, None, None, Compare.NONE)
    return plan_of(view_of_dates(query, Dates(FIRST, FIRST), NOW))


def only(plan: Plan, day: int) -> list[bytes | None]:
    """The manifests of a plan where one day has something."""
    return [b"1" if one == day else None for one in plan.days]


def damaged(random: Random, part: bytes) -> bytes:
    """The same with a byte that is another, fewer bytes, or some more."""
    at, changed = random.randrange(len(part)), bytearray(part)
    match random.randrange(4):
        case 0:
            del changed[at:]
        case 1:
            changed[at:at] = random.randbytes(random.randint(1, 9))
        case _:
            changed[at] = random.choice([0, 0x7F, 0xFF, changed[at] ^ 1 << random.randrange(8)])
    return bytes(changed)


def test_damaged_parts_are_an_error_and_never_a_panic(core: Any) -> None:
    plan, random, errors = some_plan(), Random(5), 0
    form = CompiledForm(core)
    times = [START + QUARTER * quarter for quarter in range(80)]
    events = [
        Event(at, "e", random.choice(["added", "deleted"]), random.choice(SOURCES), random.choice(USERS))
        for at in times
        for _ in range(3)
    ]
    rounds = 3_000
    for number in range(rounds):
        [(day, [part])] = packed(events, number % 9).items()
        # Given a day of which one part is damaged
        texts = [part.summaries, part.heads, part.cells, [] if part.delta is None else [part.delta]]
        kinds = [list(of) for of in texts]
        which = random.choice([kind for kind in kinds if kind])
        place = random.randrange(len(which))
        which[place] = damaged(random, which[place])
        bad = PartitionDay(kinds[0], kinds[1], kinds[2], kinds[3][0] if kinds[3] else None)
        # When it is summed in every way, then that is a sum or an error, and never a panic
        for users in (None, frozenset(["u1", None])):
            try:
                fold = form.kind_fold(plan, None)
                fold = whole(fold.exchange(only(plan, day), [], {}, day_parts({day: [bad]}), users))
                assert len(fold.counts.added) == 1
            except FormatError:
                errors += 1
        try:
            by_user = form.user_fold(form.user_table())
            by_user = whole(by_user.exchange(only(plan, day), [], {}, plan, day_parts({day: [bad]}), None))
            listed(by_user, None) if number % 50 == 0 else by_user.first(0, None)
            form.first_quarter(day_parts({day: [bad]}), day)
        except FormatError:
            errors += 1
    assert errors > rounds // 5


def steps_of(made: MadeOrSteps[Any]) -> Steps[Any]:
    assert isinstance(made, Generator)
    return made


def lengths(make: Callable[[], MadeOrSteps[Any]], of: Any) -> list[int]:
    """Of something, before each step and after the last."""
    before, steps = len(of), steps_of(make())
    return [before, len(of), *(len(of) for _ in steps), len(of)]


@pytest.mark.parametrize("name", ["python", "compiled"])
def test_a_day_of_many_users_is_summed_and_ranked_in_small_steps(core: Any, name: str) -> None:
    # Given a day of many users, in bases about as large as they come
    form: Form = CompiledForm(core) if name == "compiled" else PythonForm("here")
    number, of_each = 120_000, 20_000
    heads, cells = zip(*bases(number, of_each), strict=True)
    assert 300_000 < len(heads[0]) + len(cells[0]) < CountingRules().base_bytes_limit
    plan = some_plan()
    [day] = [day for day, of in plan.days.items() if of.window[1] == 96]
    parts = day_parts({day: [PartitionDay([], heads, cells, None)]})
    table = form.user_table()
    fold = form.user_fold(table)
    # When it is summed by user, then no step gives numbers to more users than a base has
    seen = lengths(lambda: fold.exchange(only(plan, day), [], {}, plan, parts, None), table)
    assert max(after - before for before, after in pairwise(seen)) <= of_each
    # ... and by kind, of some users, it is as many steps
    kinds = form.kind_fold(plan, None)
    steps = kinds.exchange(only(plan, day), [], {}, parts, frozenset(["u7"]))
    assert sum(1 for _ in steps_of(steps)) >= len(heads) - 1
    # ... to put the first in order takes a step for some thousands, too; here their ids decide
    fold = whole(fold.exchange(only(plan, day), [], {}, plan, parts, None))
    assert sum(1 for _ in steps_of(fold.first(3, None))) >= number / of_each - 1
    users = sorted(f"u{user}" for user in range(number))
    first = whole(fold.first(500, None))
    assert (first.rows, first.total) == ([(user, 1, 0) for user in users[:500]], (number, number, 0))
    assert asyncio.run(everyone(fold, None)) == [(user, 1, 0) for user in users]


class Panic(BaseException):
    pass


def test_a_panic_of_the_core_ends_one_request() -> None:
    class Failing:
        __version__ = "9.9"
        DamagedError = ValueError

        def first_quarter(self, _parts: object) -> None:
            raise Panic("index out of bounds")

    Failing.Panic = Panic  # type: ignore[attr-defined]
    with pytest.raises(CoreFailed, match="the compiled core failed: index out of bounds"):
        CompiledForm(Failing()).first_quarter(day_parts({}), 1)
