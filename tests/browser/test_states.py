"""What the page shows where there are no numbers: each case looks different and says what to do."""

import pytest
from playwright.async_api import Locator, Page, expect

from tests.browser.conftest import NOW, Open
from tests.browser.support.reading import settle, shown
from tests.browser.support.stand_in import Event, StandIn

pytestmark = pytest.mark.asyncio(loop_scope="session")

VIEW = "?workspace=w1&timezone=UTC"
COMPONENTS = ("added", "deleted", "added-by-date", "deleted-by-date", "added-by-source", "users", "activities")


def component(page: Page, name: str) -> Locator:
    return page.locator(f'[data-component="{name}"]')


async def states(page: Page) -> dict[str, str]:
    return await page.evaluate(
        """Object.fromEntries([...document.querySelectorAll('[data-component][data-state]')]
          .map(({ dataset }) => [dataset.component, dataset.state]))"""
    )


async def test_without_a_workspace_the_page_offers_those_there_are(api: StandIn, window: Open) -> None:
    api.add(Event(NOW - 60, "x", workspace="w2"))
    page = await window(f"{api.url}/")

    assert await page.locator("#guide a").all_inner_texts() == ["w1", "w2"]
    await page.get_by_role("link", name="w2").click()
    await settle(page)

    assert "workspace=w2" in page.url
    assert (await shown(page))["added"]["count"] == 1


async def test_an_only_workspace_is_opened_at_once(api: StandIn, window: Open) -> None:
    page = await window(f"{api.url}/")

    await expect(page.locator('[data-component="added"] .count')).to_be_visible()
    assert "workspace=w1" in page.url


async def test_another_workspace_is_picked_from_the_head(api: StandIn, window: Open) -> None:
    api.add(Event(NOW - 60, "x", workspace="w2"))
    page = await window(f"{api.url}/{VIEW}&source=user")

    await page.get_by_role("button", name="Workspace", exact=True).click()
    await page.get_by_role("link", name="w2").click()
    await settle(page)

    assert page.url.endswith("?workspace=w2&timezone=UTC")


async def test_an_empty_workspace_says_how_to_send_the_first_event_and_shows_it_when_it_comes(
    bare: StandIn, window: Open
) -> None:
    page = await window(f"{bare.url}/?workspace=new&timezone=UTC")

    await expect(page.locator("#empty")).to_contain_text("Nothing has happened in new yet")
    await expect(page.locator("#empty pre")).to_contain_text('"workspace_id":"new"')
    await expect(page.locator("#empty pre")).to_contain_text("contacts-report publish -")
    bare.add(Event(NOW - 1, "first", workspace="new"))

    await expect(page.locator("#empty")).to_be_hidden()
    await expect(component(page, "added").locator(".count")).to_have_attribute("data-value", "1")


async def test_a_quiet_period_of_a_workspace_with_events_offers_all_time(bare: StandIn, window: Open) -> None:
    bare.add(Event(NOW - 90 * 86_400, "long ago"))
    page = await window(f"{bare.url}/{VIEW}")
    await expect(page.locator("#empty")).to_contain_text("Nothing happened in this period")

    await page.get_by_role("button", name="Show all time").click()
    await settle(page)

    assert "period=all" in page.url
    assert (await shown(page))["added"] == {"count": 1, "previous": None, "change_percent": None}
    await expect(component(page, "added")).to_contain_text("Not compared")


@pytest.mark.parametrize("status", [0, 500])
async def test_a_table_that_fails_takes_nothing_else_with_it(api: StandIn, window: Open, status: int) -> None:
    api.faults["activities"] = status
    page = await window(f"{api.url}/{VIEW}")

    assert await states(page) == {**dict.fromkeys(COMPONENTS, "ready"), "activities": "error"}
    await expect(component(page, "activities").get_by_role("alert")).to_contain_text("could not be loaded")
    api.faults.clear()

    await expect(component(page, "activities").locator("[data-event-id]").first).to_be_visible()
    assert await states(page) == dict.fromkeys(COMPONENTS, "ready")


async def test_where_the_whole_report_fails_its_parts_are_asked_alone(api: StandIn, window: Open) -> None:
    api.faults.update({"live": 500, "report": 500, "users": 500})
    page = await window(f"{api.url}/{VIEW}")

    assert await states(page) == {**dict.fromkeys(COMPONENTS, "ready"), "users": "error"}
    assert (await shown(page))["added"]["count"] > 0


