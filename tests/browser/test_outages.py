"""After any outage the page comes back by itself; until then no part of it looks current that is not."""

import asyncio

import pytest
from playwright.async_api import Locator, Page, expect

from tests.browser.conftest import NOW, Open
from tests.browser.support.reading import rows, scroll_to_row, settle, shown
from tests.browser.support.stand_in import Event, StandIn
from tests.browser.test_live import badge, hide

pytestmark = pytest.mark.asyncio(loop_scope="session")

TODAY = "?workspace=w1&timezone=UTC&period=today"
DAY = 86_400
BACK_MS = 20_000
"""Within so long the page is back."""
EVERYTHING = ("live", "report", "summary", "timeline", "sources", "users", "activities", "filters", "workspaces")


def component(page: Page, name: str) -> Locator:
    return page.locator(f'[data-component="{name}"]')


def count(page: Page, name: str = "added") -> Locator:
    return component(page, name).locator(".count")


def asked_since(api: StandIn, number: int) -> list[str]:
    return [resource for resource, _ in api.asked[number:] if resource != "page"]


async def expect_live(page: Page) -> None:
    """All parts are current, and the badge says so."""
    await expect(badge(page).locator(".word")).to_have_text("Live", timeout=BACK_MS)
    await expect(page.locator('[data-component][data-state="error"]')).to_have_count(0)
    await expect(page.locator(".failure")).to_have_count(0)


@pytest.mark.parametrize("status", [0, 502, 503, 429])
async def test_a_table_whose_refresh_failed_says_so_and_asks_again(bare: StandIn, window: Open, status: int) -> None:
    bare.add(*(Event(NOW - 60 - n, f"a{n}", contact_id=f"a{n}") for n in range(3)))
    page = await window(f"{bare.url}/{TODAY}")
    await expect_live(page)
    bare.faults["activities"] = status

    bare.add(Event(NOW - 2, "b", contact_id="b"), Event(NOW - 1, "c", contact_id="c"))

    await expect(count(page)).to_have_attribute("data-value", "5")
    table = component(page, "activities")
    await expect(table).to_have_attribute("data-state", "error")
    await expect(table.get_by_role("alert")).to_be_visible()
    await expect(badge(page).locator(".word")).to_have_text("Partly live")
    await expect(badge(page).locator(".line")).to_have_text("asking again for Activity")
    assert len(await rows(page)) == 3  # they answer the same question
    await expect(table.locator(".rows")).to_be_visible()

    bare.faults.clear()
    await expect(table.locator(".total")).to_have_attribute("data-value", "5", timeout=BACK_MS)
    await expect_live(page)
    assert [row[1] for row in await rows(page)] == ["c", "b", "a0", "a1", "a2"]


@pytest.mark.parametrize("status", [0, 502, 503])
async def test_one_answer_that_failed_leaves_nothing_behind(bare: StandIn, window: Open, status: int) -> None:
    bare.retry_after = "2"
    bare.add(*(Event(NOW - 60 - n, f"a{n}") for n in range(3)))
    page = await window(f"{bare.url}/{TODAY}")
    bare.once["activities"] = [status]

    bare.add(Event(NOW - 2, "b"), Event(NOW - 1, "c"))

    await expect(component(page, "activities").locator(".total")).to_have_attribute("data-value", "5", timeout=BACK_MS)
    await expect(count(page)).to_have_attribute("data-value", "5")
    await expect_live(page)


async def test_a_part_waits_as_long_as_it_is_told(bare: StandIn, window: Open) -> None:
    bare.add(Event(NOW - 60, "a"))
    page = await window(f"{bare.url}/{TODAY}")
    await expect_live(page)
    bare.retry_after = "6"
    bare.once["activities"] = [503]
    asked = len(bare.asked)
    bare.add(Event(NOW - 1, "b"))
    await expect(component(page, "activities")).to_have_attribute("data-state", "error")

    await page.wait_for_timeout(4_000)

    assert asked_since(bare, asked) == ["activities"]
    await expect_live(page)


