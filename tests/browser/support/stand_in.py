"""A stand-in for the API: the contract's answers from a list of events in memory, and every failure a test asks for.

It says which states a page can be in, and proves no number: tests that claim that run against the API itself. What
is asked (parameters, dates, buckets) it reads by the API's own pure modules.
"""

import gzip
import json
import mimetypes
import socket
import threading
import time
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from api.errors import ValidationErrors
from api.http.modules import read_module
from api.http.static import inline_scripts, page_policy
from api.query.periods import local_time, now_quarter
from api.query.question import (
    ACTIVITY_PARAMETERS,
    FILTERS_PARAMETERS,
    LIVE_PARAMETERS,
    REPORT_PARAMETERS,
    WORKSPACES_PARAMETERS,
    Parameters,
    View,
    read_activity_query,
    read_pairs,
    read_query,
    view,
)
from api.query.zones import aliases, zone, zone_names
from stream.model.activity import KNOWN_SOURCES, NO_SOURCE_LABEL, SOURCE_LABELS

PAGE = Path(__file__).parents[3] / "api" / "page"
NOW = 1_795_417_980.0
"""2026-11-23T07:13:00Z, a Monday: 15:13 in Kuala Lumpur, where a test names no other zone."""

QUARTER_SECONDS = 900
CLOSE_SECONDS = 0.02
"""How often the server looks whether it is to end: half a second by itself, which each test would wait for."""

LABELS = {**SOURCE_LABELS, "none": NO_SOURCE_LABEL}


@dataclass(frozen=True)
class Event:
    """One contact activity; `at` in seconds since 1970."""

    at: float
    id: str
    activity: str = "added"
    workspace: str = "w1"
    contact_id: str = "c1"
    contact_name: str | None = None
    source: str | None = "user"
    user_id: str | None = None
    user_name: str | None = None
    batch_id: str | None = None


