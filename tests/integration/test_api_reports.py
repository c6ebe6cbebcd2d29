"""Reports over a real Redis: states of buckets, freshness, what is kept, revisions, and what happens without Redis."""

import asyncio
from datetime import UTC, datetime
from typing import Any

import pytest

from api.query.periods import now_quarter
from api.query.question import REPORT_PARAMETERS, Parameters, read_query
from api.read.manifests import Days, Prepared, Seen
from api.read.parts import SUMMARIES
from api.read.redis import Reader
from api.read.snapshot import Snapshot
from stream.storage.keys import Keys
from tests.support.api import BASE, Api, api_over, each_sum_form, own_redis, shared_redis
from tests.support.redis_data import Event, Positions, missing_rows
from tests.support.redis_server import RunningRedis

__all__ = ["each_sum_form", "own_redis", "shared_redis"]

pytestmark = pytest.mark.usefixtures("each_sum_form")

NOW = datetime(2026, 11, 23, 1, 13, 7, 412_000, tzinfo=UTC).timestamp()
DAY = 20_780
"""2026-11-23 as a UTC day."""


def ns(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp()) * 10**9


def added(text: str, number: int = 0, **more: Any) -> Event:
    return Event(ns(text), f"e{number}", offset=number, **more)


async def test_the_whole_answer(shared_redis: RunningRedis) -> None:
    # Given an event of each kind in and around two days of Kuala Lumpur
    async with api_over(shared_redis, NOW) as api:
        api.write(
            [
                added("2026-11-21T23:59:59+08:00", 1, source="user", user="u_7"),
                added("2026-11-22T00:00:00+08:00", 2, source="user", user="u_7", label="Ada"),
                added("2026-11-22T12:00:00+08:00", 3, source="shop", user="u_8"),
                added("2026-11-23T09:13:00+08:00", 4),
                added("2026-11-23T09:13:00+08:00", 5, activity="deleted", user="u_7"),
                added("2026-11-24T00:00:00+08:00", 6),
            ],
            as_of=NOW - 0.2,
        )
        asked = {"from": "2026-11-22", "to": "2026-11-23", "timezone": "Asia/Kuala_Lumpur", "interval": "day"}
        answer = await api.json(**asked)
    # Then the answer is this one
    revision = answer["freshness"].pop("revision")
    assert len(revision) == 24
    first = {"start": "2026-11-22T00:00:00+08:00", "end": "2026-11-23T00:00:00+08:00", "state": "final"}
    second = {"start": "2026-11-23T00:00:00+08:00", "end": "2026-11-24T00:00:00+08:00", "state": "open"}
    before = {"start": "2026-11-20T00:00:00+08:00", "end": "2026-11-21T00:00:00+08:00"}
    yesterday = {"start": "2026-11-21T00:00:00+08:00", "end": "2026-11-21T09:00:00+08:00"}
    five = dict.fromkeys(("incoming_message", "developer_api", "contact_import", "user", "echo_message"), 0)
    assert answer == {
        "query": {
            "from": "2026-11-22",
            "to": "2026-11-23",
            "timezone": "Asia/Kuala_Lumpur",
            "interval": "day",
            "week_start": "monday",
            "starts_at": "2026-11-22T00:00:00+08:00",
            "ends_at": "2026-11-24T00:00:00+08:00",
            "sources": None,
            "users": None,
            "compare": {
                "mode": "previous_period",
                "starts_at": "2026-11-20T00:00:00+08:00",
                "ends_at": "2026-11-21T09:00:00+08:00",
                "to_same_time": True,
            },
        },
        "freshness": {"state": "live", "as_of": "2026-11-23T01:13:07.212Z", "lag_seconds": 0.2},
        "added": {"count": 3, "previous": 0, "change_percent": None},
        "deleted": {"count": 1, "previous": 0, "change_percent": None},
        "timeline": [
            first | {"added": 2, "deleted": 0, "previous": before | {"added": 0, "deleted": 0}},
            second | {"added": 1, "deleted": 1, "previous": yesterday | {"added": 0, "deleted": 0}},
        ],
        "sources": {
            "names": [*five, "shop", "none"],
            "totals": five | {"user": 1, "shop": 1, "none": 1},
            "timeline": [
                first
                | {
                    "added": five | {"user": 1, "shop": 1, "none": 0},
                    "previous": before | {"added": five | {"shop": 0, "none": 0}},
                },
                second
                | {
                    "added": five | {"shop": 0, "none": 1},
                    "previous": yesterday | {"added": five | {"shop": 0, "none": 0}},
                },
            ],
        },
        "users": [
            {"user_id": "u_7", "user_name": "Ada", "added": 1, "deleted": 1},
            {"user_id": "u_8", "user_name": None, "added": 1, "deleted": 0},
            {"user_id": None, "user_name": None, "added": 1, "deleted": 0},
        ],
        "users_omitted": {"count": 0, "added": 0, "deleted": 0},
        "warnings": [],
    }


