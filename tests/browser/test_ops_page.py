"""`/ops` in a browser, served by the API itself over a real Redis."""

from __future__ import annotations

import re
from typing import Any

import httpx
import pytest
from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Page, expect

from api.http.modules import list_joined_modules
from api.http.request import Request
from api.http.static import PAGE, StaticFiles
from stream.projection.worker_status import ApiStatus, WorkerStatus
from stream.settings.redis import redis_client
from stream.storage.keys import Keys
from tests.browser.conftest import NOW, Open
from tests.integration.test_api_auth import NOW as TOKENS_NOW
from tests.integration.test_api_auth import SETTINGS, token
from tests.support.api import Api, serving, shared_redis
from tests.support.redis_data import Event
from tests.support.redis_server import RunningRedis

pytestmark = pytest.mark.asyncio(loop_scope="session")

__all__ = ["shared_redis"]

MAX_BYTES = 9_000
"""Of the page with its modules and its style, as a browser gets them over TLS."""

NOW_MS = int(NOW * 1000)


def worker(name: str, partitions: dict[str, Any], **changed: Any) -> dict[str, Any]:
    return {
        "version": "1.2.3",
        "started_ms": NOW_MS - 90_000,
        "ready": True,
        "reason": None,
        "counted": 1200,
        "duplicates": 3,
        "rejected": {"not_json": {"count": 2, "partition": 0, "offset": 77}},
        "recent": {"events": 100, "rejected": 5},
        "partitions": partitions,
        "redis_policy": "noeviction",
        "topics_differ": [],
    } | changed


COUNTING = {
    "phase": "counting",
    "lag": 4,
    "events_per_second": 12.5,
    "committed_ms": NOW_MS - 400,
    "projected_ms": NOW_MS - 300,
}
REPAIRING = {"phase": "repairing", "lag": 4000, "failure": "Redis is full and takes no writes"}
API = {"version": "1.2.3", "started_ms": NOW_MS - 60_000, "answers": 8, "failed": 1, "streams": 2}


async def tell(server: RunningRedis, api: Api, workers: dict[str, dict[str, Any]]) -> None:
    """What the workers and one process of the API tell of themselves now."""
    keys = Keys(api.app.state.reader.keys.group)
    async with redis_client(server.url, timeout_seconds=5) as client:
        await client.delete(keys.ops)
        for name, status in workers.items():
            await WorkerStatus(client, keys, name, lambda status=status: status)._tell()  # type: ignore[misc]
            await client.persist(keys.ops_of(name))  # a slow browser still finds it
        await ApiStatus(client, keys, "api:7", lambda: API)._tell()
        await client.persist(keys.api_of("api:7"))


async def cells(page: Page, table: str) -> list[list[str]]:
    rows = page.locator(f"#{table} tbody tr")
    return [await rows.nth(at).locator("th, td").all_text_contents() for at in range(await rows.count())]


def address(client: httpx.AsyncClient, rest: str = "") -> str:
    return f"{str(client.base_url).rstrip('/')}/ops{rest}"


async def test_one_screen_shows_what_is_told_and_what_is_wrong(shared_redis: RunningRedis, window: Open) -> None:
    async with serving(shared_redis, NOW) as (api, client):
        api.write([Event(int(NOW * 10**9), "e")], partitions=2)
        await tell(
            shared_redis,
            api,
            {
                "a:1": worker("a:1", {"0": COUNTING}),
                "b:2": worker("b:2", {"1": REPAIRING}, ready=False, reason="partition 1 is repairing", rejected={}),
            },
        )
        page = await window(address(client))

        await expect(page.locator("#wrong li")).to_have_text(
            ["worker b:2: partition 1 is repairing", "partition 1: Redis is full and takes no writes"]
        )
        await expect(page.locator("#word")).to_have_text("Live")
        assert await cells(page, "partitions") == [
            ["0", "counting", "4", "12.5", "1,000", "1,000", "0.4 s ago", "0.3 s ago", "a:1", "–"],
            ["1", "repairing", "4,000", "–", "1,000", "1,000", "–", "–", "b:2", "Redis is full and takes no writes"],
        ]
        assert await cells(page, "rejected") == [["not_json", "2", "partition 0, offset 77"]]
        assert [row[:4] for row in await cells(page, "workers")] == [
            ["a:1", "ready", "1,200", "3"],
            ["b:2", "not ready: partition 1 is repairing", "1,200", "3"],
        ]
        assert [row[:6] for row in await cells(page, "apis")] == [["api:7", "8", "1", "2", "1.2.3", "60 s ago"]]
        facts = await page.locator("#facts dd").all_text_contents()
        assert facts == [
            "Live, 0.0 s",
            "2 of 2",
            "4,004",
            "12.5",
            "6",
            "2",
            "1 of 2",
            "1",
            "noeviction",
            "as they should be",
        ]
        # Marked by a sign and by words, and not by a colour alone.
        await expect(page.locator("#partitions tr[data-wrong]")).to_have_count(1)
        await expect(page.locator("#spoken")).to_contain_text("Something is wrong: worker b:2")