async def test_filters_that_fail_say_so_and_leave_the_report_alone(api: StandIn, window: Open) -> None:
    api.faults["filters"] = 500
    page = await window(f"{api.url}/{VIEW}&user=u_10")  # who has no label in the report

    await expect(component(page, "filters").get_by_role("alert")).to_be_visible()
    assert await states(page) == {**dict.fromkeys(COMPONENTS, "ready"), "filters": "error"}


async def test_counts_that_are_on_their_way_look_different_from_zero_and_come_by_themselves(
    api: StandIn, window: Open
) -> None:
    api.faults.update(dict.fromkeys(("live", "report", "activities"), 503))
    page = await window(f"{api.url}/{VIEW}")
    assert await states(page) == dict.fromkeys(COMPONENTS, "error")
    await expect(component(page, "added").get_by_role("alert")).to_contain_text("Not available yet")

    api.faults.clear()

    await expect(component(page, "added").locator(".count")).to_be_visible(timeout=20_000)
    await expect(component(page, "activities").locator("[data-event-id]").first).to_be_visible()
    assert await states(page) == dict.fromkeys(COMPONENTS, "ready")


async def test_a_wrong_link_names_every_wrong_parameter_and_offers_ways_on(api: StandIn, window: Open) -> None:
    page = await window(f"{api.url}/{VIEW}&interval=fortnight&from=2026-11-02&to=2026-11-01&source=user", state="error")
    alert = page.get_by_role("alert")
    await expect(alert).to_contain_text("interval")
    await expect(alert).to_contain_text("2026-11-01 is before from")

    await page.get_by_role("button", name="Open with the usual settings").click()
    await settle(page)

    assert "interval" not in page.url
    assert (await shown(page))["state"] == "ready"


async def test_one_wrong_parameter_can_be_left_out(api: StandIn, window: Open) -> None:
    page = await window(f"{api.url}/{VIEW}&interval=fortnight&source=user", state="error")

    await page.get_by_role("button", name="Open without “interval”").click()
    await settle(page)

    assert page.url.endswith("?workspace=w1&timezone=UTC&source=user")
    assert (await shown(page))["state"] == "ready"


async def test_without_a_token_there_is_a_place_to_paste_one(api: StandIn, window: Open) -> None:
    api.token = "good"
    page = await window(f"{api.url}/{VIEW}", state="error")
    await expect(page.locator("#view")).to_be_hidden()

    await page.get_by_label("Token").fill("good")
    await page.keyboard.press("Enter")
    await settle(page)

    assert (await shown(page))["added"]["count"] > 0
    assert await page.evaluate("[location.href.includes('good'), localStorage.length, document.cookie]") == [
        False,
        0,
        "",
    ]
    await page.reload()
    await page.wait_for_selector("html[data-state=ready]")  # the session keeps it


async def test_a_token_in_the_fragment_is_taken_and_removed_from_the_address(api: StandIn, window: Open) -> None:
    api.token = "good"
    page = await window(f"{api.url}/{VIEW}#token=good")

    assert page.url == f"{api.url}/{VIEW}"
    assert all("good" not in address for _, address in api.asked)
    assert (await shown(page))["added"]["count"] > 0


async def test_a_token_that_expires_asks_for_a_new_one(api: StandIn, window: Open) -> None:
    api.token = "old"
    page = await window(f"{api.url}/{VIEW}#token=old")

    api.token = "new"
    api.touch()

    await page.wait_for_selector("html[data-state=error]")
    await expect(page.get_by_role("alert")).to_contain_text("may have expired")
    await page.get_by_label("Token").fill("new")
    await page.get_by_role("button", name="Open the report").click()
    await page.wait_for_selector("html[data-state=ready]")


async def test_a_workspace_that_the_token_may_not_see_is_named(api: StandIn, window: Open) -> None:
    api.workspaces = ("w2",)
    page = await window(f"{api.url}/{VIEW}", state="error")

    await expect(page.get_by_role("alert")).to_contain_text("may not read the workspace w1")


async def test_warnings_are_shown_with_the_report(api: StandIn, window: Open) -> None:
    page = await window(f"{api.url}/{VIEW}&source=carrier_pigeon")

    await expect(page.locator("#warnings")).to_have_text("carrier_pigeon was never seen here")
    assert (await shown(page))["added"]["count"] == 0
