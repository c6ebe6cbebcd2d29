"""Pictures of the page's main states: `python -m tests.browser.screenshots FOLDER`, over events drawn from a seed.

With `--url` the page of a running API is taken instead, light, dark and on a phone; `readme.png` of it is the README's
picture, made from the sample events of `./dev run`, with `&period=last_14_days` in the address.
"""

import argparse
import asyncio
import shutil
from collections.abc import Awaitable, Callable
from pathlib import Path

from playwright.async_api import Browser, Page, async_playwright

from tests.browser.conftest import FLAGS, NOW
from tests.browser.support.events import believable
from tests.browser.support.stand_in import StandIn

DESKTOP, PHONE, README = (1360, 1000), (320, 700), (1280, 1010)
VIEW = "?workspace=w1&timezone=Asia/Kuala_Lumpur"

Act = Callable[[Page], Awaitable[object]]


class Camera:
    """Opens views one after the other and keeps a picture of each."""

    def __init__(self, browser: Browser, folder: Path) -> None:
        self._browser, self._folder = browser, folder

    async def take(
        self,
        name: str,
        address: str,
        size: tuple[int, int] = DESKTOP,
        dark: bool = False,
        act: Act | None = None,
        whole: bool = True,
    ) -> None:
        context = await self._browser.new_context(
            viewport={"width": size[0], "height": size[1]}, color_scheme="dark" if dark else "light", locale="en-GB"
        )
        page = await context.new_page()
        await page.goto(address)
        await page.wait_for_selector("html:not([data-state=loading])")
        if act:
            await act(page)
        await page.wait_for_timeout(600)
        await page.screenshot(path=self._folder / f"{name}.png", full_page=whole and act is None)
        await context.close()


async def running(camera: Camera, url: str) -> None:
    """The page of an API that runs."""
    await camera.take("report", url)
    await camera.take("readme", url, README, whole=False)
    await camera.take("report-dark", url, dark=True)
    await camera.take("report-phone", url, PHONE)


async def states(camera: Camera) -> None:
    """Every state that the page has, over a stand-in."""
    api = StandIn(clock=lambda: NOW)
    api.add(*believable(NOW))
    view = f"{api.url}/{VIEW}"
    await running(camera, view)
    await camera.take("month-by-day-dark", f"{view}&period=last_30_days", dark=True)
    await camera.take("today-by-hour", f"{view}&period=today")
    await camera.take("49-days-by-hour", f"{view}&from=2026-10-06&to=2026-11-23&interval=hour")
    await camera.take("read-out", view, act=lambda page: page.hover('[data-component="added-by-source"] .plot'))
    await camera.take("sources", view, act=lambda page: page.get_by_role("button", name="Sources", exact=True).click())
    await camera.take("time-zones", view, act=lambda page: page.get_by_label("Time zone").fill("new york"))
    await camera.take("bar-chosen", f"{view}&table=2026-11-19")
    await camera.take("embedded", f"{view}&embed=1")
    await camera.take("empty", f"{api.url}/?workspace=nobody&timezone=UTC")
    await camera.take("wrong-link", f"{view}&intervall=day&from=2026-11-02&to=2026-11-01")
    api.faults["activities"] = 500
    await camera.take("one-part-failed", view)
    api.faults.update(dict.fromkeys(("live", "report", "activities"), 503))
    await camera.take("not-available-yet", view)
    api.faults.clear()
    for state in ("catching_up", "stalled"):
        api.state, api.lag_seconds = state, 700.0
        await camera.take(state.replace("_", "-"), view)
    api.token = "needed"
    await camera.take("token", view)
    api.close()


async def main() -> None:
    reader = argparse.ArgumentParser(description="Pictures of the page's main states.")
    reader.add_argument("folder", type=Path)
    reader.add_argument("--url", help="an address of the page of a running API, with ?workspace=…")
    wanted = reader.parse_args()
    wanted.folder.mkdir(parents=True, exist_ok=True)
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=shutil.which("chromium"), args=list(FLAGS))
        camera = Camera(browser, wanted.folder)
        await (running(camera, wanted.url) if wanted.url else states(camera))
        await browser.close()


if __name__ == "__main__":
    asyncio.run(main())
