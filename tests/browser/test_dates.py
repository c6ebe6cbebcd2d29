"""Times and dates in words: hours that come twice, days without midnight, other calendars, cuts of the earlier side."""

from datetime import UTC, datetime

import pytest
from playwright.async_api import Page, expect

from tests.browser.conftest import NOW, Open
from tests.browser.support.reading import rows
from tests.browser.support.stand_in import Event, StandIn

pytestmark = pytest.mark.asyncio(loop_scope="session")

HOUR = 3_600
DAY = 24 * HOUR


async def read_outs(page: Page, count: int) -> list[str]:
    """What the keyboard reads of the first buckets of the first chart."""
    plot = page.locator('[data-component="added-by-date"]').get_by_role("slider")
    await plot.focus()
    texts = []
    for key in ["Home", *["ArrowRight"] * (count - 1)]:
        await page.keyboard.press(key)
        texts.append((await plot.get_attribute("aria-valuetext") or "").partition(";")[0])
    return texts


@pytest.mark.parametrize(
    ("zone", "date", "hours"),
    [
        pytest.param(
            "Europe/Berlin",
            "2026-10-25",
            [
                "00:00 – 01:00 (UTC+02:00)",
                "01:00 – 02:00 (UTC+02:00)",
                "02:00 – 03:00 (UTC+02:00)",
                "02:00 – 03:00 (UTC+01:00)",
                "03:00 – 04:00 (UTC+01:00)",
            ],
            id="an hour comes twice",
        ),
        pytest.param(
            "Australia/Lord_Howe",
            "2026-04-05",
            [
                "00:00 – 01:00 (UTC+11:00)",
                "01:00 – 02:00 (UTC+11:00)",
                "01:30 – 02:00 (UTC+10:30)",
                "02:00 – 03:00 (UTC+10:30)",
            ],
            id="half an hour comes twice",
        ),
        pytest.param(
            "Europe/Berlin",
            "2026-03-29",
            ["00:00 – 01:00 (UTC+01:00)", "01:00 – 02:00 (UTC+01:00)", "03:00 – 04:00 (UTC+02:00)"],
            id="an hour is missing",
        ),
        pytest.param("UTC", "2026-03-29", ["00:00 – 01:00", "01:00 – 02:00"], id="the clocks stay"),
    ],
)
async def test_an_hour_is_as_long_as_it_lasts_when_the_clocks_change(
    bare: StandIn, window: Open, zone: str, date: str, hours: list[str]
) -> None:
    page = await window(f"{bare.url}/?workspace=w1&timezone={zone}&from={date}&to={date}&interval=hour")

    assert [text.rpartition(", ")[2] for text in await read_outs(page, len(hours))] == hours


async def test_an_activity_says_which_of_two_equal_hours_it_lies_in(bare: StandIn, window: Open) -> None:
    first = datetime(2026, 10, 25, 0, 30, tzinfo=UTC).timestamp()
    bare.add(Event(first, "a"), Event(first + HOUR, "b"))

    page = await window(f"{bare.url}/?workspace=w1&timezone=Europe/Berlin&from=2026-10-25&to=2026-10-25")

    assert [row[0] for row in await rows(page)] == ["25 Oct 2026, 02:30:00"] * 2
    times = await page.locator("[data-event-id] td:first-child").all()
    assert [await time.get_attribute("title") for time in times] == [
        "25 Oct 2026, 02:30:00 (UTC+01:00)",
        "25 Oct 2026, 02:30:00 (UTC+02:00)",
    ]


@pytest.mark.parametrize(
    ("zone", "dates", "marks"),
    [
        ("Africa/Cairo", ("2025-04-25", "2025-04-25"), ["25 Apr", "04:00", "08:00", "12:00", "16:00", "20:00"]),
        ("Africa/Cairo", ("2025-04-24", "2025-04-25"), ["24 Apr", "12:00", "25 Apr", "12:00"]),
        ("Africa/Cairo", ("2025-04-24", "2025-04-26"), ["24 Apr", "12:00", "25 Apr", "12:00", "26 Apr", "12:00"]),
        ("Africa/Cairo", ("2025-04-20", "2025-04-27"), [f"{day} Apr" for day in (20, 22, 24, 26)]),
        ("America/Havana", ("2026-11-01", "2026-11-01"), ["1 Nov", "04:00", "08:00", "12:00", "16:00", "20:00"]),
        ("UTC", ("2025-04-25", "2025-04-25"), ["25 Apr", "04:00", "08:00", "12:00", "16:00", "20:00"]),
    ],
)
async def test_the_axis_names_the_date_where_it_begins_without_midnight_too(
    bare: StandIn, window: Open, zone: str, dates: tuple[str, str], marks: list[str]
) -> None:
    page = await window(
        f"{bare.url}/?workspace=w1&timezone={zone}&from={dates[0]}&to={dates[1]}&interval=hour",
        viewport={"width": 1280, "height": 900},
    )
    axis = page.locator('[data-component="added-by-date"] .axis span')
    await axis.first.wait_for()

    assert (await axis.all_inner_texts())[: len(marks)] == marks


