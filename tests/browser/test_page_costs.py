"""How much the page costs: requests, bytes and elements, each with its limit; and what it may not do at all."""

import re

import pytest
from playwright.async_api import Page, expect

from api.http.modules import ENTRY, list_joined_modules
from api.http.request import Request
from api.http.static import StaticFiles, inline_scripts
from tests.browser.conftest import NOW, Open
from tests.browser.support.events import believable
from tests.browser.support.stand_in import PAGE, StandIn

pytestmark = pytest.mark.asyncio(loop_scope="session")

VIEW = "?workspace=w1&timezone=UTC"
MAX_REQUESTS = 8
MAX_BYTES = 100_000
MAX_ELEMENTS = 12_000
MAX_PAGE_BYTES = 48_500
"""All files of the page as a browser gets them over TLS; what the first view does not need comes later."""


async def network(page: Page, address: str) -> tuple[int, float]:
    """Requests and bytes received until the report stands with its ghosts."""
    session = await page.context.new_cdp_session(page)
    await session.send("Network.enable")
    requests: list[str] = []
    received = [0.0]
    session.on("Network.requestWillBeSent", lambda event: requests.append(event["request"]["url"]))
    session.on("Network.dataReceived", lambda event: received.append(event["encodedDataLength"]))
    session.on("Network.responseReceived", lambda event: received.append(event["response"]["encodedDataLength"]))
    await page.goto(address)
    await page.wait_for_selector("html[data-state=ready]")
    await page.wait_for_selector('[data-component="added-by-date"] [data-previous]', state="attached")
    return len([url for url in requests if not url.startswith("data:")]), sum(received)


@pytest.mark.parametrize(
    "address",
    [
        pytest.param("", id="an only workspace is found and opened"),
        pytest.param("?timezone=UTC&source=user&user=u_1", id="an only workspace, with filters"),
        pytest.param(VIEW, id="a workspace by its address"),
        pytest.param(f"{VIEW}&source=user&user=u_1", id="with filters, whose names come with the report"),
        pytest.param(f"{VIEW}&user=u_10", id="with a user without a name, who is asked for"),
        pytest.param(f"{VIEW}&embed=1", id="in a frame"),
    ],
)
async def test_the_first_view_takes_few_requests_and_few_bytes(api: StandIn, window: Open, address: str) -> None:
    page = await window()

    requests, received = await network(page, f"{api.url}/{address}")

    assert requests <= MAX_REQUESTS
    assert received <= MAX_BYTES


async def test_the_whole_page_is_small() -> None:
    files = StaticFiles(PAGE, ())
    sizes = {}
    joined = set(list_joined_modules(PAGE)) - {ENTRY}
    for name in sorted({file.name for file in PAGE.iterdir() if file.is_file()} - joined - {"types.js"}):
        scope = {"method": "GET", "path": f"/page/{name}", "headers": [(b"accept-encoding", b"gzip, br")]}
        answer = await files.answer(Request(scope), name)
        assert answer is not None
        assert isinstance(answer.body, bytes)
        sizes[name] = len(answer.body)

    assert sum(sizes.values()) <= MAX_PAGE_BYTES, sizes


async def test_49_days_by_hour_stay_within_the_elements_that_a_browser_carries_easily(
    bare: StandIn, window: Open
) -> None:
    bare.add(*believable(NOW, days=100, a_day=700))
    page = await window(f"{bare.url}/{VIEW}&from=2026-10-06&to=2026-11-23&interval=hour")
    await expect(page.locator('[data-component="added-by-date"] .ghosts path')).to_have_count(1)

    assert await page.locator('[data-component="added-by-date"] rect[data-value]').count() == 49 * 24
    assert await page.evaluate("document.querySelectorAll('*').length") <= MAX_ELEMENTS


async def test_the_page_asks_for_nothing_but_its_own_origin_and_needs_no_inline_code() -> None:
    """But for one script, without which nothing could notice that others did not come; the policy names its hash."""
    html = (PAGE / "index.html").read_text()

    assert re.findall(r"\sstyle=|\son\w+=|<style|<script(?![^>]* src=)", html) == ["<script"]
    assert not re.search(r"\sstyle=|\son\w+=|<style|<script(?![^>]* src=)", (PAGE / "ops/index.html").read_text())
    assert len(inline_scripts(html.encode())) == 1
    addresses = [
        address
        for file in PAGE.rglob("*.*")
        for address in re.findall(r"https?://[^\s\"'`)]+", file.read_text())
        if "www.w3.org" not in address
    ]
    assert addresses == []
