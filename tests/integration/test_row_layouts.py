"""The layouts that `./dev bench blocks` compares hold the same rows, and give the same pages, however rows are sent."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from random import Random

import pytest
from redis import Redis

from benchmarks.row_layouts import Arrived, Blocks, Layout, Members, Span, cut_calls
from stream.model.activity import Activity, ContactActivity
from stream.storage.row import encode_row, key_of, quarter_bounds
from tests.support.redis_server import RunningRedis

DAY = 20_782
ROWS = 2_000
KEY = "day"


def arrived() -> list[Arrived]:
    """Rows of one day, one in ten of them later than the others; offsets as they come."""
    rng, found = Random(1), []
    for offset in range(ROWS):
        late = rng.random() < 0.1
        second = rng.randrange(40 * offset + 1) if late else 40 * offset
        event = ContactActivity(
            event_id=f"{rng.getrandbits(128):032x}",
            activity=Activity.ADDED,
            workspace_id="w",
            contact_id=str(offset),
            contact_name=None,
            source="user",
            user_id=f"u_{offset % 50}",
            user_name=None,
            occurred_at=(DAY * 86_400 + second) * 1_000_000_000,
            fraction_digits=0,
            batch_id=None,
        )
        found.append(Arrived(KEY, encode_row(event, 0, offset), late))
    return found


ARRIVED = arrived()
IN_ORDER = sorted(one.row for one in ARRIVED)


@pytest.fixture(params=["members", "members in MULTI", "blocks", "blocks with late rows among the others"])
def layout(request: pytest.FixtureRequest, each_redis: RunningRedis) -> Iterator[Layout]:
    client = Redis.from_url(each_redis.url)
    client.delete(KEY, f"{KEY}:0", f"{KEY}:0l")
    layouts: dict[str, Layout] = {
        "members": Members(client, "a table a key"),
        "members in MULTI": Members(client, "MULTI"),
        "blocks": Blocks(client, block_bytes=2_048),
        "blocks with late rows among the others": Blocks(client, block_bytes=2_048, late_apart=False),
    }
    yield layouts[request.param]
    client.close()


def send(layout: Layout, rows: Sequence[Arrived], size: int, *, newest_first: bool = False) -> None:
    commits = [rows[at : at + size] for at in range(0, len(rows), size)]
    for commit in reversed(commits) if newest_first else commits:
        for runs in cut_calls(commit):
            layout.write(runs)


def test_what_is_sent_again_changes_nothing_however_it_is_cut(layout: Layout) -> None:
    send(layout, ARRIVED[:1_500], 30)
    send(layout, ARRIVED[:1_500], 30)
    send(layout, ARRIVED[500:], 170)
    send(layout, ARRIVED, 700)
    assert layout.all_rows(KEY) == IN_ORDER


def test_rows_may_come_newest_first_and_around_those_that_are_there(layout: Layout) -> None:
    send(layout, ARRIVED[800:900], 30)
    send(layout, ARRIVED, 70, newest_first=True)
    assert layout.all_rows(KEY) == IN_ORDER


def test_pages_are_the_same(layout: Layout) -> None:
    send(layout, ARRIVED, 20)
    newest = IN_ORDER[::-1]
    assert layout.newest(KEY, 51, None) == newest[:51]
    assert layout.newest(KEY, 51, key_of(newest[1_000])) == newest[1_001:1_052]
    low, high = quarter_bounds(DAY * 96 + 40, DAY * 96 + 44)
    found = layout.within([Span(KEY, low, high)], b"u_7")
    assert found == [row for row in newest if low <= row < high and b"u_7" in row]
