"""Asks an API for all that it might remember, and prints by how many bytes the process grew, and how many it counts.

Run as `python -m tests.support.hoarding REDIS_URL CACHE_BYTES KIND`, in a process of its own: what a process has taken
once it seldom gives back.
"""

import asyncio
import gc
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any
from urllib.parse import urlencode

import jwt
import redis

from api.app import create_app
from api.query.zones import zone_names
from stream.settings.api import ApiConfig
from tests.support.redis_data import Event, Positions, RedisData

NOW = datetime(2026, 11, 23, 13, 3, tzinfo=UTC).timestamp()
SECRET = "0123456789abcdef0123456789abcdef"
SECOND = 10**9
ZONES = sorted(zone_names())
Asked = tuple[str, dict[str, Any], str]
"""Path below /v1/workspaces, parameters, token."""


def token(**claims: Any) -> str:
    return jwt.encode({"exp": NOW + 3_600, "workspaces": "*", "scope": "reports:read"} | claims, SECRET)


EVERYTHING = token()


def at(workspace: str, component: str = "") -> str:
    return f"/{workspace}/reports/contacts{component}"


def queries() -> Iterator[Asked]:
    """Each with two hundred long values that nobody asked for before."""
    for number in range(1_200):
        values = ",".join(f"{number}-{value}-{'v' * 40}" for value in range(100))
        yield at("w", "/summary"), {"source": values, "user": values, "period": "today"}, EVERYTHING


def views() -> Iterator[Asked]:
    """Many buckets."""
    for number in range(150):
        first = date(2010, 1, 1) + timedelta(days=number)
        asked = {"from": first, "to": first + timedelta(days=45), "interval": "hour", "timezone": ZONES[number % 300]}
        yield at("nothing", "/timeline"), asked, EVERYTHING


def bodies() -> Iterator[Asked]:
    """Large ones, each asked for until it is kept."""
    for asked in views():
        yield from (asked, asked)


def questions() -> Iterator[Asked]:
    """As they are remembered of whoever has the present answer."""
    for number in range(20_000):
        yield at(f"never{number % 10}", "/summary"), {"period": "today", "user": f"{number}-{'u' * 90}"}, EVERYTHING


def plans() -> Iterator[Asked]:
    """Many days."""
    for number in range(24):
        asked = {"period": "all", "timezone": ZONES[number]}
        yield at("old", "/summary"), asked, EVERYTHING


def sources() -> Iterator[Asked]:
    """A thousand sources of long names, other ones in each of many workspaces."""
    for number in range(100):
        asked = {"period": "today", "interval": "day", "compare": "none"}
        yield at(f"sources{number}", "/summary"), asked, EVERYTHING


def users() -> Iterator[Asked]:
    """A thousand users of long names in each of many workspaces."""
    for number in range(80):
        yield at(f"users{number}", ""), {"period": "last_7_days"}, EVERYTHING


def reports() -> Iterator[Asked]:
    """Whole ones, with users, of many buckets."""
    for number in range(100):
        first = date(2010, 1, 1) + timedelta(days=number)
        yield at("old", ""), {"from": first, "to": first + timedelta(days=45), "interval": "hour"}, EVERYTHING


def tokens() -> Iterator[Asked]:
    for number in range(600):
        workspaces = ["w", *(f"{number}w{other}" for other in range(500))]
        yield at("w", "/summary"), {"period": "today"}, token(workspaces=workspaces)


def workspaces() -> Iterator[Asked]:
    """States and manifests, of workspaces that nobody asked for before."""
    for number in range(3_000):
        yield at(f"never{number}", "/summary"), {"period": "today", "compare": "none"}, EVERYTHING


def no_data(_data: RedisData) -> None: ...


def write_old(data: RedisData) -> None:
    moment = int(datetime(2000, 1, 5, tzinfo=UTC).timestamp()) * SECOND
    data.write([Event(moment, "1", workspace="old"), Event(int(NOW) * SECOND, "2", workspace="old")], [], rows=False)


def write_year(data: RedisData) -> None:
    first = int(datetime(2010, 1, 1, tzinfo=UTC).timestamp())
    data.write(
        [Event((first + day * 86_400) * SECOND, f"{day}", user="u", workspace="old") for day in range(365)],
        [], rows=False,
    )  # fmt: skip


def write_sources(data: RedisData) -> None:
    for number in range(100):
        data.write(
            [
                Event(int(NOW) * SECOND - source * SECOND, f"{source}", source=f"{number}-{source}-{'s' * 54}",
                      workspace=f"sources{number}", offset=source)
                for source in range(1_000)
            ], [], rows=False)  # fmt: skip


def write_users(data: RedisData) -> None:
    for number in range(80):
        data.write(
            [
                Event(int(NOW) * SECOND - user * SECOND, f"{user}", user=f"{number}-{user}-{'𝔲' * 100}",
                      workspace=f"users{number}", offset=user)
                for user in range(1_000)
            ], [], rows=False)  # fmt: skip


KINDS: dict[str, tuple[Callable[[RedisData], None], Callable[[], Iterator[Asked]]]] = {
    "queries": (no_data, queries),
    "views": (no_data, views),
    "bodies": (no_data, bodies),
    "questions": (no_data, questions),
    "plans": (write_old, plans),
    "sources": (write_sources, sources),
    "users": (write_users, users),
    "reports": (write_year, reports),
    "tokens": (no_data, tokens),
    "workspaces": (no_data, workspaces),
}


async def ask(app: Any, kind: str, path: str, parameters: dict[str, Any], bearer: str) -> None:
    headers = [(b"authorization", f"Bearer {bearer}".encode())]
    if kind == "questions":
        headers.append((b"if-none-match", b"*"))
    scope = {
        "type": "http",
        "method": "GET",
        "path": f"/v1/workspaces{path}",
        "query_string": urlencode(parameters).encode(),
        "headers": headers,
    }

    async def receive() -> Any:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        if message["type"] == "http.response.start":
            expected = 304 if kind == "questions" else 200
            assert message["status"] == expected, (message, path, parameters)

    await app(scope, receive, send)


def resident_bytes() -> int:
    gc.collect()
    with open("/proc/self/status", encoding="ascii") as status:
        [line] = [line for line in status if line.startswith("VmRSS")]
    return int(line.split()[1]) * 1024


def data_of(url: str, kind: str) -> RedisData:
    return RedisData(redis.Redis.from_url(url), f"hoarding-{kind}")


def write(url: str, kind: str) -> None:
    """Put into Redis what is asked for: in another process than the one that is measured."""
    data = data_of(url, kind)
    data.positions(Positions(NOW, partitions=64))
    KINDS[kind][0](data)


async def main(url: str, cache_bytes: int, kind: str) -> None:
    data, asked = data_of(url, kind), KINDS[kind][1]
    config = ApiConfig(
        redis=url, group=f"hoarding-{kind}", jwt_secret=SECRET, cache_bytes=cache_bytes, positions_cache_ms=60_000
    )
    app = create_app(config, lambda: NOW)
    async with app.lifespan():
        for of in asked():  # whatever is made once
            await ask(app, kind, *of)
            break
        before = resident_bytes()
        for number, of in enumerate(asked()):
            if kind == "workspaces" and number % 2 == 0:
                data.positions(Positions(NOW + number, partitions=64))
            await ask(app, kind, *of)
        memory = app.state.memory
        print(resident_bytes() - before, memory.bytes)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2]), sys.argv[3]))
