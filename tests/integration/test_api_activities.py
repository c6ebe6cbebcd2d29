"""The activity table: cursors while rows arrive, rare rows, imports, exports, and rows that are gone."""

import csv
import io
import json
import random
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from redis.asyncio import Redis

from api.read.snapshot import Moved
from stream.projection.row_retention import Limits, RowLimits
from stream.storage.keys import Keys
from tests.support import recount
from tests.support.api import BASE, Api, api_over, serving, shared_redis
from tests.support.recount import Asked
from tests.support.redis_data import Event, missing_rows
from tests.support.redis_server import RunningRedis

__all__ = ["shared_redis"]

NOW = datetime(2026, 11, 23, 13, 0, tzinfo=UTC).timestamp()
DAY = 20_780
HOUR = 3_600 * 10**9


def at(hours_ago: float) -> int:
    return int((NOW - hours_ago * 3_600) * 10**9)


def ids(page: Any) -> list[str]:
    return [row["event_id"] for row in page["activities"]]


async def test_a_row_is_shown_as_it_came(shared_redis: RunningRedis) -> None:
    async with api_over(shared_redis, NOW) as api:
        moment = int(datetime(2026, 11, 22, 1, 2, 3, tzinfo=UTC).timestamp()) * 10**9
        event = Event(
            moment + 123_456_789, "ev", "deleted", "shop", "u_1", "Ada", contact="c_9", name="Eve", batch="b", digits=4
        )
        plain = Event(moment, "ev2")
        leap = Event(moment + 999_999_999, "ev3", digits=9)
        api.write([event, plain, leap])
        page = await api.json("/activities", timezone="Asia/Kolkata")
        assert page["activities"] == [
            {
                "occurred_at": "2026-11-22T06:32:03.999999999+05:30",
                "contact_id": "c",
                "contact_name": None,
                "activity": "added",
                "source": None,
                "user_id": None,
                "user_name": None,
                "event_id": "ev3",
                "batch_id": None,
            },
            {
                "occurred_at": "2026-11-22T06:32:03.1234+05:30",
                "contact_id": "c_9",
                "contact_name": "Eve",
                "activity": "deleted",
                "source": "shop",
                "user_id": "u_1",
                "user_name": "Ada",
                "event_id": "ev",
                "batch_id": "b",
            },
            {
                "occurred_at": "2026-11-22T06:32:03+05:30",
                "contact_id": "c",
                "contact_name": None,
                "activity": "added",
                "source": None,
                "user_id": None,
                "user_name": None,
                "event_id": "ev2",
                "batch_id": None,
            },
        ]
        assert (page["total"], page["next_cursor"], page["truncated_before"]) == (3, None, None)


async def test_pages_neither_skip_nor_repeat_while_rows_arrive(shared_redis: RunningRedis) -> None:
    rng = random.Random(1)
    for order in ("desc", "asc"):
        async with api_over(shared_redis, NOW) as api:
            events = [Event(at(rng.uniform(0, 100)), f"e{i}", offset=i) for i in range(60)]
            first_ones = {event.id for event in events}
            seen: list[str] = []
            cursor: dict[str, str] = {}
            while True:
                # Given more events at any time between two pages
                numbers = range(len(events), len(events) + 5)
                events += [Event(at(rng.uniform(0, 100)), f"late{number}", offset=number) for number in numbers]
                api.write(events)
                page = await api.json("/activities", limit=7, order=order, **cursor)
                assert page["total"] == len(events)
                seen += ids(page)
                if page["next_cursor"] is None:
                    break
                cursor = {"cursor": page["next_cursor"]}
            # Then each of the first ones comes once, and nothing comes twice
            assert len(seen) == len(set(seen))
            assert first_ones <= set(seen)


async def test_a_cursor_keeps_its_range_and_its_parameters(shared_redis: RunningRedis) -> None:
    async with api_over(shared_redis, NOW) as api:
        api.write([Event(at(i), f"e{i:03d}") for i in range(0, 60, 2)])
        page = await api.json("/activities", period="today", limit=2)
        assert ids(page) == ["e000", "e002"]
        # Given midnight has passed
        api.clock.now += 86_400
        following = await api.json("/activities", period="today", limit=50, cursor=page["next_cursor"])
        assert following["query"]["from"] == "2026-11-23"
        assert ids(following) == ["e004", "e006", "e008", "e010", "e012"]
        for other in (
            {"period": "yesterday"},
            {"period": "today", "order": "asc"},
            {"period": "today", "activity": "added"},
            {"period": "today", "source": "user"},
            {"period": "today", "timezone": "Etc/UTC"},
            {"period": "today", "compare": "none"},
        ):
            answer = await api.get("/activities", cursor=page["next_cursor"], **other)
            assert answer.status_code == 400
            assert [error["parameter"] for error in answer.json()["errors"]] == ["cursor"]
        elsewhere = await api.client.get(
            "/v1/workspaces/other/reports/contacts/activities",
            params={"period": "today", "cursor": page["next_cursor"]},
        )
        assert elsewhere.status_code == 400
        for nonsense in ("x", "", "%%%", "a" * 3_000, page["next_cursor"][:-2], "é"):
            answer = await api.get("/activities", period="today", cursor=nonsense)
            assert answer.status_code == (400 if nonsense else 200)


