"""Events come, answers are late, something is away: the page ends up at what is asked for, and tells how it stands."""

import asyncio
from typing import Any

import pytest
from playwright.async_api import Locator, Page, expect

from tests.browser.conftest import NOW, Open
from tests.browser.support.reading import rows, scroll_to_row, settle
from tests.browser.support.stand_in import Event, StandIn
from tests.browser.test_live import badge

pytestmark = pytest.mark.asyncio(loop_scope="session")

VIEW = "?workspace=w1&timezone=UTC"
DAY = 86_400


def component(page: Page, name: str) -> Locator:
    return page.locator(f'[data-component="{name}"]')


def count(page: Page, name: str = "added") -> Locator:
    return component(page, name).locator(".count")


def an_import(size: int, **more: Any) -> list[Event]:
    return [
        Event(NOW - 600 - n / 10, f"b1-{n:03}", contact_id=str(n), source="contact_import", batch_id="b1", **more)
        for n in range(size)
    ]


@pytest.mark.parametrize("what", ["a bar", "the order", "one activity", "the skip link"])
async def test_the_page_stays_live_when_only_the_table_is_asked_something_else(
    bare: StandIn, window: Open, what: str
) -> None:
    bare.add(Event(NOW - 60, "a"), Event(NOW - 50, "b", "deleted"))
    page = await window(f"{bare.url}/{VIEW}")
    await expect(badge(page)).to_have_attribute("data-connection", "stream")

    if what == "a bar":
        plot = component(page, "added-by-date").locator(".plot")
        await plot.focus()
        await page.keyboard.press("End")
        await page.keyboard.press("Enter")
    elif what == "the order":
        await page.get_by_role("button", name="Activity Time").click()
    elif what == "one activity":
        await component(page, "activities").get_by_label("Show", exact=True).select_option("added")
    else:
        await page.evaluate("document.querySelector('.skip').click()")
    await settle(page)
    streams = [resource for resource, _ in bare.asked].count("live")
    bare.add(Event(NOW - 1, "c"))

    await expect(count(page)).to_have_attribute("data-value", "2")
    await expect(component(page, "activities").locator('[data-event-id="c"]')).to_have_count(1)
    await expect(badge(page)).to_have_attribute("data-connection", "stream")
    assert [resource for resource, _ in bare.asked].count("live") == streams


async def test_a_chart_that_is_shown_as_a_table_follows_the_report(bare: StandIn, window: Open) -> None:
    bare.add(Event(NOW - 60, "a"), Event(NOW - 30 * DAY, "b"))
    page = await window(f"{bare.url}/{VIEW}")
    section = component(page, "added-by-date")
    await section.get_by_role("button", name="Options").click()
    await section.get_by_role("button", name="View as table").click()
    await expect(section.locator(".values tbody tr")).to_have_count(7)

    await page.get_by_label("Period").select_option("last_month")
    await settle(page)
    await expect(section.locator(".values tbody tr")).to_have_count(31)

    await page.get_by_label("Period").select_option("today")
    await settle(page)
    bare.add(Event(NOW - 1, "c"))
    await expect(section.locator(".values tbody")).to_contain_text("2")


async def test_an_opened_import_is_whole_or_closed_after_new_rows_were_shown(bare: StandIn, window: Open) -> None:
    bare.add(*an_import(30), Event(NOW - 900, "old", contact_id="old"))
    page = await window(f"{bare.url}/{VIEW}")
    line = component(page, "activities").locator("tr.import")
    await line.click()
    await expect(component(page, "activities").locator("tr.inner")).not_to_have_count(0)
    bare.add(Event(NOW - 1, "new", contact_id="new"))
    await component(page, "activities").get_by_role("button", name="Show", exact=True).click()

    await expect(component(page, "activities").locator('[data-event-id="new"]')).to_have_count(1)
    await expect(line).to_have_attribute("aria-expanded", "false")
    await expect(component(page, "activities").locator("tr.inner")).to_have_count(0)
    assert [row[1] for row in await rows(page)] == ["new", "old"]
    await line.click()
    await expect(component(page, "activities").locator("tr.inner")).not_to_have_count(0)


