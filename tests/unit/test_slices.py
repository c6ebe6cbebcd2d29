"""Large states are unpacked in slices, between which everything else has its turn."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections import Counter
from collections.abc import Generator
from typing import Any

import pytest

from stream import slices
from stream.slices import run_in_slices
from stream.tables.batch import Batch
from stream.tables.compiled import RECORDS_A_STEP
from stream.tables.partition import PartitionState
from stream.tables.position import KEY, Position, encode_position
from stream.tables.recent_ids import BLOCK_IDS_LIMIT, ID_BYTES
from stream.tables.rules import CountingRules
from tests.support.partition_log import begun, record
from tests.support.records import milliseconds

ARRIVED = milliseconds("2026-11-23T12:00:00Z")


def steps(number: int, turns: list[str]) -> Generator[None, None, str]:
    for _ in range(number):
        turns.append("step")
        yield
    return "done"


async def test_others_have_their_turn_between_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slices, "SLICE_SECONDS", 0.0)
    turns: list[str] = []

    async def others() -> None:
        while True:
            turns.append("others")
            await asyncio.sleep(0)

    beside = asyncio.create_task(others())
    assert await run_in_slices(steps(5, turns)) == "done"
    beside.cancel()
    assert "step step" not in " ".join(turns)
    assert turns.count("step") == 5


async def test_short_work_is_done_at_once() -> None:
    turns: list[str] = []
    running = asyncio.create_task(run_in_slices(steps(5, turns)))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert (running.done(), turns) == (True, ["step"] * 5)


async def test_what_is_cancelled_between_slices_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slices, "SLICE_SECONDS", 0.0)
    turns: list[str] = []
    running = asyncio.create_task(run_in_slices(steps(1_000, turns)))
    await asyncio.sleep(0)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert 0 < len(turns) < 10


def counted(work: Generator[None, None, Any]) -> tuple[int, Any]:
    """The steps that the work takes, and what it comes to."""
    for number in itertools.count():
        try:
            next(work)
        except StopIteration as done:
            return number, done.value
    raise AssertionError("counting has no end")


def test_no_step_unpacks_more_than_a_block_of_ids() -> None:
    draw = random.Random(0)  # the table of ids takes hashes: numbers in a row would collide for seconds
    blocks = {
        b"i" + (500_000 + hour).to_bytes(4, "big") + number.to_bytes(4, "big"): b"\1"
        + draw.randbytes(BLOCK_IDS_LIMIT * ID_BYTES)
        for hour in range(2)
        for number in range(3)
    }
    position = encode_position(Position(1, 0, bytes(16), None, None, 500_001, 0, 1))
    steps_taken, state = counted(PartitionState.unpack(0, CountingRules(), blocks | {KEY: position}))
    assert (steps_taken, state.ids) == (len(blocks) + 1, len(blocks) * BLOCK_IDS_LIMIT)


def test_no_step_takes_more_than_a_few_records() -> None:
    # Given the changelog of many workspaces, each with a day and names,
    state, workspaces = begun(CountingRules()), 3_000
    fields = {"type": "contact.added", "contact_id": "c", "occurred_at": "2026-11-23T10:00:00Z", "user_id": "u"}
    records = [record(n, ARRIVED, fields | {"id": str(n), "workspace_id": f"w{n}"}) for n in range(workspaces)]
    state.apply(Batch(records, 0, workspaces))
    changelog = {key: value for key, value in state.encode().table if value is not None}
    # when it is unpacked, then each of its records was sorted by kind and taken in some step with few others.
    kinds = Counter(key[:1] for key in changelog)
    assert kinds[b"c"] == workspaces
    steps_taken, _ = counted(PartitionState.unpack(0, CountingRules(), changelog))
    assert steps_taken >= (len(changelog) + kinds[b"n"] + 2 * kinds[b"c"]) // RECORDS_A_STEP
