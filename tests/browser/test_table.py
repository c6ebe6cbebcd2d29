"""The activity table: endless without slowing, folded imports that open, new rows that announce themselves."""

import pytest
from playwright.async_api import Locator, Page, expect

from tests.browser.conftest import NOW, Open
from tests.browser.support.reading import rows, scroll_until, settle
from tests.browser.support.stand_in import Event, StandIn

pytestmark = pytest.mark.asyncio(loop_scope="session")

VIEW = "?workspace=w1&timezone=Asia/Kuala_Lumpur"


def table(page: Page) -> Locator:
    return page.locator('[data-component="activities"]')


def scroller(page: Page) -> Locator:
    return table(page).locator(".rows")


def batch(size: int, id_: str = "b1", at: float = NOW - 600) -> list[Event]:
    return [
        Event(at - number / 10, f"{id_}-{number:05}", contact_id=str(number), source="contact_import", batch_id=id_)
        for number in range(size)
    ]


async def test_a_row_has_its_six_cells_in_order(bare: StandIn, window: Open) -> None:
    bare.add(
        Event(
            NOW - 60.5, "a", contact_id="77", contact_name="Zoë", source="echo_message", user_id="u_1", user_name="Ada"
        ),
        Event(NOW - 61, "b", "deleted", contact_id="78", source=None),
    )
    page = await window(f"{bare.url}/{VIEW}")

    assert await rows(page) == [
        ["23 Nov 2026, 15:11:59", "77", "Zoë", "Added", "Echo Message", "Ada"],
        ["23 Nov 2026, 15:11:59", "78", "", "Deleted", "–", "–"],
    ]
    times = [await time.get_attribute("datetime") for time in await table(page).locator("[data-event-id] time").all()]
    assert times == ["2026-11-23T15:11:59.500+08:00", "2026-11-23T15:11:59.000+08:00"]
    assert await table(page).get_by_role("columnheader").all_inner_texts() == [
        "Activity Time",
        "Contact ID",
        "Contact Name",
        "Activity",
        "Source",
        "User",
    ]


async def test_a_million_rows_scroll_with_few_elements(bare: StandIn, window: Open) -> None:
    bare.endless = 1_000_000
    page = await window(f"{bare.url}/{VIEW}")
    await expect(table(page).locator(".total")).to_have_attribute("data-value", "1000000")

    most = 0

    async def is_far_down() -> bool:
        nonlocal most
        most = max(most, await table(page).locator("tbody tr").count())
        shown = (
            await table(page).locator("[data-event-id]").evaluate_all("(all) => all.map((row) => row.dataset.eventId)")
        )
        return bool(shown) and int(shown[0].removeprefix("e")) < 1_000_000 - 500

    await scroll_until(scroller(page), is_far_down)
    await expect(table(page).locator("[data-event-id]").first).to_be_visible()
    first = int(await table(page).locator("[data-event-id]").first.locator("td").nth(1).inner_text())

    assert 0 < most < 100
    assert first < 1_000_000 - 500
    numbers = [int(row[1]) for row in await rows(page)]
    assert numbers == list(range(numbers[0], numbers[0] - len(numbers), -1))  # no row skipped, none twice


async def test_rows_far_away_are_let_go_and_come_back(bare: StandIn, window: Open) -> None:
    bare.endless = 1_000_000
    page = await window(f"{bare.url}/{VIEW}")
    for _ in range(55):
        await scroller(page).evaluate("(element) => { element.scrollTop = element.scrollHeight; }")
        await page.wait_for_timeout(30)

    await scroller(page).evaluate("(element) => { element.scrollTop = 38 * 150; }")

    await expect(table(page).locator('[data-event-id="e999850"]')).to_be_visible()


async def test_an_import_is_one_line_that_opens(bare: StandIn, window: Open) -> None:
    bare.add(*batch(250), Event(NOW - 60, "newest", contact_id="x"), Event(NOW - 3_600, "oldest", contact_id="y"))
    page = await window(f"{bare.url}/{VIEW}")
    line = table(page).locator("[data-batch-id]")

    await expect(table(page).locator(".total")).to_have_attribute("data-value", "252")
    look = "(row) => [row.dataset.value, row.getAttribute('aria-expanded'), row.dataset.eventId ?? null]"
    assert await line.evaluate(look) == ["250", "false", None]
    await expect(line).to_contain_text("Import: 250 contacts added")
    await line.click()

    await expect(line).to_have_attribute("aria-expanded", "true")
    await expect(table(page).locator('[data-event-id="b1-00000"]')).to_be_visible()
    assert [row[1] for row in await rows(page)][:4] == ["x", "0", "1", "2"]
    seen: set[str] = set()
    for _ in range(40):
        seen.update(row[1] for row in await rows(page))
        await scroller(page).evaluate("(element) => { element.scrollTop += 600; }")
        await page.wait_for_timeout(50)
    assert seen == {"x", "y", *map(str, range(250))}

    await scroller(page).evaluate("(element) => { element.scrollTop = 0; }")
    await line.focus()
    await page.keyboard.press("ArrowLeft")
    await expect(line).to_have_attribute("aria-expanded", "false")
    assert [row[1] for row in await rows(page)] == ["x", "y"]