async def test_a_long_import_is_one_line_over_many_pages(bare: StandIn, window: Open) -> None:
    bare.add(*an_import(55), Event(NOW - 900, "old", contact_id="old"))
    bare.looks = 20
    page = await window(f"{bare.url}/{VIEW}")

    await expect(component(page, "activities").locator('[data-event-id="old"]')).to_have_count(1)
    await expect(component(page, "activities").locator("tr.import")).to_have_count(1)
    await expect(component(page, "activities").locator("tr.import")).to_contain_text("55")


async def test_an_import_that_goes_on_grows_where_the_oldest_come_first(bare: StandIn, window: Open) -> None:
    bare.add(*an_import(25))
    bare.looks = 20
    page = await window(f"{bare.url}/{VIEW}&order=asc")
    line = component(page, "activities").locator("tr.import")
    await expect(line).to_contain_text("25")

    bare.add(Event(NOW - 1, "more", source="contact_import", batch_id="b1"))

    await expect(line).to_contain_text("26")
    await expect(line).to_have_count(1)


async def test_an_answer_that_is_no_json_is_asked_for_again(bare: StandIn, window: Open) -> None:
    bare.add(Event(NOW - 60, "a"))
    bare.faults["live"] = 404
    bare.broken.add("report")
    page = await window(f"{bare.url}/{VIEW}")
    await expect(badge(page)).to_have_attribute("data-connection", "lost")

    bare.broken.clear()
    await expect(count(page)).to_have_attribute("data-value", "1", timeout=20_000)
    await expect(badge(page)).to_have_attribute("data-connection", "polling")


async def test_counts_that_are_not_available_any_more_do_not_look_live(bare: StandIn, window: Open) -> None:
    bare.add(Event(NOW - 60, "a"))
    page = await window(f"{bare.url}/{VIEW}")
    await expect(badge(page)).to_have_attribute("data-connection", "stream")

    bare.faults |= {"live": 503, "report": 503}
    bare.touch()

    await expect(badge(page)).to_have_attribute("data-connection", "unavailable")
    await expect(page.locator("#notice")).to_have_attribute("data-kind", "lost")
    await expect(page.locator("html")).to_have_class("stale")
    bare.faults.clear()
    await expect(page.locator("#notice")).not_to_have_attribute("data-kind", "lost")


async def test_a_line_that_was_believed_and_says_nothing_is_believed_no_more(bare: StandIn, window: Open) -> None:
    bare.add(Event(NOW - 60, "a"))
    page = await window()
    await page.add_init_script(  # silence is noticed after two seconds
        """const later = window.setTimeout;
        window.setTimeout = (act, after, ...more) => later(act, after === 20000 ? 2000 : after, ...more);"""
    )
    await page.goto(f"{bare.url}/{VIEW}")
    await expect(badge(page)).to_have_attribute("data-connection", "stream")

    bare.mute = True
    bare.add(Event(NOW - 1, "b"))

    await expect(count(page)).to_have_attribute("data-value", "2", timeout=30_000)
    await expect(badge(page)).to_have_attribute("data-connection", "polling")


async def test_the_table_is_that_of_the_last_of_many_events(bare: StandIn, window: Open) -> None:
    bare.add(Event(NOW - 60, "a"))
    page = await window(f"{bare.url}/{VIEW}")
    await expect(badge(page)).to_have_attribute("data-connection", "stream")
    bare.slow["activities"] = 1.0

    bare.add(Event(NOW - 2, "b"))
    await expect(count(page)).to_have_attribute("data-value", "2")
    bare.add(Event(NOW - 1, "c"))

    await expect(count(page)).to_have_attribute("data-value", "3")
    await expect(component(page, "activities").locator(".total")).to_have_attribute("data-value", "3")
    assert [row[1] for row in await rows(page)] == ["c1", "c1", "c1"]


