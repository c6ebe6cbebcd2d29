"""What one takes along: the clipboard has what the API's file has, and the file is one that spreadsheets read."""

from pathlib import Path

import pytest
from playwright.async_api import Page, expect

from tests.browser.conftest import NOW, Open
from tests.browser.support.serving import SECOND, Served, serving
from tests.support.api import BASE, shared_redis
from tests.support.redis_data import Event
from tests.support.redis_server import RunningRedis

__all__ = ["shared_redis"]

pytestmark = pytest.mark.asyncio(loop_scope="session")

ASKED = [("from", "2026-11-22"), ("to", "2026-11-23"), ("timezone", "Asia/Kuala_Lumpur"), ("interval", "day")]
COMPONENTS = [
    ("added", "Options for Contacts added", "/summary.csv"),
    ("deleted-by-date", "Options for Deleted by date", "/timeline.csv"),
    ("added-by-source", "Options for Added by source", "/sources.csv"),
    ("users", "Options for By user", "/users.csv"),
]


def events() -> list[Event]:
    """More users than a report carries, some of whom deleted; names that CSV has to quote or guard."""
    at = int(NOW - 3_600) * SECOND
    added = [Event(at, f"a{n}", "added", "user", f"u_{n:03}", f'="{n}", 李', "c", offset=n) for n in range(600)]
    deleted = [Event(at, f"d{n}", "deleted", None, f"u_{590 + n}", None, "c", offset=600 + n) for n in range(9)]
    return [*added, *deleted]


async def press(page: Page, component: str, options: str, item: str) -> None:
    section = page.locator(f'[data-component="{component}"]')
    await section.get_by_label(options).click()
    await section.get_by_text(item, exact=True).click()


async def csv_of(served: Served, resource: str, *more: tuple[str, str]) -> bytes:
    answer = await served.api.client.get(f"{BASE}{resource}", params=[*ASKED, *more])
    assert answer.status_code == 200
    return answer.content


@pytest.mark.parametrize(("component", "options", "resource"), COMPONENTS)
async def test_the_clipboard_has_what_the_file_has(
    shared_redis: RunningRedis, window: Open, component: str, options: str, resource: str
) -> None:
    async with serving(shared_redis) as served:
        served.api.write(events(), partitions=1)
        page = await window(await served.address(ASKED), permissions=["clipboard-read", "clipboard-write"])

        await press(page, component, options, "Copy as CSV")
        await expect(page.locator(".toast")).to_have_text("Copied to the clipboard.")

        copied = await page.evaluate("navigator.clipboard.readText()")
        assert copied == (await csv_of(served, resource)).decode()


async def test_what_cannot_be_copied_is_said(shared_redis: RunningRedis, window: Open) -> None:
    async with serving(shared_redis) as served:
        served.api.write(events(), partitions=1)
        page = await window(await served.address(ASKED), permissions=["clipboard-read", "clipboard-write"])
        await page.route("**/users.csv*", lambda route: route.abort())

        await press(page, "users", "Options for By user", "Copy as CSV")

        await expect(page.locator(".toast")).to_have_text("By user could not be loaded.")


@pytest.mark.parametrize("token", [None, "held"])
@pytest.mark.parametrize(("component", "options", "resource"), COMPONENTS)
async def test_a_downloaded_file_says_its_encoding(
    shared_redis: RunningRedis,
    window: Open,
    tmp_path: Path,
    token: str | None,
    component: str,
    options: str,
    resource: str,
) -> None:
    """By a link, and where a token is held by the page itself: the same bytes under the API's name."""
    async with serving(shared_redis) as served:
        served.api.write(events(), partitions=1)
        page = await window(await served.address(ASKED) + (f"#token={token}" if token else ""))

        async with page.expect_download() as coming:
            await press(page, component, options, "Download CSV")
        download = await coming.value
        await download.save_as(tmp_path / "file")

        assert (tmp_path / "file").read_bytes() == b"\xef\xbb\xbf" + await csv_of(served, resource)
        answer = await served.api.client.get(f"{BASE}{resource}", params=ASKED)
        assert f'filename="{download.suggested_filename}"' in answer.headers["content-disposition"]