@dataclass
class StandIn:
    """The state that a test moves; `url` answers while it is open."""

    events: list[Event] = field(default_factory=list)
    clock: Callable[[], float] = time.time
    token: str | None = None
    workspaces: tuple[str, ...] | None = None
    lag_seconds: float = 0.2
    state: str = "live"
    faults: dict[str, int] = field(default_factory=dict)
    """Resource (`report`, `live`, `activities`, `filters`, …) -> the status that it fails with; 0 drops the line."""
    once: dict[str, list[int]] = field(default_factory=dict)
    """Resource -> statuses that its next answers fail with, one each."""
    retry_after: str = "1"
    """What a 503 tells."""
    slow: dict[str, float] = field(default_factory=dict)
    """Resource -> how many seconds its answers take."""
    missing: set[str] = field(default_factory=set)
    """Files of the page at whose reading the line drops."""
    broken: set[str] = field(default_factory=set)
    """Resources whose answers are pages of a proxy: 200, and no JSON."""
    looks: int = 0
    """A folded page looks at so many rows; 0: at all."""
    mute: bool = False
    """Streams are accepted and say nothing."""
    ancestors: str = "'none'"
    endless: int = 0
    """So many rows that no list holds them; asked for by their number."""
    asked: list[tuple[str, str]] = field(default_factory=list)
    """(resource, address) of each request, in order."""
    tokens_seen: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._changed = threading.Condition()
        self._revision = 0
        stand_in = self

        class Handler(_Handler):
            api = stand_in

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, args=(CLOSE_SECONDS,), daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self.touch()

    def add(self, *events: Event) -> None:
        self.events.extend(events)
        self.touch()

    def touch(self) -> None:
        """Something changed: streams send the report again."""
        with self._changed:
            self._revision += 1
            self._changed.notify_all()

    def wait_for_change(self, revision: int, seconds: float) -> int:
        with self._changed:
            self._changed.wait_for(lambda: self._revision != revision, seconds)
            return self._revision

    @property
    def revision(self) -> int:
        return self._revision

    # The answers

    def freshness(self, revision: str) -> dict[str, Any]:
        as_of = datetime.fromtimestamp(self.clock() - self.lag_seconds, UTC).isoformat(timespec="milliseconds")
        return {
            "state": self.state,
            "as_of": as_of.replace("+00:00", "Z"),
            "lag_seconds": self.lag_seconds,
            "revision": revision,
        }

    def report(self, workspace: str, pairs: list[tuple[str, str]], known: Iterable[str]) -> dict[str, Any]:
        now = now_quarter(self.clock())
        query = read_query(Parameters(pairs, tuple(known)), now)
        mine = [event for event in self.events if event.workspace == workspace]
        zone_ = zone(query.timezone)
        first = min((datetime.fromtimestamp(event.at, zone_).date() for event in mine), default=None)
        seen = view(query, now, first)
        passing = [event for event in mine if _passes(event, query.sources, query.users)]
        return {**_count(seen, passing, self.clock(), self.lag_seconds), "warnings": _warnings(seen, mine)}

    def activities(self, workspace: str, pairs: list[tuple[str, str]]) -> dict[str, Any]:
        now = now_quarter(self.clock())
        # Its own cursors are plain numbers, which the API would refuse.
        others = [(name, value) for name, value in pairs if name != "cursor"]
        asked = read_activity_query(Parameters(others, ACTIVITY_PARAMETERS), now)
        seen = view(asked.query, now)
        limit = asked.limit or 50
        start = int(dict(pairs).get("cursor") or 0)
        if self.endless:
            rows = [
                _endless_row(self.endless - number, seen) for number in range(start, min(start + limit, self.endless))
            ]
            more = start + limit < self.endless
            return {"total": self.endless, "activities": rows, "next_cursor": str(start + limit) if more else None}
        low, high = seen.start * QUARTER_SECONDS, seen.end * QUARTER_SECONDS
        found = [
            event
            for event in self.events
            if event.workspace == workspace
            and low <= event.at < high
            and _passes(event, asked.query.sources, asked.query.users)
            and asked.activity in (None, event.activity)
            and asked.batch in (None, event.batch_id)
        ]
        found.sort(key=lambda event: (event.at, event.id), reverse=asked.order != "asc")
        rows = [_row(event, seen) for event in found]
        if asked.batches:
            if self.looks:
                more = start + self.looks < len(rows)
                part = _fold(rows[start : start + self.looks])
                return {
                    "total": len(found),
                    "activities": part,
                    "next_cursor": str(start + self.looks) if more else None,
                }
            rows = _fold(rows)
        more = start + limit < len(rows)
        return {
            "total": None if asked.batch else len(found),
            "activities": rows[start : start + limit],
            "next_cursor": str(start + limit) if more else None,
        }

    def filters(self, workspace: str, pairs: list[tuple[str, str]]) -> dict[str, Any]:
        parameters = Parameters(pairs, FILTERS_PARAMETERS)
        limit = parameters.number("limit", 5000, 500)
        parameters.raise_errors()
        part = (parameters.text("q") or "").lower()
        mine = [event for event in self.events if event.workspace == workspace]
        names = dict.fromkeys([*KNOWN_SOURCES, *sorted({e.source for e in mine if e.source}), "none"])
        users = {e.user_id: e.user_name for e in mine if e.user_id}
        found = sorted((name or id_, id_) for id_, name in users.items() if part in f"{id_} {name}".lower())
        return {
            "sources": [{"source": name, "label": LABELS.get(name, name)} for name in names],
            "users": [{"user_id": id_, "user_name": users[id_]} for _, id_ in found[:limit]],
            "users_omitted": {"count": max(0, len(found) - (limit or 0))},
            "freshness": self.freshness("filters"),
        }

    def listed_workspaces(self, pairs: list[tuple[str, str]]) -> dict[str, Any]:
        part = Parameters(pairs, WORKSPACES_PARAMETERS).text("q") or ""
        ids = self.workspaces if self.workspaces is not None else sorted({event.workspace for event in self.events})
        return {"workspaces": [{"workspace_id": id_} for id_ in ids if part in id_], "next_cursor": None}


def _passes(event: Event, sources: tuple[str, ...] | None, users: tuple[str, ...] | None) -> bool:
    return (sources is None or (event.source or "none") in sources) and (
        users is None or (event.user_id or "none") in users
    )


def _text(seen: View, quarter: int) -> str:
    return local_time(seen.query.timezone, quarter).isoformat()


