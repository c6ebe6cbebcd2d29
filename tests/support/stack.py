"""The product's own processes for flow tests: workers and an API as production runs them, and a Redis to set back.

Each process writes its log into a folder; `tail` shows it where a test fails. All die with the test process.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import redis

from cli.local.redis import redis_binary
from tests.support.kafka import spawn
from tests.support.ports import free_port

WAIT_SECONDS = 60.0


def eventually(what: str, check: Callable[[], Any], seconds: float = WAIT_SECONDS, every: float = 0.1) -> Any:
    """Ask until the answer is true, and return it; fails with the last answer. The bound is no part of a claim."""
    deadline = time.monotonic() + seconds
    while True:
        answer = check()
        if answer:
            return answer
        assert time.monotonic() < deadline, f"after {seconds:.0f} s still not {what}: {answer!r}"
        time.sleep(every)


def get_json(url: str, headers: Mapping[str, str] | None = None) -> tuple[int, Any]:
    """Status and JSON of an address; (0, None) where nobody answers."""
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=dict(headers or {})), timeout=20) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read() or b"null")
    except (OSError, json.JSONDecodeError):
        return 0, None


class Process:
    """One command of the product, in a process of its own."""

    def __init__(self, folder: Path, name: str, words: list[str], environ: Mapping[str, str]) -> None:
        self.log = folder / f"{name}.log"
        self._words, self._environ = words, environ
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with open(self.log, "ab") as output:
            words = [sys.executable, "-m", "cli.main", *self._words]
            settings = [f"{name}={value}" for name, value in self._environ.items()]
            self.process = spawn(["env", *settings, *words], output)

    @property
    def pid(self) -> int:
        assert self.process is not None, "never started"
        return self.process.pid

    @property
    def running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def kill(self) -> None:
        """SIGKILL."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def stop(self, seconds: float = 20.0) -> int:
        """SIGTERM; returns the exit code, and kills it where it does not end."""
        assert self.process is not None
        self.process.terminate()
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"did not stop within {seconds} s:\n{self.tail()}") from None

    def wait(self, seconds: float = WAIT_SECONDS) -> int:
        """The exit code, once it ends by itself."""
        assert self.process is not None
        return self.process.wait(seconds)

    def pause(self) -> None:
        os.kill(self.pid, signal.SIGSTOP)

    def wake(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    def tail(self, characters: int = 3000) -> str:
        return self.log.read_text(errors="replace")[-characters:] if self.log.exists() else ""


class Worker(Process):
    def __init__(self, folder: Path, name: str, environ: Mapping[str, str]) -> None:
        self.port = int(environ.get("CONTACTS_WORKER_PORT") or free_port())
        super().__init__(folder, name, ["worker"], {**environ, "CONTACTS_WORKER_PORT": str(self.port)})

    def ready(self) -> dict[str, Any] | None:
        """The facts of a worker that counts all it owns, and owns something; None before."""
        status, facts = get_json(f"http://127.0.0.1:{self.port}/readyz?verbose")
        return facts if status == 200 and facts["partitions"] else None

    def facts(self) -> dict[str, Any]:
        return get_json(f"http://127.0.0.1:{self.port}/readyz?verbose")[1] or {"partitions": {}}


class Api(Process):
    def __init__(self, folder: Path, name: str, environ: Mapping[str, str]) -> None:
        self.port = free_port()
        self.address = f"http://127.0.0.1:{self.port}"
        super().__init__(folder, name, ["api"], {**environ, "CONTACTS_API_PORT": str(self.port)})

    def get(self, path: str) -> tuple[int, Any]:
        return get_json(self.address + path)


class RedisServer:
    """A Redis whose content can be saved, lost and set back."""

    def __init__(self, folder: Path, binary: Path | None = None) -> None:
        self._folder, self._binary = folder, binary or redis_binary()
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self._process: subprocess.Popen[bytes] | None = None
        folder.mkdir(parents=True, exist_ok=True)

    @property
    def client(self) -> redis.Redis:
        return redis.Redis(port=self.port, socket_timeout=10)

    def start(self) -> None:
        options = {
            "--port": str(self.port),
            "--bind": "127.0.0.1",
            "--dir": str(self._folder),
            "--save": "",
            "--maxmemory-policy": "noeviction",
        }
        with open(self._folder / "redis.log", "ab") as output:
            self._process = spawn([str(self._binary), *(word for option in options.items() for word in option)], output)

        def answers() -> bool:
            try:
                return bool(self.client.ping())
            except redis.RedisError:
                return False

        eventually("answered by Redis", answers)

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def snapshot(self) -> Path:
        """What Redis holds now, as a file to go back to."""
        self.client.save()
        kept = Path(tempfile.mkdtemp(dir=self._folder)) / "kept.rdb"
        shutil.copy(self._folder / "dump.rdb", kept)
        return kept

    def go_back(self, snapshot: Path) -> None:
        """Stop, and start from an older snapshot."""
        self.kill()
        shutil.copy(snapshot, self._folder / "dump.rdb")
        self.start()
