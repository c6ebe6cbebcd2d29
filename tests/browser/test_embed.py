"""The report in a frame of another page: without header and filters, and with a token from a listed origin alone."""

import asyncio
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest
from playwright.async_api import Route, expect

from tests.browser.conftest import Open
from tests.browser.support.stand_in import StandIn

pytestmark = pytest.mark.asyncio(loop_scope="session")

HOST = """<!doctype html><title>Host</title><iframe src="{report}" width="1000" height="800"></iframe><script>
addEventListener('message', (event) => {{
  if (event.data.type === 'contacts-report.token-wanted' || event.data.type === 'contacts-report.ready') {{
    event.source.postMessage({{ type: 'contacts-report.token', token: 'good' }}, '{origin}');
  }}
}});
</script>"""


@pytest.fixture
def host(api: StandIn) -> Iterator[str]:
    """A page of another origin that frames the report."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            content = HOST.format(report=f"{api.url}/?workspace=w1&timezone=UTC&embed=1", origin=api.url).encode()
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            """Nothing is to be said."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://localhost:{server.server_port}"
    server.shutdown()
    server.server_close()


async def test_embedded_it_leaves_out_header_and_filters(api: StandIn, window: Open) -> None:
    page = await window(f"{api.url}/?workspace=w1&timezone=UTC&embed=1")

    await expect(page.locator("header h1")).to_be_hidden()
    await expect(page.locator('[data-component="filters"]')).to_be_hidden()
    await expect(page.locator("#range")).to_contain_text("Nov 2026 · UTC")
    await expect(page.locator("#range")).to_be_visible()
    await expect(page.locator('[data-component="freshness"]')).to_be_visible()
    await expect(page.locator('[data-component="added"] .count')).to_be_visible()


async def test_in_a_narrow_frame_it_fills_the_width(api: StandIn, window: Open) -> None:
    page = await window(
        f"{api.url}/?workspace=w1&timezone=UTC&embed=1", viewport={"width": 320, "height": 700}, has_touch=True
    )

    card = await page.locator('[data-component="added"]').bounding_box()

    assert card
    assert card["width"] >= 320 - 2 * 12 - 20  # a scroll bar's room
    assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth")


async def test_the_token_is_taken_from_a_listed_origin(api: StandIn, host: str, window: Open) -> None:
    api.token, api.ancestors = "good", host
    page = await window()

    await page.goto(host)
    report = page.frame_locator("iframe")

    await expect(report.locator('[data-component="added"] .count')).to_be_visible()


@pytest.mark.parametrize(("status", "code"), [(401, "unauthorized"), (403, "forbidden")])
async def test_a_token_is_not_refused_for_what_was_asked_without_it(
    api: StandIn, host: str, window: Open, status: int, code: str
) -> None:
    """The page asks as soon as it is there, and may hear that this needs a token only after it was handed one."""
    api.token, api.ancestors = "good", host
    page = await window()
    refused: list[str] = []

    async def hold(route: Route) -> None:
        if "authorization" in route.request.headers:
            return await route.continue_()
        while "good" not in api.tokens_seen:
            await asyncio.sleep(0.01)
        refused.append(route.request.url)
        return await route.fulfill(status=status, json={"code": code, "detail": "Not with this token."})

    await page.route("**/reports/contacts/*", hold)
    await page.goto(host)

    await expect(page.frame_locator("iframe").locator('[data-component="added"] .count')).to_be_visible()
    assert refused


async def test_a_message_of_another_origin_is_not_heard(api: StandIn, host: str, window: Open) -> None:
    """The frame is let in here by its own origin's policy only; the host is a page that the list does not name."""
    api.token, api.ancestors = "good", "http://localhost:* http://other.example"
    page = await window()
    await page.goto(host)
    await expect(page.frame_locator("iframe").get_by_label("Token")).to_be_visible()
    await page.wait_for_timeout(300)

    assert "good" not in api.tokens_seen
