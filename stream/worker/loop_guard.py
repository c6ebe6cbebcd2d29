"""Ends a process whose event loop does not run any more, with the reason as the last line of its log.

Of a loop that is blocked nobody in it can tell: a thread looks. Where that thread cannot run either (a library never
gives the interpreter's lock back), the interpreter's own timer ends the process later, with stacks and without a word.
"""

from __future__ import annotations

import faulthandler
import logging
import os
import sys
import threading
import time
import traceback
from types import FrameType
from typing import Final, NamedTuple

from stream.faults import system_ms
from stream.model.time import show_time

log = logging.getLogger(__name__)

LOOK_SECONDS: Final = 0.25
SAY_SECONDS: Final = 5.0
"""For the last lines: the log may be what the loop is blocked by."""
LAST_RESORT_SECONDS: Final = 600.0
"""Much later than the thread: a process that was paused for less than this is told to have been."""
ENDED: Final = 1


class _Limit(NamedTuple):
    at: float
    at_ms: int
    seconds: float
    setting: str
    before: str


class LoopGuard:
    """The loop calls `allow` again and again; where it does not, the process ends."""

    def __init__(self) -> None:
        self._limit: _Limit | None = None
        self._loop_thread = 0

    def allow(self, seconds: float, setting: str, before: str = "") -> None:
        """The loop calls again within so many seconds, or the process ends. `setting` says how long it may take;
        `before`: what was said last of why it ends, where it is about to.
        """
        now, begins = time.monotonic(), self._limit is None
        if self._limit is not None and now - self._limit.at > self._limit.seconds:
            return  # too late: the thread is about to end the process, whose partitions are others' by now
        self._limit = _Limit(now, system_ms(), seconds, setting, before)
        faulthandler.dump_traceback_later(seconds + LAST_RESORT_SECONDS, exit=True)
        if begins:
            self._loop_thread = threading.get_ident()
            threading.Thread(target=self._look, name="loop guard", daemon=True).start()

    def _look(self) -> None:
        looked, paused = time.monotonic(), 0.0
        while True:
            time.sleep(LOOK_SECONDS)
            now, limit = time.monotonic(), self._limit
            assert limit is not None, "it is set before the thread begins"
            # This thread sleeps for a moment; that it slept for long says that nothing of the process ran.
            paused = max(now - looked - LOOK_SECONDS, paused if limit.at < looked else 0.0)
            looked = now
            if now - limit.at > limit.seconds:
                self._end(limit, now - limit.at, paused)

    def _end(self, limit: _Limit, silent: float, paused: float) -> None:
        saying = threading.Thread(target=self._say, args=(limit, silent, paused), daemon=True)
        saying.start()
        saying.join(SAY_SECONDS)
        os._exit(ENDED)

    def _say(self, limit: _Limit, silent: float, paused: float) -> None:
        frames = sys._current_frames()
        record = log.makeRecord(log.name, logging.ERROR, __file__, 0, "stacks of all threads follow", (), None)
        record.stack_info = _show_stacks(frames)
        log.handle(record)
        if paused > silent / 2:
            why = "nothing of the process ran (paused, its machine too busy, or a library held the interpreter)"
        else:
            why = f"it was blocked at {_show_place(frames.get(self._loop_thread))}"
        log.error(
            "the worker ends%s: its event loop has not run for %.0f s, since %s: %s. %s is how long that may take",
            limit.before,
            silent,
            show_time(limit.at_ms),
            why,
            limit.setting,
        )
        os._exit(ENDED)  # here, so that nothing is said after it


def _show_stacks(frames: dict[int, FrameType]) -> str:
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    shown = (
        f"{names.get(ident, ident)}:\n{''.join(traceback.format_stack(frame)).rstrip()}"
        for ident, frame in frames.items()
        if ident != threading.get_ident()
    )
    return "\n".join(shown)


def _show_place(frame: FrameType | None) -> str:
    """Where a thread is."""
    if frame is None:
        return "a place that is not known"
    return f"{frame.f_code.co_filename}:{frame.f_lineno}, in {frame.f_code.co_name}"
