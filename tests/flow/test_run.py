"""`./dev run`: everything on this machine, from events in a file to the report, and nothing left behind."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from cli.local.broker import NoBroker, broker_binary
from tests.support.redis_server import RunningRedis
from tests.support.require import require
from tests.support.stack import eventually, get_json

ROOT = Path(__file__).parents[2]
START_SECONDS = 180.0

Run = Callable[..., "Running"]


class Running:
    """The command, its output, and the process ids of its parts."""

    def __init__(self, folder: Path, words: list[str], environ: dict[str, str]) -> None:
        self.output = folder / "output"
        command = [sys.executable, "-m", "cli.main", "run", *words]
        inherited = {name: text for name, text in os.environ.items() if not name.startswith("CONTACTS_")}
        variables = inherited | {"TMPDIR": str(folder), "PYTHONPATH": str(ROOT)} | environ
        with self.output.open("wb") as output:
            self.process = subprocess.Popen(
                command, cwd=folder, env=variables, stdout=output, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL
            )

    def said(self) -> str:
        return self.output.read_text(errors="replace")

    def address(self) -> str:
        found: re.Match[str] = eventually("up", self._found_address, START_SECONDS)
        return found.group(1)

    def _found_address(self) -> re.Match[str] | None:
        assert self.process.poll() is None, self.said()
        return re.search(r"The report is at (http://\S+)/", self.said())

    def parts(self) -> list[int]:
        """The processes that it started, by /proc; none where there is no /proc."""
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                words = folder.joinpath("stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if int(words[1]) == self.process.pid:
                found.append(int(folder.name))
        return found


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    try:
        broker_binary()
    except NoBroker as error:
        require("embedded", False, str(error))
    started: list[Running] = []

    def start(*words: str, **environ: str) -> Running:
        started.append(Running(tmp_path, list(words), environ))
        return started[-1]

    yield start
    for one in started:
        one.process.kill()
        one.process.wait()


def alive(pid: int) -> bool:
    status = Path(f"/proc/{pid}/status")
    return status.exists() and "State:\tZ" not in status.read_text()


def events(folder: Path) -> Path:
    """Three events, one of them twice, and a line that is none, which becomes a dead letter."""
    added = {"type": "contact.added", "workspace_id": "w", "source": "user", "occurred_at": "2026-03-01T10:00:00Z"}
    lines = [
        {**added, "id": "1", "contact_id": "a"},
        {**added, "id": "2", "contact_id": "b"},
        {**added, "id": "2", "contact_id": "b"},
        {**added, "id": "3", "contact_id": "a", "type": "contact.deleted"},
    ]
    file = folder / "events.ndjson"
    file.write_text("\n".join([*map(json.dumps, lines), "not an event"]))
    return file


def summary(address: str) -> tuple[Any, Any] | None:
    url = f"{address}/v1/workspaces/w/reports/contacts/summary?from=2026-03-01&to=2026-03-01"
    status, answer = get_json(url)
    return (answer["added"]["count"], answer["deleted"]["count"]) if status == 200 else None


def test_events_of_a_file_are_in_the_report_and_a_stop_leaves_nothing(run: Run, tmp_path: Path) -> None:
    # Given everything on this machine, and a file
    running = run("--port", "0", "--events", str(events(tmp_path)))
    address = running.address()
    # Then the report counts each event once
    eventually("counted", lambda: summary(address) == (2, 1))
    assert "All state lives and dies with this command." in running.said()
    assert "5 events published" in running.said()
    # ... and every address of the README answers
    for path in re.findall(r"http://127\.0\.0\.1:8080(/[^'`\s]*)", (ROOT / "README.md").read_text(encoding="utf-8")):
        with urllib.request.urlopen(address + path, timeout=30) as answer:
            assert (answer.status, len(answer.read(10))) == (200, 10), path
    # And when it is stopped, it ends well, with all its processes and files
    parts = running.parts()
    running.process.send_signal(signal.SIGINT)
    assert running.process.wait(30) == 0, running.said()
    assert [pid for pid in parts if alive(pid)] == []
    assert list(tmp_path.glob("contacts-report-*")) == []
    # ... and the folder holds what it held
    assert sorted(path.name for path in tmp_path.iterdir()) == ["events.ndjson", "output"]


@pytest.mark.skipif(sys.platform != "linux", reason="finds the processes in /proc")
def test_nothing_outlives_a_kill(run: Run) -> None:
    running = run("--port", "0", "--no-samples")
    running.address()
    parts = running.parts()
    assert len(parts) == 4
    running.process.kill()
    eventually("gone", lambda: not any(alive(pid) for pid in parts))


def test_a_redis_that_was_given_is_used_and_left_clean(run: Run, own_redis: RunningRedis, tmp_path: Path) -> None:
    # Given a Redis with something of another deployment in it
    with redis.Redis(port=own_redis.port) as client:
        client.set("cr1:contacts-report:{0}:positions", "another's")
        # When it is used
        words = ("--port", "0", "--no-samples", "--events", str(events(tmp_path)))
        running = run(*words, CONTACTS_REDIS=own_redis.url)
        address = running.address()
        eventually("counted", lambda: summary(address) == (2, 1))
        assert len(client.keys("cr1:embedded-*")) > 1
        running.process.send_signal(signal.SIGTERM)
        assert running.process.wait(30) == 0, running.said()
        # Then only what was there before is there after
        assert client.keys() == [b"cr1:contacts-report:{0}:positions"]


def test_a_port_in_use_is_named_at_once(run: Run) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        running = run("--port", str(port))
        assert running.process.wait(60) == 2
    assert running.said() == (
        f"contacts-report run: cannot listen on 127.0.0.1 port {port}: Address already in use; "
        "CONTACTS_API_PORT names another\n"
    )


def test_wrong_settings_are_named_at_once(run: Run) -> None:
    running = run("--port", "many", CONTACTS_TOPIC="a topic")
    assert running.process.wait(60) == 2
    assert running.said() == (
        "contacts-report run: CONTACTS_TOPIC = 'a topic' (environment): "
        "expected a name of 1 to 200 of A-Z a-z 0-9 . _ -\n"
        "contacts-report run: CONTACTS_API_PORT = 'many' (flag --api-port): "
        "expected a port from 0 to 65535 (0: any free one)\n"
    )
