"""Children start in order, stop in the opposite order, and never outlive their parent."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from cli.local.supervisor import WRAPPED, ChildEnded, StopRequested, Supervisor

ROOT = Path(__file__).parents[3]
PARENT = ROOT / "tests/support/parent.py"
LINUX_ONLY = pytest.mark.skipif(not WRAPPED, reason="the kernel's death signal is Linux's")


def script(text: str) -> list[str]:
    return [sys.executable, "-c", text]


def eventually(holds: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + 20
    while not holds():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def alive(pid: int) -> bool:
    status = Path(f"/proc/{pid}/status")
    if status.parent.parent.joinpath("self").exists():
        return status.exists() and "State:\tZ" not in status.read_text()
    return subprocess.run(["ps", "-p", str(pid)], capture_output=True).returncode == 0


@pytest.mark.parametrize("how", [pytest.param("wrapped", marks=LINUX_ONLY), "reaper"])
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_no_child_outlives_its_parent(tmp_path: Path, how: str, number: signal.Signals) -> None:
    # Given a parent with two children that would go on for ten minutes
    environ = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, str(PARENT), str(tmp_path), how]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environ) as parent:
        assert parent.stdout is not None
        pids = [int(word) for word in parent.stdout.readline().split()]
        assert [alive(pid) for pid in pids] == [True, True]
        # When the parent is ended
        parent.send_signal(number)
        parent.wait()
    # Then its children end too
    assert eventually(lambda: not any(alive(pid) for pid in pids))


def test_children_stop_in_the_opposite_order(tmp_path: Path) -> None:
    # Given three children that each write a line when they are told to stop
    diary = tmp_path / "diary"
    text = (
        "import signal, sys, time\n"
        "def stop(*_):\n    open({diary!r}, 'a').write('{name} ')\n    sys.exit(0)\n"
        "signal.signal(signal.SIGTERM, stop)\nprint('ready', flush=True)\ntime.sleep(600)"
    )
    with Supervisor(tmp_path) as supervisor:
        for name in ("broker", "worker", "api"):
            child = supervisor.start(name, script(text.format(diary=str(diary), name=name)), os.environ)
            supervisor.wait_until(lambda log=child.log: "ready" in log.read_text(), name, 20)
    # Then the last started stopped first
    assert diary.read_text() == "api worker broker "


def test_a_child_that_ends_unexpectedly_is_named_with_its_last_lines(tmp_path: Path) -> None:
    with Supervisor(tmp_path) as supervisor:
        other = supervisor.start("other", script("import time; time.sleep(600)"), os.environ)
        supervisor.start("worker", script("print('one'); print('two'); raise SystemExit(3)"), os.environ)
        with pytest.raises(ChildEnded) as raised:
            supervisor.watch()
    assert str(raised.value) == "worker ended with 3; its last lines:\n    one\n    two"
    assert other.ended


def test_a_child_that_does_not_stop_is_killed_at_the_deadline(tmp_path: Path) -> None:
    stubborn = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('ready', flush=True)\n"
    with Supervisor(tmp_path, stop_seconds=0.2) as supervisor:
        child = supervisor.start("stubborn", script(stubborn + "time.sleep(600)"), os.environ)
        supervisor.wait_until(lambda: "ready" in child.log.read_text(), "stubborn", 20)
    assert child.process.returncode == -signal.SIGKILL


def test_what_does_not_become_ready_is_named(tmp_path: Path) -> None:
    with Supervisor(tmp_path) as supervisor:
        child = supervisor.start(
            "slow", script("print('warming up', flush=True); import time; time.sleep(600)"), os.environ
        )
        assert eventually(lambda: "warming" in child.log.read_text())
        with pytest.raises(ChildEnded) as raised:
            supervisor.wait_until(lambda: False, "the API", 0.1)
    assert str(raised.value) == "the API did not become ready within 0.1 s\n    slow: warming up"


def test_a_signal_ends_the_watch(tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGINT)
    with Supervisor(tmp_path) as supervisor:
        child = supervisor.start("child", script("import time; time.sleep(600)"), os.environ)
        threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGINT)).start()
        with pytest.raises(StopRequested):
            supervisor.watch()
    assert child.ended
    assert signal.getsignal(signal.SIGINT) == before


def test_a_child_with_an_end_gives_its_exit_code(tmp_path: Path) -> None:
    with Supervisor(tmp_path) as supervisor:
        assert supervisor.finish(supervisor.start("once", script("raise SystemExit(4)"), os.environ)) == 4
