"""Long work in the event loop, in slices: between two of them everything else has its turn."""

from __future__ import annotations

import asyncio
from typing import TypeVar

from stream.model.steps import Steps

T = TypeVar("T")

# Heartbeats, commits and probes wait this much longer while a large state is unpacked.
SLICE_SECONDS = 0.02


async def run_in_slices(steps: Steps[T]) -> T:
    """Do all steps, and return their result. Cancelled, it leaves the work where it is, for nobody."""
    time = asyncio.get_running_loop().time
    ends = time() + SLICE_SECONDS
    while True:
        try:
            next(steps)
        except StopIteration as end:
            result: T = end.value
            return result
        if time() >= ends:
            await asyncio.sleep(0)
            ends = time() + SLICE_SECONDS