async def test_link_leads_through_all_pages(shared_redis: RunningRedis) -> None:
    async with api_over(shared_redis, NOW) as api:
        api.write([Event(at(i), f"e{i}", source="a b", offset=i) for i in range(10)])
        answer = await api.get("/activities", limit=4, source="a b")
        seen: list[str] = []
        while True:
            seen += ids(answer.json())
            if "link" not in answer.headers:
                break
            address = answer.headers["link"].removeprefix("<").removesuffix('>; rel="next"')
            answer = await api.client.get(address)
        assert seen == [f"e{i}" for i in range(10)]


async def test_rows_at_one_instant_are_ordered_by_id_partition_and_offset(shared_redis: RunningRedis) -> None:
    async with api_over(shared_redis, NOW) as api:
        events = [
            Event(at(1), "b", contact="3"),
            Event(at(1), "a", contact="1", partition=0, offset=7),
            Event(at(1), "a", contact="2", partition=1, offset=3),
            Event(at(1), "a\x00", contact="2.5"),
            Event(at(1), "é", contact="4"),
        ]
        api.write(events, partitions=2)
        for limit in (1, 2, 50):
            contacts: list[str] = []
            cursor: dict[str, str] = {}
            while True:
                page = await api.json("/activities", order="asc", limit=limit, **cursor)
                contacts += [row["contact_id"] for row in page["activities"]]
                if page["next_cursor"] is None:
                    break
                cursor = {"cursor": page["next_cursor"]}
            assert contacts == ["1", "2", "2.5", "3", "4"]
        page = await api.json("/activities")
        assert [row["contact_id"] for row in page["activities"]] == ["4", "3", "2.5", "2", "1"]


async def test_rare_rows_are_found_through_the_cells(shared_redis: RunningRedis) -> None:
    rng = random.Random(5)
    async with api_over(shared_redis, NOW) as api:
        events = [
            Event(
                at(rng.uniform(0, 160)),
                f"e{i:05d}",
                rng.choice(["added", "deleted"]),
                source="rare" if i % 400 == 7 else "user",
                user="u_rare" if i % 300 == 5 else f"u{i % 3}",
                offset=i,
            )
            for i in range(6_000)
        ]
        api.write(events)
        for filters in (
            {"source": ["rare"]},
            {"user": ["u_rare"]},
            {"user": ["u_rare", "u1"], "source": ["rare", "x"]},
        ):
            for order in ("asc", "desc"):
                expected = recount.activities(events, Asked(filters, NOW, NOW), order)
                found: list[str] = []
                cursor: dict[str, str] = {}
                while True:
                    page = await api.json("/activities", limit=6, order=order, **filters, **cursor)
                    found += ids(page)
                    assert page["total"] == len(expected)
                    if page["next_cursor"] is None:
                        break
                    cursor = {"cursor": page["next_cursor"]}
                assert found == expected
        before = api.app.state.reader.reads
        await api.json("/activities", limit=6, source="rare")
        assert api.app.state.reader.reads - before <= 4


def an_import(number: int, hours_ago: float, **more: Any) -> list[Event]:
    return [
        Event(at(hours_ago) - i * 10**9, f"{more.get('batch')}-{i:05d}", contact=f"c{i}", offset=i, **more)
        for i in range(number)
    ]