async def test_a_workspace_never_seen_is_an_empty_report(shared_redis: RunningRedis) -> None:
    async with api_over(shared_redis, NOW) as api:
        api.write([])
        answer = await api.json(period="all")
        assert (answer["query"]["from"], answer["query"]["to"]) == ("2026-11-23", "2026-11-23")
        assert answer["added"] == {"count": 0, "previous": None, "change_percent": None}
        assert answer["query"]["compare"] is None
        assert answer["query"]["interval"] == "month"
        assert (await api.json("/activities"))["activities"] == []


@pytest.mark.parametrize(
    ("as_of", "states"),
    [
        (NOW, ["final", "final", "open", "future"]),
        (ns("2026-11-23T00:59:59+00:00") / 1e9, ["final", "settling", "open", "future"]),
        (ns("2026-11-23T00:59:59+00:00") / 1e9 - 3600, ["settling", "settling", "open", "future"]),
    ],
)
async def test_states_of_buckets(shared_redis: RunningRedis, as_of: float, states: list[str]) -> None:
    async with api_over(shared_redis, NOW + 0.0) as api:
        api.write([], as_of=as_of)
        answer = await api.json(from_="2026-11-22", to="2026-11-23")
        timeline = {bucket["start"][:13]: bucket["state"] for bucket in answer["timeline"]}
        hours = ("2026-11-22T23", "2026-11-23T00", "2026-11-23T01", "2026-11-23T02")
        assert [timeline[hour] for hour in hours] == states
        assert [bucket["added"] for bucket in answer["timeline"] if bucket["state"] == "future"] == [None] * 22
        assert answer["sources"]["timeline"][-1]["added"] == dict.fromkeys(answer["sources"]["names"])


async def test_an_event_ahead_of_now_counts_and_opens_its_bucket(shared_redis: RunningRedis) -> None:
    now = ns("2026-11-23T23:58:00+00:00") / 1e9
    async with api_over(shared_redis, now) as api:
        api.write([added("2026-11-24T00:01:00+00:00", activity="deleted")])
        answer = await api.json("/timeline", from_="2026-11-23", to="2026-11-25", interval="day")
        found = [(bucket["state"], bucket["added"], bucket["deleted"]) for bucket in answer["timeline"]]
        assert found == [("open", 0, 0), ("open", 0, 1), ("future", None, None)]
        sources = await api.json("/sources", from_="2026-11-23", to="2026-11-25", interval="day")
        assert [bucket["state"] for bucket in sources["sources"]["timeline"]] == ["open", "open", "future"]


@pytest.mark.parametrize(
    ("lag", "since_moved", "state"),
    [
        (9.75, 500, "live"),
        (10.0, 29.9, "catching_up"),
        (500, 29.9, "catching_up"),
        (500, 30.0, "stalled"),
    ],
)
async def test_the_word_for_freshness(shared_redis: RunningRedis, lag: float, since_moved: float, state: str) -> None:
    async with api_over(shared_redis, NOW) as api:
        api.write([], as_of=NOW - lag, fields={"0.moved": round((NOW - since_moved) * 1000)})
        fresh = (await api.json("/summary"))["freshness"]
        assert (fresh["state"], fresh["lag_seconds"]) == (state, lag)


