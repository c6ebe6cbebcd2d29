"""Rows that Redis lacks are read again from the topic in a task of their own, so that old records that are hard to read
hold up neither the counting of their partition nor that of others.

There is one read at a time. It ends by itself, within a limit, whatever becomes of the partition meanwhile: nothing
cancels it from outside, and whether its result is still wanted is decided when that is written
(`Projector.write_rows`).
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable
from typing import Final

from stream.ports import KafkaAway
from stream.projection.backfill import Found
from stream.retry import BackOff

# Waiting for other partitions' reads included.
READING_SECONDS = 60.0

_READING: Final[set[asyncio.Task[Found]]] = set()
"""Also those whose partition has gone: asyncio keeps tasks weakly."""


class BackfillTask:
    def __init__(self, find: Callable[[], Awaitable[Found]], wake: Callable[[], None], back_off: BackOff) -> None:
        """`wake` is called whenever a read has ended; `back_off` is between reads that fail."""
        self._find, self._wake, self._back_off = find, wake, back_off
        self._task: asyncio.Task[Found] | None = None
        self._due = -math.inf

    @property
    def ready(self) -> bool:
        """Whether a read has ended that nobody took."""
        return self._task is not None and self._task.done()

    def begin(self, now: float) -> None:
        """Begin to read, unless that is under way, or not due again after a failure."""
        if self._task is None and now >= self._due:
            self._task = asyncio.get_running_loop().create_task(self._read())
            _READING.add(self._task)
            self._task.add_done_callback(self._note_end)

    def due(self) -> float:
        """When the next read may begin, in the loop's time; infinite while one is under way."""
        return self._due if self._task is None else math.inf

    def take(self) -> Found:
        """What the read that has ended found. Raises KafkaAway, and rests for longer each time."""
        task, self._task = self._task, None
        assert task is not None, "nothing was read"
        try:
            if task.cancelled():
                raise KafkaAway("the read was cancelled")
            found = task.result()
        except (KafkaAway, TimeoutError) as error:
            self._due = asyncio.get_running_loop().time() + self._back_off.take()
            raise KafkaAway(str(error) or f"nothing came within {READING_SECONDS:g} s") from error
        self._back_off.reset()
        return found

    async def _read(self) -> Found:
        async with asyncio.timeout(READING_SECONDS):
            return await self._find()

    def _note_end(self, task: asyncio.Task[Found]) -> None:
        _READING.discard(task)
        if not task.cancelled():
            task.exception()  # a partition that has gone does not ask for it
        self._wake()
