"""A worker that ends says why, and its process ends in bounded time, whatever hangs in it."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import time
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

worker.Worker = Hanging
worker.run(WorkerConfig(worker_port={port}, stop_timeout_seconds=0.5), make_application=None)
"""


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("await asyncio.sleep(3600)", "not all partitions were released within"),
        ("time.sleep(3600)", r"its event loop has not run for \d+ s, since "),
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
    assert re.search(said, ended.stderr)


GUARDED = """
import asyncio, time
from stream.settings.logs import configure
from stream.worker.loop_guard import LoopGuard

def block():
    time.sleep(3600)

async def main():
    guard = LoopGuard()
    for beat in range(36_000):
        guard.allow({limit}, "CONTACTS_STALL_SECONDS ({limit})")
        if beat == 3:
            print("begun", flush=True)
            {then}
        await asyncio.sleep(0.1)

configure("{log_format}", "info")
asyncio.run(main())
"""


def guarded(then: str, log_format: str = "text", limit: int = 3) -> subprocess.Popen[str]:
    """A process with a guarded loop, which has run for a moment. A machine that stalls for half of the limit would make
    it say something else.
    """
    program = GUARDED.format(then=then, log_format=log_format, limit=limit)
    process = subprocess.Popen(
        [sys.executable, "-c", program], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "begun\n"
    return process


def test_the_last_line_of_a_blocked_loop_says_where_since_when_and_which_setting() -> None:
    _, said = (process := guarded("block()")).communicate(timeout=60)
    assert process.returncode == 1
    stacks, *_, last = said.splitlines()
    assert stacks.endswith("stacks of all threads follow")
    assert re.search(r" ERROR .*: the worker ends: its event loop has not run for \d+ s, since 20\S+Z: ", last)
    assert last.endswith("it was blocked at <string>:7, in block. CONTACTS_STALL_SECONDS (3) is how long that may take")
    # As JSON each of the two is a line.
    _, said = (process := guarded("block()", "json")).communicate(timeout=60)
    stacks, last = (json.loads(line) for line in said.splitlines())
    assert "in block" in stacks["stack"]
    assert "it was blocked at" in last["message"]


def test_a_process_that_was_paused_ends_and_its_last_line_says_so() -> None:
    process = guarded("pass")
    process.send_signal(signal.SIGSTOP)
    time.sleep(5)
    process.send_signal(signal.SIGCONT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "nothing of the process ran (paused, its machine too busy" in said.splitlines()[-1]


def test_a_loop_that_runs_is_left_alone() -> None:
    # For longer than it may be silent.
    process = guarded("asyncio.get_running_loop().call_later(6, lambda: print('goes on', flush=True))", limit=5)
    assert process.stdout is not None
    assert process.stdout.readline() == "goes on\n"
    process.terminate()
    _, said = process.communicate(timeout=60)
    assert (process.returncode, said) == (-signal.SIGTERM, "")


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
