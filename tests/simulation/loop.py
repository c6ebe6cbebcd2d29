"""An event loop whose clock jumps to the next thing that waits for it: no sockets, no threads, no real time."""

import asyncio
import asyncio.base_events
import asyncio.events
import itertools
from heapq import heappop, heappush
from typing import Any
from weakref import WeakKeyDictionary


class DeadlockError(Exception):
    """Everything waits, and nothing is due."""


class VirtualLoop(asyncio.base_events.BaseEventLoop):
    """asyncio's own loop (its tasks, its order of callbacks) over virtual time, in seconds from 0."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self._timers: list[tuple[float, int, asyncio.TimerHandle]] = []
        self._timer_number = 0

    def time(self) -> float:
        return self.now

    def call_at(self, when: float, callback: Any, *args: Any, context: Any = None) -> asyncio.TimerHandle:
        # What is due at one time comes in the order in which it was asked for.
        timer = asyncio.TimerHandle(when, callback, args, self, context)
        self._timer_number += 1
        heappush(self._timers, (when, self._timer_number, timer))
        return timer

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        pass

    def _run_once(self) -> None:
        """One turn: all that is ready now, and before it, where nothing is, a jump to what is due next."""
        ready, timers = self._ready, self._timers  # type: ignore[attr-defined]
        if not ready:
            while timers and timers[0][2].cancelled():
                heappop(timers)
            if not timers:
                raise DeadlockError
            self.now = max(self.now, timers[0][0])
        while timers and timers[0][0] <= self.now:
            timer = heappop(timers)[2]
            if not timer.cancelled():
                ready.append(timer)
        for _ in range(len(ready)):
            handle = ready.popleft()
            if not handle.cancelled():
                handle._run()

    def _process_events(self, event_list: list[Any]) -> None:
        pass

    def _write_to_self(self) -> None:
        pass


def run(loop: VirtualLoop, main: Any) -> Any:
    """Run a coroutine to its end. What still waits then is cancelled, in the order in which it began."""
    numbers: WeakKeyDictionary[asyncio.Task[Any], int] = WeakKeyDictionary()
    counted = itertools.count()

    def make(loop: asyncio.AbstractEventLoop, work: Any, **more: Any) -> asyncio.Task[Any]:
        task = asyncio.Task(work, loop=loop, **more)
        numbers[task] = next(counted)
        return task

    loop.set_task_factory(make)
    loop.set_exception_handler(lambda _loop, _context: None)
    try:
        return loop.run_until_complete(main)
    finally:
        left = sorted(asyncio.all_tasks(loop), key=numbers.__getitem__)
        for task in left:
            task.cancel()
        if left:
            loop.run_until_complete(asyncio.wait(left, timeout=100))
        loop.close()