async def test_the_slowest_partition_decides(shared_redis: RunningRedis) -> None:
    async with api_over(shared_redis, NOW) as api:
        ms = round(NOW * 1000)
        fields = {"1.as_of": ms - 60_000, "1.moved": ms - 50_000, "0.moved": ms}
        api.write([], partitions=2, fields=fields)
        fresh = (await api.json("/summary"))["freshness"]
        assert (fresh["state"], fresh["lag_seconds"], fresh["as_of"]) == ("stalled", 60.0, "2026-11-23T01:12:07.412Z")
        # a worker's clock that is ahead says no more than now
        api.write([], as_of=NOW + 5, partitions=2)
        fresh = (await api.json("/summary"))["freshness"]
        assert (fresh["state"], fresh["lag_seconds"], fresh["as_of"]) == ("live", 0.0, "2026-11-23T01:13:07.412Z")


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"1.position": None}, "The counts of partition 1 of 2 are not in Redis"),
        ({"partitions": None, "1.position": None}, "Redis holds nothing of this group"),
        ({"partitions": 5}, "The counts of partitions 2, 3, 4 of 5 are not in Redis"),
        ({"0.as_of": None}, "The counts of partition 0 of 2 are not in Redis"),
    ],
)
async def test_half_of_a_count_is_never_shown(shared_redis: RunningRedis, fields: dict[str, Any], says: str) -> None:
    async with api_over(shared_redis, NOW) as api:
        api.write([added("2026-11-22T00:00:00+00:00")], partitions=2, fields=fields)
        for path in ("", "/users", "/activities", "/activities.csv", "/filters", "/live"):
            answer = await api.get(path)
            assert answer.status_code == 503
            assert answer.headers["retry-after"] == "1"
            assert answer.headers["content-type"] == "application/problem+json"
            assert answer.json()["code"] == "no_position"
            assert says in answer.json()["detail"]
        told = (await api.client.get("/readyz?verbose")).json()
        assert (told["status"], told["projection"]) == ("not ready", "no_position")
        assert says in told["reason"]
        assert (await api.client.get("/readyz")).status_code == 503
        assert (await api.client.get("/livez")).status_code == 200


async def test_what_is_being_taken_away_is_no_error(shared_redis: RunningRedis) -> None:
    """As while `rebuild-redis` deletes: the manifest of a day is still there, and its parts are not."""
    async with api_over(shared_redis, NOW) as api:
        api.write([added(f"2026-11-22T00:{minute:02d}:00+00:00") for minute in range(40)])
        assert (await api.json())["added"]["count"] == 40
        keys = api.data.client.keys(api.data.prefix.replace("{", "[{]").replace("}", "[}]") + "cells:*")
        api.data.client.delete(api.data.prefix + "positions", *keys)
        change = api.data.client.hget(api.data.prefix + "days:w", "20779").decode()
        api.data.client.hset(api.data.prefix + "days:w", "20779", f"1{change[1:]}")
        for path in ("", "/users", "/activities"):
            answer = await api.get(path)
            assert (answer.status_code, answer.json()["code"]) == (503, "no_position")


async def test_reads_that_begin_together_are_remembered_once(shared_redis: RunningRedis) -> None:
    async with api_over(shared_redis, NOW) as api:
        api.write([added(f"2026-11-{day:02d}T00:00:00+00:00") for day in range(1, 21)])
        asked = {"from_": "2026-11-01", "to": "2026-11-22"}
        await asyncio.gather(*(api.json(compare="none", **asked) for _ in range(5)))
        memory = api.app.state.memory
        assert len(memory.get(("known", "w")).manifests) == 20
        # What is gone is no longer remembered, and what came again is once.
        api.write([added("2026-11-05T00:00:00+00:00")])
        await asyncio.gather(*(api.json(compare="none", **asked) for _ in range(5)))
        assert len(memory.get(("known", "w")).manifests) == 1


