"""Formats by suffix or Accept, problems of every kind, and what comes with every answer."""

import csv
import gzip
import io
import re
from datetime import UTC, datetime
from typing import Any

import cramjam
import pytest

from api.http.modules import read_module
from api.http.static import PAGE
from tests.support.api import BASE, api_over, shared_redis
from tests.support.redis_data import Event
from tests.support.redis_server import RunningRedis

__all__ = ["shared_redis"]

NOW = datetime(2026, 11, 23, 13, 0, tzinfo=UTC).timestamp()
MOMENT = int(datetime(2026, 11, 23, 1, tzinfo=UTC).timestamp()) * 10**9


def quoted(table: str) -> str:
    """The table with its texts in quotes; numbers and what there is not have none."""
    rows = csv.reader(io.StringIO(table, newline=""))
    texts = re.compile(r"[^0-9.-]")
    cells = [[f'"{c.replace(chr(34), chr(34) * 2)}"' if texts.search(c) else c for c in row] for row in rows]
    return "".join(",".join(row) + "\r\n" for row in cells)


async def test_every_component_but_two_is_a_table(shared_redis: RunningRedis) -> None:
    async with api_over(shared_redis, NOW) as api:
        api.write(
            [
                Event(MOMENT, "1", source="=shop", user="u_1", label="@da, the 1st", name='+"x"', contact="-1"),
                Event(MOMENT, "2", "deleted", user="u_2"),
                Event(MOMENT - 3 * 86_400 * 10**9, "3"),
                Event(MOMENT - 3 * 86_400 * 10**9, "4"),
            ]
        )
        asked = {"from_": "2026-11-22", "to": "2026-11-24", "interval": "day"}
        tables = {
            "summary": "metric,count,previous,change_percent\r\nadded,1,2,-50.0\r\ndeleted,1,0,\r\n",
            "timeline": (
                "start,end,state,added,deleted,previous_added,previous_deleted\r\n"
                "2026-11-22T00:00:00+00:00,2026-11-23T00:00:00+00:00,final,0,0,0,0\r\n"
                "2026-11-23T00:00:00+00:00,2026-11-24T00:00:00+00:00,open,1,1,2,0\r\n"
                "2026-11-24T00:00:00+00:00,2026-11-25T00:00:00+00:00,future,,,0,0\r\n"
            ),
            "sources": (
                "start,end,state,incoming_message,developer_api,contact_import,user,echo_message,'=shop\r\n"
                "2026-11-22T00:00:00+00:00,2026-11-23T00:00:00+00:00,final,0,0,0,0,0,0\r\n"
                "2026-11-23T00:00:00+00:00,2026-11-24T00:00:00+00:00,open,0,0,0,0,0,1\r\n"
                "2026-11-24T00:00:00+00:00,2026-11-25T00:00:00+00:00,future,,,,,,\r\n"
            ),
            "users": 'user_id,user_name,added,deleted\r\nu_1,"\'@da, the 1st",1,0\r\nu_2,,0,1\r\n',
            "activities": (
                "Activity Time,Contact ID,Contact Name,Activity,Source,User\r\n"
                "2026-11-23T01:00:00+00:00,c,,deleted,,u_2\r\n"
                '2026-11-23T01:00:00+00:00,\'-1,"\'+""x""",added,\'=shop,"\'@da, the 1st"\r\n'
            ),
        }
        for name, table in ((name, quoted(unquoted)) for name, unquoted in tables.items()):
            for path, headers in ((f"/{name}.csv", {}), (f"/{name}", {"Accept": "text/csv"})):
                answer = await api.get(path, headers, **asked)
                assert answer.status_code == 200
                assert answer.content.decode() == table
                assert answer.headers["content-type"].startswith("text/csv; charset=utf-8")
                assert answer.headers["content-disposition"] == (
                    f'attachment; filename="contacts-{name}_w_2026-11-22_2026-11-24_UTC.csv"'
                )
                assert answer.headers["contacts-lag-seconds"] == "0.0"
            answer = await api.get(f"/{name}.csv", **asked, bom="true")
            assert answer.content.decode() == "\ufeff" + table
        for path in ("", "/filters"):
            for suffix, headers in ((".csv", {}), ("", {"Accept": "text/csv"})):
                answer = await api.get(path + suffix, headers)
                assert (answer.status_code, answer.json()["code"]) == (406, "not_acceptable")