async def test_a_date_is_typed_in_peace_and_taken_when_it_is_whole(bare: StandIn, window: Open) -> None:
    bare.add(Event(NOW - 60, "a"), Event(NOW - 350 * DAY, "b"))
    page = await window(f"{bare.url}/{VIEW}&from=2026-11-01&to=2026-11-23")

    # Typed a key at a time, the day and the month alike in any order, while events come
    await page.get_by_label("From").focus()
    for key in "11112025":
        await page.keyboard.press(key)
        bare.add(Event(NOW - 1, f"n{len(bare.events)}"))
        await asyncio.sleep(0.2)
    assert "from=2026-11-01" in page.url
    await page.keyboard.press("Enter")
    await settle(page)

    assert "from=2025-11-11" in page.url
    assert "to=2026-11-23" in page.url
    await expect(count(page)).to_have_attribute("data-value", "10")


async def test_looking_at_a_date_changes_nothing(bare: StandIn, window: Open) -> None:
    bare.add(Event(NOW - 60, "a"))
    page = await window(f"{bare.url}/{VIEW}")
    await page.get_by_label("From").focus()
    await page.keyboard.press("ArrowRight")
    await page.get_by_label("Period").focus()
    await page.wait_for_timeout(200)
    assert "from=" not in page.url


async def test_two_quick_changes_leave_no_part_behind(api: StandIn, window: Open) -> None:
    page = await window(f"{api.url}/{VIEW}")
    api.slow["activities"] = 0.8
    await component(page, "added-by-source").get_by_role("button", name="User").click()
    await asyncio.sleep(0.2)
    await page.get_by_label("Compare").select_option("none")
    await settle(page)

    await expect(component(page, "activities")).not_to_have_attribute("aria-busy", "true")
    total = int(await count(page).get_attribute("data-value") or 0)
    total += int(await count(page, "deleted").get_attribute("data-value") or 0)
    await expect(component(page, "activities").locator(".total")).to_have_attribute("data-value", str(total))


async def test_a_quiet_range_is_said_of_that_range_alone(bare: StandIn, window: Open) -> None:
    bare.add(*(Event(NOW - 30 * DAY - n, f"e{n}") for n in range(10)))
    bare.slow["summary"] = 1.5
    page = await window(f"{bare.url}/{VIEW}")
    await page.get_by_label("Period").select_option("last_90_days")
    await settle(page)
    await expect(count(page)).to_have_attribute("data-value", "10")
    await page.wait_for_timeout(2_000)
    await expect(page.locator("#empty")).to_be_hidden()


async def test_a_list_of_workspaces_that_is_late_replaces_no_report(api: StandIn, window: Open) -> None:
    api.add(Event(NOW - 60, "z", workspace="w2"))
    page = await window(f"{api.url}/", state="ready")
    await page.get_by_role("link", name="w1").click()
    await settle(page)
    api.slow["workspaces"] = 1.0
    await page.go_back()
    await page.go_forward()
    await settle(page)
    await page.wait_for_timeout(1_500)
    await expect(page.locator("#view")).to_be_visible()
    await expect(page.locator("#guide")).to_be_hidden()
    # and the report that was come back to is live, its table too
    before = int(await count(page).get_attribute("data-value") or 0)
    api.add(Event(NOW - 1, "after"))
    await expect(count(page)).to_have_attribute("data-value", str(before + 1))
    await expect(component(page, "activities").locator('[data-event-id="after"]')).to_have_count(1)


