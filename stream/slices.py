"""Long work in the event loop, in slices of a few milliseconds: all else has its turn between two of them."""

from __future__ import annotations

import asyncio
from typing import TypeVar

from stream.model.steps import Steps

T = TypeVar("T")

SLICE_SECONDS = 0.005
"""Heartbeats, probes and other requests wait this much longer. A turn of the loop costs some 20 us: short steps are
done together."""


async def run_in_slices(steps: Steps[T]) -> T:
    """Do all steps, and return their result. Others have their turn at least every SLICE_SECONDS and a step. Cancelled,
    it leaves the work where it is, for nobody."""
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