async def test_a_source_that_is_called_like_a_column_has_one_of_its_own(shared_redis: RunningRedis) -> None:
    async with api_over(shared_redis, NOW) as api:
        sources = ["start", "end", "state", "added", "source: start"]
        api.write([Event(MOMENT, name, source=name, offset=i) for i, name in enumerate(sources)])
        answer = await api.get("/sources.csv", from_="2026-11-23", to="2026-11-23", interval="day")
        head, row, *_ = csv.reader(answer.text.splitlines())
        assert len(set(head)) == len(head)
        assert head[8:] == ["added", "Source: end", "source: start", "Source: start", "Source: state"]
        assert row[8:] == ["1"] * 5


async def test_a_file_tells_its_workspace_and_zone(shared_redis: RunningRedis) -> None:
    async with api_over(shared_redis, NOW) as api:
        api.write([Event(MOMENT, "1")])
        asked = {"timezone": "America/Argentina/Buenos_Aires", "from": "2026-11-22", "to": "2026-11-23"}
        page: dict[str, str] = {"limit": "1"}
        for file, more in (
            ("summary.csv", {}),
            ("activities.csv", {}),
            ("activities.csv", page),
            ("activities.ndjson", {}),
        ):
            name, suffix = file.split(".")
            path = f"/v1/workspaces/eu:a.b~1@c/reports/contacts/{file}"
            answer = await api.client.get(path, params=asked | more)
            assert answer.status_code == 200, answer.text
            expected = f"contacts-{name}_eu-a.b~1@c_2026-11-22_2026-11-23_America-Argentina-Buenos_Aires.{suffix}"
            assert answer.headers["content-disposition"] == f'attachment; filename="{expected}"'


@pytest.mark.parametrize(
    ("path", "accept", "status", "media_type"),
    [
        ("", "*/*", 200, "application/json"),
        ("", "", 200, "application/json"),
        ("", "application/json", 200, "application/json"),
        (".json", "text/csv", 200, "application/json"),
        ("", "text/html,application/xhtml+xml,*/*;q=0.8", 200, "application/json"),
        ("", "text/html", 406, "application/problem+json"),
        ("", "application/json;q=0", 406, "application/problem+json"),
        ("/summary", "text/*", 200, "text/csv"),
        ("/summary", "text/csv;q=0.5, application/json;q=0.4", 200, "text/csv"),
        ("/summary", "text/csv;q=0.5, application/*", 200, "application/json"),
        ("/summary", "application/x-ndjson", 406, "application/problem+json"),
        ("/summary.ndjson", "*/*", 406, "application/problem+json"),
        ("/activities", "application/x-ndjson", 200, "application/x-ndjson"),
        ("/activities", "APPLICATION/X-NDJSON", 200, "application/x-ndjson"),
        ("/summary.xml", "*/*", 404, "application/problem+json"),
        ("/nothing", "*/*", 404, "application/problem+json"),
        ("/live", "application/json", 406, "application/problem+json"),
        ("/live.csv", "*/*", 406, "application/problem+json"),
    ],
)
async def test_the_format_is_the_suffix_or_what_accept_likes_best(
    shared_redis: RunningRedis, path: str, accept: str, status: int, media_type: str
) -> None:
    async with api_over(shared_redis, NOW) as api:
        api.write([Event(MOMENT, "1")])
        answer = await api.get(path, {"Accept": accept})
        assert (answer.status_code, answer.headers["content-type"].partition(";")[0]) == (status, media_type)


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/nothing", 404, "not_found"),
        ("GET", "/v1", 404, "not_found"),
        ("GET", "/v1/workspaces/w", 404, "not_found"),
        ("GET", "/v1/workspaces/w/reports", 404, "not_found"),
        ("GET", "/v1/workspaces/a b/reports/contacts", 404, "not_found"),
        ("GET", "/v1/workspaces/%2E%2E/reports/contacts", 404, "not_found"),
        ("GET", f"/v1/workspaces/{'w' * 129}/reports/contacts", 404, "not_found"),
        ("GET", "/v1/workspaces/w/reports/contacts/summary/x", 404, "not_found"),
        ("GET", "/page/../app.py", 404, "not_found"),
        ("GET", "/page/%2e%2e/app.py", 404, "not_found"),
        ("GET", "/page/nothing.js", 404, "not_found"),
        ("GET", "/page/%00.js", 404, "not_found"),
        ("POST", BASE, 405, "method_not_allowed"),
        ("DELETE", "/v1/workspaces", 405, "method_not_allowed"),
        ("PUT", f"{BASE}/summary", 405, "method_not_allowed"),
        ("PATCH", "/", 405, "method_not_allowed"),
        ("GET", f"{BASE}?perid=today", 400, "bad_parameter"),
        ("GET", f"{BASE}/filters?period=today", 400, "bad_parameter"),
        ("GET", f"{BASE}/summary?limit=5", 400, "bad_parameter"),
        ("GET", "/v1/workspaces?limit=1001", 400, "bad_parameter"),
        ("GET", "/v1/workspaces?cursor=x", 400, "bad_parameter"),
    ],
)
async def test_every_error_is_a_problem(
    shared_redis: RunningRedis, method: str, path: str, status: int, code: str
) -> None:
    async with api_over(shared_redis, NOW) as api:
        api.write([])
        answer = await api.client.request(method, path)
        assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")
        problem = answer.json()
        assert (problem["status"], problem["code"]) == (status, code)
        assert set(problem) == {"type", "title", "status", "detail", "code"} | ({"errors"} if status == 400 else set())
        assert problem["type"] in f'/docs#{code} href="'
        if status == 405:
            assert answer.headers["allow"] == "GET, HEAD"


