"""`./dev run --events FILE` beside a recount of the file: every cell, and every row."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import quote

import pytest

from tests.flow.test_run import Run, run  # noqa: F401  a fixture
from tests.support.comparison import find_differences
from tests.support.publisher import Workload
from tests.support.stack import eventually, get_json

EVENTS = 30_000


class Answers:
    """The API at an address, as the comparison asks it."""

    def __init__(self, address: str) -> None:
        self.address = address

    def get(self, path: str) -> tuple[int, object]:
        return get_json(self.address + path)

    def counted(self, workspaces: list[str]) -> int:
        total = 0
        for workspace in workspaces:
            path = f"/v1/workspaces/{quote(workspace)}/reports/contacts/summary?period=all"
            status, answer = get_json(self.address + path)
            total += answer["added"]["count"] + answer["deleted"]["count"] if status == 200 else 0
        return total


@pytest.mark.timeout(400)
def test_a_file_of_events_is_in_the_report_cell_by_cell_and_row_by_row(run: Run, tmp_path: Path) -> None:  # noqa: F811
    # Given a file with copies, late and broken events,
    now = datetime.now(UTC)
    workload = Workload(3, now)
    file = tmp_path / "events.ndjson"
    file.write_bytes(b"".join(value + b"\n" for _, value in workload.next(EVENTS)))
    # when it is fed,
    api = Answers(run("--port", "0", "--events", str(file)).address())
    published = workload.expected.rows
    workspaces = sorted({event["workspace_id"] for event in published})
    eventually("counted", lambda: api.counted(workspaces) >= len(published), seconds=180, every=0.5)
    # then the API tells just what is in it.
    first, last = (now - timedelta(days=32)).date(), (now + timedelta(days=1)).date()
    assert find_differences(api, published, first, last) == []  # type: ignore[arg-type]