async def test_rows_and_imports_that_failed_come_by_themselves(bare: StandIn, window: Open) -> None:
    bare.add(*(Event(NOW - 600 - n, f"e{n:03}", contact_id=f"{n}") for n in range(250)))
    bare.add(*(Event(NOW - 60, f"i{n}", source="contact_import", batch_id="b1") for n in range(3)))
    page = await window(f"{bare.url}/{TODAY}")
    await expect_live(page)
    table = component(page, "activities")
    bare.faults["activities"] = 500

    await table.locator("tr.import").click()
    await expect(table.get_by_role("button", name="Try again")).to_be_visible()
    await expect(badge(page).locator(".word")).to_have_text("Partly live")
    bare.faults.clear()
    await expect(table.locator("tr.inner[data-event-id]")).to_have_count(3, timeout=BACK_MS)
    await expect_live(page)

    bare.faults["activities"] = 0
    await table.locator(".rows").evaluate("(element) => { element.scrollTop = element.scrollHeight; }")
    await expect(badge(page).locator(".word")).to_have_text("Partly live")
    bare.faults.clear()
    await expect_live(page)
    await scroll_to_row(table.locator(".rows"), "e249")


async def test_all_of_many_users_come_by_themselves(bare: StandIn, window: Open) -> None:
    bare.add(*(Event(NOW - 60 - n, f"e{n}", user_id=f"p{n:04}") for n in range(600)))
    page = await window(f"{bare.url}/{TODAY}")
    bare.faults["users"] = 500
    users = component(page, "users")

    await users.get_by_role("button", name="Show all").click()

    await expect(users.get_by_role("alert")).to_be_visible()
    await expect(badge(page).locator(".word")).to_have_text("Partly live")
    await expect(users.locator("tbody tr")).to_have_count(500)
    bare.faults.clear()
    await expect(users.locator("tbody tr")).to_have_count(600, timeout=BACK_MS)
    await expect_live(page)


async def test_filters_come_by_themselves(api: StandIn, window: Open) -> None:
    api.faults["filters"] = 500
    page = await window(f"{api.url}/{TODAY}&user=u_10")
    await expect(badge(page).locator(".word")).to_have_text("Partly live")

    api.faults.clear()

    await expect_live(page)


async def test_the_list_of_workspaces_comes_by_itself(api: StandIn, window: Open) -> None:
    api.add(Event(NOW - 60, "x", workspace="w2"))
    api.faults["workspaces"] = 0
    page = await window(f"{api.url}/", state="error")
    await expect(page.get_by_role("alert")).to_contain_text("could not be opened")

    api.faults.clear()

    await expect(page.get_by_role("link", name="w2")).to_be_visible(timeout=BACK_MS)
    await expect(page.locator("html")).to_have_attribute("data-state", "ready")


async def test_an_empty_workspace_says_so_as_soon_as_it_can(bare: StandIn, window: Open) -> None:
    bare.faults["summary"] = 0
    page = await window(f"{bare.url}/?workspace=new&timezone=UTC")
    await expect(badge(page).locator(".word")).to_have_text("Partly live")
    await expect(page.locator("#empty")).to_be_hidden()

    bare.faults.clear()

    await expect(page.locator("#empty")).to_contain_text("Nothing has happened in new yet", timeout=BACK_MS)
    await expect_live(page)


