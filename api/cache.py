"""What a process remembers of workspace-days: their sums, under a limit in bytes."""

from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, TypeVar

T = TypeVar("T")

ENTRY_BYTES = 200
"""What an entry costs beside its sums: the key, the layout, and the places in the dictionary."""


class DayCache(Generic[T]):
    """Sums by key, each good for one layout of its day (which holds its change); the longest unused go first."""

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        self.bytes = 0
        self._entries: OrderedDict[Hashable, tuple[bytes, T, int]] = OrderedDict()

    def get(self, key: Hashable, layout: bytes | None) -> T | None:
        """The sums, if they are of this layout."""
        entry = self._entries.get(key)
        if entry is None or entry[0] != layout:
            return None
        self._entries.move_to_end(key)
        return entry[1]

    def put(self, key: Hashable, layout: bytes, sums: T, size_bytes: int) -> None:
        """Remember sums; `size_bytes` is an estimate of what they take."""
        self._drop(key)
        size = size_bytes + ENTRY_BYTES
        if size > self.limit_bytes:
            return
        self._entries[key] = (layout, sums, size)
        self.bytes += size
        while self.bytes > self.limit_bytes:
            self._drop(next(iter(self._entries)))

    def _drop(self, key: Hashable) -> None:
        entry = self._entries.pop(key, None)
        if entry is not None:
            self.bytes -= entry[2]
