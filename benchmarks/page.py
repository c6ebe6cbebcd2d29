"""How long the page takes in a real Chromium: the first view on a warm server, and the longest task of long ranges.

Times are of the whole machine: a browser, the API and Redis share its cores.
"""

from __future__ import annotations

import asyncio
import shutil
import statistics
from collections.abc import Iterable
from contextlib import contextmanager
from typing import Any

from playwright.async_api import Browser, async_playwright

from tests.browser.conftest import FLAGS
from tests.browser.support.serving import Served, serving, stored
from tests.support.redis_server import running_redis

VIEWS = 9
WATCH = """window.tasks = [];
new PerformanceObserver((list) => window.tasks.push(...list.getEntries().map((entry) => entry.duration)))
  .observe({ type: 'longtask', buffered: true });"""
"""Tasks of 50 ms and more are told; where none is, the longest is under that."""
RANGES = {
    "49 days by hour": [("from", "2026-10-06"), ("to", "2026-11-23"), ("interval", "hour")],
    "a year by day": [("from", "2025-11-24"), ("to", "2026-11-23"), ("interval", "day")],
}


def run() -> Iterable[dict[str, Any]]:
    """Results one after the other; none where there is no chromium."""
    if not shutil.which("chromium"):
        return []
    with contextmanager(running_redis)() as redis:
        return asyncio.run(_measure(redis))


async def _measure(redis: Any) -> list[dict[str, Any]]:
    async with serving(redis) as served, async_playwright() as playwright:
        served.api.write(stored(), partitions=2)
        browser = await playwright.chromium.launch(executable_path=shutil.which("chromium"), args=list(FLAGS))
        times = sorted([(await _view(browser, served, []))["ready_ms"] for _ in range(VIEWS + 1)][1:])
        results = [
            {"what": "first view", "ready_ms": statistics.median(times), "worst_ms": times[-1], "at_most": 1_000}
        ]
        for name, parameters in RANGES.items():
            views = [await _view(browser, served, parameters) for _ in range(3)]
            longest = statistics.median(view["longest_task_ms"] for view in views)
            results.append({"what": name, "longest_task_ms": longest, "at_most": 100, "elements": views[0]["elements"]})
        await browser.close()
        return results


async def _view(browser: Browser, served: Served, parameters: list[tuple[str, str]]) -> dict[str, Any]:
    """One view in a new window, with an empty cache."""
    context = await browser.new_context(viewport={"width": 1360, "height": 1000})
    page = await context.new_page()
    await page.add_init_script(WATCH)
    await page.goto(await served.address([("timezone", "UTC"), *parameters]))
    await page.wait_for_selector("html[data-state=ready]")
    ready_ms = await page.evaluate("performance.now()")
    await page.wait_for_timeout(500)
    tasks, elements = await page.evaluate("[window.tasks, document.querySelectorAll('*').length]")
    await context.close()
    return {"ready_ms": round(ready_ms), "longest_task_ms": round(max(tasks, default=0)), "elements": elements}
