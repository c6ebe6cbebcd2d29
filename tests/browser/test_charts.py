"""The charts: lengths in proportion, every state of a bucket drawn as such, read out by hand and by keyboard."""

from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

import pytest
from playwright.async_api import Locator, Page, expect

from tests.browser.conftest import NOW, Open
from tests.browser.support.reading import rows, settle
from tests.browser.support.stand_in import Event, StandIn

pytestmark = pytest.mark.asyncio(loop_scope="session")

VIEW = "?workspace=w1&timezone=Asia/Kuala_Lumpur"
HOUR = 3_600


def component(page: Page, name: str) -> Locator:
    return page.locator(f'[data-component="{name}"]')


async def boxes(page: Page, name: str, selector: str) -> list[dict[str, Any]]:
    return await page.evaluate(
        """([name, selector]) => [...document.querySelectorAll(`[data-component="${name}"] ${selector}`)].map((bar) => {
          const box = bar.getBoundingClientRect();
          const { height, top, bottom, left, right } = box;
          return { ...bar.dataset, height, top, bottom, left, right };
        })""",
        [name, selector],
    )


async def test_bars_are_as_long_as_their_numbers_and_segments_stand_on_each_other(api: StandIn, window: Open) -> None:
    page = await window(f"{api.url}/{VIEW}")

    bars = await boxes(page, "added-by-date", "rect[data-value]")
    unit = max(bar["height"] for bar in bars) / max(int(bar["value"]) for bar in bars)
    assert [bar["height"] for bar in bars] == pytest.approx([int(bar["value"]) * unit for bar in bars], abs=0.6)

    segments = await boxes(page, "added-by-source", "rect[data-source]")
    first = [segment for segment in segments if segment["start"] == segments[0]["start"]]
    assert len(first) > 2
    for below, above in pairwise(first):
        assert above["bottom"] == pytest.approx(below["top"], abs=0.6)


async def test_zero_open_settling_and_future_buckets_are_told_apart(bare: StandIn, window: Open) -> None:
    bare.lag_seconds = 2 * HOUR
    bare.state = "catching_up"
    bare.add(Event(NOW - 8 * HOUR, "a"), Event(NOW - HOUR, "b"), Event(NOW, "c", activity="deleted"))

    page = await window(f"{bare.url}/?workspace=w1&timezone=UTC&period=today")

    bars = await boxes(page, "added-by-date", "rect[data-value]")
    states = {bar["start"][11:13]: (bar["bucketState"], bar["value"]) for bar in bars}
    assert states == {
        **{f"{hour:02}": ("final", "0") for hour in range(5)},
        "05": ("settling", "0"),
        "06": ("settling", "1"),
        "07": ("open", "0"),
        **{f"{hour:02}": ("future", "") for hour in range(8, 24)},
    }
    looks = {
        state: await component(page, "added-by-date")
        .locator(f'rect[data-bucket-state="{state}"]')
        .first.evaluate("(bar) => [getComputedStyle(bar).fillOpacity, getComputedStyle(bar).strokeDasharray]")
        for state in ("final", "settling", "open")
    }
    assert len({str(look) for look in looks.values()}) == 3


async def test_the_earlier_period_stands_behind_as_ghosts(api: StandIn, window: Open) -> None:
    page = await window(f"{api.url}/{VIEW}&period=last_week")
    chart = component(page, "added-by-date")

    await expect(chart.locator("[data-previous]")).to_have_count(7)

    ghosts = await boxes(page, "added-by-date", "[data-previous]")
    asked = [("from", "2026-11-09"), ("to", "2026-11-15"), ("timezone", "Asia/Kuala_Lumpur")]
    answer = api.report("w1", asked, dict(asked))
    assert [(ghost["start"], int(ghost["previous"])) for ghost in ghosts] == [
        (bucket["start"], bucket["added"]) for bucket in answer["timeline"]
    ]
    assert all("value" not in ghost for ghost in ghosts)
    await expect(chart.locator(".keys")).to_contain_text("9 – 15 Nov 2026")


async def test_hours_are_compared_with_the_same_hours_where_the_clocks_changed(bare: StandIn, window: Open) -> None:
    """25 October 2026 has 25 hours in Berlin; its noon is compared with the noon of the day before."""
    noon = datetime(2026, 10, 25, 11, 30, tzinfo=UTC).timestamp()
    bare.add(Event(noon, "a"), Event(noon - 25 * HOUR, "b"), Event(noon - 25 * HOUR, "c"))

    page = await window(f"{bare.url}/?workspace=w1&timezone=Europe/Berlin&from=2026-10-25&to=2026-10-25&interval=hour")

    await expect(component(page, "added-by-date").locator("[data-previous]")).to_have_count(25)
    [bar] = [bar for bar in await boxes(page, "added-by-date", "rect[data-value]") if bar["value"] == "1"]
    [ghost] = [bar for bar in await boxes(page, "added-by-date", "[data-previous]") if bar["previous"] == "2"]
    assert (bar["start"], ghost["start"]) == ("2026-10-25T12:00:00+01:00", "2026-10-24T12:00:00+02:00")
    assert ghost["left"] <= bar["left"]
    assert bar["right"] <= ghost["right"]