async def test_the_oldest_first_keeps_its_place_when_events_come(bare: StandIn, window: Open) -> None:
    bare.add(*(Event(NOW - 1000 + n, f"e{n:03}", contact_id=f"{n}") for n in range(250)))
    page = await window(f"{bare.url}/{VIEW}&order=asc")
    scroller = component(page, "activities").locator(".rows")
    await scroll_to_row(scroller, "e249")
    before = await scroller.evaluate("(element) => element.scrollTop")

    bare.add(Event(NOW - 1, "last", contact_id="last"))

    await expect(component(page, "activities").locator('[data-event-id="last"]')).to_have_count(1)
    assert await scroller.evaluate("(element) => element.scrollTop") >= before


async def test_all_of_many_users_are_shown_while_events_come(bare: StandIn, window: Open) -> None:
    bare.add(*(Event(NOW - 60 - n, f"e{n}", user_id=f"p{n:04}") for n in range(600)))
    page = await window(f"{bare.url}/{VIEW}")
    bare.slow["users"] = 0.7
    await component(page, "users").get_by_role("button", name="Show all").click()
    for number in range(5):
        bare.add(Event(NOW - 1, f"n{number}", user_id="p0000"))
        await asyncio.sleep(0.4)
    await expect(component(page, "users").locator("tbody tr")).to_have_count(600)
    await expect(component(page, "users").locator('[data-user="p0000"][data-activity="added"]')).to_have_attribute(
        "data-value", "6"
    )


async def test_nothing_of_one_workspace_is_shown_or_copied_in_another(api: StandIn, window: Open) -> None:
    api.add(Event(NOW - 60, "z", workspace="w2"))
    page = await window(f"{api.url}/{VIEW}", permissions=["clipboard-read", "clipboard-write"])
    api.faults |= {"live": 500, "report": 500}
    await page.evaluate(
        "history.pushState(null, '', '?workspace=w2&timezone=UTC'); dispatchEvent(new Event('popstate'))"
    )
    await settle(page)
    await expect(count(page)).to_have_attribute("data-value", "1")
    assert "435" not in await page.title()
    await expect(page.locator("#range")).to_have_text("")
    await page.locator('[data-component="filters"]').hover()
    await page.wait_for_timeout(300)
    await expect(component(page, "added-by-source").locator('.amount[data-source="user"]')).to_have_attribute(
        "data-value", "1"
    )


async def test_an_hour_is_not_offered_where_it_is_too_narrow(api: StandIn, window: Open) -> None:
    page = await window(f"{api.url}/{VIEW}&period=last_30_days&interval=hour")
    await page.get_by_label("Period").select_option("last_90_days")
    await settle(page)
    await expect(page.locator("html")).to_have_attribute("data-state", "ready")
    assert "interval" not in page.url
    await expect(page.locator('#interval option[value="hour"]')).to_be_disabled()


async def test_a_small_change_is_a_change(bare: StandIn, window: Open) -> None:
    bare.add(*(Event(NOW - 60 - n / 100, f"a{n}") for n in range(3_001)))
    bare.add(*(Event(NOW - 7 * DAY - 60 - n / 100, f"b{n}") for n in range(3_000)))
    page = await window(f"{bare.url}/{VIEW}&compare=previous_period")
    await expect(component(page, "added").locator(".change")).not_to_have_text("no change")


async def test_the_keyboard_is_not_lost_when_filters_are_reset(api: StandIn, window: Open) -> None:
    page = await window(f"{api.url}/{VIEW}&source=user")
    await page.get_by_role("button", name="Reset filters").focus()
    await page.keyboard.press("Enter")
    await settle(page)
    await expect(page.get_by_label("Period")).to_be_focused()


async def test_a_source_may_have_any_name(bare: StandIn, window: Open) -> None:
    bare.add(*(Event(NOW - 60, name, source=name) for name in ("constructor", "__proto__", "toString")))
    page = await window(f"{bare.url}/{VIEW}")
    legend = component(page, "added-by-source").locator(".legend")
    for name in ("constructor", "__proto__", "toString"):
        await expect(legend.locator(".name", has_text=name)).to_have_text(name)
    await expect(legend).not_to_contain_text("native code")
