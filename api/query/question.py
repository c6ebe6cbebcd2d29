"""Turns parameters into a Query, naming every error in them at once, and Query + now into a View."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date
from difflib import get_close_matches
from enum import StrEnum
from typing import TypeVar
from urllib.parse import parse_qsl

import msgspec

from api.errors import ValidationError, ValidationErrors
from api.query.cursor import NO_CURSOR, decode_cursor
from api.query.earlier import earlier_bounds
from api.query.periods import (
    FIRST_DATE,
    LAST_DATE,
    MAX_BUCKETS,
    MAX_DAYS,
    Compare,
    Comparison,
    Dates,
    Interval,
    Period,
    TooManyBuckets,
    Weekday,
    auto_interval,
    bucket_bounds,
    comparison,
    local_time,
    preset_dates,
)
from api.query.zones import zone_names
from stream.model.activity import Activity

REPORT_PARAMETERS = ("from", "to", "period", "timezone", "interval", "week_start", "source", "user", "compare")
ACTIVITY_PARAMETERS = (*REPORT_PARAMETERS, "activity", "order", "limit", "cursor", "batches", "batch")
LIVE_PARAMETERS = (*REPORT_PARAMETERS, "last_event_id")
FILTERS_PARAMETERS = ("q", "limit")
WORKSPACES_PARAMETERS = ("q", "limit", "cursor")
REPEATABLE = frozenset({"source", "user"})

MAX_ACTIVITIES = 500
DEFAULT_ACTIVITIES = 50
MAX_VALUES = 100
"""Of a repeatable parameter."""

MAX_BATCH_CODE_POINTS = 128
SUGGESTIONS = 20
"""Suggest a spelling for at most this many unknown parameters."""

_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_SHOWN_CODE_POINTS = 80

Choice = TypeVar("Choice", bound=StrEnum)


class Order(StrEnum):
    """Newest first, or oldest first."""

    DESC = "desc"
    ASC = "asc"


class Batches(StrEnum):
    """FOLD makes one row of an import's rows."""

    FOLD = "fold"


@dataclass(frozen=True, slots=True)
class Query:
    """The question of a report as it was asked; which dates a preset means is decided by `view`.

    Exactly one of `dates` and `period` is set. `sources` and `users` are None for all; `none` in them is without one.
    """

    dates: Dates | None
    period: Period | None
    timezone: str
    interval: Interval
    week_start: Weekday
    sources: tuple[str, ...] | None
    users: tuple[str, ...] | None
    compare: Compare
    _hash: int = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        of = (self.dates, self.period, self.timezone, self.interval, self.week_start, self.sources, self.users)
        object.__setattr__(self, "_hash", hash((*of, self.compare)))

    def __hash__(self) -> int:
        """Made once: each look into the memory asks for it."""
        return self._hash


@dataclass(frozen=True, slots=True)
class ActivityQuery:
    """The question of the activity table. `limit` is None where the request names none."""

    query: Query
    activity: Activity | None
    order: Order
    limit: int | None
    cursor: str | None
    batches: Batches | None
    batch: str | None


@dataclass(frozen=True, slots=True)
class View:
    """A query with its dates: what exactly is counted. Equal views of equal counts are equal reports."""

    query: Query
    dates: Dates
    interval: Interval
    bounds: tuple[int, ...]
    earlier: Comparison | None
    earlier_bounds: tuple[int, ...]
    """Between them lie the earlier buckets, one beside each of the range's; empty where nothing is compared."""
    key: bytes
    """Equal for equal views alone."""

    @property
    def start(self) -> int:
        return self.bounds[0]

    @property
    def end(self) -> int:
        return self.bounds[-1]


def read_pairs(query_string: bytes) -> list[tuple[str, str]]:
    """Name and value of each parameter, in order, empty values too; bytes that are no UTF-8 become surrogates."""
    return parse_qsl(query_string.decode("latin-1"), keep_blank_values=True, errors="surrogateescape")


