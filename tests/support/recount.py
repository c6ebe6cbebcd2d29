"""The report counted again, event by event, without the product's code: slow and plain, the measure of the fast one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import cache
from importlib import resources
from typing import Any
from zoneinfo import ZoneInfo

from tests.support.redis_data import Event

KNOWN = ["incoming_message", "developer_api", "contact_import", "user", "echo_message"]
WEEKDAYS = ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"]
ONE = timedelta(days=1)
QUARTER = 900


@cache
def rules(name: str) -> ZoneInfo:
    with resources.files("tzdata.zoneinfo").joinpath(name).open("rb") as file:
        return ZoneInfo.from_file(file, name)


def local(zone: str, seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC).astimezone(rules(zone))


@cache
def day_start(zone: str, day: date) -> int:
    """The first quarter-hour of UTC at which clocks show this date or a later one."""
    noon = int(datetime(day.year, day.month, day.day, 12, tzinfo=UTC).timestamp())
    for at in range(noon - 36 * 3600, noon + 36 * 3600, QUARTER):
        if local(zone, at).date() >= day:
            return at
    raise AssertionError(day)


@cache
def wall(zone: str, day: date, hour: int, minute: int) -> int:
    """The first quarter-hour at which clocks show this time of this date or a later one."""
    start = day_start(zone, day)
    for at in range(start, start + 50 * 3600, QUARTER):
        shown = local(zone, at)
        if (shown.date(), shown.hour, shown.minute) >= (day, hour, minute):
            return at
    raise AssertionError(day)


def preset(period: str, today: date, week_start: str) -> tuple[date, date]:
    if period.startswith("last_") and period.endswith("_days"):
        return today - timedelta(days=int(period.split("_")[1]) - 1), today
    monday = today
    while WEEKDAYS[monday.weekday()] != week_start:
        monday -= ONE
    first_of_month = date(today.year, today.month, 1)
    last_month = first_of_month - ONE
    return {
        "today": (today, today),
        "yesterday": (today - ONE, today - ONE),
        "this_week": (monday, today),
        "last_week": (monday - 7 * ONE, monday - ONE),
        "this_month": (first_of_month, today),
        "last_month": (date(last_month.year, last_month.month, 1), last_month),
        "this_year": (date(today.year, 1, 1), today),
    }[period]


def year_before(day: date) -> date:
    try:
        return date(day.year - 1, day.month, day.day)
    except ValueError:
        return date(day.year - 1, 2, 28)


def earlier_dates(mode: str, period: str | None, first: date, last: date) -> tuple[date, date]:
    if mode == "previous_year" or period == "this_year":
        return year_before(first), year_before(last)
    if period in ("this_week", "last_week"):
        return first - 7 * ONE, last - 7 * ONE
    if period in ("this_month", "last_month"):
        end = first - ONE
        begin = date(end.year, end.month, 1)
        return begin, (end if period == "last_month" else date(end.year, end.month, min(last.day, end.day)))
    days = (last - first).days + 1
    return first - days * ONE, last - days * ONE


@cache
def buckets(zone: str, first: date, last: date, interval: str, week_start: str) -> list[tuple[int, int]]:
    start, end = day_start(zone, first), day_start(zone, last + ONE)
    if interval == "hour":
        found: list[tuple[int, int]] = []
        shown_before: Any = None
        for at in range(start, end, QUARTER):
            clock = local(zone, at)
            shown = (clock.date(), clock.hour, clock.utcoffset())
            if shown == shown_before:
                found[-1] = (found[-1][0], at + QUARTER)
            else:
                found.append((at, at + QUARTER))
            shown_before = shown
        return found or [(start, end)]
    starts = []
    day = first
    while day <= last:
        begins = (
            interval == "day"
            or (interval == "week" and WEEKDAYS[day.weekday()] == week_start)
            or (interval == "month" and day.day == 1)
        )
        if begins or day == first:
            starts.append(day_start(zone, day))
        day += ONE
    return list(zip(starts, [*starts[1:], end], strict=True))


def earlier_buckets(
    zone: str,
    later: tuple[date, date],
    before: tuple[date, date],
    interval: str,
    week_start: str,
    preset: bool,
    end: int,
    now: float | None,
) -> list[tuple[int, int]]:
    """Beside each later bucket an earlier one; `end` is that of the earlier side, `now` is given where it is cut."""
    cut = buckets(zone, *later, interval, week_start)
    if preset and interval in ("week", "month"):
        starts = [start for start, _ in buckets(zone, *before, interval, week_start)]
    else:
        starts = [_beside(zone, at, later, before[0], interval) for at, _ in cut]
    starts += [end] * (len(cut) - len(starts))
    found: list[tuple[int, int]] = []
    at = starts[0] = day_start(zone, before[0])
    for place in range(len(cut)):
        if place + 1 == len(cut) or (now is not None and cut[place + 1][0] > now):
            until = end
        else:
            until = min(end, max(at, starts[place + 1]))
        found.append((at, until))
        at = until
    return found


def _beside(zone: str, at: int, later: tuple[date, date], first: date, interval: str) -> int:
    day = later[1]
    while day_start(zone, day) > at:
        day -= ONE
    if day_start(zone, day) == at:
        return day_start(zone, first + (day - later[0]))
    assert interval == "hour"
    clock = local(zone, at)
    return wall(zone, first + (clock.date() - later[0]), clock.hour, clock.minute)


@dataclass
class Asked:
    """Parameters as they are in an address; lists for the repeatable ones."""

    parameters: Mapping[str, Any]
    now: float
    as_of: float

    def get(self, name: str, default: Any = None) -> Any:
        return self.parameters.get(name, default)

    @property
    def zone(self) -> str:
        return str(self.get("timezone", "UTC"))

    def dates(self, events: Sequence[Event]) -> tuple[date, date]:
        today = local(self.zone, self.now).date()
        if self.get("from"):
            return date.fromisoformat(self.get("from")), date.fromisoformat(self.get("to"))
        period = self.get("period", "last_7_days")
        if period != "all":
            return preset(period, today, self.get("week_start", "monday"))
        if not events:
            return today, today
        first_at = min(event.at for event in events) // 10**9
        first = local(self.zone, first_at).date()
        while day_start(self.zone, first + ONE) <= first_at:
            first += ONE
        return min(first, today), today


def passes(event: Event, sources: Sequence[str] | None, users: Sequence[str] | None) -> bool:
    return (sources is None or (event.source or "none") in sources) and (
        users is None or (event.user or "none") in users
    )


def change(count: int, previous: int | None) -> float | None:
    if not previous:
        return None
    percent = abs(count - previous) * 100
    whole, rest = divmod(percent * 10, previous)
    tenths = whole + (rest * 2 >= previous)
    return (tenths if count >= previous else -tenths) / 10


def report(events: Iterable[Event], asked: Asked) -> dict[str, Any]:
    """The whole report of one workspace's events, without `freshness`."""
    everything = list(events)
    first, last = asked.dates(everything)
    zone, period = asked.zone, None if asked.get("from") else asked.get("period", "last_7_days")
    days = (last - first).days + 1
    interval = asked.get("interval", "auto")
    if interval == "auto":
        interval = "hour" if days <= 2 else "day" if days <= 92 else "week" if days <= 366 else "month"
        if period == "all":
            interval = "month"
    cut = buckets(zone, first, last, interval, asked.get("week_start", "monday"))
    sources, users = asked.get("source"), asked.get("user")
    mine = [event for event in everything if passes(event, sources, users)]
    start, end = day_start(zone, first), day_start(zone, last + ONE)

    def between(a: float, b: float, activity: str | None = None) -> list[Event]:
        return [e for e in mine if a * 10**9 <= e.at < b * 10**9 and (activity is None or e.activity == activity)]

    side = None
    mode = asked.get("compare", "previous_period")
    if mode != "none" and period != "all":
        before_first, before_last = earlier_dates(mode, period, first, last)
        from_, to = day_start(zone, before_first), day_start(zone, before_last + ONE)
        clock = local(zone, asked.now)
        same_time = clock.date() == last
        if same_time:
            to = min(to, wall(zone, before_last, clock.hour, clock.minute // 15 * 15))
        side = {
            "mode": mode,
            "starts_at": local(zone, from_).isoformat(),
            "ends_at": local(zone, to).isoformat(),
            "to_same_time": same_time,
        }
    answer: dict[str, Any] = {
        "query": {
            "from": first.isoformat(),
            "to": last.isoformat(),
            "timezone": zone,
            "interval": interval,
            "week_start": asked.get("week_start", "monday"),
            "starts_at": local(zone, start).isoformat(),
            "ends_at": local(zone, end).isoformat(),
            "sources": None if sources is None else list(sources),
            "users": None if users is None else list(users),
            "compare": side,
        }
    }
    for activity in ("added", "deleted"):
        count = len(between(start, end, activity))
        previous = None if side is None else len(between(from_, to, activity))
        answer[activity] = {"count": count, "previous": previous, "change_percent": change(count, previous)}
    beside: Sequence[tuple[int, int] | None] = [None] * len(cut)
    earlier_names: list[str] = []
    if side is not None:
        beside = earlier_buckets(
            zone, (first, last), (before_first, before_last), interval, asked.get("week_start", "monday"),
            period is not None, to, asked.now if same_time else None,
        )  # fmt: skip
        earlier_names = [e.source or "none" for e in between(from_, to, "added")]
    timeline = []
    by_source = []
    within = between(start, end)
    seen = {(e.source or "none") for e in within if e.activity == "added"}
    names = [*KNOWN, *sorted(seen - {*KNOWN, "none"}), *(["none"] if "none" in seen else [])]
    for (a, b), before in zip(cut, beside, strict=True):
        held = [event for event in within if a * 10**9 <= event.at < b * 10**9]
        if a > asked.now and not held:
            state = "future"
        elif asked.now < b:
            state = "open"
        else:
            state = "final" if asked.as_of >= b else "settling"
        span = {"start": local(zone, a).isoformat(), "end": local(zone, b).isoformat(), "state": state}
        numbers = {activity: sum(e.activity == activity for e in held) for activity in ("added", "deleted")}
        previous = previous_by_source = None
        if before is not None:
            its = {"start": local(zone, before[0]).isoformat(), "end": local(zone, before[1]).isoformat()}
            of = {activity: between(*before, activity) for activity in numbers}
            previous = its | {activity: len(events) for activity, events in of.items()}
            by_name = Counter(e.source or "none" for e in of["added"])
            previous_by_source = its | {"added": {name: by_name[name] for name in {*names, *earlier_names}}}
        timeline.append(span | (dict.fromkeys(numbers) if state == "future" else numbers) | {"previous": previous})
        added = Counter(e.source or "none" for e in held if e.activity == "added")
        counts_of = dict.fromkeys(names) if state == "future" else {name: added[name] for name in names}
        by_source.append(span | {"added": counts_of, "previous": previous_by_source})
    answer["timeline"] = timeline
    totals = {name: sum((e.source or "none") == name for e in between(start, end, "added")) for name in names}
    answer["sources"] = {"names": names, "totals": totals, "timeline": by_source}
    rows = []
    for user in {e.user for e in between(start, end)}:
        counts = [sum(e.user == user for e in between(start, end, activity)) for activity in ("added", "deleted")]
        labels = [e for e in everything if e.user == user and e.label is not None]
        latest = max(labels, key=lambda e: (e.at, e.partition, e.offset), default=None)
        name = None if user is None or latest is None else latest.label
        rows.append({"user_id": user, "user_name": name, "added": counts[0], "deleted": counts[1]})
    rows.sort(key=lambda row: (row["user_id"] is None, -row["added"], -row["deleted"], row["user_id"] or ""))
    answer["users"] = rows[:500]
    rest = rows[500:]
    answer["users_omitted"] = {
        "count": len(rest),
        "added": sum(row["added"] for row in rest),
        "deleted": sum(row["deleted"] for row in rest),
    }
    answer["warnings"] = [
        *_unknown("source", sources, {*KNOWN, *((e.source or "none") for e in everything)}),
        *_unknown("user", users, {(e.user or "none") for e in everything}),
    ]
    return answer


def _unknown(parameter: str, asked: Sequence[str] | None, known: set[str]) -> list[tuple[str, str]]:
    return [(f"unknown_{parameter}", value) for value in asked or () if value not in known | {"none"}]


def activities(events: Iterable[Event], asked: Asked, order: str = "desc", activity: str | None = None) -> list[str]:
    """Ids of the rows in order."""
    everything = list(events)
    first, last = asked.dates(everything)
    start, end = day_start(asked.zone, first), day_start(asked.zone, last + ONE)
    found = [
        e
        for e in everything
        if passes(e, asked.get("source"), asked.get("user"))
        and start * 10**9 <= e.at < end * 10**9
        and activity in (None, e.activity)
    ]
    found.sort(key=lambda e: (e.at, e.id.encode(), e.partition, e.offset))
    return [e.id for e in (found if order == "asc" else found[::-1])]
