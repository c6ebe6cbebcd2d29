"""A fault from its first sign to its end: since when, why, and what the log tells of it.

One line when it begins, one a minute while it goes on, and one at its end with how long it took.
"""

from __future__ import annotations

import logging
from typing import Any, Final

import msgspec

from stream.ports import Clock
from stream.worker.clocks import in_words

log = logging.getLogger(__name__)

AGAIN_MS: Final = 60_000


class Fault(msgspec.Struct):
    text: str
    since_ms: int
    over_ms: int | None = None

    def facts(self) -> dict[str, Any]:
        """For `/readyz?verbose`; `over` is null while it lasts."""
        over = None if self.over_ms is None else in_words(self.over_ms)
        return {"text": self.text, "since": in_words(self.since_ms), "over": over}


class FaultWatch:
    """One thing that may fail, and be well again."""

    def __init__(self, clock: Clock, *, subject: str = "", over: str, patience: int = 1) -> None:
        """The lines are `subject` with the reason, and with `over` at the end. `patience`: how many signs in a row the
        log waits for.
        """
        self._clock, self._subject, self._over, self._patience = clock, subject, over, patience
        self._signs = 0
        self._logged_ms: int | None = None
        self.fault: Fault | None = None
        """The one that lasts, else the last one."""

    @property
    def lasting(self) -> Fault | None:
        return self.fault if self.fault is not None and self.fault.over_ms is None else None

    def note(self, why: str) -> None:
        """It fails."""
        now = self._clock.now_ms()
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
            log.warning("%s%s; retrying", self._subject, why)
        elif now - self._logged_ms >= AGAIN_MS:
            self._logged_ms = now
            log.warning("%s%s; retrying for %.0f s now", self._subject, why, (now - fault.since_ms) / 1000)

    def clear(self) -> None:
        """It is well."""
        fault = self.lasting
        if fault is None:
            return
        fault.over_ms = self._clock.now_ms()
        if self._logged_ms is not None:
            self._logged_ms = None
            log.info("%s%s after %.1f s", self._subject, self._over, (fault.over_ms - fault.since_ms) / 1000)
