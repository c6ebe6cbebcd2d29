"""Which worker is ended since it does nothing, and which is left in peace."""

from __future__ import annotations

from typing import Any

import pytest

from stream.worker.watchdog import Watchdog

STALL_SECONDS, STUCK_SECONDS = 60.0, 200.0


def watched(*notes: dict[str, Any]) -> list[str | None]:
    """What the watchdog says after each note of partition 3, a note every 40 s. A partition that is well has nothing
    waiting, and has just told Redis so.
    """
    watchdog, said = Watchdog(STALL_SECONDS, STUCK_SECONDS), []
    for number, note in enumerate(notes):
        now = 40.0 * number
        watchdog.keep(note.pop("partitions", {3}))
        well = {"offset": 7, "lag": 0, "told": now, "now": now, "excused": False}
        watchdog.note(3, **(well | note))
        said.append(watchdog.stalled(now))
    return said


@pytest.mark.parametrize(
    ("note", "why"),
    [
        ({"lag": 1}, "partition 3 has stood at offset 7 for 80 s with events waiting"),
        ({"told": 0.0}, "partition 3 has told Redis nothing for 80 s"),
    ],
)
def test_standing_still_ends_the_worker_once_it_has_lasted(note: dict[str, Any], why: str) -> None:
    assert watched(dict(note), dict(note), dict(note)) == [None, None, why]


@pytest.mark.parametrize("standing", [{"lag": 1}, {"told": 0.0}])
@pytest.mark.parametrize("between", [{"excused": True}, {"offset": 8, "told": 40.0}, {"partitions": set()}])
def test_waiting_for_what_is_away_or_a_move_begins_the_time_anew(
    standing: dict[str, Any], between: dict[str, Any]
) -> None:
    after = standing | ({"offset": between["offset"]} if "offset" in between else {})

    assert watched(dict(standing), standing | between, after) == [None, None, None]


@pytest.mark.parametrize(
    ("offset", "lag", "why"),
    [
        (7, 1, "partition 3 is stuck at offset 7 after 240 s of failures"),
        (None, None, "partition 3 is not recovered after 240 s of failures"),
    ],
)
def test_no_excuse_lasts_for_ever(offset: int | None, lag: int | None, why: str) -> None:
    # A partition that fails, is recovered and fails again is excused nearly always.
    note = {"offset": offset, "lag": lag, "excused": True}
    assert watched(*(dict(note) for _ in range(7))) == [None] * 6 + [why]


@pytest.mark.parametrize("between", [{"lag": 0}, {"offset": 8, "lag": 1}])
def test_a_position_that_moves_at_times_is_not_stuck(between: dict[str, Any]) -> None:
    failing = {"lag": 1, "excused": True}
    after = failing | {"offset": between.get("offset", 7)}
    assert watched(*(dict(failing) for _ in range(5)), between | {"excused": True}, dict(after), dict(after)) == (
        [None] * 8
    )


def test_recovering_for_a_moment_is_no_move() -> None:
    # While a partition is recovered its offset is not known, and then is what it was.
    notes = [{"offset": offset, "lag": 1, "excused": True} for offset in (7, None, 7, None, 7, None, 7)]
    assert watched(*notes)[-1] is not None


def test_with_nothing_waiting_an_offset_may_stand_for_ever() -> None:
    assert watched({}, {}, {}, {}) == [None] * 4
    assert watched({"lag": 1}, {"lag": 0}, {"lag": 1}) == [None] * 3


def test_what_redis_was_told_is_never_taken_back() -> None:
    """A partition that is begun anew has told nothing yet."""
    assert watched({}, {}, {"told": 0.0}) == [None] * 3


def test_what_kafka_gave_is_to_begin() -> None:
    watchdog = Watchdog(STALL_SECONDS, STUCK_SECONDS)
    for now, unbegun in ((0.0, {3}), (40.0, {3, 4}), (59.0, set[int]()), (60.0, {4}), (120.0, {4})):
        watchdog.note_unbegun(unbegun, now)
        assert watchdog.stalled(now) is None

    watchdog.note_unbegun({4}, 121.0)

    assert watchdog.stalled(121.0) == "partition 4 has been this worker's for 61 s, and is not begun"
