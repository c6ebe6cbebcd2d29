"""The numbers of the page are the API's, over a real Redis: for any filters, in any zone, and as they change."""

from urllib.parse import urlencode

import pytest
from playwright.async_api import Page, expect

from tests.browser.conftest import NOW, Open
from tests.browser.support.reading import expected, settle, shown
from tests.browser.support.serving import SECOND, Served, serving, stored
from tests.support.api import shared_redis
from tests.support.redis_data import Event
from tests.support.redis_server import RunningRedis

__all__ = ["shared_redis"]

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def same_as_the_api(page: Page, served: Served, parameters: list[tuple[str, str]]) -> None:
    """Every number of every component, and the first rows, are those of the API's answers to the same question."""
    report = await served.get("", parameters)
    without_compare = [pair for pair in parameters if pair[0] != "compare"]
    table = await served.get("/activities", [*without_compare, ("limit", "20"), ("batches", "fold")])
    if await page.get_by_role("button", name="Show all", exact=True).count():
        await page.get_by_role("button", name="Show all", exact=True).click()
    assert await shown(page) == expected(report, table["total"])
    rows = await page.evaluate(
        """() => [...document.querySelectorAll('[data-component="activities"] tbody tr')].slice(0, 20).map((row) =>
          [row.dataset.eventId ?? null, row.dataset.batchId ?? null,
           row.querySelector('time').getAttribute('datetime')])"""
    )
    assert rows == [
        [row["event_id"], row["batch_id"] if "rows" in row else None, row["occurred_at"]] for row in table["activities"]
    ]


FILTERS: list[tuple[str, list[tuple[str, str]]]] = [
    ("America/New_York", []),
    ("Europe/Berlin", [("timezone", "Asia/Kuala_Lumpur"), ("period", "last_30_days")]),
    ("Asia/Tokyo", [("timezone", "Europe/Berlin"), ("from", "2026-10-24"), ("to", "2026-10-26"), ("interval", "hour")]),
    (
        "Asia/Tokyo",
        [("timezone", "Australia/Lord_Howe"), ("from", "2026-10-03"), ("to", "2026-10-05"), ("interval", "hour")],
    ),
    ("UTC", [("timezone", "Asia/Kathmandu"), ("period", "today")]),
    ("UTC", [("timezone", "Asia/Kuala_Lumpur"), ("period", "last_month"), ("compare", "previous_year")]),
    (
        "UTC",
        [
            ("timezone", "UTC"),
            ("period", "this_month"),
            ("compare", "none"),
            ("interval", "week"),
            ("week_start", "sunday"),
        ],
    ),
    ("UTC", [("timezone", "UTC"), ("period", "this_year"), ("interval", "month")]),
    ("UTC", [("timezone", "UTC"), ("period", "all")]),
    ("UTC", [("timezone", "UTC"), ("source", "contact_import"), ("source", "none")]),
    ("UTC", [("timezone", "UTC"), ("period", "last_14_days"), ("user", "u_1,u_4,none")]),
    ("UTC", [("timezone", "UTC"), ("period", "last_week"), ("user", "u_2"), ("source", "user,contact_import")]),
    ("UTC", [("timezone", "UTC"), ("source", "carrier_pigeon")]),
]


@pytest.mark.parametrize(
    ("browser_zone", "asked"), FILTERS, ids=lambda value: value if isinstance(value, str) else urlencode(value)
)
async def test_the_page_shows_the_apis_numbers(
    shared_redis: RunningRedis, window: Open, browser_zone: str, asked: list[tuple[str, str]]
) -> None:
    async with serving(shared_redis) as served:
        served.api.write(stored(), partitions=2)

        page = await window(await served.address(asked), timezone_id=browser_zone)

        zone = [] if any(name == "timezone" for name, _ in asked) else [("timezone", browser_zone)]
        await same_as_the_api(page, served, [*asked, *zone])