async def test_every_wrong_parameter_is_in_one_answer(shared_redis: RunningRedis) -> None:
    async with api_over(shared_redis, NOW) as api:
        answer = await api.client.get(f"{BASE}?from=2026-11-02&timezone=Mars&perid=x&compare=no")
        assert answer.status_code == 400
        assert sorted(error["parameter"] for error in answer.json()["errors"]) == ["compare", "perid", "timezone", "to"]


async def test_head_is_get_without_the_body(shared_redis: RunningRedis) -> None:
    async with api_over(shared_redis, NOW) as api:
        api.write([Event(MOMENT, "1")])
        for path in ("", "/summary", "/activities.csv", "/live"):
            answer = await api.client.head(BASE + path)
            assert (answer.status_code, answer.content) == (200, b"")
        assert api.app.state.metrics.live_listeners._value.get() == 0


async def test_answers_are_compressed_for_who_accepts_it(shared_redis: RunningRedis) -> None:
    async with api_over(shared_redis, NOW) as api:
        api.write([Event(MOMENT - i * 10**10, f"e{i}") for i in range(500)])
        for path in ("", "/activities", "/activities.csv", "/activities.ndjson"):
            plain = await api.get(path, {"Accept-Encoding": "identity"})
            assert "content-encoding" not in plain.headers
            packed = await api.get(path, {"Accept-Encoding": "br, gzip;q=0.5"})
            assert packed.headers["content-encoding"] == "gzip"
            assert packed.text == plain.text
            assert int(packed.num_bytes_downloaded) < len(plain.content)
            refused = await api.get(path, {"Accept-Encoding": "gzip;q=0"})
            assert "content-encoding" not in refused.headers


async def test_the_page_comes_as_brotli_to_who_takes_it_and_as_gzip_or_plain_to_the_others(
    shared_redis: RunningRedis,
) -> None:
    async with api_over(shared_redis, NOW) as api:
        tags, contents = set(), set()
        for accepted, encoding in (("gzip, deflate, br", "br"), ("gzip, br;q=0", "gzip"), ("identity", None)):
            async with api.client.stream("GET", "/page/main.js", headers={"Accept-Encoding": accepted}) as answer:
                raw = b"".join([piece async for piece in answer.aiter_raw()])
            assert answer.headers.get("content-encoding") == encoding
            assert int(answer.headers["content-length"]) == len(raw)
            unpack = {"br": cramjam.brotli.decompress, "gzip": gzip.decompress, None: bytes}[encoding]
            contents.add(bytes(unpack(raw)))
            tags.add(answer.headers["etag"])
        assert contents == {read_module(PAGE / "main.js")}
        assert len(tags) == 1


async def test_other_origins_only_where_they_are_listed(shared_redis: RunningRedis) -> None:
    async def asked(origin: str, **settings: Any) -> tuple[str | None, str | None]:
        async with api_over(shared_redis, NOW, **settings) as api:
            api.write([])
            answer = await api.get("", {"Origin": origin})
            assert answer.status_code == 200
            preflight = await api.client.options(
                BASE,
                headers={
                    "Origin": origin,
                    "Access-Control-Request-Method": "GET",
                    "Access-Control-Request-Headers": "authorization",
                },
            )
            name = "access-control-allow-origin"
            return answer.headers.get(name), preflight.headers.get(name)

    listed = {"api_cors_origins": ("https://app.example",)}
    assert await asked("https://app.example") == (None, None)
    assert await asked("https://app.example", **listed) == ("https://app.example", "https://app.example")
    assert await asked("https://evil.example", **listed) == (None, None)


