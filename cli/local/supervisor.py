"""Child processes that start in order, stop in the opposite order, and never outlive us.

Each child leads a session of its own, so that a ctrl-c in the terminal reaches us alone. Its output goes to a file in
the supervisor's folder.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

EXEC_WRAPPER = Path(__file__).with_name("exec_wrapper.py")
REAPER = Path(__file__).with_name("reaper.py")
WRAPPED = sys.platform == "linux"
POLL_SECONDS = 0.05
LAST_LINES = 20


class ChildEnded(Exception):
    """A child ended that was to go on, or did not become ready; says which, and its last log lines."""


class StopRequested(Exception):
    """SIGINT or SIGTERM came while we waited for something."""


@dataclass(slots=True)
class Child:
    name: str
    process: "subprocess.Popen[bytes]"
    log: Path

    def last_lines(self) -> list[str]:
        lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines()
        return lines[-LAST_LINES:]

    @property
    def ended(self) -> bool:
        return self.process.poll() is not None


class Supervisor:
    """Starts children and watches them; use it as a context, from the main thread.

    Inside the context SIGINT and SIGTERM ask for a stop (StopRequested out of the methods that wait), and leaving it
    stops all children. The thread that starts a child must live as long as the child is to live.
    """

    def __init__(self, folder: Path, *, stop_seconds: float = 9.0, wrapped: bool = WRAPPED) -> None:
        self._folder, self._stop_seconds, self._wrapped = folder, stop_seconds, wrapped
        self._children: list[Child] = []
        self._reaper: subprocess.Popen[bytes] | None = None
        self._stop_asked = 0
        self._handlers: dict[int, Callable[[int, FrameType | None], object] | int | None] = {}

    def __enter__(self) -> "Supervisor":
        for number in (signal.SIGINT, signal.SIGTERM):
            self._handlers[number] = signal.signal(number, self._ask_to_stop)
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        for number, handler in self._handlers.items():
            signal.signal(number, handler)

    def start(
        self, name: str, command: Sequence[str | Path], environ: Mapping[str, str], *, visible: bool = False
    ) -> Child:
        """Start a child with exactly this environment; it takes its place behind those that run already.

        A `visible` one has our own input and output, and no log.
        """
        words = [str(word) for word in command]
        if self._wrapped:
            words = [sys.executable, "-I", "-S", str(EXEC_WRAPPER), str(os.getpid()), *words]
        log = self._folder / f"{name}.log"
        with log.open("ab") as output:
            process = subprocess.Popen(
                words,
                env=dict(environ),
                stdin=None if visible else subprocess.DEVNULL,
                stdout=None if visible else output,
                stderr=None if visible else subprocess.STDOUT,
                start_new_session=True,
            )
        self._tell_reaper(f"+{process.pid}")
        child = Child(name, process, log)
        self._children.append(child)
        return child

    def wait_until(self, ready: Callable[[], bool], what: str, seconds: float) -> None:
        """Wait for something. Raises ChildEnded if a child ends first or the time is up, StopRequested if asked to."""
        deadline = time.monotonic() + seconds
        while not ready():
            self._check()
            if time.monotonic() > deadline:
                raise ChildEnded(f"{what} did not become ready within {seconds:g} s\n" + self._logs())
            time.sleep(POLL_SECONDS)

    def finish(self, child: Child) -> int:
        """Wait for a child whose work has an end; returns its exit code."""
        self._children.remove(child)
        try:
            while not child.ended:
                self._check()
                time.sleep(POLL_SECONDS)
        finally:
            self._end([child], time.monotonic() + self._stop_seconds)
        return child.process.returncode

    def watch(self) -> None:
        """Until a stop is asked for (StopRequested) or a child ends (ChildEnded)."""
        while True:
            self._check()
            time.sleep(POLL_SECONDS)

    def stop(self) -> None:
        """End all children, the last started first, each with SIGTERM; what is left near the deadline is killed."""
        deadline = time.monotonic() + self._stop_seconds
        while self._children:
            self._end([self._children.pop()], deadline)
        if self._reaper is not None and self._reaper.stdin is not None:
            self._reaper.stdin.close()
            self._reaper.wait()
            self._reaper = None

    def _end(self, children: Sequence[Child], deadline: float) -> None:
        asked = self._stop_asked
        for child in children:
            if not child.ended:
                child.process.terminate()
            while not child.ended:
                # A second ctrl-c does not wait for anyone.
                if time.monotonic() > deadline or self._stop_asked > max(asked, 1):
                    child.process.kill()
                    child.process.wait()
                time.sleep(POLL_SECONDS / 5)
            self._tell_reaper(f"-{child.process.pid}")

    def _check(self) -> None:
        if self._stop_asked:
            raise StopRequested
        for child in self._children:
            if child.ended:
                lines = "\n".join(f"    {line}" for line in child.last_lines())
                raise ChildEnded(f"{child.name} {_describe_end(child.process.returncode)}; its last lines:\n{lines}")

    def _logs(self) -> str:
        return "\n".join(f"    {child.name}: {line}" for child in self._children for line in child.last_lines()[-5:])

    def _ask_to_stop(self, _number: int, _frame: FrameType | None) -> None:
        self._stop_asked += 1

    def _tell_reaper(self, line: str) -> None:
        if self._wrapped:
            return
        if self._reaper is None:
            self._reaper = subprocess.Popen(
                [sys.executable, "-I", "-S", str(REAPER)], stdin=subprocess.PIPE, start_new_session=True
            )
        assert self._reaper.stdin is not None
        self._reaper.stdin.write(line.encode() + b"\n")
        self._reaper.stdin.flush()


def _describe_end(code: int) -> str:
    return f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with {code}"
