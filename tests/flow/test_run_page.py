"""From an event to the page: `./dev run`, its embedded broker, and a real Chromium that is looking."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from playwright.sync_api import Page, expect, sync_playwright

from tests.browser.conftest import FLAGS, chromium_path
from tests.flow.test_run import ROOT, Run, Running, run  # noqa: F401  a fixture

PATIENCE_MS = 60_000.0
"""Of a machine that starts a broker, a worker and a browser at once; no part of a claim."""


@pytest.fixture
def page() -> Iterator[Page]:
    path = chromium_path()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=list(FLAGS))
        yield browser.new_page(locale="en-GB", timezone_id="UTC")
        browser.close()


def publish(running: Running, event: dict[str, object]) -> None:
    """The event to the broker that the command named, as a user would."""
    broker = re.search(r"^broker +(\S+) \(embedded\)$", running.said(), re.MULTILINE)
    assert broker is not None, running.said()
    done = subprocess.run(
        [sys.executable, "-m", "cli.main", "publish", "--kafka", broker[1], "-"],
        input=json.dumps(event),
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr


def test_an_event_shows_on_a_page_that_is_open(run: Run, page: Page) -> None:  # noqa: F811
    # Given everything on this machine, without an event, and a browser that looks at an empty workspace
    running = run("--port", "0", "--no-samples")
    page.goto(f"{running.address()}/?workspace=w")
    expect(page.locator("#empty")).to_contain_text("Nothing has happened in w yet", timeout=PATIENCE_MS)
    page.evaluate("window.loadedOnce = true")
    # When an event is published
    publish(
        running,
        {
            "id": "first",
            "type": "contact.added",
            "workspace_id": "w",
            "contact_id": "c_1",
            "contact_name": "Ada Lovelace",
            "source": "developer_api",
            "occurred_at": datetime.now(UTC).isoformat(),
        },
    )
    # Then its count, its bar and its row come by themselves
    expect(page.locator('[data-component="added"] .count')).to_have_attribute("data-value", "1", timeout=PATIENCE_MS)
    expect(page.locator('[data-component="added-by-date"] rect[data-value="1"]')).to_have_count(1)
    row = page.locator('[data-component="activities"] [data-event-id="first"] td')
    expect(row).to_have_text([re.compile(r"\d"), "c_1", "Ada Lovelace", "Added", "Developer API", "–"])
    expect(page.locator("#empty")).to_be_hidden()
    expect(page.locator('[data-component="freshness"]')).to_have_attribute("data-connection", "stream")
    # ... without a reload
    assert page.evaluate("window.loadedOnce")
