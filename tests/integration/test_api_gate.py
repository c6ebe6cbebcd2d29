"""What is refused before anything is remembered of it, and the headers that every answer has."""

import gc
import tracemalloc
from datetime import UTC, datetime
from typing import Any

import pytest

from api.http.gate import HEADERS_BYTES_LIMIT, TARGET_BYTES_LIMIT
from tests.support.api import BASE, Api, api_over, shared_redis
from tests.support.redis_data import Event
from tests.support.redis_server import RunningRedis

__all__ = ["shared_redis"]

NOW = datetime(2026, 11, 23, 13, 0, tzinfo=UTC).timestamp()
SECRET = "0123456789abcdef0123456789abcdef"
ORIGIN = "https://app.example"


async def status_of(api: Api, path: str, headers: dict[str, str]) -> int:
    """Asked without a client, which would remember things of its own."""
    scope = {
        "type": "http",
        "method": "GET",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
    }
    statuses: list[int] = []

    async def receive() -> Any:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        if message["type"] == "http.response.start":
            statuses.append(message["status"])

    await api.app(scope, receive, send)
    return statuses[0]


@pytest.mark.parametrize("name", ["Accept", "Accept-Encoding", "Authorization", "If-None-Match", "Cookie", "Origin"])
async def test_large_headers_are_refused_before_the_token_is_looked_at(shared_redis: RunningRedis, name: str) -> None:
    async with api_over(shared_redis, NOW, jwt_secret=SECRET, api_cors_origins=(ORIGIN,)) as api:
        for path in (BASE, "/livez", "/", "/nothing"):
            answer = await api.client.get(path, headers={name: "a" * HEADERS_BYTES_LIMIT})
            assert (answer.status_code, answer.json()["code"]) == (431, "headers_too_large")
            assert answer.headers["cache-control"] == "no-store"
        # just below it, they are read
        assert (await api.client.get(BASE, headers={name: "a" * (HEADERS_BYTES_LIMIT - 500)})).status_code == 401


async def test_long_addresses_are_refused(shared_redis: RunningRedis) -> None:
    async with api_over(shared_redis, NOW, jwt_secret=SECRET) as api:
        answer = await api.client.get(BASE, params={"user": "u" * TARGET_BYTES_LIMIT})
        assert (answer.status_code, answer.json()["code"]) == (414, "address_too_long")
        answer = await api.client.get(f"/v1/workspaces/{'w' * 600}/reports/contacts")
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


async def test_nothing_is_kept_of_what_strangers_send(shared_redis: RunningRedis) -> None:
    async def send(api: Api, numbers: range) -> None:
        for number in numbers:
            large = {"accept-encoding": f"{number}" + ", x" * 300_000, "accept": f"{number}" + ", a/b" * 200_000}
            assert await status_of(api, BASE, large) == 431
            allowed = {"accept-encoding": f"{number}" + ", x" * 2_000, "accept": f"{number}" + ", a/b" * 1_000}
            assert await status_of(api, BASE, allowed) == 401
            assert await status_of(api, "/v1/timezones", allowed) == 406
            assert await status_of(api, f"/v1/workspaces/{number}{'w' * 16_000}/reports/contacts", {}) == 404

    async with api_over(shared_redis, NOW, jwt_secret=SECRET) as api:
        await send(api, range(10))
        tracemalloc.start()
        try:
            await send(api, range(10, 160))
            gc.collect()
            kept, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert kept < 1_000_000


@pytest.mark.parametrize("origins", [(), (ORIGIN,)])
async def test_every_answer_says_what_it_depends_on(shared_redis: RunningRedis, origins: tuple[str, ...]) -> None:
    expected = {"accept", "accept-encoding", "authorization"} | ({"origin"} if origins else set())

    def check(answer: Any, status: int) -> None:
        assert answer.status_code == status
        assert [name for name, _ in answer.headers.multi_items() if name == "vary"] == ["vary"]
        assert {name.strip().lower() for name in answer.headers["vary"].split(",")} == expected

    async with api_over(shared_redis, NOW, api_cors_origins=origins) as api:
        api.write([Event(int(NOW) * 10**9, "1")])
        for sent in ({}, {"Origin": ORIGIN}, {"Origin": "https://evil.example"}):
            for path, status in {
                BASE: 200,
                f"{BASE}/summary.csv": 200,
                f"{BASE}/activities": 200,
                f"{BASE}/activities.ndjson": 200,
                f"{BASE}/filters": 200,
                f"{BASE}/summary?perid=x": 400,
                f"{BASE}/nothing": 404,
                f"{BASE}/filters.csv": 406,
                "/v1/workspaces": 200,
                "/v1/timezones": 200,
                "/": 200,
                "/page/main.js": 200,
                "/page/nothing.js": 404,
                "/nothing": 404,
                "/livez": 200,
                "/readyz": 200,
                "/metrics": 200,
                "/openapi.json": 200,
                "/docs": 200,
            }.items():
                check(await api.client.get(path, headers=sent), status)
            tag = (await api.get()).headers["etag"]
            check(await api.get("", {**sent, "If-None-Match": tag}), 304)
            check(await api.client.head(f"{BASE}/live", headers=sent), 200)
            check(await api.client.post(BASE, headers=sent), 405)
            check(await api.get("", {**sent, "Cookie": "c" * HEADERS_BYTES_LIMIT}), 431)
        asked = {"Origin": ORIGIN, "Access-Control-Request-Method": "GET"}
        check(await api.client.options(BASE, headers=asked), 204)
    async with api_over(shared_redis, NOW, jwt_secret=SECRET, api_cors_origins=origins) as api:
        for sent in ({}, {"Origin": ORIGIN}):
            check(await api.get("", sent), 401)
            check(await api.client.get("/v1/timezones", headers=sent), 200)


async def test_nobody_may_change_a_stream_on_its_way(shared_redis: RunningRedis) -> None:
    async with api_over(shared_redis, NOW) as api:
        api.write([])
        answer = await api.client.head(f"{BASE}/live")
        assert answer.headers["cache-control"] == "no-store, no-transform"
