"""A worker that ends says why, and its process ends in bounded time, whatever hangs in it."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest

from stream.worker.process import until_one_ends
from tests.support.ports import free_port

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = """
import asyncio, sys, time
from stream.worker import process as worker
from stream.settings.worker import WorkerConfig
from stream.ports import WorkerMustStop

class Hanging(worker.Worker):
    async def _work(self):
        self._end_with(WorkerMustStop("enough"))

    async def _let_go(self, work):
        while True:
            try:
                {how}
            except asyncio.CancelledError:
                pass

worker.Worker, worker.HARD_END_SECONDS = Hanging, 0.5
worker.run(WorkerConfig(worker_port={port}, stop_timeout_seconds=0.5), make_application=None)
"""


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("await asyncio.sleep(3600)", "not all partitions were released within"),
        ("time.sleep(3600)", "Timeout (0:00:01)!"),
    ],
    ids=["a task that loses its cancel", "a loop that is blocked"],
)
def test_whatever_hangs_the_reason_is_said_and_the_process_ends(how: str, said: str) -> None:
    program = PROGRAM.format(how=how, port=free_port())
    ended = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, env=dict(os.environ), capture_output=True, text=True, timeout=60
    )
    assert ended.returncode == 1
    assert "the worker ends: enough" in ended.stderr
    assert said in ended.stderr


async def test_of_what_runs_beside_each_other_the_first_end_is_the_end_of_all() -> None:
    cancelled: list[str] = []

    async def going_on() -> None:
        try:
            await asyncio.sleep(3600)
        finally:
            cancelled.append("going_on")

    async def ends(way: BaseException | None) -> None:
        await asyncio.sleep(0)
        if way is not None:
            raise way

    await until_one_ends(going_on(), ends(None))
    with pytest.raises(OSError, match="gone"):
        await until_one_ends(going_on(), ends(OSError("gone")))
    # What was cancelled by a library is not what was told to end.
    with pytest.raises(RuntimeError, match="cancelled unexpectedly"):
        await until_one_ends(going_on(), ends(asyncio.CancelledError()))
    assert cancelled == ["going_on"] * 3
