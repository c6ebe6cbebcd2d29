"""What the API says of a deployment beside what was published: every row, and every hour by source, user and activity
in zones that cut hours apart.
"""

from __future__ import annotations

import json
import urllib.request
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any
from urllib.parse import quote

from tests.support.stack import Api

# Their hours begin at :00, :15, :30 and :45 of UTC's: together they tell every quarter-hour.
ZONES = {"UTC": 0, "Asia/Kathmandu": 345, "Asia/Kolkata": 330, "Australia/Eucla": 525}
DAYS_A_QUERY = 40

Event = Mapping[str, Any]


def find_differences(api: Api, events: Sequence[Event], first: date, last: date) -> list[str]:
    """In words, what the API has too much or too little of; empty where all is equal. It asserts that something was
    compared.
    """
    assert events, "nothing was published"
    by_workspace: dict[str, list[Event]] = defaultdict(list)
    for event in events:
        by_workspace[event["workspace_id"]].append(event)
    status, answer = api.get("/v1/workspaces?limit=1000")
    if status != 200:
        return [f"/v1/workspaces answered {status}"]
    found = [w["workspace_id"] for w in answer["workspaces"]]
    wrong = [] if found == sorted(by_workspace) else [f"workspaces {found}, published {sorted(by_workspace)}"]
    for workspace, published in by_workspace.items():
        wrong += rows_apart(api, workspace, published, first, last)
        for begin, end in ranges(first, last):
            wrong += hours_apart(api, workspace, published, begin, end)
            wrong += users_apart(api, workspace, published, begin, end)
    return wrong


def ranges(first: date, last: date) -> list[tuple[date, date]]:
    out = []
    while first <= last:
        end = min(last, first + timedelta(days=DAYS_A_QUERY - 1))
        out.append((first, end))
        first = end + timedelta(days=1)
    return out


def base(workspace: str) -> str:
    return f"/v1/workspaces/{quote(workspace)}/reports/contacts"


def rows_apart(api: Api, workspace: str, published: Sequence[Event], first: date, last: date) -> list[str]:
    path = f"{base(workspace)}/activities.ndjson?from={first}&to={last}"
    with urllib.request.urlopen(api.address + path, timeout=60) as answer:
        rows = [json.loads(line) for line in answer.read().splitlines()]
    has = Counter(
        (
            r["event_id"],
            moment(r["occurred_at"]),
            r["activity"],
            r["contact_id"],
            r["contact_name"],
            r["source"],
            r["user_id"],
            r["batch_id"],
        )
        for r in rows
    )
    want = Counter(
        (
            e["id"],
            moment(e["occurred_at"]),
            activity(e),
            e["contact_id"],
            e["contact_name"],
            e["source"],
            e["user_id"],
            e["batch_id"],
        )
        for e in published
    )
    out = []
    if want - has:
        out.append(f"{workspace}: {sum((want - has).values())} rows missing, as {next(iter(want - has))}")
    if has - want:
        out.append(f"{workspace}: {sum((has - want).values())} rows extra, as {next(iter(has - want))}")
    return out


def hours_apart(api: Api, workspace: str, published: Sequence[Event], first: date, last: date) -> list[str]:
    out = []
    for zone, minutes in ZONES.items():
        status, report = api.get(f"{base(workspace)}?from={first}&to={last}&timezone={zone}&interval=hour&compare=none")
        if status != 200:
            return [f"{workspace}: {status} {report}"]
        want, has = hours_published(published, timedelta(minutes=minutes), first, last), hours_told(report)
        if want != has:
            out.append(f"{workspace} {zone}: missing {want - has}, extra {has - want}"[:400])
    return out


Hours = Counter[tuple[datetime, str, str]]
"""By local hour, activity and, of the added ones, source."""


def hours_published(published: Sequence[Event], shift: timedelta, first: date, last: date) -> Hours:
    hours: Hours = Counter()
    for event in published:
        local = moment(event["occurred_at"]).replace(tzinfo=None) + shift
        if first <= local.date() <= last:
            source = (event["source"] or "none") if activity(event) == "added" else ""
            hours[local.replace(minute=0, second=0, microsecond=0), activity(event), source] += 1
    return hours


def hours_told(report: Mapping[str, Any]) -> Hours:
    hours: Hours = Counter()
    for bucket in report["sources"]["timeline"]:
        for source, count in (bucket["added"] or {}).items():
            hours[local_time(bucket["start"]), "added", source] += count or 0
    for bucket in report["timeline"]:
        hours[local_time(bucket["start"]), "deleted", ""] += bucket["deleted"] or 0
    return +hours


def users_apart(api: Api, workspace: str, published: Sequence[Event], first: date, last: date) -> list[str]:
    want: Counter[tuple[str | None, str]] = Counter()
    for event in published:
        if first <= moment(event["occurred_at"]).date() <= last:
            want[event["user_id"], activity(event)] += 1
    status, answer = api.get(f"{base(workspace)}/users?from={first}&to={last}&compare=none")
    if status != 200:
        return [f"{workspace}: {status} {answer}"]
    has: Counter[tuple[str | None, str]] = Counter()
    for user in answer["users"]:
        for name in ("added", "deleted"):
            if user[name]:
                has[user["user_id"], name] += user[name]
    return [] if want == has else [f"{workspace} users: missing {want - has}, extra {has - want}"[:400]]


def activity(event: Event) -> str:
    return str(event["type"]).removeprefix("contact.")


def moment(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)


def local_time(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=None)
