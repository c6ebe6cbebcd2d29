"""Hands what one thread's loop finds to another thread's loop, a few at a time ahead of who takes it.

A taker that asks for each wakes the other thread twice as often: here the giver wakes the taker, and the taker the
giver only where that waits for room.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Generic, TypeVar

T = TypeVar("T")


class Handover(Generic[T]):
    """`wait_for_room` and `give` are called in the giver's loop, `take` in the taker's.

    Each of the two counts is written by one of them alone, and each side writes before it looks at what the other has
    written: so one of them sees that the other waits.
    """

    def __init__(self, giver: asyncio.AbstractEventLoop, taker: asyncio.AbstractEventLoop, limit: int) -> None:
        """`limit`: of things that are given and not taken."""
        self._giver, self._taker, self._limit = giver, taker, limit
        self._given = self._taken = 0
        self._things: deque[T] = deque()
        self._arrival: asyncio.Future[None] | None = None  # of the taker's loop
        self._room: asyncio.Future[None] | None = None  # of the giver's loop

    async def wait_for_room(self) -> None:
        while self._is_full():
            self._room = self._giver.create_future()
            if self._is_full():
                await self._room
            self._room = None

    def give(self, thing: T) -> None:
        self._given += 1
        self._taker.call_soon_threadsafe(self._arrive, thing)

    async def take(self, timeout: float) -> T | None:
        """The first of what was given; None: nothing came for so many seconds."""
        if not self._things:
            self._arrival = self._taker.create_future()
            timer = self._taker.call_later(timeout, notify, self._arrival)
            try:
                await self._arrival
            finally:
                timer.cancel()
                self._arrival = None
        if not self._things:
            return None
        thing = self._things.popleft()
        self._taken += 1
        room = self._room
        if room is not None:
            self._giver.call_soon_threadsafe(notify, room)
        return thing

    def _is_full(self) -> bool:
        return self._given - self._taken >= self._limit

    def _arrive(self, thing: T) -> None:
        self._things.append(thing)
        if self._arrival is not None:
            notify(self._arrival)


def notify(waiting: asyncio.Future[None]) -> None:
    if not waiting.done():
        waiting.set_result(None)
