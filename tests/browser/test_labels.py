"""Names as publishers send them: in any script, with marks of direction, showing nothing, or borne by two users."""

import re
from urllib.parse import quote

import pytest
from playwright.async_api import Page, expect

from tests.browser.conftest import NOW, Open
from tests.browser.support.reading import rows, settle
from tests.browser.support.stand_in import Event, StandIn

pytestmark = pytest.mark.asyncio(loop_scope="session")

VIEW = "?workspace=w1&timezone=UTC"
FAMILY = "عبد الرحمن بن عبد العزيز آل سعود الكبير المعروف بالحكيم"
MUHAMMAD, AHMAD = f"محمد {FAMILY}", f"أحمد {FAMILY}"
TURNS = "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
"""Embeddings, overrides and isolates, and what ends them."""

FIRST_WORD_SHOWS = """(selector) => [...document.querySelectorAll(selector)].map((element) => {
  const letters = document.createTreeWalker(element, NodeFilter.SHOW_TEXT).nextNode();
  const range = document.createRange();
  range.setStart(letters, 0);
  range.setEnd(letters, 4);
  const word = range.getBoundingClientRect();
  for (let box = element; box.localName !== 'section' && box.localName !== 'body'; box = box.parentElement) {
    const { left, right } = box.getBoundingClientRect();
    if (word.left < left - 1 || word.right > right + 1) return false;
  }
  return true;
})"""

TEXTS = """() => [document.title, ...[...document.querySelectorAll('body *')].flatMap((element) => [
  ...['title', 'aria-label', 'aria-valuetext', 'placeholder'].map((name) => element.getAttribute(name)),
  ...[...element.childNodes].filter((node) => node.nodeType === Node.TEXT_NODE).map((node) => node.data),
])].filter(Boolean)"""

NAMELESS = """() => {
  const seen = /[^\\s\\p{Default_Ignorable_Code_Point}\\p{Cc}\\p{Cf}\\p{Mn}\\u2800]/u;
  const hands = 'button, a, label, option, [role=option], [role=row][tabindex]';
  return [...document.querySelectorAll(hands)]
    .filter((one) => one.checkVisibility() && !seen.test(one.textContent)).map((one) => one.outerHTML);
}"""


async def open_lists(page: Page) -> None:
    """Both lists to choose from, each opened once: they stay in the page."""
    for control in ("#sources", "#users"):
        await page.locator(control).click()
        await page.locator(f"{control} + .choices li label").first.wait_for()
        await page.keyboard.press("Escape")


async def test_a_name_is_cut_at_its_own_end(bare: StandIn, window: Open) -> None:
    bare.add(
        Event(NOW - 60, "a", contact_name=MUHAMMAD, source=f"متجر {FAMILY}", user_id="u_1", user_name=MUHAMMAD),
        Event(NOW - 61, "b", contact_name=AHMAD, source="user", user_id="u_2", user_name=AHMAD),
    )
    page = await window(f"{bare.url}/{VIEW}&user=u_1&user=u_2", viewport={"width": 1000, "height": 900})
    await expect(page.locator("#users-value")).to_contain_text("محمد")

    for selector in (
        "[data-event-id] td:nth-child(3)",
        "[data-event-id] td:nth-child(6) bdi, [data-event-id] td:nth-child(6):not(:has(bdi))",
        '[data-component="users"] tbody th button',
        "#users-value bdi",
    ):
        assert await page.evaluate(FIRST_WORD_SHOWS, selector) == [True, True], selector
    assert all(await page.evaluate(FIRST_WORD_SHOWS, ".legend .name"))


async def test_marks_of_direction_in_a_name_reach_nothing_around_it(bare: StandIn, window: Open) -> None:
    mean = f"{TURNS}Eve\u202e"
    bare.add(
        Event(NOW - 60, "a", contact_id=mean, contact_name=mean, source=mean.lower(), user_id="u_1", user_name=mean),
        Event(NOW - 61, "b", contact_id="7", source="user", user_id=f"u_2{TURNS}", user_name=mean),
        Event(NOW - 62, "c", source="contact_import", user_id="u_3", user_name=MUHAMMAD, batch_id=mean),
    )
    page = await window(f"{bare.url}/{VIEW}&user=u_1&user=u_3&user=u_2{TURNS}")
    await open_lists(page)
    await page.get_by_label("Added by source").get_by_role("slider").or_(page.get_by_role("slider")).last.focus()
    await page.keyboard.press("End")

    texts = await page.evaluate(TEXTS)

    # The page's own isolate around a name that is written from right to left is all that is left of them.
    rest = [re.sub(f"\u2068[^{TURNS}]*\u2069", "", text) for text in texts]
    assert [text for text in rest if re.search(f"[{TURNS}]", text)] == []
    assert f"Show only \u2068{MUHAMMAD}\u2069" in texts
    assert [row[1:3] for row in await rows(page)] == [["Eve", "Eve"], ["7", ""]]


