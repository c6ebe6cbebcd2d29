"""The example client keeps a report current in each of its three ways."""

from pathlib import Path

import pytest
from playwright.async_api import Route

from tests.browser.conftest import NOW, Open
from tests.browser.support.stand_in import Event, StandIn

pytestmark = pytest.mark.asyncio(loop_scope="session")

CLIENT = Path(__file__).parents[2] / "examples" / "dashboard" / "client.js"

WATCH = """async ([way, token]) => {
  const client = await import('/page/example/client.js');
  window.counts = [];
  const handlers = {
    token, seconds: 0.2, show: (report) => window.counts.push(report.added.count),
    failed: (error) => window.counts.push(error.message),
  };
  const resource = way === 'poll' ? '' : 'live';
  const asked = { timezone: 'UTC', source: ['user', 'none'] };
  window.stop = client[way](client.address(location.origin, 'w1', asked, resource), handlers);
}"""


@pytest.mark.parametrize(("way", "token"), [("poll", "t"), ("listen", None), ("listenWithToken", "t")])
async def test_the_example_follows_the_report(bare: StandIn, window: Open, way: str, token: str | None) -> None:
    bare.token = token
    page = await window()

    async def example(route: Route) -> None:
        await route.fulfill(path=CLIENT, content_type="text/javascript")

    await page.route("**/page/example/client.js", example)
    await page.goto(f"{bare.url}/page/types.js")
    await page.evaluate(WATCH, [way, token])
    await page.wait_for_selector("html")
    for _ in range(100):
        if await page.evaluate("window.counts.length"):
            break
        await page.wait_for_timeout(50)
    bare.add(Event(NOW - 1, "a", source=None), Event(NOW - 1, "b", source="developer_api"))
    for _ in range(100):
        if await page.evaluate("window.counts.length") > 1:
            break
        await page.wait_for_timeout(50)

    assert await page.evaluate("window.stop() ?? window.counts") == [0, 1]
