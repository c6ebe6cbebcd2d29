"""The events of the benchmark `growth` reach as much as their axis says."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from benchmarks.growth_state import LOADS, Load


def events(load: Load, number: int) -> list[dict[str, Any]]:
    return [json.loads(value) for _, value in replace(load, events=number).records()]


def cell(event: dict[str, Any]) -> tuple[str, str, str, int]:
    moment = event["occurred_at"]
    return event["workspace_id"], event["user_id"], moment[:13], int(moment[14:16]) // 15


@pytest.mark.parametrize("size", [100, 1_000])
def test_there_are_as_many_workspaces(size: int) -> None:
    assert len({event["workspace_id"] for event in events(LOADS["workspaces"](size), size)}) == size


@pytest.mark.parametrize("size", [10, 1_000])
def test_there_are_as_many_users_of_one_workspace(size: int) -> None:
    made = events(LOADS["users of a workspace"](size), size)
    assert {event["workspace_id"] for event in made} == {"w_0"}
    assert len({event["user_id"] for event in made}) == size


@pytest.mark.parametrize("size", [96, 960])
def test_there_are_as_many_cells_in_one_day(size: int) -> None:
    made = events(LOADS["cells of a day"](size), size)
    assert len({event["occurred_at"][:10] for event in made}) == 1
    assert len({cell(event) for event in made}) == size


def test_each_event_makes_a_cell() -> None:
    load = LOADS["cells"](40_000)
    assert (
        len({(cell(event), event["occurred_at"][:10]) for event in events(load, load.events)}) == load.events == 38_400
    )


@pytest.mark.parametrize("months", [1, 2])
def test_the_history_has_as_many_days_of_every_workspace(months: int) -> None:
    made = events(LOADS["months of history"](months), 6_000 * months)
    days = {(event["workspace_id"], event["occurred_at"][:10]) for event in made}
    assert len(days) == 100 * 30 * months


def test_every_id_is_another() -> None:
    assert len({event["id"] for event in events(LOADS["ids"](30_000), 2_000)}) == 2_000