async def test_everything_is_summed_where_events_of_earlier_days_came_later(shared_redis: RunningRedis) -> None:
    """Of a hash that is read whole the days come in the order in which they were written, or in none."""
    async with api_over(shared_redis, NOW) as api:
        api.write([added(f"2026-11-{day:02d}T12:00:00+00:00", day, user=f"u{day}") for day in (3, 9, 14, 20)])
        redis, days = api.data.client, Keys(api.data.prefix.split(":")[1]).days("w")
        written = list(redis.hgetall(days).items())
        redis.delete(days)
        for field, value in [*written[2:], *written[:2]][::-1]:
            redis.hset(days, field, value)
        answer = await api.json(period="all", interval="day")
        assert [bucket["added"] for bucket in answer["timeline"] if bucket["added"]] == [1] * 4
        assert answer["added"]["count"] == len(answer["users"]) == 4


async def test_everything_begins_later_when_retention_moves_on(shared_redis: RunningRedis) -> None:
    """Nothing in the workspace tells: another partition's events may move the day."""
    async with api_over(shared_redis, NOW, positions_cache_ms=60_000) as api:
        events = [added("2026-11-10T00:00:00+00:00"), added("2026-11-20T00:00:00+00:00", 2)]
        api.write(events)
        assert (await api.json(period="all"))["added"]["count"] == 2
        api.data.positions(Positions(NOW, fields={"0.counts_from": 20_770}))
        for path in ("", "/summary", "/activities"):
            answer = await api.json(path, period="all")
            assert answer["query"]["from"] == "2026-11-20"


async def test_everything_begins_earlier_once_the_first_day_has_an_earlier_event(shared_redis: RunningRedis) -> None:
    """What is remembered of the first day is outdated then, and a stamp reads nothing else that could show it."""
    async with api_over(shared_redis, NOW) as api:
        api.write([added("2026-11-20T10:00:00+00:00")])
        asked = {"period": "all", "timezone": "America/Los_Angeles"}
        assert (await api.json(**asked))["query"]["from"] == "2026-11-20"
        api.write([added("2026-11-20T10:00:00+00:00"), added("2026-11-20T02:00:00+00:00", 2)])
        query = read_query(Parameters(list(asked.items()), REPORT_PARAMETERS), now_quarter(NOW))
        stamp = await api.app.state.reports.stamp("w", query)
        answer = await api.json(**asked)
        assert (answer["query"]["from"], answer["added"]["count"]) == ("2026-11-19", 2)
        assert stamp.revision == answer["freshness"]["revision"]


async def test_what_is_remembered_is_counted_whole(shared_redis: RunningRedis) -> None:
    """With the sums of the days that folds keep."""
    async with api_over(shared_redis, NOW, cache_bytes=10**8) as api:
        api.write(
            [
                added(f"2026-11-{day:02d}T00:00:00+00:00", user=f"u{user}", source="user")
                for day in range(1, 21)
                for user in range(100)
            ]
        )
        await api.json(from_="2026-11-01", to="2026-11-22", compare="none")
        memory = api.app.state.memory
        sizes = sum(size for _, size, _ in memory._entries.values())
        shared = sum(size for _, size in memory._shared.values())
        # A user's number in the sums of a day, and its count, take 12 bytes.
        assert memory.bytes == sizes + shared > 20 * 100 * 12


async def test_what_retention_dropped_is_warned_of_and_never_counted(shared_redis: RunningRedis) -> None:
    async with api_over(shared_redis, NOW) as api:
        events = [
            added("2026-11-20T23:59:59+00:00", 1, user="u"),
            added("2026-11-21T00:00:00+00:00", 2, user="u"),
        ]
        api.write(events, partitions=2, fields={"1.counts_from": DAY - 2})
        answer = await api.json(from_="2026-11-20", to="2026-11-22")
        assert answer["added"]["count"] == 1
        assert [(w["code"], w["parameter"], w["value"]) for w in answer["warnings"]] == [
            ("before_retention", "from", "2026-11-20"),
            ("before_retention", "compare", "previous_period"),
        ]
        assert (await api.json("/users", from_="2026-11-20", to="2026-11-22"))["users"][0]["added"] == 1
        table = await api.json("/activities", from_="2026-11-20", to="2026-11-22")
        assert (table["total"], [row["event_id"] for row in table["activities"]]) == (1, ["e2"])
        everything = await api.json(period="all", interval="day")
        assert (everything["query"]["from"], everything["warnings"]) == ("2026-11-21", [])
        assert (await api.json(from_="2026-11-22", to="2026-11-22", compare="none"))["warnings"] == []