@pytest.mark.parametrize(
    ("locale", "year", "day"),
    [("fa-IR", "۲۰۲۶", "۲۳"), ("th-TH", "2026", "23"), ("ar-SA-u-ca-islamic-umalqura", "2026", "23")],
)
async def test_dates_are_of_the_calendar_of_the_fields_beside_them(
    api: StandIn, window: Open, locale: str, year: str, day: str
) -> None:
    page = await window(f"{api.url}/?workspace=w1&timezone=UTC&period=today&interval=day", locale=locale)
    western = str.maketrans("٠١٢٣٤٥٦٧٨٩", "0123456789")

    assert await page.locator("#from").input_value() == "2026-11-23"
    shown = [
        await page.locator("#range").inner_text(),
        (await rows(page))[0][0],
        (await read_outs(page, 1))[0],
        await page.locator('[data-component="freshness"]').get_attribute("title") or "",
    ]
    for text in shown:
        assert year in text.translate(western), text
        assert day in text.translate(western), text


@pytest.mark.parametrize(
    ("before", "now", "words"),
    [
        (2_001, 2_000, "<0.1% fewer"),
        (3_000, 3_001, "<0.1% more"),
        (2_000, 2_000, "no change"),
        (1_000, 999, "-0.1%"),
        (0, 3, "new"),
    ],
)
async def test_a_change_reads_as_what_it_is(bare: StandIn, window: Open, before: int, now: int, words: str) -> None:
    bare.add(*(Event(NOW - 30 * HOUR, f"b{n}") for n in range(before)), *(Event(NOW - 60, f"n{n}") for n in range(now)))
    page = await window(f"{bare.url}/?workspace=w1&timezone=UTC&from=2026-11-23&to=2026-11-23")

    change = page.locator('[data-component="added"] .change')

    assert await change.inner_text() == words
    assert await change.get_attribute("data-direction") == str((now > before) - (now < before))


async def test_some_is_never_nothing_and_not_all_is_never_all(bare: StandIn, window: Open) -> None:
    bare.add(*(Event(NOW - 60, f"n{n}") for n in range(2_500)), Event(NOW - 60, "one", source="developer_api"))
    page = await window(f"{bare.url}/?workspace=w1&timezone=UTC&period=today")

    shares = await page.locator(".legend li").evaluate_all(
        """(lines) => lines.map((line) =>
          [line.querySelector('[data-source]').dataset.source, line.querySelector('.share').textContent])"""
    )

    assert dict(shares) == {
        "incoming_message": "0%",
        "developer_api": "<0.1%",
        "contact_import": "0%",
        "user": ">99.9%",
        "echo_message": "0%",
    }


@pytest.mark.parametrize(
    ("zone", "now", "asked", "range_"),
    [
        ("UTC", "2026-11-23T00:05:00Z", "period=last_7_days", "10 – 15 Nov 2026"),
        ("UTC", "2026-11-23T00:20:00Z", "period=last_7_days", "10 – 16 Nov 2026, until 00:15"),
        ("UTC", "2026-11-23T00:05:00Z", "period=today", "22 Nov 2026, until 00:00"),
        ("UTC", "2026-11-23T00:05:00Z", "from=2026-11-18&to=2026-11-23", "12 – 16 Nov 2026"),
        ("Africa/Cairo", "2025-04-26T21:05:00Z", "from=2025-04-26&to=2025-04-27", "24 Apr 2025"),
        ("UTC", "2026-11-23T07:05:00Z", "period=last_week", "9 – 15 Nov 2026"),
    ],
)
async def test_the_card_says_until_when_only_where_a_day_is_cut(
    bare: StandIn, window: Open, zone: str, now: str, asked: str, range_: str
) -> None:
    moment = datetime.fromisoformat(now).timestamp()
    bare.clock = lambda: moment
    page = await window(f"{bare.url}/?workspace=w1&timezone={zone}&{asked}")

    await expect(page.locator('[data-component="added"] .earlier')).to_have_text(f"from 0 in {range_}")
