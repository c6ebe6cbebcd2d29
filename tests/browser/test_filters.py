"""The filters and the address: each change is one entry of the history, and a link reproduces the view."""

from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.async_api import Page, expect

from tests.browser.conftest import Open
from tests.browser.support.reading import expected, settle, shown
from tests.browser.support.stand_in import StandIn

pytestmark = pytest.mark.asyncio(loop_scope="session")

VIEW = "?workspace=w1&timezone=Asia/Kuala_Lumpur"


def parameters(page: Page) -> dict[str, list[str]]:
    return parse_qs(urlsplit(page.url).query)


async def test_without_a_time_zone_the_page_takes_the_browsers_and_writes_it_into_the_address(
    api: StandIn, window: Open
) -> None:
    page = await window(f"{api.url}/?workspace=w1", timezone_id="America/St_Johns")

    assert parameters(page) == {"workspace": ["w1"], "timezone": ["America/St_Johns"]}
    assert await page.get_by_label("Time zone", exact=True).input_value() == "America/St_Johns"
    assert await page.evaluate("history.length") == 2  # about:blank and the report: taking the zone is no step back


async def test_the_controls_are_known_by_their_names_alone(api: StandIn, window: Open) -> None:
    page = await window(f"{api.url}/{VIEW}")

    names = ("Period", "From", "To", "Sources", "Users", "Time zone", "Interval", "Compare")

    assert {name: await page.get_by_label(name).count() for name in names} == dict.fromkeys(names, 1)


async def test_a_preset_stays_a_preset_and_the_dates_that_it_means_are_shown(api: StandIn, window: Open) -> None:
    page = await window(f"{api.url}/{VIEW}")

    await page.get_by_label("Period", exact=True).select_option("this_month")
    await settle(page)

    assert parameters(page)["period"] == ["this_month"]
    assert await page.get_by_label("From", exact=True).input_value() == "2026-11-01"
    assert await page.get_by_label("To", exact=True).input_value() == "2026-11-23"


async def test_each_change_is_one_entry_of_the_history_and_back_undoes_it(api: StandIn, window: Open) -> None:
    page = await window(f"{api.url}/{VIEW}")
    first = await shown(page)
    await page.get_by_label("Interval", exact=True).select_option("week")
    await settle(page)
    await page.get_by_label("Compare", exact=True).select_option("none")
    await settle(page)
    assert parameters(page)["interval"] == ["week"]
    assert (await shown(page))["added"]["previous"] is None

    await page.go_back()
    await settle(page)
    assert "compare" not in parameters(page)
    await page.go_back()
    await settle(page)

    assert await shown(page) == first


async def test_dates_are_taken_from_the_browsers_own_controls_and_never_cross(api: StandIn, window: Open) -> None:
    page = await window(f"{api.url}/{VIEW}")

    await page.get_by_label("From", exact=True).fill("2026-11-20")
    await settle(page)
    assert (parameters(page)["from"], parameters(page)["to"]) == (["2026-11-20"], ["2026-11-23"])
    await page.get_by_label("To", exact=True).fill("2026-11-18")
    await settle(page)

    assert (parameters(page)["from"], parameters(page)["to"]) == (["2026-11-18"], ["2026-11-18"])
    assert "period" not in parameters(page)
    assert await page.get_by_label("Period", exact=True).input_value() == "custom"


async def test_sources_are_ticked_by_their_labels_with_none_among_them(api: StandIn, window: Open) -> None:
    page = await window(f"{api.url}/{VIEW}")

    await page.get_by_role("button", name="Sources", exact=True).click()
    await page.get_by_role("checkbox", name="Contact Import", exact=True).check()
    await settle(page)
    await page.get_by_role("checkbox", name="No source", exact=True).check()
    await settle(page)

    assert parameters(page)["source"] == ["contact_import", "none"]
    answer = api.report(
        "w1",
        [("timezone", "Asia/Kuala_Lumpur"), ("source", "contact_import"), ("source", "none")],
        ("timezone", "source"),
    )
    await expect(page.locator('[data-component="added"] .count')).to_have_attribute(
        "data-value", str(answer["added"]["count"])
    )


async def test_users_are_searched_by_name_and_shown_by_name(api: StandIn, window: Open) -> None:
    page = await window(f"{api.url}/{VIEW}")

    await page.get_by_role("button", name="Users", exact=True).click()
    await page.get_by_label("Search by name").fill("hopp")
    await expect(page.get_by_role("checkbox")).to_have_count(1 + 1)  # the imports' box of the table is one
    assert await page.get_by_label("Users").count() == 1
    await page.get_by_role("checkbox", name="Grace Hopper").check()
    await settle(page)

    assert parameters(page)["user"] == ["u_2"]
    await expect(page.get_by_role("button", name="Users", exact=True)).to_have_accessible_description("Grace Hopper")


async def test_an_id_with_a_comma_is_not_split(api: StandIn, window: Open) -> None:
    page = await window(f"{api.url}/{VIEW}&user=a%2Cb&user=a%2Cb")

    await expect(page.get_by_role("button", name="Users", exact=True)).to_have_accessible_description("a,b")
    asked = [address for resource, address in api.asked if resource == "live"][-1]
    assert parse_qs(urlsplit(asked).query)["user"] == ["a,b", "a,b"]


@pytest.mark.parametrize(
    ("typed", "zone"),
    [("tokyo", "Asia/Tokyo"), ("Calcutta", "Asia/Kolkata"), ("new york", "America/New_York")],
)
async def test_a_time_zone_is_found_by_its_name_a_part_of_it_or_an_alias(
    api: StandIn, window: Open, typed: str, zone: str
) -> None:
    page = await window(f"{api.url}/{VIEW}")
    field = page.get_by_label("Time zone", exact=True)

    await field.fill(typed)
    await expect(page.locator("#zones li").first).to_be_visible()
    await field.press("Enter")

    await expect(page.locator("#range")).to_contain_text(zone)


