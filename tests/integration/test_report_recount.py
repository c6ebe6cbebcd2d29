"""Random events and questions: every answer equals a recount, event by event."""

import random
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from tests.support import recount
from tests.support.api import Api, api_over, each_sum_form, shared_redis
from tests.support.recount import Asked
from tests.support.redis_data import Event

__all__ = ["each_sum_form", "shared_redis"]

pytestmark = pytest.mark.usefixtures("each_sum_form")

ZONES = [
    "UTC", "Asia/Kuala_Lumpur", "America/New_York", "Europe/Berlin", "Asia/Kathmandu", "Australia/Lord_Howe",
    "America/St_Johns", "Pacific/Apia", "Pacific/Chatham", "Africa/Casablanca", "America/Sao_Paulo", "Asia/Tehran",
    "Asia/Beirut", "America/Havana", "Pacific/Kiritimati", "Etc/GMT+12",
]  # fmt: skip
SOURCES = [None, "incoming_message", "developer_api", "contact_import", "user", "shopify", "a b"]
USERS = [None, "u_1", "u_2", "u,3", "ü"]
PERIODS = [
    "today", "yesterday", "last_7_days", "last_14_days", "last_30_days", "last_90_days", "this_week", "last_week",
    "this_month", "last_month", "this_year", "all",
]  # fmt: skip
MOMENTS = [
    datetime(2026, 11, 23, 1, 13, 7, tzinfo=UTC),
    datetime(2026, 11, 1, 6, 31, tzinfo=UTC),
    datetime(2026, 3, 29, 0, 59, 59, tzinfo=UTC),
    datetime(2024, 2, 29, 22, 7, tzinfo=UTC),
    datetime(2024, 3, 31, 12, 0, tzinfo=UTC),
    datetime(2012, 1, 3, 9, 40, tzinfo=UTC),
    datetime(2026, 4, 4, 16, 20, tzinfo=UTC),
]


