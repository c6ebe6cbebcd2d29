"""Runs each search for a mutant, and some seeds, in a process of its own, forked from one that has loaded the libraries
and nothing of the product: to load the libraries takes 0.7 s of CPU, and most searches less.
"""

import importlib
import json
import os
import subprocess
import sys
import tempfile
import threading
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).parents[2]
LIBRARIES = ("aiokafka", "cramjam", "msgspec", "redis.asyncio", "xxhash")
PRODUCT = ("stream", "api", "cli")
FAILED = 3
"""The exit code of what raised."""


class Done(NamedTuple):
    code: int
    stdout: str
    stderr: str


class Forks:
    """The process that forks; it ends with this one."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", f"from {__name__} import serve; serve()"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            # Sets of texts are gone through in one order: else a seed would not be one run.
            env=os.environ | {"PYTHONHASHSEED": "0"},
        )

    def run(self, job: str, *words: Any) -> Done:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps([job, *words]) + "\n")
        self._process.stdin.flush()
        return Done(*json.loads(self._process.stdout.readline()))

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()


_of_thread = threading.local()


def search_forked(mutant: str, core: str | None) -> Done:
    return _run_forked("search", mutant, core)


def seeds_forked(first: int, number: int) -> Done:
    return _run_forked("seeds", first, number)


def _run_forked(job: str, *words: Any) -> Done:
    """Each thread has a process that forks, and starts another where one job was broken off."""
    forks: Forks | None = getattr(_of_thread, "forks", None)
    if forks is None:
        forks = _of_thread.forks = Forks()
    try:
        return forks.run(job, *words)
    except BaseException:
        del _of_thread.forks
        forks.kill()  # the next answer would be that of the job that was broken off
        raise


def serve() -> None:
    """Do the job that each line of the input names, and answer with a line."""
    from tests.simulation.mutants import search  # it imports this module
    from tests.simulation.seeds import run_seeds

    jobs: dict[str, Callable[..., int]] = {"search": search, "seeds": run_seeds}
    for library in LIBRARIES:
        importlib.import_module(library)
    loaded = [name for name in sys.modules if name.split(".")[0] in PRODUCT]
    assert loaded == [], f"a guard cannot be taken away from what is loaded: {loaded}"
    for line in sys.stdin:
        job, *words = json.loads(line)
        print(json.dumps(_fork(jobs[job], *words)), flush=True)


def _fork(job: Callable[..., int], *words: Any) -> Done:
    with tempfile.TemporaryFile() as stdout, tempfile.TemporaryFile() as stderr:
        child = os.fork()
        if child == 0:
            os.dup2(stdout.fileno(), 1)
            os.dup2(stderr.fileno(), 2)
            code = FAILED
            try:
                code = job(*words)
            except BaseException:  # noqa: BLE001  told by the process that asked
                traceback.print_exc()
            finally:
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(code)
        _, status = os.waitpid(child, 0)
        stdout.seek(0)
        stderr.seek(0)
        code = os.waitstatus_to_exitcode(status)
        return Done(code, stdout.read().decode(), stderr.read().decode())