COMPARED: list[tuple[str, list[tuple[str, str]]]] = [
    ("weeks that begin elsewhere", [("from", "2026-11-04"), ("to", "2026-11-18"), ("interval", "week")]),
    ("weeks from Sunday, cut today", [("from", "2026-11-03"), ("to", "2026-11-23"), ("interval", "week")]),
    ("a month beside a longer one", [("period", "last_month"), ("interval", "week")]),
    ("months cut today", [("period", "this_year"), ("interval", "month")]),
    ("months that begin elsewhere", [("from", "2026-10-09"), ("to", "2026-11-20"), ("interval", "month")]),
    ("the bucket that is cut", [("period", "today"), ("timezone", "Asia/Kathmandu"), ("interval", "hour")]),
    ("days, the last cut", [("period", "this_month"), ("interval", "day")]),
    ("a day of 25 hours", [("from", "2026-10-25"), ("to", "2026-10-25"), ("timezone", "Europe/Berlin")]),
    ("beside a day of 25 hours", [("from", "2026-10-26"), ("to", "2026-10-26"), ("timezone", "Europe/Berlin")]),
    ("beside a day of 23 hours", [("from", "2026-10-05"), ("to", "2026-10-05"), ("timezone", "Australia/Lord_Howe")]),
    ("a year before", [("period", "last_7_days"), ("compare", "previous_year")]),
]


@pytest.mark.parametrize(("name", "asked"), COMPARED, ids=[name for name, _ in COMPARED])
async def test_the_grey_bars_are_what_the_cards_compare_with(
    shared_redis: RunningRedis, window: Open, name: str, asked: list[tuple[str, str]]
) -> None:
    zone = [] if any(one == "timezone" for one, _ in asked) else [("timezone", "UTC")]
    week = [("week_start", "sunday")] if "Sunday" in name else []
    async with serving(shared_redis) as served:
        served.api.write(stored(), partitions=2)
        page = await window(await served.address([*asked, *zone, *week]))
        report = await served.get("", [*asked, *zone, *week])

        for kind in ("added", "deleted"):
            bars = await page.locator(f'[data-component="{kind}-by-date"] .ghosts [data-previous]').evaluate_all(
                "(bars) => bars.map(({ dataset }) => [dataset.start, Number(dataset.previous)])"
            )
            previous = await page.locator(f'[data-component="{kind}"] .count').get_attribute("data-previous")
            assert bars == [[one["previous"]["start"], one["previous"][kind]] for one in report["timeline"]]
            assert sum(value for _, value in bars) == int(previous or 0) == report[kind]["previous"]
        asked_for = await page.evaluate("performance.getEntriesByType('resource').map(({ name }) => name)")
        assert [address for address in asked_for if "/timeline" in address] == []


async def test_numbers_follow_the_api_without_a_reload(shared_redis: RunningRedis, window: Open) -> None:
    async with serving(shared_redis) as served:
        events = stored()
        served.api.write(events, partitions=2)
        asked = [("timezone", "UTC")]
        page = await window(await served.address(asked))
        before = int(await page.locator('[data-component="added"] .count').get_attribute("data-value") or 0)

        more = Event(int(NOW - 1) * SECOND, "new", "added", "user", "u_1", "Ada Lovelace", "42", offset=99_999)
        served.api.write([*events, more], partitions=2)

        await expect(page.locator('[data-component="added"] .count')).to_have_attribute("data-value", str(before + 1))
        await expect(page.locator('[data-event-id="new"]')).to_have_count(1)
        await same_as_the_api(page, served, asked)


async def test_before_the_first_position_nothing_is_shown_as_zero(shared_redis: RunningRedis, window: Open) -> None:
    async with serving(shared_redis) as served:
        page = await window(await served.address([("timezone", "UTC")]))
        await expect(page.locator('[data-component="added"] [role="alert"]')).to_contain_text("Not available yet")
        assert await page.locator("[data-value]").count() == 0

        served.api.write(stored(), partitions=2)

        await expect(page.locator('[data-component="added"] .count')).to_be_visible(timeout=20_000)


async def test_zones_are_those_of_the_api_aliases_too(shared_redis: RunningRedis, window: Open) -> None:
    async with serving(shared_redis) as served:
        served.api.write(stored(), partitions=2)
        page = await window(await served.address([("timezone", "Asia/Calcutta")]))
        assert (await shown(page))["state"] == "ready"
        field = page.get_by_label("Time zone", exact=True)

        await field.fill("saigon")
        await expect(page.locator("#zones li").first).to_contain_text("Asia/Ho_Chi_Minh (Asia/Saigon)")
        await field.press("Enter")
        await settle(page)

        await same_as_the_api(page, served, [("timezone", "Asia/Ho_Chi_Minh")])


async def test_a_wrong_link_is_explained_in_the_apis_words(shared_redis: RunningRedis, window: Open) -> None:
    async with serving(shared_redis) as served:
        served.api.write(stored(), partitions=2)
        page = await window(
            await served.address([("timezone", "Mars/Olympus"), ("interval", "fortnight")]), state="error"
        )

        await expect(page.get_by_role("alert")).to_contain_text("timezone")
        await expect(page.get_by_role("alert")).to_contain_text("interval")
