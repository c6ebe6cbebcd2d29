"""What the page shows, read by the names that the contract gives to scripts."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from playwright.async_api import Locator, Page

READ = """() => {
  const number = (text) => text === '' || text == null ? null : Number(text);
  const all = (component, selector) => [...document.querySelectorAll(`[data-component="${component}"] ${selector}`)];
  const card = (name) => {
    const count = all(name, '[data-value]:not([data-start])')[0];
    return {
      count: number(count?.dataset.value),
      previous: count && 'previous' in count.dataset ? number(count.dataset.previous) : null,
      change_percent: number(all(name, '[data-change]')[0]?.dataset.change),
    };
  };
  const bars = (name) => all(name, '[data-start][data-value]:not([data-source])')
    .map((bar) => [bar.dataset.start, bar.dataset.bucketState, number(bar.dataset.value)]);
  return {
    added: card('added'), deleted: card('deleted'),
    addedByDate: bars('added-by-date'), deletedByDate: bars('deleted-by-date'),
    sources: Object.fromEntries(all('added-by-source', '[data-source]:not([data-start])')
      .map(({ dataset }) => [dataset.source, number(dataset.value)])),
    segments: all('added-by-source', '[data-source][data-start]')
      .map(({ dataset }) => [dataset.start, dataset.bucketState, dataset.source, number(dataset.value)]),
    users: all('users', '[data-user]')
      .map(({ dataset }) => [dataset.user, dataset.activity, number(dataset.value)]),
    total: number(all('activities', '[data-value]:not([data-batch-id])')[0]?.dataset.value),
    state: document.documentElement.dataset.state,
  };
}"""


async def shown(page: Page) -> dict[str, Any]:
    """Every number of the report as the page has it now."""
    return await page.evaluate(READ)


def expected(report: dict[str, Any], total: int) -> dict[str, Any]:
    """What `shown` must be for an answer of the API, users as far as they are listed at first."""
    users = [
        [user["user_id"] or "none", activity, user[activity]]
        for user in report["users"]
        for activity in ("added", "deleted")
    ]
    timeline = report["timeline"]
    return {
        "added": report["added"],
        "deleted": report["deleted"],
        "addedByDate": [[bucket["start"], bucket["state"], bucket["added"]] for bucket in timeline],
        "deletedByDate": [[bucket["start"], bucket["state"], bucket["deleted"]] for bucket in timeline],
        "sources": report["sources"]["totals"],
        "segments": [
            [bucket["start"], bucket["state"], name, bucket["added"][name]]
            for bucket in report["sources"]["timeline"]
            for name in report["sources"]["names"]
            if bucket["added"][name]
        ],
        "users": users,
        "total": total,
        "state": "ready",
    }


async def settle(page: Page) -> None:
    """Wait until the page shows the answer to its present address."""
    await page.wait_for_selector("html:not([data-state=loading])")


async def rows(page: Page) -> list[list[str]]:
    """The six cells of each row in view or near it."""
    return await page.evaluate(
        """() => [...document.querySelectorAll('[data-component="activities"] [data-event-id]')]
          .map((row) => [...row.children].map((cell) => cell.textContent))"""
    )


async def scroll_until(scroller: Locator, reached: Callable[[], Awaitable[bool]]) -> None:
    """Scroll to the end, again and again as more comes there, until something is so."""
    async with asyncio.timeout(30):
        while True:
            await scroller.evaluate("(element) => { element.scrollTop = element.scrollHeight; }")
            if await reached():
                return
            await asyncio.sleep(0.02)


async def scroll_to_row(scroller: Locator, event_id: str) -> None:
    """The same until a row is there."""

    async def is_there() -> bool:
        return await scroller.locator(f'[data-event-id="{event_id}"]').count() == 1

    await scroll_until(scroller, is_there)
