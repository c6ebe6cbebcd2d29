"""What a process remembers stays under one limit, measured by what the process takes."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.hoarding import KINDS, write
from tests.support.redis_server import RunningRedis, shared_redis

__all__ = ["shared_redis"]

CACHE_BYTES = 8 * 1024 * 1024
SLACK_BYTES = 16 * 1024 * 1024
"""Beside it: what one answer takes while it is made, the small tables of fixed sizes, and what the allocator holds."""


@pytest.mark.parametrize("kind", KINDS)
def test_whatever_is_asked_for_a_process_takes_no_more_than_its_limit(shared_redis: RunningRedis, kind: str) -> None:
    write(shared_redis.url, kind)
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.hoarding", shared_redis.url, str(CACHE_BYTES), kind],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    grown, counted = map(int, done.stdout.split())
    assert counted <= CACHE_BYTES
    assert grown <= CACHE_BYTES + SLACK_BYTES