@pytest.mark.parametrize("missing", ["guides.js", "choosers.js"])
async def test_a_server_that_is_away_when_a_module_is_needed_shows_no_number_of_another_question(
    api: StandIn, window: Open, missing: str
) -> None:
    """Asked before what only errors need was fetched, and while nothing at all answers."""
    api.missing.add(missing)
    page = await window(f"{api.url}/{TODAY}")
    before = await shown(page)
    assert before["added"]["count"] > 0
    api.faults.update(dict.fromkeys(EVERYTHING, 500))

    await page.get_by_label("Period").select_option("last_30_days")
    await settle(page)

    for name in ("added", "deleted", "added-by-date", "deleted-by-date", "added-by-source", "users", "activities"):
        await expect(component(page, name)).to_have_attribute("data-state", "error")
        await expect(component(page, name).get_by_role("alert")).to_be_visible()
    now = await shown(page)
    assert now["added"] == {"count": None, "previous": None, "change_percent": None}
    assert [now[part] for part in ("addedByDate", "deletedByDate", "segments", "users")] == [[], [], [], []]
    assert now["sources"] == {}
    assert await rows(page) == []

    api.missing.clear()
    api.faults.clear()
    await expect(count(page)).to_be_visible(timeout=BACK_MS)
    await expect_live(page)
    assert (await shown(page))["added"]["count"] > before["added"]["count"]


@pytest.mark.parametrize("missing", ["main.js", "words.js", "style.css"])
async def test_a_server_that_goes_away_while_the_page_is_fetched_gives_it_when_it_is_back(
    api: StandIn, window: Open, missing: str
) -> None:
    api.missing.add(missing)
    page = await window()
    await page.goto(f"{api.url}/{TODAY}")
    await page.wait_for_timeout(1_000)
    asked = len(api.asked)

    api.missing.clear()

    await expect(page.locator("html")).to_have_attribute("data-state", "ready", timeout=BACK_MS)
    while ("page", f"/page/{missing}") not in api.asked[asked:]:
        await asyncio.sleep(0.1)
    await expect_live(page)


async def test_searching_names_while_the_server_is_away_does_not_say_that_there_is_none(
    api: StandIn, window: Open
) -> None:
    page = await window(f"{api.url}/{TODAY}")
    await expect_live(page)
    for name, resource, found in (("Users", "filters", "Ada Lovelace"), ("Workspace", "workspaces", "w1")):
        api.faults[resource] = 500
        await page.get_by_role("button", name=name, exact=True).click()
        panel = page.get_by_role("dialog")
        await panel.get_by_label("Search by name").fill(found[:2])
        await expect(panel.get_by_role("alert")).to_contain_text("could not be loaded")
        await expect(panel).not_to_contain_text("Nothing found")

        api.faults.clear()
        await expect(panel).to_contain_text(found, timeout=BACK_MS)
        await page.keyboard.press("Escape")
        await expect_live(page)


async def test_modules_that_errors_need_are_there_before(api: StandIn, window: Open) -> None:
    page = await window(f"{api.url}/{TODAY}")
    await expect_live(page)
    while not {"/page/guides.js", "/page/choosers.js", "/page/export.js"} <= {path for _, path in api.asked}:
        await asyncio.sleep(0.1)
    api.missing |= {"guides.js", "choosers.js", "export.js"}
    api.token = "another"
    api.touch()

    await expect(page.get_by_label("Token")).to_be_visible(timeout=BACK_MS)


async def test_numbers_of_the_question_before_go_where_the_answer_is_long_in_coming(api: StandIn, window: Open) -> None:
    page = await window(f"{api.url}/{TODAY}")
    api.slow |= dict.fromkeys(("live", "report", "activities"), 4.0)

    await page.get_by_label("Period").select_option("last_30_days")

    for name in ("added", "added-by-date", "users", "activities"):
        await expect(component(page, name).locator(".body")).to_have_css("opacity", "0")
    api.slow.clear()
    await settle(page)
    await expect(component(page, "added").locator(".body")).to_have_css("opacity", "1")


async def test_an_answer_of_a_proxy_says_nothing_about_the_link(api: StandIn, window: Open) -> None:
    """While the API is away, what stands in front of it may answer 404 or 400 for it."""
    page = await window(f"{api.url}/{TODAY}")
    await expect_live(page)

    async def refuse(route: object) -> None:
        await route.fulfill(status=404, content_type="text/html", body="default backend - 404")  # type: ignore[attr-defined]

    await page.route("**/v1/**", refuse)
    api.faults["live"] = 0
    api.touch()
    await expect(badge(page)).to_have_attribute("data-connection", "lost")
    await expect(page.locator("html")).to_have_attribute("data-state", "ready")

    api.faults.clear()
    await page.unroute("**/v1/**")
    await expect(badge(page)).to_have_attribute("data-connection", "stream", timeout=BACK_MS)
    await expect_live(page)


