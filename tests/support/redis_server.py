"""A real Redis for tests: one for the session, in memory; use groups of your own."""

import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from cli.local.ports import listens
from cli.local.redis import NoRedis, redis_binary, redis_command
from tests.support.kafka import spawn
from tests.support.ports import free_port
from tests.support.require import require

START_TIMEOUT_SECONDS = 20.0


class RunningRedis:
    """One server; `stop` and `start` again as a test likes, on the same port, with nothing kept."""

    def __init__(self, folder: Path, binary: Path | None = None) -> None:
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self._folder = folder
        self._binary = binary or redis_binary()
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        command = [os.fspath(word) for word in redis_command(self._binary, self.port, self._folder)]
        output = (self._folder / "redis.log").open("ab")
        self.process = spawn(command, output)
        deadline = time.monotonic() + START_TIMEOUT_SECONDS
        while not listens(self.port):
            if self.process.poll() is not None or time.monotonic() > deadline:
                pytest.fail((self._folder / "redis.log").read_text(errors="replace"))
            time.sleep(0.02)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """It answers nothing meanwhile, and then what it was asked."""
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)
        try:
            os.waitid(os.P_PID, self.process.pid, os.WSTOPPED)
            yield
        finally:
            self.process.send_signal(signal.SIGCONT)

    def stop(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None


def running_redis() -> Iterator[RunningRedis]:
    """For fixtures: a server that ends with the fixture."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            server = RunningRedis(Path(folder))
        except NoRedis as error:
            require("redis", False, str(error))
            return
        server.start()
        try:
            yield server
        finally:
            server.stop()


@pytest.fixture(scope="session")
def shared_redis() -> Iterator[RunningRedis]:
    """One server for all tests that leave it running."""
    yield from running_redis()


@pytest.fixture
def own_redis() -> Iterator[RunningRedis]:
    """A server that a test may stop."""
    yield from running_redis()
