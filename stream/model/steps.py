"""Long work as steps of a few milliseconds: who runs it may do something else between two of them."""

from __future__ import annotations

from collections.abc import Generator
from typing import Final, TypeAlias, TypeVar

T = TypeVar("T")

ITEMS_A_STEP: Final = 2_000
"""Of what is looked at and sorted: a millisecond or two."""

Steps = Generator[None, None, T]
"""Each `next` does one step; the result comes with the end."""

MadeOrSteps: TypeAlias = T | Steps[T]
"""What is made already, or the steps that make it."""


def finish(steps: Steps[T]) -> T:
    """Do all of it at once."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            result: T = end.value
            return result