async def test_an_answer_that_falls_silent_is_given_up(bare: StandIn, window: Open) -> None:
    """As of a server whose machine is gone: the connection stands, and nothing comes."""
    bare.add(Event(NOW - 60, "a"))
    page = await window(f"{bare.url}/{TODAY}")
    await expect_live(page)
    bare.slow["activities"] = 60.0
    bare.add(Event(NOW - 1, "b"))

    await expect(component(page, "activities")).to_have_attribute("data-state", "error", timeout=15_000)
    bare.slow.clear()

    await expect(component(page, "activities").locator(".total")).to_have_attribute("data-value", "2", timeout=BACK_MS)
    await expect_live(page)


async def test_a_browser_without_a_network_says_so_at_once_and_comes_back(bare: StandIn, window: Open) -> None:
    bare.add(Event(NOW - 60, "a"))
    page = await window(f"{bare.url}/{TODAY}")
    await expect_live(page)

    await page.context.set_offline(True)

    await expect(badge(page)).to_have_attribute("data-connection", "lost", timeout=2_000)
    await expect(badge(page).locator(".word")).to_have_text("Not live")
    await expect(page.locator("#notice")).to_contain_text("Connection lost")
    await page.wait_for_timeout(6_000)
    await expect(badge(page)).to_have_attribute("data-connection", "lost")

    bare.add(Event(NOW - 1, "b"))
    await page.context.set_offline(False)
    await expect(count(page)).to_have_attribute("data-value", "2", timeout=BACK_MS)
    await expect(component(page, "activities").locator(".total")).to_have_attribute("data-value", "2", timeout=BACK_MS)
    await expect_live(page)


async def test_a_machine_that_says_it_is_offline_may_still_reach_a_server_on_itself(
    bare: StandIn, window: Open
) -> None:
    bare.add(Event(NOW - 60, "a"))
    page = await window(f"{bare.url}/{TODAY}")
    await expect_live(page)

    await page.evaluate("dispatchEvent(new Event('offline'))")

    await expect(badge(page)).to_have_attribute("data-connection", "lost")
    await expect(badge(page)).to_have_attribute("data-connection", "stream", timeout=BACK_MS)


async def test_a_silent_stream_is_a_lost_connection_after_20_seconds(bare: StandIn, window: Open) -> None:
    bare.add(Event(NOW - 60, "a"))
    page = await window(f"{bare.url}/{TODAY}")
    await expect_live(page)
    bare.mute = True
    bare.faults["report"] = 0

    await expect(badge(page)).to_have_attribute("data-connection", "lost", timeout=24_000)
    await expect(badge(page).locator(".word")).to_have_text("Not live")

    bare.faults.clear()
    bare.mute = False
    bare.touch()
    await expect_live(page)


async def test_a_part_that_failed_is_asked_again_when_the_tab_comes_back(bare: StandIn, window: Open) -> None:
    bare.add(Event(NOW - 60, "a"))
    page = await window(f"{bare.url}/{TODAY}")
    bare.faults["activities"] = 500
    bare.add(Event(NOW - 1, "b"))
    await expect(component(page, "activities")).to_have_attribute("data-state", "error")
    await hide(page, True)
    asked = len(bare.asked)
    await page.wait_for_timeout(6_000)
    assert asked_since(bare, asked) in ([], ["activities"])  # one may have been on its way

    bare.faults.clear()
    await hide(page, False)

    await expect(component(page, "activities").locator(".total")).to_have_attribute("data-value", "2", timeout=3_000)
    await expect_live(page)
