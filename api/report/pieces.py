"""Long work in pieces of a few milliseconds: other requests have their turn between some of them."""

import asyncio
from typing import TypeVar

from stream.model.steps import Steps

T = TypeVar("T")

AT_A_TIME_SECONDS = 0.005
"""A turn of the loop costs some 20 us: small pieces are done together."""


async def in_pieces(steps: Steps[T]) -> T:
    """The result; others have their turn at least every AT_A_TIME_SECONDS and a piece."""
    time = asyncio.get_running_loop().time
    ends = time() + AT_A_TIME_SECONDS
    while True:
        try:
            next(steps)
        except StopIteration as end:
            result: T = end.value
            return result
        if time() >= ends:
            await asyncio.sleep(0)
            ends = time() + AT_A_TIME_SECONDS