class Parameters:
    """The parameters of one request, read one after the other; every error is kept.

    An empty value is as if the parameter were absent.
    """

    def __init__(self, pairs: Iterable[tuple[str, str]], known: Sequence[str]) -> None:
        self._errors: dict[ValidationError, None] = {}
        self._values: dict[str, list[str]] = {}
        for name, value in pairs:
            if not value:
                continue
            if name not in known:
                self.add_error(name, _unknown(name, known, suggest=len(self._errors) < SUGGESTIONS))
            elif _is_broken(value):
                self.add_error(name, "is not UTF-8")
            else:
                self._values.setdefault(name, []).append(value)
        for name, values in self._values.items():
            if len(values) > 1 and name not in REPEATABLE:
                self.add_error(name, "is given more than once")

    def add_error(self, parameter: str, message: str) -> None:
        self._errors[ValidationError(_show(parameter), message)] = None

    @property
    def errors(self) -> list[ValidationError]:
        return list(self._errors)

    def raise_errors(self) -> None:
        """Raise ValidationErrors if there was any."""
        if self._errors:
            raise ValidationErrors(self.errors)

    def text(self, name: str) -> str | None:
        values = self._values.get(name)
        return values[0] if values else None

    def texts(self, name: str) -> tuple[str, ...] | None:
        """The values of a repeatable parameter, each once: one value is split at commas, several are not."""
        values = self._values.get(name)
        if values is None:
            return None
        if len(values) == 1:
            values = [part for part in values[0].split(",") if part]
        if len(values) > MAX_VALUES:
            self.add_error(name, f"has {len(values)} values, more than the limit of {MAX_VALUES}")
            return None
        return tuple(dict.fromkeys(values)) or None

    def choice(self, name: str, choices: type[Choice]) -> Choice | None:
        value = self.text(name)
        if value is None:
            return None
        try:
            return choices(value)
        except ValueError:
            self.add_error(name, f"{_show(value)!r} is not one of {', '.join(choices)}")
            return None

    def number(self, name: str, largest: int, default: int | None) -> int | None:
        """A whole number of 1..largest."""
        value = self.text(name)
        if value is None:
            return default
        if not (value.isascii() and value.isdecimal() and len(value) <= 9 and 1 <= int(value) <= largest):
            self.add_error(name, f"{_show(value)!r} is not a whole number from 1 to {largest}")
            return default
        return int(value)

    def flag(self, name: str) -> bool:
        """`true` or `false`."""
        value = self.text(name)
        if value not in (None, "true", "false"):
            self.add_error(name, f"{_show(value)!r} is not true or false")
        return value == "true"

    def date(self, name: str) -> date | None:
        value = self.text(name)
        if value is None:
            return None
        try:
            day = date.fromisoformat(value) if _DATE.fullmatch(value) else None
        except ValueError:
            day = None
        if day is None:
            self.add_error(name, f"{_show(value)!r} is not a date YYYY-MM-DD")
        elif not FIRST_DATE <= day <= LAST_DATE:
            self.add_error(name, f"{day} is outside {FIRST_DATE}..{LAST_DATE}")
            return None
        return day

    def timezone(self) -> str | None:
        """The name of a zone; None where it is wrong."""
        name = self.text("timezone") or "UTC"
        if name in zone_names():
            return name
        near = get_close_matches(name.replace(" ", "+"), zone_names(), n=1)
        self.add_error(
            "timezone", f"{_show(name)!r} is not an IANA time zone" + (f"; did you mean {near[0]}?" if near else "")
        )
        return None


def read_query(parameters: Parameters, now: int) -> Query:
    """The report's parameters at a quarter; raises ValidationErrors with all that is wrong, whatever else was read
    before.

    `now` only decides whether a preset would have too many buckets at present.
    """
    timezone = parameters.timezone()
    chosen_interval = parameters.choice("interval", Interval)
    week_start = parameters.choice("week_start", Weekday) or Weekday.MONDAY
    sources, users = parameters.texts("source"), parameters.texts("user")
    compare = parameters.choice("compare", Compare) or Compare.PREVIOUS_PERIOD
    dates, period = _read_range(parameters)
    query = Query(
        dates, period, timezone or "UTC", chosen_interval or Interval.AUTO, week_start, sources, users, compare
    )
    if period is not Period.ALL and (dates or period):
        try:
            view(query, now)
        except TooManyBuckets as too_many:
            parameters.add_error("interval", _too_many(too_many))
    parameters.raise_errors()
    return query


