"""The page stays current by itself, says by which way, and never looks current where it is not."""

import re

import pytest
from playwright.async_api import Locator, Page, expect

from tests.browser.conftest import NOW, Open
from tests.browser.support.events import believable
from tests.browser.support.reading import rows
from tests.browser.support.stand_in import Event, StandIn

pytestmark = pytest.mark.asyncio(loop_scope="session")

VIEW = "?workspace=w1&timezone=UTC"
MINUTE = 60


def badge(page: Page) -> Locator:
    return page.locator('[data-component="freshness"]')


async def hide(page: Page, hidden: bool) -> None:
    """What the browser does when the tab goes to the background, and comes back."""
    await page.evaluate(
        """(hidden) => {
          Object.defineProperty(document, 'hidden', { configurable: true, get: () => hidden });
          document.dispatchEvent(new Event('visibilitychange'));
        }""",
        hidden,
    )


async def test_an_event_changes_numbers_bars_and_rows_without_a_reload(bare: StandIn, window: Open) -> None:
    bare.add(Event(NOW - MINUTE, "a", contact_id="1"))
    page = await window(f"{bare.url}/{VIEW}")
    await page.evaluate("window.stays = document.querySelector('[data-component=\"added\"] .count')")
    await expect(badge(page)).to_have_attribute("data-connection", "stream")

    bare.add(Event(NOW - 1, "b", contact_id="2", activity="deleted"))

    await expect(page.locator('[data-component="deleted"] .count')).to_have_attribute("data-value", "1")
    await expect(page.locator('[data-component="deleted-by-date"] rect[data-value="1"]')).to_have_count(1)
    await expect(page.locator('[data-component="activities"] [data-event-id]')).to_have_count(2)
    assert [row[1] for row in await rows(page)] == ["2", "1"]
    assert await page.evaluate("window.stays.isConnected")
    assert [resource for resource, _ in bare.asked if resource == "page"].count("page") <= 8  # no second load


async def test_what_did_not_change_is_not_touched(api: StandIn, window: Open) -> None:
    page = await window(f"{api.url}/{VIEW}")
    await expect(page.locator('[data-component="added-by-date"] [data-previous]')).to_have_count(7)
    await page.evaluate(
        """() => {
          window.touched = [];
          new MutationObserver((changes) => window.touched.push(...changes.map((change) => {
            const element = change.target.nodeType === 1 ? change.target : change.target.parentElement;
            return element.closest('[data-component]')?.dataset.component ?? element.tagName;
          }))).observe(document.querySelector('main'), {
            subtree: true, childList: true, attributes: true, characterData: true,
          });
        }"""
    )

    api.add(Event(NOW - 1, "new", activity="deleted", user_id=None))
    await expect(page.locator('[data-component="activities"] [data-event-id="new"]')).to_have_count(1)

    touched = set(await page.evaluate("window.touched"))
    assert touched == {"deleted", "deleted-by-date", "activities"}  # no user is among the first


async def test_a_report_that_comes_while_another_is_drawn_is_the_one_that_stays(bare: StandIn, window: Open) -> None:
    bare.add(*believable(NOW, days=30, a_day=200))
    page = await window()
    await page.add_init_script(  # the first drawing stops for long after each piece
        """const later = window.setTimeout;
        window.setTimeout = (act, after, ...more) => later(act, after === 100 ? 2000 : after, ...more);
        window.requestAnimationFrame = (act) => later(() => act(performance.now()), 2000);"""
    )
    await page.goto(f"{bare.url}/{VIEW}&from=2026-11-04&to=2026-11-23&interval=hour")
    bars = '[data-component="added-by-date"] rect[data-value]'
    await page.locator(bars).nth(249).wait_for(state="attached")
    before = int(await page.locator('[data-component="added"] .count').get_attribute("data-value") or 0)

    bare.add(Event(NOW - 1, "new"))

    await expect(page.locator('[data-component="added"] .count')).to_have_attribute("data-value", str(before + 1))
    await page.wait_for_selector("html[data-state=ready]", timeout=60_000)
    for chart in ("added-by-date", "added-by-source"):
        values = await page.locator(f'[data-component="{chart}"] rect[data-value]').evaluate_all(
            "(bars) => bars.map((bar) => Number(bar.dataset.value))"
        )
        assert sum(values) == before + 1, chart