@pytest.mark.parametrize("asked", [{}, {"period": "all"}, {"user": "u"}, {"source": "user", "period": "all"}], ids=str)
async def test_a_workspace_that_changes_all_the_time_is_read_in_one_transaction(
    asked: dict[str, str], shared_redis: RunningRedis
) -> None:
    async with api_over(shared_redis, NOW) as api:
        api.write([added(f"2026-11-{day}T00:00:00+00:00", day, user="u", source="user") for day in (10, 20, 23)])
        expected = await api.json(**asked)
        reads = []
        for _ in range(3):
            api.data.change_day(DAY)
            before = api.app.state.reader.reads
            answer = await api.json(**asked)
            reads.append(api.app.state.reader.reads - before)
            assert answer["added"] == expected["added"]
        assert reads[1:] == [1, 1]  # that today changes is expected from its second change on


async def test_everything_begins_later_where_the_first_day_is_dropped_or_comes_back(
    shared_redis: RunningRedis,
) -> None:
    async with api_over(shared_redis, NOW) as api:
        api.write([added(f"2026-11-{day}T00:00:00+00:00", day) for day in (20, 21, 23)])
        begins = {}
        for kept_from in (0, DAY - 3, DAY - 2, DAY - 1, 0):
            api.data.positions(Positions(NOW, fields={"0.counts_from": kept_from}))
            answer = await api.json(period="all", interval="day")
            begins.setdefault(kept_from, []).append((answer["query"]["from"], answer["added"]["count"]))
        assert begins == {
            0: [("2026-11-20", 3)] * 2,
            DAY - 3: [("2026-11-20", 3)],
            DAY - 2: [("2026-11-21", 2)],
            DAY - 1: [("2026-11-23", 1)],
        }


async def test_filters_that_match_nothing_are_warned_of(shared_redis: RunningRedis) -> None:
    async with api_over(shared_redis, NOW) as api:
        api.write([added("2026-01-01T00:00:00+00:00", source="shop", user="u_1")])
        answer = await api.json(source="shop,none,user,web", user="u_1,none,u_2")
        assert answer["query"]["sources"] == ["shop", "none", "user", "web"]
        assert [(w["code"], w["parameter"], w["value"]) for w in answer["warnings"]] == [
            ("unknown_source", "source", "web"),
            ("unknown_user", "user", "u_2"),
        ]
        assert answer["added"]["count"] == 0


async def test_a_source_with_capitals_is_told_that_sources_have_none(shared_redis: RunningRedis) -> None:
    async with api_over(shared_redis, NOW) as api:
        api.write([added("2026-11-22T00:00:00+00:00", 1, source="whatsapp")])
        first, second = (await api.json(source="WhatsApp,telegram"))["warnings"]
        assert first["message"] == (
            "No event of this workspace has this source. Sources are in lower case: is whatsapp meant?"
        )
        assert second["message"] == "No event of this workspace has this source."


async def test_many_users_are_omitted_with_their_sum_but_for_their_own_resource(shared_redis: RunningRedis) -> None:
    async with api_over(shared_redis, NOW) as api:
        events = [added("2026-11-22T00:00:00+00:00", i, user=f"u{i % 601:03d}") for i in range(1_000)]
        api.write(events)
        answer = await api.json()
        assert len(answer["users"]) == 500
        assert answer["users"][0] == {"user_id": "u000", "user_name": None, "added": 2, "deleted": 0}
        assert answer["users_omitted"] == {"count": 101, "added": 101, "deleted": 0}
        assert sum(user["added"] for user in (await api.json("/users"))["users"]) == 1_000