def read_activity_query(parameters: Parameters, now: int) -> ActivityQuery:
    """The parameters of the activity table; raises ValidationErrors. Whether the cursor is of this question is judged
    later.
    """
    activity = parameters.choice("activity", Activity)
    order = parameters.choice("order", Order) or Order.DESC
    limit = parameters.number("limit", MAX_ACTIVITIES, None)
    batches = parameters.choice("batches", Batches)
    batch = parameters.text("batch")
    if batches and batch:
        parameters.add_error("batches", "cannot be combined with batch")
    cursor = parameters.text("cursor")
    if cursor is not None and decode_cursor(cursor) is None:
        parameters.add_error("cursor", NO_CURSOR)
    query = read_query(parameters, now)
    return ActivityQuery(query, activity, order, limit, cursor, batches, batch)


def view(query: Query, now: int, first_date: date | None = None) -> View:
    """The query at a quarter (views change at quarter-hours alone). Raises TooManyBuckets.

    `first_date`: the first local date that holds an event, asked for by `period=all` alone; None: there is none.
    """
    today = local_time(query.timezone, now).date()
    if query.dates is not None:
        dates = query.dates
    elif query.period is Period.ALL:
        dates = Dates(min(first_date or today, today), today)
    else:
        assert query.period is not None
        dates = preset_dates(query.period, today, query.week_start)
    return view_of_dates(query, dates, now)


def view_of_dates(query: Query, dates: Dates, now: int) -> View:
    """The query over dates that are known already, as a cursor keeps them. Raises TooManyBuckets."""
    interval = query.interval
    if interval is Interval.AUTO:
        interval = Interval.MONTH if query.period is Period.ALL else auto_interval(dates)
    bounds = bucket_bounds(query.timezone, dates, interval, query.week_start)
    earlier = comparison(query.timezone, dates, query.period, query.compare, now)
    beside: tuple[int, ...] = ()
    if earlier is not None:
        preset = query.period is not None
        beside = earlier_bounds(query.timezone, dates, interval, query.week_start, earlier, preset=preset, now=now)
    return View(query, dates, interval, bounds, earlier, beside, _key(query, dates, interval, earlier))


def _key(query: Query, dates: Dates, interval: Interval, earlier: Comparison | None) -> bytes:
    side = earlier and (earlier.mode, earlier.start, earlier.end, earlier.to_same_time)
    asked = (query.timezone, query.week_start, query.sources, query.users)
    return msgspec.json.encode((dates.first, dates.last, interval, side, asked))


def too_many_buckets(problem: TooManyBuckets) -> ValidationErrors:
    """Says that a range has too many buckets, where only the counts could show it (`period=all`)."""
    return ValidationErrors([ValidationError("interval", _too_many(problem))])


def _read_range(parameters: Parameters) -> tuple[Dates | None, Period | None]:
    """The dates or the preset; (None, None) where something is wrong."""
    given = {name for name in ("from", "to") if parameters.text(name) is not None}
    first, last = parameters.date("from"), parameters.date("to")
    period = parameters.choice("period", Period)
    if given and parameters.text("period") is not None:
        parameters.add_error("period", "cannot be combined with from and to")
    if len(given) == 1:
        missing = "to" if "from" in given else "from"
        parameters.add_error(missing, f"is required with {next(iter(given))}")
    if not given:
        if parameters.text("period") is None:
            return None, Period.LAST_7_DAYS
        return None, period
    if first is None or last is None:
        return None, None
    if first > last:
        parameters.add_error("to", f"{last} is before from")
        return None, None
    dates = Dates(first, last)
    if dates.days > MAX_DAYS:
        parameters.add_error("to", f"{dates.days} days are more than the limit of {MAX_DAYS}")
        return None, None
    return (None if parameters.text("period") is not None else dates), None


def _too_many(problem: TooManyBuckets) -> str:
    return f"{problem.args[0]} buckets are more than the limit of {MAX_BUCKETS}; use a wider interval or fewer days"


def _unknown(name: str, known: Sequence[str], *, suggest: bool) -> str:
    if not suggest:
        return "is no parameter here"
    near = get_close_matches(name.lower(), known, n=1, cutoff=0.4)
    return "is no parameter here; " + (f"did you mean {near[0]}?" if near else f"there are {', '.join(known)}")


def _is_broken(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False


def _show(text: str | None) -> str:
    """A value as it may be put into a message: bounded, and always UTF-8."""
    shown = (text or "").encode("utf-8", "replace").decode()
    return shown if len(shown) <= _SHOWN_CODE_POINTS else shown[:_SHOWN_CODE_POINTS] + "…"