async def test_where_the_stream_fails_the_page_asks_and_says_so(api: StandIn, window: Open) -> None:
    api.faults["live"] = 503
    page = await window()
    await page.clock.install()
    await page.goto(f"{api.url}/{VIEW}")
    await page.wait_for_selector("html[data-state=ready]")
    await expect(badge(page)).to_have_attribute("data-connection", "polling")
    await expect(badge(page)).to_contain_text("asking every 10 s")
    before = int(await page.locator('[data-component="added"] .count').get_attribute("data-value") or 0)

    api.add(Event(NOW - 1, "new"))
    await page.clock.run_for(10_000)

    await expect(page.locator('[data-component="added"] .count')).to_have_attribute("data-value", str(before + 1))
    api.faults.clear()
    await page.clock.run_for(30_000)
    await expect(badge(page)).to_have_attribute("data-connection", "stream")


async def test_a_lost_connection_is_unmistakable_and_mends_itself(api: StandIn, window: Open) -> None:
    page = await window(f"{api.url}/{VIEW}")
    await expect(badge(page)).to_have_attribute("data-connection", "stream")

    api.faults.update(dict.fromkeys(("live", "report", "activities"), 0))
    api.touch()

    await expect(badge(page)).to_have_attribute("data-connection", "lost")
    await expect(page.locator("#notice")).to_contain_text("Connection lost. These are the numbers as of 23 Nov 2026")
    await expect(page.locator('[data-component="added"] .count')).to_be_visible()

    api.faults.clear()
    api.add(Event(NOW - 1, "new"))
    await expect(badge(page)).to_have_attribute("data-connection", "stream", timeout=20_000)
    await expect(page.locator("#notice p")).to_be_hidden()


@pytest.mark.parametrize(
    ("state", "told"),
    [
        ("catching_up", "Catching up: these numbers are 12 mins behind and moving."),
        ("stalled", "Counting has stalled: nothing after 23 Nov 2026, 07:01:00 is in these numbers."),
    ],
)
async def test_numbers_that_are_behind_say_how_far(api: StandIn, window: Open, state: str, told: str) -> None:
    page = await window(f"{api.url}/{VIEW}")

    api.state, api.lag_seconds = state, 12 * MINUTE
    api.touch()

    await expect(badge(page)).to_have_attribute("data-freshness", state)
    await expect(badge(page)).to_have_attribute("data-value", "720")
    await expect(page.locator("#notice p")).to_contain_text(told)
    await expect(page.locator('#notice [role="status"]')).to_contain_text(told)
    assert await badge(page).locator("time").get_attribute("datetime") == "2026-11-23T07:01:00.000Z"


async def test_the_age_counts_up_between_messages(api: StandIn, window: Open) -> None:
    api.lag_seconds = 3
    page = await window()
    await page.clock.install()
    await page.goto(f"{api.url}/{VIEW}")
    await page.wait_for_selector("html[data-state=ready]")
    age = badge(page).locator("time")
    await expect(age).to_have_text(re.compile(r"\d"))
    first = int(re.findall(r"\d+", await age.inner_text())[0])

    await page.route("**/*", lambda route: route.abort())
    # A message that was on its way still sets the age anew; without one it only grows.
    ages = [first]
    while len(ages) < 6 and ages[-1] < first + 3:
        await page.clock.run_for(5_000)
        ages.append(int(re.findall(r"\d+", await age.inner_text())[0]))

    assert ages[-1] >= first + 3, ages


async def test_a_hidden_tab_lets_go_of_the_stream_and_comes_back_with_what_it_missed(
    api: StandIn, window: Open
) -> None:
    page = await window(f"{api.url}/{VIEW}")
    await expect(badge(page)).to_have_attribute("data-connection", "stream")
    before = int(await page.locator('[data-component="added"] .count').get_attribute("data-value") or 0)

    await hide(page, True)
    await expect(badge(page)).to_have_attribute("data-connection", "paused")
    asked = len(api.asked)
    api.add(Event(NOW - 1, "new"))
    assert len(api.asked) == asked

    await hide(page, False)
    await expect(page.locator('[data-component="added"] .count')).to_have_attribute("data-value", str(before + 1))
    await expect(page.locator('[data-component="activities"] [data-event-id="new"]')).to_have_count(1)


async def test_a_stream_that_is_accepted_and_never_speaks_does_not_keep_the_page_waiting(
    api: StandIn, window: Open
) -> None:
    """As behind a proxy that keeps a stream to itself."""
    api.mute = True
    page = await window(f"{api.url}/{VIEW}")

    await expect(badge(page)).to_have_attribute("data-connection", "polling")
    await expect(page.locator('[data-component="added"] .count')).to_be_visible()
    api.mute = False
    api.touch()

    await expect(badge(page)).to_have_attribute("data-connection", "stream")
