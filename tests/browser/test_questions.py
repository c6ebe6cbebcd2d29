"""The four questions that a newcomer answers without help, from what the page says in words."""

import re
from collections import Counter

import pytest
from playwright.async_api import Locator, Page, expect

from tests.browser.conftest import NOW, Open
from tests.browser.support.reading import settle
from tests.browser.support.stand_in import Event, StandIn

pytestmark = pytest.mark.asyncio(loop_scope="session")

VIEW = "?workspace=w1&timezone=UTC"
DAY = 86_400
OCTOBER, NOVEMBER = NOW - 53 * DAY - 7 * 3_600 - 13 * 60, NOW - 22 * DAY - 7 * 3_600 - 13 * 60
YESTERDAY = NOW - DAY


def component(page: Page, name: str) -> Locator:
    return page.locator(f'[data-component="{name}"]')


async def choose(page: Page, period: str) -> None:
    await page.get_by_label("Period").select_option(label=period)
    await settle(page)


async def test_how_many_last_month_against_the_month_before_and_from_where(api: StandIn, window: Open) -> None:
    page = await window(f"{api.url}/{VIEW}")

    await choose(page, "Last month")

    october = [event for event in api.events if event.activity == "added" and OCTOBER <= event.at < NOVEMBER]
    before = [event for event in api.events if event.activity == "added" and event.at < OCTOBER]
    sources = Counter(event.source for event in october)
    card = component(page, "added")
    await expect(card.locator(".count")).to_have_text(f"{len(october):,}")
    await expect(card.locator(".earlier")).to_have_text(re.compile(rf"^from {len(before):,} in 1\s–\s30 Sept? 2026$"))
    await expect(card.locator(".change")).to_have_text(f"+{(len(october) / len(before) - 1) * 100:,.1f}%")
    incoming = component(page, "added-by-source").get_by_role("button", name="Incoming Message")
    await expect(incoming).to_contain_text(f"{sources['incoming_message']:,}")


async def test_who_deleted_most_yesterday(bare: StandIn, window: Open) -> None:
    deletions = {("u_1", "Ada"): 2, ("u_2", "Grace"): 5, (None, None): 9, ("u_3", "Hedy"): 1}
    for (user, name), count in deletions.items():
        bare.add(
            *(
                Event(YESTERDAY + number, f"{user}-{number}", "deleted", user_id=user, user_name=name)
                for number in range(count)
            )
        )
    bare.add(*(Event(YESTERDAY, f"added-{number}", user_id="u_3", user_name="Hedy") for number in range(7)))
    page = await window(f"{bare.url}/{VIEW}")

    await choose(page, "Yesterday")
    users = component(page, "users")
    await users.get_by_role("button", name="Deleted").click()

    await expect(users.locator("tbody tr")).to_have_text(["Grace05", "Ada02", "Hedy71", "No user09"])
    await expect(users.get_by_role("columnheader", name="Deleted")).to_have_attribute("aria-sort", "descending")


async def test_is_this_number_current(api: StandIn, window: Open) -> None:
    page = await window(f"{api.url}/{VIEW}")

    badge = component(page, "freshness")

    await expect(badge).to_contain_text("Live just now")
    await expect(badge).to_have_attribute("title", "Every event up to 23 Nov 2026, 07:12:59 is in these numbers.")