async def test_what_is_no_time_zone_goes_back_to_the_present_one(api: StandIn, window: Open) -> None:
    page = await window(f"{api.url}/{VIEW}")
    field = page.get_by_label("Time zone", exact=True)

    await field.fill("Atlantis")
    await expect(page.locator("#zones li")).to_contain_text("Nothing found")
    await field.press("Enter")

    await expect(field).to_have_value("Asia/Kuala_Lumpur")
    assert parameters(page)["timezone"] == ["Asia/Kuala_Lumpur"]


async def test_a_link_reproduces_the_whole_view(api: StandIn, window: Open) -> None:
    asked = [
        ("from", "2026-10-01"),
        ("to", "2026-11-20"),
        ("timezone", "America/New_York"),
        ("interval", "week"),
        ("week_start", "sunday"),
        ("source", "user,contact_import"),
        ("user", "u_2,u_1,none"),
        ("compare", "previous_year"),
    ]
    link = "&".join(f"{name}={value}" for name, value in asked)

    page = await window(f"{api.url}/?workspace=w1&{link}&activity=added&order=asc&table=2026-11-02..2026-11-08")

    answer = api.report("w1", asked, dict(asked))
    rows = [
        ("from", "2026-11-02"),
        ("to", "2026-11-08"),
        ("activity", "added"),
        *(pair for pair in asked if pair[0] in ("timezone", "source", "user")),
    ]
    total = api.activities("w1", rows)["total"]
    assert await shown(page) == expected(answer, total)
    assert await page.get_by_label("Interval", exact=True).input_value() == "week"
    assert await page.get_by_label("Compare", exact=True).input_value() == "previous_year"
    await expect(page.get_by_role("columnheader", name="Activity Time")).to_have_attribute("aria-sort", "ascending")


async def test_the_legend_sets_the_filter(api: StandIn, window: Open) -> None:
    page = await window(f"{api.url}/{VIEW}")
    legend = page.locator('[data-component="added-by-source"] .legend')

    await legend.get_by_role("button", name="Developer API").click()
    await settle(page)
    assert parameters(page)["source"] == ["developer_api"]
    await expect(legend.get_by_role("button", name="Developer API")).to_have_attribute("aria-pressed", "true")
    await legend.get_by_role("button", name="Developer API").click()
    await settle(page)

    assert "source" not in parameters(page)


async def test_reset_keeps_the_workspace_and_the_zone(api: StandIn, window: Open) -> None:
    page = await window(f"{api.url}/{VIEW}&period=today&source=user&compare=none")

    await page.get_by_role("button", name="Reset filters").click()
    await settle(page)

    assert parameters(page) == {"workspace": ["w1"], "timezone": ["Asia/Kuala_Lumpur"]}


async def test_each_source_explains_itself(api: StandIn, window: Open) -> None:
    page = await window(f"{api.url}/{VIEW}")

    legend = page.locator('[data-component="added-by-source"] .legend')
    texts = [" ".join(text.split()) for text in await legend.locator("small").all_inner_texts()]

    assert texts[:5] == [
        "The contact wrote first",
        "Added through the API",
        "Added by an import",
        "Added by a user in the product’s dialog",
        "The conversation was imported from the messaging channel",
    ]


async def test_the_address_of_every_export_stands_beside_its_component(api: StandIn, window: Open) -> None:
    page = await window(f"{api.url}/{VIEW}&source=user&table=2026-11-20")

    links = await page.evaluate(
        """[...document.querySelectorAll('a[data-resource]')]
          .map((link) => [link.closest('[data-component]').dataset.component, link.href])"""
    )

    base = f"{api.url}/v1/workspaces/w1/reports/contacts"
    report = "timezone=Asia%2FKuala_Lumpur&source=user"
    rows = f"{report}&from=2026-11-20&to=2026-11-20"
    assert links == [
        ["added", f"{base}/summary.csv?{report}&bom=true"],
        ["added", f"{base}/summary?{report}"],
        ["deleted", f"{base}/summary.csv?{report}&bom=true"],
        ["deleted", f"{base}/summary?{report}"],
        ["added-by-date", f"{base}/timeline.csv?{report}&bom=true"],
        ["added-by-date", f"{base}/timeline?{report}"],
        ["deleted-by-date", f"{base}/timeline.csv?{report}&bom=true"],
        ["deleted-by-date", f"{base}/timeline?{report}"],
        ["added-by-source", f"{base}/sources.csv?{report}&bom=true"],
        ["added-by-source", f"{base}/sources?{report}"],
        ["users", f"{base}/users.csv?{report}&bom=true"],
        ["users", f"{base}/users?{report}"],
        ["activities", f"{base}/activities.csv?{rows}&bom=true"],
        ["activities", f"{base}/activities.ndjson?{rows}"],
        ["activities", f"{base}/activities?{rows}&batches=fold"],
    ]


async def test_a_source_keeps_its_name_when_the_labels_of_the_api_come(api: StandIn, window: Open) -> None:
    page = await window(f"{api.url}/{VIEW}")
    names = page.locator('[data-component="added-by-source"] .legend .name')
    before = await names.all_inner_texts()

    await page.get_by_role("button", name="Sources", exact=True).click()

    await expect(page.get_by_role("checkbox", name="Incoming Message")).to_be_visible()
    assert await names.all_inner_texts() == before