async def test_an_import_is_folded_to_its_newest_place(shared_redis: RunningRedis) -> None:
    async with api_over(shared_redis, NOW) as api:
        events = [
            *an_import(30, 2, batch="b1", source="contact_import", user="u_1", label="Ada"),
            *an_import(2, 2.001, batch="b1", activity="deleted"),
            *an_import(1, 3, batch="b2"),
            Event(at(1), "newest"),
            Event(at(2) - 5 * 10**9 + 1, "between"),
            Event(at(9), "oldest"),
        ]
        api.write(events)
        page = await api.json("/activities", batches="fold")
        assert page["total"] == 36
        shown = [(row["event_id"] or row["batch_id"], row["activity"], row.get("rows")) for row in page["activities"]]
        assert shown == [
            ("newest", "added", None),
            ("b1", "added", 30),
            ("b1", "deleted", 2),
            ("between", "added", None),
            ("b2", "added", 1),
            ("oldest", "added", None),
        ]
        assert page["activities"][1] == {
            "occurred_at": "2026-11-23T11:00:00+00:00",
            "contact_id": None,
            "contact_name": None,
            "activity": "added",
            "source": "contact_import",
            "user_id": "u_1",
            "user_name": "Ada",
            "event_id": None,
            "batch_id": "b1",
            "rows": 30,
            "first": "2026-11-23T10:59:31+00:00",
            "last": "2026-11-23T11:00:00+00:00",
        }
        # the other way round an import stands at its newest row too
        page = await api.json("/activities", batches="fold", order="asc")
        assert [row["event_id"] or row["batch_id"] for row in page["activities"]] == [
            "oldest", "b2", "between", "b1", "b1", "newest",
        ]  # fmt: skip
        # and `limit` counts folded rows; the next page goes on where this one ended
        seen: list[tuple[str, int]] = []
        cursor: dict[str, str] = {}
        while True:
            page = await api.json("/activities", batches="fold", limit=2, **cursor)
            assert len(page["activities"]) <= 2
            seen += [(row["event_id"] or row["batch_id"], row.get("rows", 1)) for row in page["activities"]]
            if page["next_cursor"] is None:
                break
            cursor = {"cursor": page["next_cursor"]}
        assert sum(rows for _, rows in seen) == 36
        assert {name for name, _ in seen} == {"newest", "b1", "between", "b2", "oldest"}


async def test_the_rows_of_one_import(shared_redis: RunningRedis) -> None:
    async with api_over(shared_redis, NOW) as api:
        events = [*an_import(130, 2, batch="b1"), *an_import(40, 2, batch="b1x", user="b1"), Event(at(1), "other")]
        api.write(events)
        found: list[str] = []
        cursor: dict[str, str] = {}
        while True:
            page = await api.json("/activities", batch="b1", limit=50, **cursor)
            assert page["total"] is None
            found += ids(page)
            if page["next_cursor"] is None:
                break
            cursor = {"cursor": page["next_cursor"]}
        assert found == [f"b1-{i:05d}" for i in range(130)]
        assert ids(await api.json("/activities", batch="never")) == []


async def test_a_page_looks_at_no_more_than_twenty_thousand_rows(shared_redis: RunningRedis) -> None:
    async with api_over(shared_redis, NOW) as api:
        events = [*an_import(30_000, 2, batch="big"), Event(at(20), "old", batch="small")]
        api.write(events)
        page = await api.json("/activities", batches="fold")
        assert [(row["batch_id"], row["rows"]) for row in page["activities"]] == [("big", 20_000)]
        page = await api.json("/activities", batches="fold", cursor=page["next_cursor"])
        assert [(row["batch_id"], row["rows"]) for row in page["activities"]] == [("big", 10_000), ("small", 1)]
        before = api.app.state.reader.reads
        page = await api.json("/activities", batch="small")
        assert (ids(page), page["next_cursor"] is not None) == ([], True)
        assert api.app.state.reader.reads - before <= 22, "the counts, and a thousand rows at a time"
        page = await api.json("/activities", batch="small", cursor=page["next_cursor"])
        assert (ids(page), page["next_cursor"]) == (["old"], None)


