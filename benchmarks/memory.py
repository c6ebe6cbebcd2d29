"""What a cell and a recent id take of a worker's memory: by how much a process that counts one partition grows, between
two sizes of what it counted.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Any, Final

from benchmarks.growth_state import LOADS, MEGABYTE
from benchmarks.machine import say

SIZES: Final = {"cells": (192_000, 1_920_000), "ids": (2_000_000, 20_000_000)}
"""Cells lie in days of 1,920 of each workspace."""


def run() -> Iterator[dict[str, Any]]:
    for axis, sizes in SIZES.items():
        fewer, more = (measured_state(axis, size) for size in sizes)
        grown = (more["memory_mb"] - fewer["memory_mb"]) * MEGABYTE
        yield {
            "of": axis,
            "from": fewer["events"],
            "to": more["events"],
            "bytes_each": round(grown / (more["events"] - fewer["events"]), 1),
        }


def measured_state(axis: str, size: int) -> dict[str, Any]:
    """What `benchmarks.growth_state` says, in a process of its own."""
    assert axis in LOADS, axis
    say(f"{size} {axis}")
    command = [sys.executable, "-m", "benchmarks.growth_state", axis, str(size)]
    found: dict[str, Any] = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    return found