@pytest.mark.parametrize("nothing", ["   ", "\u200b\u200d", "\u00ad\u2060", "\u3164", "\u2800 \u00a0", "\u202e"])
async def test_a_name_that_shows_nothing_is_the_id(bare: StandIn, window: Open, nothing: str) -> None:
    bare.add(
        Event(NOW - 60, "a", contact_id="77", contact_name=nothing, source=nothing, user_id="u_1", user_name=nothing),
        Event(NOW - 61, "b", contact_id=nothing, source="user", user_id=nothing, user_name="Ada"),
        Event(NOW - 62, "c", contact_id="78", user_id=f"{nothing}{nothing}", user_name=nothing),
        Event(NOW - 63, "d", source="contact_import", batch_id=nothing),
    )
    page = await window(f"{bare.url}/{VIEW}&user=u_1&user=none&user={quote(nothing)}&user={quote(nothing * 2)}")
    await open_lists(page)
    points = " ".join(f"U+{ord(one):04X}" for one in nothing)

    assert await rows(page) == [
        ["23 Nov 2026, 07:12:00", "77", "77", "Added", points, "u_1"],
        ["23 Nov 2026, 07:11:59", points, "", "Added", "User", "Ada"],
        ["23 Nov 2026, 07:11:58", "78", "", "Added", "User", f"{points} {points}"],
    ]
    assert await page.locator("[data-batch-id] td").nth(1).inner_text() == points
    assert set(await page.locator('[data-component="users"] tbody th').all_inner_texts()) == {
        "u_1",
        "Ada",
        f"{points} {points}",
        "No user",
    }
    assert points in await page.locator(".legend .name").all_inner_texts()
    assert await page.locator("#users-value").text_content() == "u_1, No user +2"
    for control in ("#sources", "#users"):
        await page.locator(control).click()
        await page.locator(f"{control} + .choices li label").first.wait_for()
        assert await page.evaluate(NAMELESS) == []
        await page.keyboard.press("Escape")


async def test_two_users_of_one_name_are_told_apart_everywhere(bare: StandIn, window: Open) -> None:
    bare.add(
        Event(NOW - 60, "a", contact_id="1", user_id="u_1", user_name="Ada Lovelace"),
        Event(NOW - 61, "b", contact_id="2", user_id="u_2", user_name="Ada\u00a0Lovelace\u200b"),
        Event(NOW - 62, "c", contact_id="3", user_id="u_3", user_name="Grace Hopper"),
        Event(NOW - 63, "d", contact_id="4", user_id="u_4", user_name="No user"),
    )
    page = await window(f"{bare.url}/{VIEW}&user=u_1&user=u_2")

    list_ = page.locator('[data-component="users"] tbody th button')
    assert [" ".join(one.replace("\u200b", "").split()) for one in await list_.all_inner_texts()] == [
        "Ada Lovelace u_1",
        "Ada Lovelace u_2",
    ]
    assert await list_.first.get_attribute("title") == "Show only Ada Lovelace (u_1)"
    assert [" ".join(row[5].replace("\u200b", "").split()) for row in await rows(page)] == [
        "Ada Lovelace u_1",
        "Ada Lovelace u_2",
    ]
    value = await page.locator("#users-value").text_content()
    assert value is not None
    assert re.sub("[\u200b\u2068\u2069]", "", value).replace("\u00a0", " ") == "Ada Lovelace (u_1), Ada Lovelace (u_2)"

    await page.get_by_role("button", name="Reset filters").click()
    await settle(page)

    await expect(list_.filter(has_text="Grace Hopper")).to_have_text("Grace Hopper")
    await expect(list_.filter(has_text="No user")).to_have_text("No user u_4")
    assert [row[5] for row in await rows(page)][2] == "Grace Hopper"


async def test_two_long_names_alike_keep_their_ids_in_sight(bare: StandIn, window: Open) -> None:
    bare.add(*(Event(NOW - 60 - n, f"e{n}", user_id=f"u_{n}", user_name="Maximiliane " * 12) for n in range(2)))
    page = await window(f"{bare.url}/{VIEW}", viewport={"width": 390, "height": 900})

    ids = page.locator("[data-event-id] td:nth-child(6) small, [data-component='users'] tbody small")

    assert await ids.all_inner_texts() == ["u_0", "u_1", "u_0", "u_1"]
    within = """(id) => id.getBoundingClientRect().right <= id.closest('td, th').getBoundingClientRect().right + 1
      && id.scrollWidth <= id.clientWidth"""
    assert [await ids.nth(n).evaluate(within) for n in range(4)] == [True] * 4
