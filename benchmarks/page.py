"""How long the page takes in a real Chromium: the first view on a warm server in a new window, and the longest task of
long ranges in a window that has shown the report before.

Times are of the whole machine: a browser, the API and Redis share its cores. A task is therefore told twice: how long
it took, and how much of that its thread was running; the second is the page's own on a busy machine too.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import statistics
from collections import defaultdict
from collections.abc import Iterable
from contextlib import contextmanager
from typing import Any

from playwright.async_api import Browser, async_playwright

from tests.browser.conftest import FLAGS
from tests.browser.support.serving import Served, serving, stored
from tests.support.redis_server import running_redis

VIEWS = 9
TRACED_VIEWS = 5
WATCH = """new MutationObserver((_, observer) => {
  if (document.documentElement?.dataset.state !== 'ready') return;
  window.readyAt = performance.now();
  observer.disconnect();
}).observe(document, { subtree: true, attributes: true, attributeFilter: ['data-state'] });"""
TASKS = "disabled-by-default-devtools.timeline"
"""The category of Chromium's trace that has every task with its time and its thread's."""
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
        views = [await _view(browser, served, []) for _ in range(VIEWS + 1)][1:]
        times = sorted(view["ready_ms"] for view in views)
        results = [
            {
                "what": "first view",
                "ready_ms": statistics.median(times),
                "best_ms": times[0],
                "worst_ms": times[-1],
                "at_most": 1_000,
                "elements": views[0]["elements"],
            }
        ]
        for name, parameters in RANGES.items():
            views = [await _view(browser, served, parameters, traced=True) for _ in range(TRACED_VIEWS)]
            longest = {
                key: round(statistics.median(view[key] for view in views))
                for key in ("longest_task_ms", "longest_task_cpu_ms")
            }
            results.append({"what": name, **longest, "at_most": 100, "elements": views[0]["elements"]})
        await browser.close()
        return results


async def _view(
    browser: Browser, served: Served, parameters: list[tuple[str, str]], traced: bool = False
) -> dict[str, Any]:
    """One view in a new window with an empty cache; one that is traced, which costs a little, in a window that has
    shown the report."""
    context = await browser.new_context(viewport={"width": 1360, "height": 1000})
    page = await context.new_page()
    await page.add_init_script(WATCH)
    if traced:  # a process that starts for a new window takes the cores from the page's tasks
        await page.goto(await served.address([("timezone", "UTC")]))
        await page.wait_for_selector("html[data-state=ready]")
        await page.wait_for_timeout(1_000)
        await browser.start_tracing(page=page, categories=[TASKS])
    await page.goto(await served.address([("timezone", "UTC"), *parameters]))
    await page.wait_for_selector("html[data-state=ready]")
    await page.wait_for_timeout(500)  # the earlier side's bars come after
    tasks = _tasks(json.loads(await browser.stop_tracing())) if traced else []
    ready_ms, elements = await page.evaluate("[window.readyAt, document.querySelectorAll('*').length]")
    await context.close()
    return {
        "ready_ms": round(ready_ms),
        "longest_task_ms": max((took for took, _ in tasks), default=0),
        "longest_task_cpu_ms": max((ran for _, ran in tasks), default=0),
        "elements": elements,
    }


def _tasks(trace: dict[str, Any]) -> list[tuple[float, float]]:
    """How long each task of the page's thread took and ran, in ms; that thread is the one that ran most."""
    events = trace["traceEvents"]
    threads = {(e["pid"], e["tid"]) for e in events if e.get("args", {}).get("name") == "CrRendererMain"}
    found: dict[tuple[int, int], list[tuple[float, float]]] = defaultdict(list)
    for event in events:
        thread = (event["pid"], event["tid"])
        if event["name"] == "RunTask" and event["ph"] == "X" and thread in threads:
            found[thread].append((event["dur"] / 1_000, event.get("tdur", 0) / 1_000))
    return max(found.values(), key=lambda tasks: sum(ran for _, ran in tasks))
