"""Finds batches that were fetched and did not arrive.

A batch that was fetched while Faust rebalances may be dropped on its way. The next one would tell, and where there is
none, standing still does: then the stream is to be asked again.
"""

from __future__ import annotations

from typing import Final

MISSED_ENDS: Final = 4
"""As many answers about the partition's end, a quarter of a second apart, without the batch that must be there."""


class Gaps:
    """Told of each answer about a partition's end."""

    def __init__(self) -> None:
        self._missed: int | None = None  # the next offset, while it is in the topic and does not come
        self._answers = 0

    def note_end(self, needed: int | None, end: int) -> int | None:
        """The partition ends at `end`, and the batch that begins at `needed` has not come (None: none is waited for).
        Returns the offset to ask for again; None where it may still come.
        """
        if needed is None or end <= needed:
            needed = None
        if needed is None or needed != self._missed:
            self._missed, self._answers = needed, 0
            return None
        self._answers = (self._answers + 1) % MISSED_ENDS
        return needed if self._answers == 0 else None
