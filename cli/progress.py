"""Shows on standard error how far a long read is, every few seconds."""

import sys
import time

EVERY_SECONDS = 2.0


class Progress:
    """Lines like `contacts.activity.v1 3: 40 % of 1,200,000 offsets`. Short work says nothing."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._next = time.monotonic() + EVERY_SECONDS

    def __call__(self, partition: int, done: int, total: int) -> None:
        now = time.monotonic()
        if now >= self._next and total:
            self._next = now + EVERY_SECONDS
            print(f"{self._what} {partition}: {100 * done // total} % of {total:,} offsets", file=sys.stderr)
