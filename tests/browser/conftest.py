"""One real Chromium for all tests of the page, and a fresh window and stand-in for each."""

import os
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, async_playwright, expect

from tests.browser.support.events import believable
from tests.browser.support.stand_in import NOW, StandIn
from tests.support.require import require

# Four browsers share two cores, and a page that is busy for seconds is no fault of what is tested.
PATIENCE_MS = 30_000
expect.set_options(timeout=PATIENCE_MS)

FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)

__all__ = ["NOW"]

Open = Callable[..., Awaitable[Page]]


NAMES = ("chromium-headless-shell", "chromium", "chromium-browser")
"""The first that is on the PATH is used. The headless shell is Chromium without the window around a page, which nobody
sees here: opening the report and closing it again took 1.1 s of CPU in it, and 3.4 s with the window.
"""


def chromium_path() -> str | None:
    """Where Chromium is; without it the test is skipped, or fails where it was promised."""
    path = os.environ.get("CONTACTS_CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)
    require("browser", path is not None, "there is no chromium on the PATH")
    return path


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def chromium() -> AsyncIterator[Browser]:
    path = chromium_path()
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=path, args=list(FLAGS))
        yield browser
        await browser.close()


@pytest.fixture
def api() -> Iterator[StandIn]:
    """Two months of believable events in workspace w1; the clock stands at NOW."""
    stand_in = StandIn(clock=lambda: NOW)
    stand_in.add(*believable(NOW))
    yield stand_in
    stand_in.close()


@pytest.fixture
def bare() -> Iterator[StandIn]:
    """A stand-in without an event; the clock stands at NOW."""
    stand_in = StandIn(clock=lambda: NOW)
    yield stand_in
    stand_in.close()


@pytest_asyncio.fixture(loop_scope="session")
async def window(chromium: Browser) -> AsyncIterator[Open]:
    """Opens an address in a new window; every error of the page fails the test at its end."""
    contexts = []
    errors: list[str] = []

    async def open_window(address: str | None = None, state: str = "ready", **options: Any) -> Page:
        settings = {"viewport": {"width": 1360, "height": 1000}, "timezone_id": "Europe/Berlin", "locale": "en-GB"}
        context = await chromium.new_context(**{**settings, **options})
        context.set_default_timeout(PATIENCE_MS)
        contexts.append(context)
        page = await context.new_page()
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on(
            "console",
            lambda message: errors.append(message.text) if "Content Security Policy" in message.text else None,
        )
        if address is not None:
            await page.goto(address)
            await page.wait_for_selector(f"html[data-state={state}]")
        return page

    yield open_window
    for context in contexts:
        await context.close()
    assert errors == []