async def test_it_follows_by_itself_and_keeps_what_it_showed_while_the_api_is_away(
    shared_redis: RunningRedis, window: Open
) -> None:
    async with serving(shared_redis, NOW) as (api, client):
        api.write([Event(int(NOW * 10**9), "e")])
        await tell(shared_redis, api, {"a:1": worker("a:1", {"0": REPAIRING})})
        page = await window(address(client))
        await tell(shared_redis, api, {"a:1": worker("a:1", {"0": COUNTING})})
        await expect(page.locator("#wrong")).to_be_hidden()
        await expect(page.locator("#spoken")).to_have_text("All is well.")

        rejecting = worker("a:1", {"0": COUNTING}, recent={"events": 1_100, "rejected": 56})
        await tell(shared_redis, api, {"a:1": rejecting})
        await expect(page.locator("#wrong li")).to_have_text(
            ["56 of 1,100 events of the last 10 minutes were rejected"]
        )

        await page.route("**/v1/ops", lambda route: route.abort())
        await expect(page.locator("#notice")).to_contain_text("No answer from the API")
        assert (await cells(page, "partitions"))[0][1] == "counting"

        await page.unroute("**/v1/ops")
        await expect(page.locator("#notice")).to_be_hidden()


async def test_a_group_that_nobody_counts_is_told(shared_redis: RunningRedis, window: Open) -> None:
    async with serving(shared_redis, NOW) as (_, client):
        page = await window(address(client))
        await expect(page.locator("#wrong li")).to_contain_text(
            ["this Redis has nothing of the group", "no worker reports itself"]
        )
        await expect(page.locator("#word")).to_have_text("Readers get no numbers")


async def test_a_token_is_asked_for_and_taken_from_the_address(shared_redis: RunningRedis, window: Open) -> None:
    async with serving(shared_redis, TOKENS_NOW, **SETTINGS) as (api, client):
        api.write([Event(int(TOKENS_NOW * 10**9), "e")])
        page = await window(address(client), state="locked")
        await expect(page.locator("#pasted")).to_be_focused()
        await page.keyboard.type(token(scope="reports:read"))
        await page.keyboard.press("Enter")
        await expect(page.locator("#notice")).to_contain_text("ops:read")
        await page.locator("#pasted").fill(token(scope="ops:read"))
        await page.keyboard.press("Enter")
        await page.wait_for_selector("html[data-state=ready]")
        await expect(page.locator("#token")).to_be_hidden()

        given = await window(f"{address(client)}#token={token(scope='ops:read')}")
        assert given.url == address(client)


async def test_every_title_leads_to_a_paragraph_of_the_runbook(shared_redis: RunningRedis, window: Open) -> None:
    async with serving(shared_redis, NOW) as (api, client):
        api.write([Event(int(NOW * 10**9), "e")])
        await tell(shared_redis, api, {"a:1": worker("a:1", {"0": COUNTING})})
        page = await window(address(client))
        links = page.locator("#facts dt a, thead th a")
        targets = {str(await links.nth(at).get_attribute("href")) for at in range(await links.count())}
        assert await page.locator("#facts dt, thead th").count() == await links.count()
        runbook = (await client.get("/ops/docs/runbook")).text
        assert {target for target in targets if f'id="{target.partition("#")[2]}"' not in runbook} == set()

        # By the keyboard, and the paragraph is there.
        await page.locator("#facts dt a").first.focus()
        await page.keyboard.press("Enter")
        await page.wait_for_url(re.compile("/ops/docs/runbook#"))
        await expect(page.locator(":target")).to_have_text("How old the numbers are")


@pytest.mark.parametrize("theme", ["light", "dark"])
async def test_axe_finds_nothing(shared_redis: RunningRedis, window: Open, theme: str) -> None:
    async with serving(shared_redis, NOW) as (api, client):
        api.write([Event(int(NOW * 10**9), "e")], partitions=2)
        await tell(shared_redis, api, {"a:1": worker("a:1", {"0": COUNTING, "1": REPAIRING})})
        page = await window(address(client), color_scheme=theme)
        found = [(await Axe().run(page)).response["violations"]]
        await page.goto(address(client, "/docs/runbook"))
        found.append((await Axe().run(page)).response["violations"])
    assert [[(rule["id"], [node["target"] for node in rule["nodes"]]) for rule in each] for each in found] == [[], []]


async def test_it_is_small() -> None:
    files = StaticFiles(PAGE, ())
    sizes = {}
    for name in ("index.html", "style.css", "main.js"):
        scope = {"method": "GET", "path": f"/page/ops/{name}", "headers": [(b"accept-encoding", b"gzip, br")]}
        answer = await files.answer(Request(scope), f"ops/{name}")
        assert answer is not None
        assert isinstance(answer.body, bytes)
        sizes[name] = len(answer.body)
    assert {file.name for file in (PAGE / "ops").glob("*.js")} == set(list_joined_modules(PAGE / "ops"))
    assert sum(sizes.values()) <= MAX_BYTES, sizes