async def test_everything_where_the_only_event_is_ahead_of_midnight(shared_redis: RunningRedis) -> None:
    async with api_over(shared_redis, ns("2026-11-23T23:58:00+00:00") / 1e9) as api:
        api.write([added("2026-11-24T00:01:00+00:00")])
        answer = await api.json(period="all")
        assert (answer["query"]["from"], answer["query"]["to"]) == ("2026-11-23", "2026-11-23")
        assert answer["added"]["count"] == 0
        api.clock.now += 120
        answer = await api.json(period="all")
        assert (answer["query"]["from"], answer["added"]["count"]) == ("2026-11-24", 1)


async def test_everything_in_days_may_be_too_many_buckets(shared_redis: RunningRedis) -> None:
    async with api_over(shared_redis, NOW) as api:
        api.write([added("2020-01-01T00:00:00+00:00")])
        answer = await api.get(period="all", interval="day")
        assert answer.status_code == 400
        assert [error["parameter"] for error in answer.json()["errors"]] == ["interval"]
        assert (await api.json(period="all"))["added"]["count"] == 1
        # Once the first event is gone, the rest may be asked for in days
        api.write([added("2026-11-01T00:00:00+00:00")])
        answer = await api.json(period="all", interval="day")
        assert (answer["query"]["from"], answer["added"]["count"]) == ("2026-11-01", 1)


async def revision(api: Api, **asked: Any) -> str:
    return str((await api.json("/summary", **asked))["freshness"]["revision"])


async def test_an_answer_that_did_not_change_is_a_304_without_computing_it(shared_redis: RunningRedis) -> None:
    async with api_over(shared_redis, NOW) as api:
        api.write([added("2026-11-22T00:00:00+00:00")])
        for path in ("", "/summary", "/timeline", "/sources", "/users", "/activities", "/filters"):
            first = await api.get(path)
            tag = first.headers["etag"]
            assert tag == f'W/"{first.json()["freshness"]["revision"]}"'
            before = api.app.state.reader.reads
            for condition in (tag, f'"x", {tag}', tag.removeprefix("W/"), "*"):
                second = await api.get(path, {"If-None-Match": condition})
                assert (second.status_code, second.content) == (304, b"")
                assert second.headers["etag"] == tag
                assert second.headers["contacts-as-of"] == "2026-11-23T01:13:07.412Z"
                assert second.headers["contacts-lag-seconds"] == "0.0"
                assert second.headers["cache-control"] == "private, no-cache"
                assert second.headers["vary"] == "Accept, Accept-Encoding, Authorization"
            assert api.app.state.reader.reads - before == 4
            assert (await api.get(path, {"If-None-Match": 'W/"other"'})).status_code == 200


async def test_positions_that_were_just_read_answer_without_asking_redis(shared_redis: RunningRedis) -> None:
    async with api_over(shared_redis, NOW, positions_cache_ms=60_000) as api:
        api.write([added("2026-11-22T00:00:00+00:00")])
        tag = (await api.get()).headers["etag"]
        before = api.app.state.reader.reads
        assert (await api.get("", {"If-None-Match": tag})).status_code == 304
        assert api.app.state.reader.reads == before