@pytest.mark.parametrize(
    ("fields", "truncated_before"),
    [
        ({}, None),
        ({"0.rows_from": DAY - 1}, "2026-11-22T00:00:00Z"),
        ({"0.rows_from": DAY - 1, "1.rows_from": DAY - 9}, "2026-11-22T00:00:00Z"),
        # rows that are missing: up to five minutes after the broker's time of the newest of them
        ({"0.owed": missing_rows((-1, 9, 1_000), (20, 30, DAY * 86_400_000 - 300_001))}, "2026-11-23T00:00:00Z"),
        ({"0.owed": missing_rows((-1, 9, 1_000), (20, 30, DAY * 86_400_000 - 300_000))}, "2026-11-24T00:00:00Z"),
    ],
)
async def test_from_when_on_rows_are_complete(
    shared_redis: RunningRedis, fields: dict[str, Any], truncated_before: str | None
) -> None:
    async with api_over(shared_redis, NOW) as api:
        events = [Event(at(i * 5), f"e{i}") for i in range(20)]
        api.write(events, partitions=2, fields=fields)
        api.data.client.delete(*[api.data.prefix + f"rows1:w:{day}" for day in range(DAY - 9, DAY - 1)])
        page = await api.json("/activities")
        assert page["truncated_before"] == truncated_before
        assert page["total"] == 20
        # a limit of rows is kept for each workspace; the later of the two decides
        change = api.data.client.hget(api.data.prefix + "days:w", "all").decode()
        api.data.client.hset(api.data.prefix + "days:w", "all", f"{change} {DAY}")
        dropped = (await api.json("/activities"))["truncated_before"]
        assert dropped == max(truncated_before or "", "2026-11-23T00:00:00Z")
        assert ids(page) == [f"e{i}" for i in range(8)]


async def all_lines(api: Api, path: str, **asked: Any) -> list[list[str]]:
    answer = await api.get(path, **asked)
    assert answer.status_code == 200
    assert answer.content.endswith(b"\r\n")
    return list(csv.reader(io.StringIO(answer.text, newline="")))


async def test_exports_have_every_row(shared_redis: RunningRedis) -> None:
    async with api_over(shared_redis, NOW) as api:
        events = [
            Event(at(i / 20), f"e{i:05d}", "added" if i % 3 else "deleted", user="u" if i % 2 else None, offset=i)
            for i in range(3_000)
        ]
        api.write(events)
        for asked in ({}, {"user": "none", "order": "asc"}, {"activity": "deleted"}):
            expected = recount.activities(
                events,
                Asked({name: [value] for name, value in asked.items() if name == "user"}, NOW, NOW),
                asked.get("order", "desc"),
                asked.get("activity"),
            )
            answer = await api.get("/activities.ndjson", **asked, limit=2)
            assert answer.headers["content-type"] == "application/x-ndjson; charset=utf-8"
            rows = [json.loads(line) for line in answer.text.splitlines()]
            assert [row["event_id"] for row in rows] == expected
            first = (await api.json("/activities", **asked, limit=1))["activities"][0]
            assert rows[0] == first
            lines = await all_lines(api, "/activities.csv", **asked)
            assert lines[0] == ["Activity Time", "Contact ID", "Contact Name", "Activity", "Source", "User"]
            assert len(lines) == len(expected) + 1
        # with a limit it is a page, whose Link leads on
        answer = await api.get("/activities.csv", limit=10)
        assert len(answer.text.splitlines()) == 11
        address = answer.headers["link"].removeprefix("<").removesuffix('>; rel="next"')
        assert len((await api.client.get(address)).text.splitlines()) == 11
        # and an import is never folded there
        assert (await api.get("/activities.csv", batches="fold")).status_code == 400
        assert (await api.get("/activities.ndjson", batches="fold")).status_code == 400