def _count(seen: View, events: list[Event], now: float, lag: float) -> dict[str, Any]:
    starts = [quarter * QUARTER_SECONDS for quarter in seen.bounds]
    added: list[Counter[str]] = [Counter() for _ in starts]
    deleted = [0] * len(starts)
    users: dict[str | None, list[int]] = {}
    before = [(Counter[str](), Counter[str]()) for _ in starts]
    """By place: activities, and sources of what was added."""
    labels: dict[str | None, str | None] = {None: None}
    for event in sorted(events, key=lambda e: e.at):
        quarter = int(event.at // QUARTER_SECONDS)
        if seen.earlier and seen.earlier.start <= quarter < seen.earlier.end:
            activities, sources = before[bisect_right(seen.earlier_bounds, quarter) - 1]
            activities[event.activity] += 1
            sources.update([event.source or "none"] if event.activity == "added" else [])
        if not seen.start <= quarter < seen.end:
            continue
        place = bisect_right(starts, event.at) - 1
        labels[event.user_id] = event.user_name or labels.get(event.user_id)
        counts = users.setdefault(event.user_id, [0, 0])
        if event.activity == "added":
            added[place][event.source or "none"] += 1
            counts[0] += 1
        else:
            deleted[place] += 1
            counts[1] += 1
    totals = sum(added, Counter())
    others = sorted(name for name in totals if name not in KNOWN_SOURCES and name != "none")
    names = [*KNOWN_SOURCES, *others, *(["none"] if totals["none"] else [])]
    names_before = sorted({name for _, found in before for name in found} - {*names})
    timeline, by_source = [], []
    for place, (start, end) in enumerate(zip(seen.bounds, seen.bounds[1:], strict=False)):
        opens, closes = start * QUARTER_SECONDS, end * QUARTER_SECONDS
        some = bool(added[place]) or deleted[place] > 0
        state = _state(opens, closes, now, now - lag, some)
        bucket = {"start": _text(seen, start), "end": _text(seen, end), "state": state}
        future = state == "future"
        activities, sources = before[place]
        previous = previous_by_source = None
        if seen.earlier:
            its = dict(
                zip(
                    ("start", "end"),
                    (_text(seen, quarter) for quarter in seen.earlier_bounds[place : place + 2]),
                    strict=True,
                )
            )
            previous = {**its, "added": activities["added"], "deleted": activities["deleted"]}
            previous_by_source = {**its, "added": {name: sources[name] for name in [*names, *names_before]}}
        timeline.append(
            {
                **bucket,
                "added": None if future else added[place].total(),
                "deleted": None if future else deleted[place],
                "previous": previous,
            }
        )
        of_sources = {name: None if future else added[place][name] for name in names}
        by_source.append({**bucket, "added": of_sources, "previous": previous_by_source})
    people = [{"user_id": id_, "user_name": labels.get(id_), "added": a, "deleted": d} for id_, (a, d) in users.items()]
    people.sort(key=lambda u: (u["user_id"] is None, -u["added"], -u["deleted"], u["user_id"]))
    omitted = people[500:]
    return {
        "query": _query(seen),
        "added": _total(totals.total(), _sum(before, "added") if seen.earlier else None),
        "deleted": _total(sum(deleted), _sum(before, "deleted") if seen.earlier else None),
        "timeline": timeline,
        "sources": {"names": names, "totals": {name: totals[name] for name in names}, "timeline": by_source},
        "users": people[:500],
        "users_omitted": {
            "count": len(omitted),
            "added": sum(u["added"] for u in omitted),
            "deleted": sum(u["deleted"] for u in omitted),
        },
        "all_users": people,
    }


def _sum(before: list[tuple[Counter[str], Counter[str]]], activity: str) -> int:
    return sum(activities[activity] for activities, _ in before)


def _state(opens: float, closes: float, now: float, as_of: float, some: bool) -> str:
    if opens > now:
        return "open" if some else "future"
    if now < closes:
        return "open"
    return "final" if as_of >= closes else "settling"


def _total(count: int, previous: int | None) -> dict[str, Any]:
    change = round((count - previous) / previous * 100, 1) if previous else None
    return {"count": count, "previous": previous, "change_percent": change}


def _query(seen: View) -> dict[str, Any]:
    query, earlier = seen.query, seen.earlier
    return {
        "from": seen.dates.first.isoformat(),
        "to": seen.dates.last.isoformat(),
        "timezone": query.timezone,
        "interval": seen.interval,
        "week_start": query.week_start,
        "starts_at": _text(seen, seen.start),
        "ends_at": _text(seen, seen.end),
        "sources": query.sources,
        "users": query.users,
        "compare": earlier
        and {
            "mode": earlier.mode,
            "starts_at": _text(seen, earlier.start),
            "ends_at": _text(seen, earlier.end),
            "to_same_time": earlier.to_same_time,
        },
    }


def _warnings(seen: View, events: list[Event]) -> list[dict[str, Any]]:
    known = {
        "source": {*KNOWN_SOURCES, "none", *(e.source for e in events)},
        "user": {"none", *(e.user_id for e in events)},
    }
    asked = {"source": seen.query.sources or (), "user": seen.query.users or ()}
    return [
        {"code": f"unknown_{name}", "parameter": name, "value": value, "message": f"{value} was never seen here"}
        for name, values in asked.items()
        for value in values
        if value not in known[name]
    ]


def _row(event: Event, seen: View) -> dict[str, Any]:
    at = datetime.fromtimestamp(event.at, zone(seen.query.timezone)).isoformat(timespec="milliseconds")
    return {
        "occurred_at": at,
        "contact_id": event.contact_id,
        "contact_name": event.contact_name,
        "activity": event.activity,
        "source": event.source,
        "user_id": event.user_id,
        "user_name": event.user_name,
        "event_id": event.id,
        "batch_id": event.batch_id,
    }


def _endless_row(number: int, seen: View) -> dict[str, Any]:
    at = (seen.end * QUARTER_SECONDS) - 1 - (number % 50_000)
    return _row(Event(at, f"e{number}", contact_id=str(number), contact_name=f"Contact {number}"), seen)


def _fold(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    folded: dict[tuple[str, str], dict[str, Any]] = {}
    result = []
    for row in rows:
        key = (row["batch_id"], row["activity"])
        if row["batch_id"] is None:
            result.append(row)
        elif key in folded:
            into = folded[key]
            into["rows"] += 1
            into["first"] = min(into["first"], row["occurred_at"])
            into["last"] = max(into["last"], row["occurred_at"])
        else:
            folded[key] = {
                **row,
                "contact_id": None,
                "contact_name": None,
                "event_id": None,
                "rows": 1,
                "first": row["occurred_at"],
                "last": row["occurred_at"],
            }
            result.append(folded[key])
    return result


@cache
def _read_page_file(file: Path) -> bytes:
    return read_module(file) if file.suffix == ".js" else file.read_bytes()


class _Fault(Exception):
    def __init__(self, status: int, code: str, **more: Any) -> None:
        self.status, self.body = status, {"type": "about:blank", "title": code, "status": status, "code": code, **more}


class _Handler(BaseHTTPRequestHandler):
    api: StandIn
    asked = ""
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        """Tests read `asked` instead."""

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        path = unquote(parts.path)
        pairs = read_pairs(parts.query.encode())
        try:
            if path == "/" or path.startswith("/page/"):
                self.api.asked.append(("page", self.path))
                if path.removeprefix("/page/") in self.api.missing:
                    self._drop()
                return self._file("index.html" if path == "/" else path.removeprefix("/page/"))
            self._judge()
            return self._resource(path, pairs)
        except ValidationErrors as raised:
            errors = [{"parameter": error.parameter, "message": error.message} for error in raised.errors]
            self._json(
                {
                    "type": "about:blank",
                    "title": "Bad parameters",
                    "status": 400,
                    "code": "bad_parameter",
                    "detail": str(raised),
                    "errors": errors,
                },
                400,
            )
        except _Fault as fault:
            self._json(fault.body, fault.status)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    def _judge(self) -> None:
        given = self.headers.get("Authorization", "").removeprefix("Bearer ")
        self.api.tokens_seen.add(given)
        if self.api.token is not None and given != self.api.token:
            raise _Fault(401, "unauthorized", detail="The token is missing or has expired.")

    def _fail(self, resource: str) -> None:
        self.asked = resource
        self.api.asked.append((resource, self.path))
        time.sleep(self.api.slow.get(resource, 0))
        once = self.api.once.get(resource)
        status = once.pop(0) if once else self.api.faults.get(resource)
        if status is None:
            return
        if status == 0:
            self._drop()
        raise _Fault(status, "unavailable", detail="It is away for a while.")

    def _drop(self) -> None:
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)
        raise BrokenPipeError

    def _resource(self, path: str, pairs: list[tuple[str, str]]) -> None:
        if path == "/v1/timezones":
            self._fail("timezones")
            return self._json(
                {"timezones": sorted(zone_names() - set(aliases())), "aliases": dict(aliases()), "version": "1"}
            )
        if path == "/v1/workspaces":
            self._fail("workspaces")
            return self._json(self.api.listed_workspaces(pairs))
        workspace, _, rest = path.removeprefix("/v1/workspaces/").partition("/reports/contacts")
        allowed = self.api.workspaces
        if allowed is not None and workspace not in allowed:
            raise _Fault(403, "forbidden", detail="The token does not name this workspace.")
        resource = rest.strip("/") or "report"
        self._fail(resource)
        if resource == "filters":
            return self._json(self.api.filters(workspace, pairs))
        if resource == "live":
            return self._live(workspace, pairs)
        return self._report(resource, workspace, pairs)

    def _report(self, resource: str, workspace: str, pairs: list[tuple[str, str]]) -> None:
        revision = f"r{self.api.revision}-{self.api.state}"
        if self.headers.get("If-None-Match") == f'W/"{revision}"':
            return self._json(None, 304, revision)
        if resource == "activities":
            page = self.api.activities(workspace, pairs)
            page = {**page, "freshness": self.api.freshness(revision), "truncated_before": None, "warnings": []}
            return self._json(page, 200, revision)
        whole = {**self.api.report(workspace, pairs, REPORT_PARAMETERS), "freshness": self.api.freshness(revision)}
        everyone = whole.pop("all_users")
        if resource == "report":
            return self._json(whole, 200, revision)
        parts = {
            "summary": ("added", "deleted"),
            "timeline": ("timeline",),
            "sources": ("sources",),
            "users": ("users",),
        }
        if resource not in parts:
            raise _Fault(404, "not_found", detail="There is nothing here.")
        shown = {name: whole[name] for name in ("query", "freshness", *parts[resource], "warnings")}
        if resource == "users":
            shown["users"] = everyone
        return self._json(shown, 200, revision)

    def _live(self, workspace: str, pairs: list[tuple[str, str]]) -> None:
        api = self.api
        api.report(workspace, pairs, LIVE_PARAMETERS)
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Cache-Control", "no-store")
        self.send_header("Connection", "close")
        self.end_headers()
        self.close_connection = True
        last = self.headers.get("Last-Event-ID")
        heard = time.monotonic()
        while True:
            number = api.revision
            revision = f"r{number}-{api.state}"
            if "live" in api.faults or (api.token is not None and not self._still()):
                return
            if api.mute:
                pass
            elif revision != last:
                whole = {**api.report(workspace, pairs, LIVE_PARAMETERS), "freshness": api.freshness(revision)}
                whole.pop("all_users")
                self._event("report", whole, revision)
                last = revision
            elif time.monotonic() - heard > 1:
                heard = time.monotonic()
                self._event("freshness", api.freshness(revision), None)
            api.wait_for_change(number, 0.25)

    def _still(self) -> bool:
        return self.headers.get("Authorization", "") == f"Bearer {self.api.token}"

    def _event(self, name: str, data: Any, id_: str | None) -> None:
        head = f"id: {id_}\nretry: 2000\n" if id_ else ""
        self.wfile.write(f"{head}event: {name}\ndata: {json.dumps(data)}\n\n".encode())
        self.wfile.flush()

    def _file(self, name: str) -> None:
        file = PAGE / name
        if not file.is_file() or file.parent != PAGE:
            return self._json({"title": "Not found", "status": 404}, 404)
        kind = mimetypes.guess_type(name)[0] or "application/octet-stream"
        content = _read_page_file(file)
        policy = page_policy((self.api.ancestors,), inline_scripts(content))
        return self._send(content, 200, {"Content-Type": kind, "Content-Security-Policy": policy})

    def _json(self, body: Any, status: int = 200, revision: str | None = None) -> None:
        if self.asked in self.api.broken and status == 200:
            self._send(b"<!doctype html><title>Please log in</title>", 200, {"Content-Type": "text/html"})
            return
        headers = {"Content-Type": "application/json" if status < 400 else "application/problem+json"}
        if revision:
            fresh = self.api.freshness(revision)
            headers |= {
                "ETag": f'W/"{revision}"',
                "Contacts-As-Of": fresh["as_of"],
                "Contacts-Lag-Seconds": str(fresh["lag_seconds"]),
            }
        if status == 503:
            headers["Retry-After"] = self.api.retry_after
        self._send(b"" if status == 304 else json.dumps(body).encode(), status, headers)

    def _send(self, content: bytes, status: int, headers: dict[str, str]) -> None:
        if "gzip" in self.headers.get("Accept-Encoding", "") and len(content) > 500:
            content = gzip.compress(content, 6)
            headers = {**headers, "Content-Encoding": "gzip"}
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


def moved(event: Event, seconds: float, id_: str) -> Event:
    """The event again at another time, as one of its own."""
    return replace(event, at=event.at + seconds, id=id_)