async def test_what_changes_a_revision(shared_redis: RunningRedis) -> None:
    async with api_over(shared_redis, NOW) as api:
        events = [added("2026-11-22T00:00:00+00:00", user="u")]
        api.write(events)
        by_hour = {"from_": "2026-11-23", "to": "2026-11-24"}
        preset = {"period": "this_month"}
        uncompared = {"from_": "2026-11-22", "to": "2026-11-22", "compare": "none"}
        before = [await revision(api, **asked) for asked in (by_hour, preset, uncompared)]
        # as_of and now alone change nothing
        api.data.positions(Positions(NOW - 3))
        api.clock.now += 5
        assert [await revision(api, **asked) for asked in (by_hour, preset, uncompared)] == before
        # a quarter-hour moves what is cut at the same time, not the others
        api.clock.now = NOW + 120
        api.data.positions(Positions(api.clock.now))
        after = [await revision(api, **asked) for asked in (by_hour, preset, uncompared)]
        assert [a == b for a, b in zip(before, after, strict=True)] == [True, False, True]
        # an hour closes, first unsettled, then final
        api.clock.now = ns("2026-11-23T02:00:00+00:00") / 1e9
        closed = await revision(api, **by_hour)
        api.data.positions(Positions(api.clock.now))
        settled = await revision(api, **by_hour)
        assert len({before[0], closed, settled}) == 3
        # midnight
        api.clock.now = ns("2026-11-24T00:00:00+00:00") / 1e9
        api.data.positions(Positions(api.clock.now))
        assert await revision(api, **preset) not in (before[1], after[1])
        # a word, what is kept, and whatever the worker writes
        known = {await revision(api, **uncompared)}
        for positions in (
            Positions(api.clock.now - 20, moved=api.clock.now),
            Positions(api.clock.now, fields={"0.rows_from": DAY - 3}),
            Positions(api.clock.now, fields={"0.owed": missing_rows((-1, 7, 0))}),
            Positions(api.clock.now, fields={"0.counts_from": DAY - 3}),
        ):
            api.data.positions(positions)
            known.add(await revision(api, **uncompared))
        api.write(events)
        known.add(await revision(api, **uncompared))
        assert len(known) == 6


async def test_questions_that_differ_have_revisions_that_differ(shared_redis: RunningRedis) -> None:
    async with api_over(shared_redis, NOW) as api:
        api.write([added("2026-11-22T00:00:00+00:00")])
        questions: list[dict[str, Any]] = [
            {}, {"period": "last_14_days"}, {"timezone": "Etc/UTC"}, {"interval": "hour"}, {"week_start": "sunday"},
            {"source": "a"}, {"source": "b"}, {"user": "a"}, {"source": ["a", "b"]}, {"source": ["a,b", "c"]},
            {"compare": "none"}, {"compare": "previous_year"},
        ]  # fmt: skip
        assert len({await revision(api, **asked) for asked in questions}) == len(questions)
        assert await revision(api, period="last_7_days") == await revision(api)
        tables = [{}, {"limit": 1}, {"order": "asc"}, {"activity": "added"}, {"batch": "b"}, {"batches": "fold"}]
        found = [(await api.json("/activities", **asked))["freshness"]["revision"] for asked in tables]
        assert len(set(found)) == len(tables)


async def test_changed_days_alone_are_read_again(shared_redis: RunningRedis) -> None:
    async with api_over(shared_redis, NOW) as api:
        events = [added(f"2026-11-{day}T03:00:00+00:00", day, user="u") for day in range(17, 24)]
        api.write(events)
        assert (await api.json())["added"]["count"] == 7
        days = api.data.prefix + "days:w"
        cells = api.data.prefix + f"cells:w:{DAY // 32}"
        # Given the parts of days that did not change are gone, the sums remembered of them stand in another answer
        api.data.client.hset(days, "all", "second")
        api.data.client.hdel(cells, *[f for f in api.data.client.hkeys(cells) if not f.startswith(b"%d." % DAY)])
        assert (await api.json())["added"]["count"] == 7
        # and a day whose change is another one is read again
        manifest = api.data.client.hget(days, str(DAY)).decode().split(" ")
        api.data.client.hset(days, mapping={"all": "third", str(DAY): " ".join(["another", *manifest[1:]])})
        assert (await api.json())["added"]["count"] == 7
        api.data.client.hdel(days, str(DAY))
        api.data.client.hset(days, "all", "fourth")
        assert (await api.json())["added"]["count"] == 6