def some_events(rng: random.Random, now: float, number: int) -> list[Event]:
    reach = rng.choice([2, 10, 70, 800])
    offsets: dict[int, int] = {}
    events = []
    for i in range(number):
        at = int((now - rng.random() ** 2 * reach * 86_400) // 1 * 10**9) + rng.choice([0, 1, 999_999_999])
        if rng.random() < 0.3:
            at = at // (900 * 10**9) * (900 * 10**9) - rng.choice([0, 1])
        if rng.random() < 0.02:
            at = int(now * 10**9) + rng.randint(1, 300) * 10**9
        partition = rng.randrange(3)
        offsets[partition] = offsets.get(partition, 0) + 1
        user = rng.choice(USERS)
        events.append(
            Event(
                at=at,
                id=f"e{i:04d}" if rng.random() < 0.9 else f"é\x00{i}",
                activity=rng.choice(["added", "added", "deleted"]),
                source=rng.choice(SOURCES),
                user=user,
                label=rng.choice([None, f"{user} {rng.randrange(3)}"]) if user else None,
                contact=f"c{i}",
                partition=partition,
                offset=offsets[partition],
            )
        )
    return events


def some_question(rng: random.Random, now: float) -> dict[str, Any]:
    zone = rng.choice(ZONES)
    asked: dict[str, Any] = {"timezone": zone}
    if rng.random() < 0.5:
        asked["period"] = rng.choice(PERIODS)
    elif rng.random() < 0.9:
        today = recount.local(zone, now).date()
        last = today - timedelta(days=rng.choice([0, 0, 1, 5, 40, -2]))
        first = last - timedelta(days=rng.choice([0, 1, 2, 6, 30, 100, 400]))
        asked |= {"from": max(first, date(2000, 1, 1)).isoformat(), "to": last.isoformat()}
    long = asked.get("period") in ("this_year", "last_90_days", "all") or "from" in asked
    asked["interval"] = rng.choice(["auto", "day", "week", "month"] if long else ["auto", "hour", "day", "week"])
    if rng.random() < 0.5:
        asked["week_start"] = rng.choice(recount.WEEKDAYS)
    if rng.random() < 0.5:
        asked["compare"] = rng.choice(["previous_period", "previous_year", "none"])
    if rng.random() < 0.4:
        asked["source"] = rng.sample(["none", "user", "shopify", "never", "contact_import"], rng.choice([2, 3]))
    if rng.random() < 0.4:
        asked["user"] = rng.sample(["none", "u_1", "u,3", "nobody"], rng.choice([2, 3]))
    return asked


def without_texts(answer: dict[str, Any]) -> dict[str, Any]:
    """The answer with its warnings as (code, value), without `freshness`."""
    rest = {name: value for name, value in answer.items() if name != "freshness"}
    return rest | {"warnings": [(warning["code"], warning["value"]) for warning in answer["warnings"]]}


def check_sums(answer: dict[str, Any]) -> None:
    added = answer["added"]["count"]
    assert added == sum(bucket["added"] or 0 for bucket in answer["timeline"])
    assert added == sum(answer["sources"]["totals"].values())
    assert added == sum(user["added"] for user in answer["users"]) + answer["users_omitted"]["added"]
    assert answer["deleted"]["count"] == sum(bucket["deleted"] or 0 for bucket in answer["timeline"])
    compared = answer["query"]["compare"] is not None
    for kind in ("added", "deleted"):
        earlier = [bucket["previous"] and bucket["previous"][kind] for bucket in answer["timeline"]]
        assert (sum(earlier) if compared else None) == answer[kind]["previous"]
        assert compared or set(earlier) == {None}
    by_source = [bucket["previous"] for bucket in answer["sources"]["timeline"]]
    total = sum(sum(bucket["added"].values()) for bucket in by_source) if compared else None
    assert total == answer["added"]["previous"]
    deleted_by_users = sum(user["deleted"] for user in answer["users"]) + answer["users_omitted"]["deleted"]
    assert answer["deleted"]["count"] == deleted_by_users


async def every_row(api: Api, asked: dict[str, Any], **more: Any) -> tuple[list[str], set[int]]:
    """Ids of all pages, and the totals that they told."""
    found: list[str] = []
    totals: set[int] = set()
    cursor: dict[str, str] = {}
    while True:
        page = await api.json("/activities", **asked, **more, **cursor)
        found += [row["event_id"] for row in page["activities"]]
        totals.add(page["total"])
        if page["next_cursor"] is None:
            return found, totals
        cursor = {"cursor": page["next_cursor"]}


@pytest.mark.parametrize("seed", range(8))
async def test_every_answer_equals_the_recount(shared_redis: Any, seed: int) -> None:
    rng = random.Random(seed)
    # Given random events in three partitions, packed in as many parts as comes up
    now = rng.choice(MOMENTS).timestamp()
    async with api_over(shared_redis, now, cache_bytes=rng.choice([0, 2_000, 10**7])) as api:
        for _ in range(3):
            events = some_events(rng, now, rng.choice([0, 1, 40, 300]))
            as_of = now - rng.choice([0.1, 3_000, 90_000])
            api.write(events, as_of=as_of, partitions=3)
            for _ in range(8):
                question = some_question(rng, now)
                asked = Asked(question, now, as_of)
                # When the report is asked for
                answer = await api.json(**question)
                # Then it is what counting one by one gives, and its sums agree
                expected = recount.report(events, asked)
                assert without_texts(answer) == expected, question
                check_sums(answer)
                for component in ("summary", "timeline", "sources"):
                    part = await api.json(f"/{component}", **question)
                    assert without_texts(part).items() <= expected.items()
                users = (await api.json("/users", **question))["users"]
                assert users == expected["users"]
                # And the activity table has these rows, in either order, page by page
                order, activity = rng.choice(["asc", "desc"]), rng.choice([None, "added", "deleted"])
                more = {"order": order, "limit": rng.choice([1, 7, 500])} | ({"activity": activity} if activity else {})
                if more["limit"] == 1 and len(events) > 40:
                    more["limit"] = 20
                ids, totals = await every_row(api, question, **more)
                assert ids == recount.activities(events, asked, order, activity)
                assert totals == {len(ids)}
