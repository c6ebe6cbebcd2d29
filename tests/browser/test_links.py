"""What a link or a hand asks for that cannot be: only what somebody chose is called wrong."""

import pytest
from playwright.async_api import Page, expect

from tests.browser.conftest import Open
from tests.browser.support.reading import settle, shown
from tests.browser.support.stand_in import StandIn

pytestmark = pytest.mark.asyncio(loop_scope="session")

VIEW = "?workspace=w1&timezone=UTC"


async def pretend(page: Page, zone: str) -> None:
    """The browser says that this is its zone."""
    await page.add_init_script(
        f"""const of = Intl.DateTimeFormat.prototype.resolvedOptions;
        Intl.DateTimeFormat.prototype.resolvedOptions = function () {{
          return {{ ...of.call(this), timeZone: '{zone}' }};
        }};"""
    )


@pytest.mark.parametrize("zone", ["Etc/Unknown", "Mars/Olympus"])
@pytest.mark.parametrize("named", [True, False])
async def test_a_zone_of_the_browser_that_the_api_does_not_know_is_utc_at_once(
    api: StandIn, window: Open, zone: str, named: bool
) -> None:
    page = await window()
    await pretend(page, zone)
    states: list[str] = []
    await page.expose_function("told", lambda state: states.append(state))
    await page.add_init_script(
        """new MutationObserver(() => window.told(document.documentElement.dataset.state))
          .observe(document, { subtree: true, attributes: true, attributeFilter: ['data-state'] });"""
    )

    await page.goto(f"{api.url}/?workspace=w1{f'&timezone={zone}' if named else ''}")
    await page.wait_for_selector("html[data-state=ready]")

    assert "timezone=UTC" in page.url
    assert "error" not in states
    assert (await shown(page))["added"]["count"] > 0
    await page.get_by_label("Period").select_option("today")
    await settle(page)
    assert "timezone=UTC" in page.url
    assert await page.evaluate("history.length") == 3  # the blank page, the one opened, the other period


async def test_a_zone_that_somebody_chose_is_called_wrong(api: StandIn, window: Open) -> None:
    page = await window(f"{api.url}/?workspace=w1&timezone=Mars/Olympus", state="error")

    await expect(page.get_by_role("alert")).to_contain_text("timezone")


@pytest.mark.parametrize(
    "more", ["utm_source=mail&utm_campaign=a%26b", "fbclid=1", "gclid=1&limit=7&cursor=x&q=1", "periods=today"]
)
async def test_parameters_that_others_added_are_nobodys(api: StandIn, window: Open, more: str) -> None:
    page = await window(f"{api.url}/{VIEW}&{more}")

    assert (await shown(page))["added"]["count"] > 0
    await expect(page.locator("#reset")).to_be_hidden()
    asked = [address for resource, address in api.asked if resource != "page"]
    assert asked
    assert [address for address in asked if more.split("=")[0] in address] == []
    for link in await page.locator("a[data-resource]").all():
        assert more.split("=")[0] not in (await link.get_attribute("href") or "")


@pytest.mark.parametrize(
    ("edge", "date", "told"),
    [
        ("From", "2020-01-01", "At most 1,100 days: not before 20 Nov 2023."),
        ("To", "2029-12-01", "At most 1,100 days: not after 4 Nov 2029."),
    ],
)
async def test_a_range_that_is_too_long_is_refused_in_the_control(
    api: StandIn, window: Open, edge: str, date: str, told: str
) -> None:
    page = await window(f"{api.url}/{VIEW}&from=2026-11-01&to=2026-11-23")
    address, before = page.url, await shown(page)

    await page.get_by_label(edge, exact=True).fill(date)

    await expect(page.get_by_role("alert")).to_have_text(told)
    assert page.url == address
    assert await shown(page) == before
    await expect(page.get_by_label("From", exact=True)).to_have_value("2026-11-01")
    await expect(page.get_by_label("To", exact=True)).to_have_value("2026-11-23")

    await page.get_by_label(edge, exact=True).fill("2026-11-12")
    await settle(page)
    await expect(page.get_by_role("alert")).to_have_count(0)
    assert "2026-11-12" in page.url


async def test_the_longest_range_is_taken(api: StandIn, window: Open) -> None:
    page = await window(f"{api.url}/{VIEW}&from=2026-11-01&to=2026-11-23")

    await page.get_by_label("From", exact=True).fill("2023-11-20")
    await settle(page)

    assert "from=2023-11-20&to=2026-11-23" in page.url
    await expect(page.locator("html")).to_have_attribute("data-state", "ready")


async def test_a_date_that_no_report_has_is_refused_in_the_control(api: StandIn, window: Open) -> None:
    page = await window(f"{api.url}/{VIEW}&from=2026-11-01&to=2026-11-23")
    address = page.url

    await page.get_by_label("From", exact=True).fill("1999-12-31")

    await expect(page.get_by_role("alert")).to_contain_text("Dates lie in")
    await expect(page.get_by_label("From", exact=True)).to_have_value("2026-11-01")
    assert page.url == address
