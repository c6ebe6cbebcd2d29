"""A browser has six connections to a server over HTTP/1.1; however many pages are open, all show their report."""

from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest
from playwright.async_api import Browser, expect

from tests.browser.conftest import NOW, Open
from tests.browser.support.stand_in import Event, StandIn

pytestmark = pytest.mark.asyncio(loop_scope="session")

STREAMS = 3
FRAMES = 8
VIEW = "?workspace=w1&timezone=UTC&period=today"
FOUND = '[data-component="freshness"][data-connection="{}"]'


@pytest.fixture
def frames(bare: StandIn) -> Iterator[str]:
    """A page with eight frames of the report."""
    frame = f'<iframe src="{bare.url}/{VIEW}&embed=1" width="600" height="900"></iframe>'

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            content = f"<!doctype html><title>Host</title>{frame * FRAMES}".encode()
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            """Nothing is to be said."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, daemon=True).start()
    bare.ancestors = f"http://127.0.0.1:{server.server_port}"
    yield bare.ancestors
    server.shutdown()
    server.server_close()


async def test_eight_frames_all_show_their_report_and_follow_it(bare: StandIn, frames: str, window: Open) -> None:
    bare.add(Event(NOW - 60, "a"))
    page = await window()

    await page.goto(frames)

    reports = [page.frame_locator("iframe").nth(number) for number in range(FRAMES)]
    for report in reports:
        await expect(report.locator("[data-event-id='a']")).to_have_count(1)
        await expect(report.locator(".word")).to_have_text("Live")
    connections = [
        await report.locator('[data-component="freshness"]').get_attribute("data-connection") for report in reports
    ]
    assert sorted(map(str, connections)) == ["polling"] * (FRAMES - STREAMS) + ["stream"] * STREAMS

    bare.add(Event(NOW - 1, "b"))
    for report in reports:
        await expect(report.locator('[data-component="added"] .count')).to_have_attribute("data-value", "2")
        await expect(report.locator("[data-event-id='b']")).to_have_count(1)


async def test_nine_windows_open_and_a_stream_that_is_free_goes_to_another(chromium: Browser, bare: StandIn) -> None:
    bare.add(Event(NOW - 60, "a"))
    context = await chromium.new_context(timezone_id="Europe/Berlin", locale="en-GB")
    context.set_default_timeout(20_000)
    pages = []
    for _ in range(9):
        page = await context.new_page()
        await page.goto(f"{bare.url}/{VIEW}")
        await page.wait_for_selector("html[data-state=ready]")
        await expect(page.locator("[data-event-id='a']")).to_have_count(1)
        pages.append(page)
    for page in pages[:STREAMS]:
        await expect(page.locator(FOUND.format("stream"))).to_have_count(1)
    for page in pages[STREAMS:]:
        await expect(page.locator(FOUND.format("polling"))).to_contain_text("asking every 5 s")
    assert [resource for resource, _ in bare.asked].count("live") == STREAMS

    for page in pages[1:]:
        await page.close()
    later = await context.new_page()
    await later.goto(f"{bare.url}/{VIEW}")
    await expect(later.locator(FOUND.format("stream"))).to_have_count(1)
    await context.close()


async def test_a_page_that_polls_takes_the_stream_of_one_that_went(chromium: Browser, bare: StandIn) -> None:
    bare.add(Event(NOW - 60, "a"))
    context = await chromium.new_context(timezone_id="Europe/Berlin", locale="en-GB")
    context.set_default_timeout(20_000)
    pages = [await context.new_page() for _ in range(STREAMS + 1)]
    for page in pages:
        await page.goto(f"{bare.url}/{VIEW}")
        await page.wait_for_selector("html[data-state=ready]")
    await expect(pages[-1].locator(FOUND.format("polling"))).to_have_count(1)

    await pages[0].close()

    await expect(pages[-1].locator(FOUND.format("stream"))).to_have_count(1, timeout=20_000)
    await context.close()


async def test_a_page_that_polls_names_what_it_has(bare: StandIn, window: Open) -> None:
    """Asked with If-None-Match, the API answers what did not change without computing it."""
    bare.add(Event(NOW - 60, "a"))
    page = await window()
    await page.add_init_script("navigator.locks.request = async (name, options, take) => take(null);")
    tags: list[str | None] = []
    page.on(
        "request",
        lambda request: (
            tags.append(request.headers.get("if-none-match"))
            if request.url.partition("?")[0].endswith("/reports/contacts")
            else None
        ),
    )
    await page.clock.install()
    await page.goto(f"{bare.url}/{VIEW}")
    await page.wait_for_selector("html[data-state=ready]")
    await expect(page.locator(FOUND.format("polling"))).to_have_count(1)
    assert tags == [None]

    for asked in range(2, 4):
        async with page.expect_response("**/reports/contacts?*"):
            await page.clock.run_for(5_000)
        await expect(page.locator(FOUND.format("polling"))).to_have_count(1)
        await page.wait_for_timeout(300)
        assert len(tags) == asked
        assert tags[-1] == f'W/"r{bare.revision}-live"'


async def test_without_locks_a_window_has_its_stream_and_a_frame_asks(bare: StandIn, frames: str, window: Open) -> None:
    """Browsers give locks to https and to this machine alone."""
    bare.add(Event(NOW - 60, "a"))
    without = "Object.defineProperty(Navigator.prototype, 'locks', { get: () => undefined });"
    framed = await window()
    await framed.add_init_script(without)
    await framed.goto(frames)
    await expect(framed.frame_locator("iframe").nth(7).locator(FOUND.format("polling"))).to_have_count(1)
    own = await window()
    await own.add_init_script(without)
    await own.goto(f"{bare.url}/{VIEW}")
    await expect(own.locator(FOUND.format("stream"))).to_have_count(1)
