"""All that a process remembers between requests, under one limit in bytes; what was not used for longest goes first."""

from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable
from sys import getsizeof
from typing import Any

ENTRY_BYTES = 600
"""What an entry costs beside its value: its key with an id in it, and the places in the dictionaries."""

Shared = tuple[Any, Callable[[Any], int]]
"""An object that several entries hold, and what tells its bytes: it counts once, as long as any of them is there."""


class Memory:
    """Values by key. Whoever reads one must know what it is true of: nothing here compares versions.

    Sizes are told by whoever puts a value in: estimates that must not be too small
    (tests/integration/test_api_memory.py measures the process).
    """

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        self.bytes = 0
        self.hits = self.misses = 0
        self.held_bytes = 0
        """Of what is in use and cannot be forgotten; it leaves less for the rest."""
        self._entries: OrderedDict[Hashable, tuple[Any, int, tuple[Any, ...]]] = OrderedDict()
        self._shared: dict[int, list[int]] = {}
        """By an object's id: how many entries hold it, and its bytes. They hold it, so the id stays its own."""

    def __len__(self) -> int:
        """How many values are remembered."""
        return len(self._entries)

    def get(self, key: Hashable) -> Any:
        """The value; None where there is none."""
        entry = self._entries.get(key)
        if entry is None:
            self.misses += 1
            return None
        self.hits += 1
        self._entries.move_to_end(key)
        return entry[0]

    def put(self, key: Hashable, value: Any, size_bytes: int, shared: Iterable[Shared] = ()) -> None:
        """Remember a value; `size_bytes` is an estimate of what it takes beside what it shares."""
        if key in self._entries:
            self.forget(key)
        size = size_bytes + ENTRY_BYTES
        objects = self._share(size, list(shared)) if shared else ()
        if objects is None or size > self.limit_bytes:
            return
        self._entries[key] = (value, size, objects)
        self.bytes += size
        if self.bytes + self.held_bytes > self.limit_bytes:
            self._make_room()

    def renew(self, key: Hashable, value: Any, size_bytes: int, shares: Any) -> bool:
        """Put another value in place of one that shares the same objects, this one among them. It counts as used when
        that one was last used. False: none is there, or it is too large now.
        """
        entry = self._entries.get(key)
        if entry is None or shares not in entry[2]:
            return False
        size = size_bytes + ENTRY_BYTES
        if size > self.limit_bytes:
            return False
        self._entries[key] = (value, size, entry[2])
        self.bytes += size - entry[1]
        if self.bytes + self.held_bytes > self.limit_bytes:
            self._make_room()
        return True

    def _share(self, size_bytes: int, shared: list[Shared]) -> tuple[Any, ...] | None:
        """The objects of an entry that is to hold them; None where it is too large with those that are new."""
        new = sum(size_of(of) for of, size_of in shared if id(of) not in self._shared)
        if size_bytes + new > self.limit_bytes:
            return None
        for of, size_of in shared:
            known = self._shared.get(id(of))
            if known is None:
                known = self._shared[id(of)] = [0, size_of(of)]
                self.bytes += known[1]
            known[0] += 1
        return tuple(of for of, _ in shared)

    def resize(self, of: Any, size_bytes: int) -> None:
        """An object that entries may hold takes so many bytes now."""
        known = self._shared.get(id(of))
        if known is not None:
            self.bytes += size_bytes - known[1]
            known[1] = size_bytes
            self._make_room()

    def hold(self, size_bytes: int) -> None:
        """Count bytes of what is in use; negative ones when it no longer is."""
        self.held_bytes += size_bytes
        self._make_room()

    def forget(self, key: Hashable) -> None:
        entry = self._entries.pop(key, None)
        if entry is None:
            return
        self.bytes -= entry[1]
        for of in entry[2]:
            known = self._shared[id(of)]
            known[0] -= 1
            if not known[0]:
                self.bytes -= known[1]
                del self._shared[id(of)]

    def _make_room(self) -> None:
        while self._entries and self.bytes + self.held_bytes > self.limit_bytes:
            self.forget(next(iter(self._entries)))


def size_of_texts(texts: Iterable[str | None]) -> int:
    """Bytes of texts in a tuple or list."""
    return sum(8 + getsizeof(text) for text in texts if text is not None)