@pytest.mark.parametrize("locale", ["en-GB", "en-US", "de-DE", "fa-IR"])
@pytest.mark.parametrize("width", [1360, 1100, 800, 390])
async def test_no_time_of_an_opened_import_is_cut(bare: StandIn, window: Open, width: int, locale: str) -> None:
    bare.add(*batch(40))
    page = await window(f"{bare.url}/{VIEW}", viewport={"width": width, "height": 900}, locale=locale)

    await table(page).locator("[data-batch-id]").click()
    await expect(table(page).locator(".inner").first).to_be_visible()

    cut = "(cells) => cells.filter((cell) => cell.scrollWidth > cell.clientWidth).map((cell) => cell.textContent)"
    assert await table(page).locator("tbody td:first-child").evaluate_all(cut) == []


@pytest.mark.parametrize("width", [1360, 1100, 1000, 390])
async def test_a_long_name_of_a_user_is_read_whole(bare: StandIn, window: Open, width: int) -> None:
    name = "Maximiliane von und zu Hohenstein"
    bare.add(Event(NOW - 60, "a", user_id="u_1", user_name=name), Event(NOW - 61, "b", user_id="u_2", user_name="Ada"))
    page = await window(f"{bare.url}/{VIEW}", viewport={"width": width, "height": 900})
    button = page.locator('[data-component="users"] tbody button').first

    cut = """(button) => [button, ...button.children]
      .some((one) => one.scrollWidth > one.clientWidth + 1 || one.scrollHeight > one.clientHeight + 1)"""
    assert await button.inner_text() == name
    assert not await button.evaluate(cut)


async def test_imports_unfold_into_rows_of_their_own(bare: StandIn, window: Open) -> None:
    bare.add(*batch(3))
    page = await window(f"{bare.url}/{VIEW}")

    await page.get_by_label("Fold imports").uncheck()
    await settle(page)

    assert "imports=open" in page.url
    assert [row[1] for row in await rows(page)] == ["0", "1", "2"]


async def test_new_rows_are_announced_while_the_table_is_scrolled_and_come_in_at_its_head(
    api: StandIn, window: Open
) -> None:
    page = await window(f"{api.url}/{VIEW}")
    await scroller(page).evaluate("(element) => { element.scrollTop = 900; }")
    await expect(table(page).locator("tbody tr").first).not_to_have_attribute("aria-rowindex", "2")  # it is drawn there
    await expect(table(page).locator("tr.waiting")).to_have_count(0)
    before = await rows(page)

    api.add(Event(NOW - 2, "n1", contact_id="n1"), Event(NOW - 1, "n2", contact_id="n2"))

    await expect(table(page).get_by_role("status")).to_have_text("2 new activities above")
    assert await rows(page) == before
    assert await scroller(page).evaluate("(element) => element.scrollTop") == 900
    await table(page).get_by_role("button", name="Show", exact=True).click()
    await expect(table(page).locator('[data-event-id="n2"]')).to_be_visible()
    assert [row[1] for row in await rows(page)][:2] == ["n2", "n1"]
    await expect(table(page).get_by_role("status")).to_have_text("")


async def test_the_oldest_first_by_a_click_on_the_time(bare: StandIn, window: Open) -> None:
    bare.add(Event(NOW - 60, "b", contact_id="2"), Event(NOW - 120, "a", contact_id="1"))
    page = await window(f"{bare.url}/{VIEW}")

    await table(page).get_by_role("button", name="Activity Time").click()
    await settle(page)

    assert "order=asc" in page.url
    assert [row[1] for row in await rows(page)] == ["1", "2"]


async def test_one_kind_of_activity_alone(bare: StandIn, window: Open) -> None:
    bare.add(Event(NOW - 60, "b"), Event(NOW - 120, "a", "deleted"))
    page = await window(f"{bare.url}/{VIEW}")

    await table(page).get_by_label("Show", exact=True).select_option("deleted")
    await settle(page)

    assert "activity=deleted" in page.url
    assert [row[3] for row in await rows(page)] == ["Deleted"]
    await expect(table(page).locator(".total")).to_have_attribute("data-value", "1")


async def test_a_table_of_few_rows_is_short(bare: StandIn, window: Open) -> None:
    page = await window(f"{bare.url}/{VIEW}")
    rows_box = page.locator('[data-component="activities"] .rows')
    await expect(rows_box).to_contain_text("No activity in this period.")
    empty = await rows_box.bounding_box()

    bare.add(*(Event(NOW - number, str(number)) for number in range(3)))
    await expect(rows_box.locator("[data-event-id]")).to_have_count(3)
    three = await rows_box.bounding_box()

    assert empty
    assert three
    assert empty["height"] < 110 < three["height"] < 230
    assert await rows_box.evaluate("(box) => box.scrollHeight <= box.clientHeight")