async def test_the_page_and_its_policy(shared_redis: RunningRedis) -> None:
    async with api_over(shared_redis, NOW, api_frame_ancestors=("self", "https://app.example")) as api:
        answer = await api.client.get("/?workspace=w")
        assert answer.status_code == 200
        assert answer.headers["content-type"] == "text/html; charset=utf-8"
        policy = answer.headers["content-security-policy"]
        assert "script-src 'self'" in policy
        assert policy.endswith("frame-ancestors 'self' https://app.example")
        again = await api.client.get("/", headers={"If-None-Match": answer.headers["etag"]})
        assert again.status_code == 304
        script = await api.client.get("/page/main.js")
        assert script.headers["content-type"] == "text/javascript; charset=utf-8"
        assert script.headers["x-content-type-options"] == "nosniff"
    async with api_over(shared_redis, NOW) as api:
        assert (await api.client.get("/")).headers["content-security-policy"].endswith("frame-ancestors 'none'")


async def test_filters_and_workspaces(shared_redis: RunningRedis) -> None:
    async with api_over(shared_redis, NOW) as api:
        events = [
            Event(MOMENT, "1", source="shop", user="u_2", label="Zoë"),
            Event(MOMENT, "2", user="u_1"),
            Event(MOMENT, "3", source="user", user="u_3", label="adam"),
            *[Event(MOMENT, "1", workspace=f"ws_{i}") for i in range(7)],
        ]
        api.write(events)
        answer = await api.json("/filters")
        assert answer["sources"] == [
            {"source": "incoming_message", "label": "Incoming Message"},
            {"source": "developer_api", "label": "Developer API"},
            {"source": "contact_import", "label": "Contact Import"},
            {"source": "user", "label": "User"},
            {"source": "echo_message", "label": "Echo Message"},
            {"source": "shop", "label": "shop"},
            {"source": "none", "label": "No source"},
        ]
        assert answer["users"] == [
            {"user_id": "u_3", "user_name": "adam"},
            {"user_id": "u_1", "user_name": None},
            {"user_id": "u_2", "user_name": "Zoë"},
        ]
        assert (answer["users_omitted"], answer["freshness"]["state"]) == ({"count": 0}, "live")
        answer = await api.json("/filters", q="ZO")
        assert (answer["sources"], [user["user_id"] for user in answer["users"]]) == ([], ["u_2"])
        answer = await api.json("/filters", limit=1, q="u_")
        assert ([user["user_id"] for user in answer["users"]], answer["users_omitted"]) == (["u_3"], {"count": 2})
        # a page at a time, in order
        found: list[str] = []
        cursor: dict[str, str] = {}
        while True:
            page = (await api.client.get("/v1/workspaces", params={"q": "S_", "limit": 3} | cursor)).json()
            found += [one["workspace_id"] for one in page["workspaces"]]
            if page["next_cursor"] is None:
                break
            cursor = {"cursor": page["next_cursor"]}
        assert found == [f"ws_{i}" for i in range(7)]
        assert len((await api.client.get("/v1/workspaces")).json()["workspaces"]) == 8
        assert (await api.client.get("/v1/workspaces", params={"q": "x"} | cursor)).status_code == 400


async def test_zones_are_told_with_their_aliases(shared_redis: RunningRedis) -> None:
    async with api_over(shared_redis, NOW) as api:
        told = (await api.client.get("/v1/timezones")).json()
        assert {"UTC", "Asia/Kolkata", "Europe/Berlin"} <= set(told["timezones"])
        assert told["aliases"]["Asia/Calcutta"] == "Asia/Kolkata"
        assert not set(told["timezones"]) & set(told["aliases"])


async def test_probes_and_metrics(shared_redis: RunningRedis) -> None:
    async with api_over(shared_redis, NOW) as api:
        api.write([], partitions=2)
        assert (await api.client.get("/livez")).json() == {"status": "ok"}
        for path in ("/readyz", "/healthz"):
            assert (await api.client.get(path)).json() == {"status": "ready"}
        told = (await api.client.get("/readyz?verbose")).json()
        assert told["tzdata"].startswith("20")
        assert (told["partitions"], told["state"], told["authentication"]) == (2, "live", "off")
        await api.get("/summary")
        text = (await api.client.get("/metrics")).text
        assert 'contacts_api_requests_total{resource="summary",status="200"} 1.0' in text
