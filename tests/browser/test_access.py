"""Everyone can use it: by keyboard, by a screen reader, on a small screen, in the dark."""

from typing import Any

import pytest
from axe_playwright_python.async_playwright import DEFAULT_OPTIONS, Axe
from playwright.async_api import Page, expect

from tests.browser.conftest import NOW, Open
from tests.browser.support.reading import settle
from tests.browser.support.stand_in import Event, StandIn
from tests.browser.test_table import batch

pytestmark = pytest.mark.asyncio(loop_scope="session")

VIEW = "?workspace=w1&timezone=UTC"


OPTIONS = DEFAULT_OPTIONS | {"rules": {"label-content-name-mismatch": {"enabled": True}}}
"""With an experimental rule, off by itself: who speaks to the page says what is written on a button (WCAG 2.5.3). By
default axe does not describe what it finds right, which of a whole report is megabytes.
"""


async def violations(page: Page) -> list[tuple[str, list[Any]]]:
    """What axe finds, by rule, with the elements."""
    results = await Axe().run(page, options=OPTIONS)
    return [(found["id"], [node["html"][:160] for node in found["nodes"]]) for found in results.response["violations"]]


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [1360, 320])
async def test_axe_finds_nothing_in_a_report_with_everything_open(
    api: StandIn, window: Open, theme: str, width: int
) -> None:
    api.add(*batch(30))
    page = await window(
        f"{api.url}/{VIEW}&source=contact_import&source=user&table=2026-11-23",
        color_scheme=theme,
        viewport={"width": width, "height": 900},
    )
    await page.locator("[data-batch-id]").first.click()
    await expect(page.locator('[data-event-id="b1-00000"]')).to_be_visible()
    await page.get_by_role("button", name="Show all", exact=True).click()
    await page.get_by_label("Options for Added by date").click()
    await page.get_by_role("button", name="View as table").first.click()
    assert await violations(page) == []

    if width < 700:
        await page.get_by_role("button", name="More filters").click()
    await page.get_by_role("button", name="Sources", exact=True).click()
    await expect(page.get_by_role("checkbox", name="Contact Import")).to_be_visible()
    assert await violations(page) == []
    await page.keyboard.press("Escape")
    await page.get_by_label("Time zone").fill("berlin")
    await expect(page.locator("#zones li").first).to_contain_text("Berlin")
    assert await violations(page) == []


@pytest.mark.parametrize("theme", ["light", "dark"])
async def test_axe_finds_nothing_where_there_is_trouble(api: StandIn, window: Open, theme: str) -> None:
    page = await window(f"{api.url}/{VIEW}&interval=fortnight", state="error", color_scheme=theme)
    assert await violations(page) == []
    api.faults.update({"activities": 500, "users": 503})
    for state in ("catching_up", "stalled"):
        api.state, api.lag_seconds = state, 700
        await page.goto(f"{api.url}/?workspace=nobody&timezone=UTC")
        await page.wait_for_selector("html[data-state=ready]")
        await expect(page.locator("#notice p")).to_be_visible()
        assert await violations(page) == []
    api.token = "secret"
    await page.goto(f"{api.url}/{VIEW}")
    await page.wait_for_selector("html[data-state=error]")
    assert await violations(page) == []


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("query", [VIEW, f"{VIEW}&from=2026-10-06&to=2026-11-23&interval=hour", "?workspace=nobody"])
async def test_nothing_is_wider_than_a_small_screen(api: StandIn, window: Open, theme: str, query: str) -> None:
    page = await window(f"{api.url}/{query}", viewport={"width": 320, "height": 640}, color_scheme=theme)

    wide = await page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")

    assert wide <= 0


async def test_a_report_is_filtered_read_and_opened_by_the_keyboard_alone(api: StandIn, window: Open) -> None:
    api.add(*batch(20, at=NOW - 5))
    page = await window(f"{api.url}/{VIEW}")
    stops: list[str] = []
    for _ in range(60):
        await page.keyboard.press("Tab")
        stops.append(
            await page.evaluate(
                """(() => {
                  const { ariaLabel, labels, innerText } = document.activeElement;
                  return ariaLabel || labels?.[0]?.innerText || innerText;
                })()"""
            )
        )
        if stops[-1] == "Sources":
            await page.keyboard.press("Enter")
            await expect(page.get_by_label("Search by name")).to_be_focused()
            await page.keyboard.type("import")
            await expect(page.get_by_role("checkbox", name="Incoming Message")).to_have_count(0)
            await page.keyboard.press("ArrowDown")
            await page.keyboard.press("ArrowDown")
            await page.keyboard.press("Space")
            await page.keyboard.press("Escape")
            await settle(page)
            assert "source=contact_import" in page.url
            await expect(page.get_by_role("button", name="Sources", exact=True)).to_be_focused()
        if stops[-1].startswith("23 Nov 2026") and "Import" in stops[-1]:
            await page.keyboard.press("Enter")
            await expect(page.locator('[data-event-id="b1-00000"]')).to_be_visible()
            break

    for name in (
        "Skip to the report",
        "Workspace",
        "Period",
        "From",
        "To",
        "Compare",
        "Interval",
        "Sources",
        "Users",
        "Time zone",
        "Options for Contacts added",
        "Added by date",
        "Deleted by date",
        "Added by source",
        "Options for By user",
        "Activity",
    ):
        assert name in stops, (name, stops)
    assert "Import" in stops[-1]