async def test_without_redis_it_is_503_and_never_a_hang(own_redis: RunningRedis) -> None:
    async with api_over(own_redis, NOW, redis_timeout_seconds=0.5) as api:
        api.write([added("2026-11-22T00:00:00+00:00")])
        assert (await api.json())["added"]["count"] == 1
        own_redis.stop()
        for path in (
            f"{BASE}",
            f"{BASE}/activities.csv",
            f"{BASE}/filters",
            f"{BASE}/live",
            "/v1/workspaces",
            "/readyz",
        ):
            answer = await api.client.get(path)
            assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
            assert answer.json()["code"] == "redis_unavailable"
        assert (await api.client.get("/livez")).status_code == 200
        told = (await api.client.get("/readyz?verbose")).json()
        assert (told["status"], told["redis"]) == ("not ready", "redis_unavailable")
        # and it answers again as soon as there is one
        own_redis.start()
        api.write([added("2026-11-22T00:00:00+00:00")])
        assert (await api.json())["added"]["count"] == 1


async def test_a_redis_that_hangs_is_given_up_on(own_redis: RunningRedis) -> None:
    async with api_over(own_redis, NOW, redis_timeout_seconds=1.0) as api:
        api.write([])
        await api.json()
        assert own_redis.process is not None
        own_redis.process.send_signal(19)
        assert (await api.get()).status_code == 503
        own_redis.process.send_signal(18)
        assert (await api.get()).status_code == 200


async def test_a_read_that_is_sent_again_takes_no_parts_that_a_day_has_no_longer(shared_redis: RunningRedis) -> None:
    """Another read may have shown that a day has other parts, so that nothing of it is new to the one that is sent
    again and asks for those that it had.
    """
    days = Days([DAY])
    async with api_over(shared_redis, NOW) as api:
        reader: Reader = api.app.state.reader

        async def read(prepared: Prepared | None = None) -> Snapshot:
            seen = reader.seen("w", days)
            return await reader.read("w", seen, prepared or reader.prepare("w", seen, {}))

        api.write([added("2026-11-23T00:00:00Z", number) for number in range(9)])
        await read()
        # Given a read of the day's parts
        again = reader.prepare("w", reader.seen("w", days), {DAY: SUMMARIES})
        assert list((await read(again)).parts) == [DAY]
        # When the day has other ones, as a read of the day alone has shown
        api.data.client.hset(f"{api.data.prefix}days:w", str(DAY), "00000000000000ff 0:9")
        await read()
        # Then the same read has none of it, and is sent no more
        assert not (await read(again)).parts
        assert not again.suits(reader.seen("w", days).known, [])


async def test_a_read_that_is_sent_again_asks_for_the_days_that_change_and_for_no_others(
    shared_redis: RunningRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    today, yesterday = DAY, DAY - 1
    one, other = {"source": "none"}, {"source": "none,user"}
    async with api_over(shared_redis, NOW) as api:
        reader: Reader = api.app.state.reader
        read, reads = reader.read, []

        async def noting(workspace_id: str, seen: Seen, prepared: Prepared) -> Snapshot:
            reads.append([] if prepared.asked is None else list(prepared.asked.wanted))
            return await read(workspace_id, seen, prepared)

        monkeypatch.setattr(reader, "read", noting)

        async def asked(question: dict[str, str], *changed: int) -> list[list[int]]:
            """The days that each read asks for, once these have changed."""
            for day in changed:
                api.data.change_day(day)
            reads.clear()
            assert (await api.json("/summary", **question))["added"]["count"] == 2
            return list(reads)

        api.write([added("2026-11-23T00:00:00Z", 0), added("2026-11-22T00:00:00Z", 1)])
        # Given two questions, each asked before
        assert await asked(one) == [[], [yesterday, today]]
        assert await asked(one) == [[]]
        assert await asked(other) == [[yesterday, today]]
        assert await asked(other) == [[]]
        # When a day changes, then it is asked for after that was seen, and from then on at once
        assert await asked(one, today) == [[], [today]]
        assert [await asked(one, today) for _ in range(3)] == [[[today]]] * 3
        # When another one does too, the answer to one question shows it to the next one
        assert await asked(other, today, yesterday) == [[today], [yesterday, today]]
        assert [await asked(one, today, yesterday) for _ in range(2)] == [[[yesterday, today]]] * 2
        # A day that has come to rest is asked for once more
        assert await asked(one, yesterday) == [[yesterday, today]]
        assert await asked(one, yesterday) == [[yesterday]]
