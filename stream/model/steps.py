"""Long work as steps of a few milliseconds: who runs it may do something else between two of them."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator
from heapq import merge
from typing import Final, TypeVar

T = TypeVar("T")

ITEMS_A_STEP: Final = 2_000
"""Of what is looked at and sorted: a millisecond or two."""

Steps = Generator[None, None, T]
"""Each `next` does one step; the result comes with the end."""


def finish(steps: Steps[T]) -> T:
    """Do all of it at once."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            result: T = end.value
            return result


def order_after(items: Iterable[T], number_of: Callable[[T], int], after: int) -> Steps[Iterator[T]]:
    """The items whose number is above `after`, ascending. To sort a million at once takes half a second: here a step
    sorts few, and they are merged while they are taken.
    """
    runs: list[list[T]] = []
    run: list[T] = []
    for looked_at, item in enumerate(items, 1):
        if number_of(item) > after:
            run.append(item)
        if looked_at % ITEMS_A_STEP == 0:
            run.sort(key=number_of)
            runs.append(run)
            run = []
            yield
    run.sort(key=number_of)
    return merge(*filter(None, runs), run, key=number_of)