async def test_where_the_keyboard_is_can_be_seen(api: StandIn, window: Open) -> None:
    page = await window(f"{api.url}/{VIEW}")
    await page.keyboard.press("Tab")
    await page.keyboard.press("Tab")

    outline = await page.evaluate("getComputedStyle(document.activeElement).outlineStyle")

    assert outline == "solid"


async def test_dates_and_digits_follow_the_browsers_locale(api: StandIn, window: Open) -> None:
    api.add(*batch(2_000))
    german = await window(f"{api.url}/{VIEW}", locale="de-DE")
    arabic = await window(f"{api.url}/{VIEW}", locale="ar-EG")

    count = await german.locator('[data-component="added"] .count').get_attribute("data-value")
    assert await german.locator('[data-component="added"] .count').inner_text() == f"{int(count or 0):,}".replace(
        ",", "."
    )
    assert "Nov. 2026" in await german.locator("#range").inner_text()
    assert (await arabic.locator('[data-component="added"] .count').inner_text()).startswith("٢٬")


MOVING = """() => {
  const durations = (element, part) => {
    const { animationDuration, transitionDuration } = getComputedStyle(element, part || null);
    return `${animationDuration}, ${transitionDuration}`;
  };
  return [...document.querySelectorAll('*')].flatMap((element) => ['', '::before', '::after', '::backdrop']
    .filter((part) => !/^0s(, 0s)*$/.test(durations(element, part)))
    .map((part) => `${element.tagName} ${element.className} ${part} ${durations(element, part)}`));
}"""


@pytest.mark.parametrize(
    "view",
    [
        "",
        "?workspace=nobody&timezone=UTC",
        f"{VIEW}&embed=1",
        f"{VIEW}&period=last_month&interval=hour",
        f"{VIEW}&from=2026-08-01&to=2026-08-02",
        f"{VIEW}&order=asc&imports=open&table=2026-11-23",
    ],
    ids=["a choice of workspaces", "an empty workspace", "in a frame", "by hour", "a quiet range", "a chosen bar"],
)
async def test_axe_finds_nothing_in_any_other_view(api: StandIn, window: Open, view: str) -> None:
    api.add(*batch(30), Event(NOW - 60, "x", workspace="w2"))
    page = await window(f"{api.url}/{view}")

    assert await violations(page) == []


async def test_what_is_chosen_describes_the_button_that_its_label_names(api: StandIn, window: Open) -> None:
    page = await window(f"{api.url}/{VIEW}&source=user&user=u_1")

    for name, chosen in {"Workspace": "w1", "Sources": "User", "Users": "Ada Lovelace"}.items():
        button = page.get_by_role("button", name=name, exact=True)
        await expect(button).to_have_text(name)
        await expect(button).to_have_accessible_description(chosen)
        label, value = await button.bounding_box(), await page.locator(f"#{name.lower()}-value").bounding_box()
        assert label
        assert value
        assert label["x"] <= value["x"] <= value["x"] + value["width"] <= label["x"] + label["width"]
        assert label["y"] < value["y"] <= value["y"] + value["height"] <= label["y"] + label["height"]


async def test_nothing_moves_for_who_asked_for_less_motion(api: StandIn, window: Open) -> None:
    page = await window(f"{api.url}/{VIEW}", reduced_motion="reduce")
    await page.get_by_role("button", name="Sources", exact=True).click()
    await expect(page.get_by_role("checkbox", name="Contact Import")).to_be_visible()
    assert await page.evaluate(MOVING) == []

    api.slow |= {"live": 1.0, "report": 1.0}
    await page.get_by_role("checkbox", name="Contact Import").check()
    await expect(page.locator('[data-component="added"]')).to_have_attribute("aria-busy", "true")
    assert await page.evaluate(MOVING) == []
    await settle(page)
