"""An event loop whose clock jumps to the next thing that waits for it: no sockets, no threads, no real time."""

import asyncio
import asyncio.base_events
import asyncio.events
from typing import Any


class DeadlockError(Exception):
    """Everything waits, and nothing is due."""


class _Jump:
    """Stands where a selector would: waiting for so long is to move the clock."""

    def __init__(self, loop: "VirtualLoop") -> None:
        self._loop = loop

    def select(self, timeout: float | None) -> list[Any]:
        if timeout is None:
            raise DeadlockError
        if timeout > 0:
            self._loop.now += timeout
        return []


class VirtualLoop(asyncio.base_events.BaseEventLoop):
    """asyncio's own loop (its order of callbacks, its tasks) over virtual time, in seconds from 0."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self._selector = _Jump(self)
        self._clock_resolution = 1e-9

    def time(self) -> float:
        return self.now

    def _process_events(self, event_list: list[Any]) -> None:
        pass

    def _write_to_self(self) -> None:
        pass


def run(loop: VirtualLoop, main: Any) -> Any:
    """Run a coroutine to its end. What still waits then is cancelled."""
    loop.set_exception_handler(lambda _loop, _context: None)
    try:
        return loop.run_until_complete(main)
    finally:
        left = asyncio.all_tasks(loop)
        for task in left:
            task.cancel()
        if left:
            loop.run_until_complete(asyncio.wait(left, timeout=100))
        loop.close()