async def test_a_folded_page_is_there_although_events_keep_coming(
    shared_redis: RunningRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a large import today, and a day that changes with every third read
    async with api_over(shared_redis, NOW) as api:
        api.write(an_import(20_000, 2, batch="big"))
        reader, reads = api.app.state.reader, 0
        days, manifest = f"{api.data.prefix}days:w", api.data.client.hget(api.data.prefix + "days:w", str(DAY)).decode()
        rows = reader.rows

        async def beside_a_writer(*asked: Any) -> Any:
            nonlocal reads
            reads += 1
            if reads % 3 == 0:
                api.data.client.hset(days, str(DAY), f"{reads:016x} {manifest.partition(' ')[2]}")
            return await rows(*asked)

        monkeypatch.setattr(reader, "rows", beside_a_writer)
        # When its page is asked for, then it has fewer rows of the import, and the next one goes on
        page = await api.json("/activities", batches="fold")
        [first] = page["activities"]
        assert (first["batch_id"], page["total"]) == ("big", 20_000)
        assert 1_000 <= first["rows"] < 20_000
        assert page["next_cursor"] is not None


@pytest.mark.parametrize(
    ("path", "parameters", "named"),
    [
        ("/activities", {"cursor": "nonsense", "interval": "second"}, {"cursor", "interval"}),
        ("/activities", {"cursor": "nonsense", "to": "2026-11-23"}, {"cursor", "from"}),
        ("/activities.ndjson", {"cursor": "%", "batches": "fold", "limit": "0"}, {"cursor", "batches", "limit"}),
        ("/activities.csv", {"batches": "fold", "bom": "yes"}, {"batches", "bom"}),
    ],
)
async def test_every_parameter_at_fault_is_named_at_once(
    shared_redis: RunningRedis, path: str, parameters: dict[str, str], named: set[str]
) -> None:
    async with api_over(shared_redis, NOW) as api:
        answer = await api.client.get(f"{BASE}{path}", params=parameters)
        assert answer.status_code == 400
        assert {error["parameter"] for error in answer.json()["errors"]} == named


async def test_a_link_leaves_out_what_is_as_if_absent(shared_redis: RunningRedis) -> None:
    async with api_over(shared_redis, NOW) as api:
        api.write([Event(at(1), "a"), Event(at(2), "b")])
        answer = await api.client.get(f"{BASE}/activities?%FF=&user=&limit=1")
        assert answer.status_code == 200
        assert "?limit=1&cursor=" in answer.headers["link"]


async def test_pages_that_looked_at_less_are_another_revision(
    shared_redis: RunningRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with api_over(shared_redis, NOW) as api:
        api.write([*an_import(3_000, 2), *an_import(10, 4, batch="b")])
        asked = {"batch": "b", "limit": 100}
        reader = api.app.state.reader
        rows, moves = reader.rows, 4

        async def moving(*given: Any) -> Any:
            nonlocal moves
            moves -= 1
            if moves >= 0:
                raise Moved
            return await rows(*given)

        monkeypatch.setattr(reader, "rows", moving)
        less = await api.get("/activities", **asked)
        whole = await api.get("/activities", **asked)
        assert (ids(less.json()), len(ids(whole.json()))) == ([], 10)
        assert less.headers["etag"] != whole.headers["etag"]
        again = await api.get("/activities", {"If-None-Match": less.headers["etag"]}, **asked)
        assert again.status_code == 200


@pytest.mark.parametrize("lost", ["positions", "rows"])
async def test_an_export_that_loses_rows_on_its_way_breaks_off(
    shared_redis: RunningRedis, monkeypatch: pytest.MonkeyPatch, lost: str
) -> None:
    async with serving(shared_redis, NOW) as (api, client):
        api.write(an_import(20_000, 2))
        reader = api.app.state.reader
        rows, reads = reader.rows, 0

        async def losing(*given: Any) -> Any:
            nonlocal reads
            reads += 1
            if reads == 4:
                keys = api.data.prefix + ("positions" if lost == "positions" else f"rows1:w:{DAY}")
                api.data.client.delete(keys)
                if lost == "rows":
                    change = api.data.client.hget(api.data.prefix + "days:w", "all").decode()
                    api.data.client.hset(api.data.prefix + "days:w", "all", f"{change} {DAY + 1}")
            return await rows(*given)

        monkeypatch.setattr(reader, "rows", losing)
        with pytest.raises(httpx.RemoteProtocolError):
            await client.get(f"{BASE}/activities.ndjson")


async def test_a_day_that_is_kept_in_part_shows_its_newest_rows_and_says_from_where_on_they_are_complete(
    shared_redis: RunningRedis,
) -> None:
    # Given a day with five rows, and a worker that is told to keep three
    async with api_over(shared_redis, NOW) as api:
        start = int(NOW) // 86_400 * 86_400 * 10**9
        api.write([Event(start + n * 10**9, f"e{n}", offset=n) for n in range(5)])
        async with Redis.from_url(shared_redis.url) as client:
            keys = Keys(api.data.prefix.split(":")[1])
            await RowLimits(client, keys, Limits(row_limit=3)).keep(int(NOW) // 86_400)
        # When the table is asked for, in both orders and page by page
        pages = [await api.json("/activities", period="today", order=order) for order in ("desc", "asc")]
        first = await api.json("/activities", period="today", limit=2)
        last = await api.json("/activities", period="today", limit=2, cursor=first["next_cursor"])
    # Then the newest are there, the total is that of the counts, and the rows are complete from the next day on
    assert [row["event_id"] for row in pages[0]["activities"]] == ["e4", "e3", "e2"]
    assert [row["event_id"] for row in pages[1]["activities"]] == ["e2", "e3", "e4"]
    assert [row["event_id"] for row in (*first["activities"], *last["activities"])] == ["e4", "e3", "e2"]
    assert last["next_cursor"] is None
    tomorrow = datetime.fromtimestamp((int(NOW) // 86_400 + 1) * 86_400, UTC)
    for page in (*pages, first, last):
        assert page["total"] == 5
        assert datetime.fromisoformat(page["truncated_before"]) == tomorrow
