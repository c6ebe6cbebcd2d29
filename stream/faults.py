"""A fault from its first sign to its end: since when, why, and what the log tells of it.

One line when it begins, one a minute while it goes on, and one at its end with how long it took.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any, Final

import msgspec

from stream.model.time import show_time

log = logging.getLogger(__name__)

AGAIN_MS: Final = 60_000


def system_ms() -> int:
    """Milliseconds since 1970."""
    return time.time_ns() // 1_000_000


class Fault(msgspec.Struct):
    text: str
    since_ms: int
    over_ms: int | None = None

    @property
    def words(self) -> str:
        """What it is, and since when."""
        return f"{self.text} (since {show_time(self.since_ms)})"

    def facts(self) -> dict[str, Any]:
        """For `/readyz?verbose`; `over` is null while it lasts."""
        over = None if self.over_ms is None else show_time(self.over_ms)
        return {"text": self.text, "since": show_time(self.since_ms), "over": over}


class FaultWatch:
    """One thing that may fail, and be well again."""

    def __init__(
        self,
        *,
        subject: str = "",
        meanwhile: str = "retrying",
        over: str,
        patience: int = 1,
        now_ms: Callable[[], int] = system_ms,
    ) -> None:
        """The lines are `subject` with the reason and what goes on `meanwhile`, and with `over` at the end. `patience`:
        how many signs in a row the log waits for.
        """
        self._now_ms, self._subject, self._meanwhile, self._over = now_ms, subject, meanwhile, over
        self._patience, self._signs = patience, 0
        self._logged_ms: int | None = None
        self.fault: Fault | None = None
        """The one that lasts, else the last one."""

    @property
    def lasting(self) -> Fault | None:
        return self.fault if self.fault is not None and self.fault.over_ms is None else None

    @property
    def told(self) -> Fault | None:
        """The one that lasts, once there were as many signs of it as the log waits for."""
        return None if self._logged_ms is None else self.lasting

    def note(self, why: str) -> None:
        """It fails."""
        now = self._now_ms()
        fault = self.lasting
        if fault is None:
            fault = self.fault = Fault(why, now)
            self._signs = 0
        fault.text = why
        self._signs += 1
        if self._signs < self._patience:
            return
        if self._logged_ms is None:
            self._logged_ms = now
            log.warning("%s%s; %s", self._subject, why, self._meanwhile)
        elif now - self._logged_ms >= AGAIN_MS:
            self._logged_ms = now
            seconds = (now - fault.since_ms) / 1000
            log.warning("%s%s; %s for %.0f s now", self._subject, why, self._meanwhile, seconds)

    def clear(self) -> None:
        """It is well."""
        fault = self.fault
        if fault is None or fault.over_ms is not None:
            return
        fault.over_ms = self._now_ms()
        if self._logged_ms is not None:
            self._logged_ms = None
            log.info("%s%s after %.1f s", self._subject, self._over, (fault.over_ms - fault.since_ms) / 1000)