async def test_hovering_reads_out_total_shares_and_the_earlier_period(bare: StandIn, window: Open) -> None:
    day = 24 * HOUR
    bare.add(
        *(Event(NOW - 2 * day + number, f"m{number}", source="incoming_message") for number in range(3)),
        Event(NOW - 2 * day, "u", source="user"),
        *(Event(NOW - 9 * day + number, f"p{number}") for number in range(2)),
    )
    page = await window(f"{bare.url}/?workspace=w1&timezone=UTC")
    await expect(component(page, "added-by-date").locator("[data-previous]")).to_have_count(7)

    await component(page, "added-by-source").locator('rect[data-source="user"]').hover()
    tip = component(page, "added-by-source").locator(".tip")
    assert " ".join((await tip.inner_text()).split()) == (
        "Sat, 21 Nov 2026 Total 4 User 1 (25%) Incoming Message 3 (75%)"
    )

    await component(page, "added-by-date").locator('rect[data-value="4"]').hover()
    tip = component(page, "added-by-date").locator(".tip")
    assert " ".join((await tip.inner_text()).split()) == (
        "Sat, 21 Nov 2026 Added 4 (100%) Earlier 2 · Sat, 14 Nov 2026"
    )


async def test_the_keyboard_reads_bar_by_bar_and_chooses(api: StandIn, window: Open) -> None:
    page = await window(f"{api.url}/{VIEW}")
    plot = component(page, "deleted-by-date").get_by_role("slider")

    await plot.focus()
    await page.keyboard.press("Home")
    await page.keyboard.press("ArrowRight")
    text = await plot.get_attribute("aria-valuetext")
    await page.keyboard.press("Enter")
    await settle(page)

    assert text is not None
    assert text.startswith("Wed, 18 Nov 2026; Deleted ")
    assert "table=2026-11-18" in page.url
    assert {row[0][:11] for row in await rows(page)} == {"18 Nov 2026"}


async def test_a_bar_filters_the_table_and_one_step_more_zooms_the_report(api: StandIn, window: Open) -> None:
    page = await window(f"{api.url}/{VIEW}")

    await component(page, "added-by-date").locator('rect[data-start="2026-11-19T00:00:00+08:00"][data-value]').click()
    await settle(page)
    total = api.activities("w1", [("from", "2026-11-19"), ("to", "2026-11-19"), ("timezone", "Asia/Kuala_Lumpur")])[
        "total"
    ]
    await expect(component(page, "activities").locator(".total")).to_have_attribute("data-value", str(total))
    assert {row[0][:11] for row in await rows(page)} == {"19 Nov 2026"}

    await component(page, "added-by-date").get_by_role("button", name="Zoom in").click()
    await settle(page)
    assert "from=2026-11-19&to=2026-11-19" in page.url
    assert "table=" not in page.url
    await expect(component(page, "added-by-date").locator("rect[data-value]")).to_have_count(24)

    await component(page, "added-by-date").locator("rect[data-value]:not([data-value='0'])").first.click()
    await settle(page)
    assert "table=2026-11-19" in page.url  # an hour's bar: its day


async def test_a_bar_of_a_week_filters_to_its_dates_within_the_range(api: StandIn, window: Open) -> None:
    page = await window(f"{api.url}/{VIEW}&from=2026-11-04&to=2026-11-18&interval=week")

    await component(page, "added-by-source").locator('rect[data-start="2026-11-04T00:00:00+08:00"]').first.click()
    await settle(page)

    assert "table=2026-11-04..2026-11-08" in page.url


async def test_a_chart_is_a_table_too(api: StandIn, window: Open) -> None:
    page = await window(f"{api.url}/{VIEW}&period=yesterday&interval=day&compare=none")
    section = component(page, "added-by-source")
    await section.get_by_label("Options for Added by source").click()
    await section.get_by_role("button", name="View as table").click()

    asked = [("period", "yesterday"), ("timezone", "Asia/Kuala_Lumpur")]
    totals = api.report("w1", asked, dict(asked))["sources"]["totals"]
    await expect(section.locator(".values td").first).to_be_visible()
    cells = await section.locator(".values td").all_inner_texts()

    assert [int(cell) for cell in cells] == [*totals.values(), sum(totals.values())]
