"""Remembers the offsets that did not count.

    key    75 ("u"), u64 first offset of the block's first range, big-endian
    value  version byte, then for each range two varints: the gap to the end of the range before it (0 for the first),
           and its length in offsets

Duplicates, rejected records and tombstones do not count. A range is of offsets that follow on one another. The newest
block is written again with each commit that changes it; a range that would begin when it has BLOCK_BYTES begins the
next. They are kept as long as the topic keeps its events, so the rows of any offset can be written again by the
verdict that was given then. A range takes about 3 bytes in the changelog, and 16 in memory.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator
from struct import Struct
from typing import Final

from stream.storage.formats import Changes, FormatError, check_byte

KIND: Final = b"u"
VERSION: Final = 1
BLOCK_BYTES: Final = 512

LAST_OFFSET: Final = (1 << 63) - 1

_KEY: Final = Struct(">cQ")


class Uncounted:
    """Offsets of a partition whose record did not count, as ranges."""

    def __init__(self) -> None:
        self._starts = array("Q")
        self._ends = array("Q")
        """Of each range the first offset, and the offset after its last; ascending."""
        self._firsts: list[int] = []
        """First offset of each block's first range; the last block is the open one."""
        self._open_bytes = 0
        """Of the open block, without its last range, which may grow."""
        self._changed: set[int] = set()
        """First offsets of the blocks that no commit has in this form."""
        self._deleted: Changes = {}

    @property
    def keys(self) -> int:
        """How many keys the changelog has of them, with what was encoded."""
        return len(self._firsts)

    def add(self, offset: int) -> None:
        """Notes an offset, greater than all before."""
        if self._ends and offset == self._ends[-1]:
            self._ends[-1] += 1
        else:
            assert not self._ends or offset > self._ends[-1], f"offset {offset} after {self._ends[-1]}"
            if self._firsts:
                self._open_bytes += self._bytes_of_last()
            if not self._firsts or self._open_bytes >= BLOCK_BYTES:
                self._begin_block(offset)
            self._starts.append(offset)
            self._ends.append(offset + 1)
        self._changed.add(self._firsts[-1])

    def __contains__(self, offset: int) -> bool:
        place = bisect_right(self._starts, offset) - 1
        return place >= 0 and offset < self._ends[place]

    def ranges(self, after: int, upto: int) -> Iterator[tuple[int, int]]:
        """The ranges of offsets in (after, upto], cut to it: first and last offset of each, ascending."""
        for place in range(bisect_right(self._ends, after + 1), bisect_right(self._starts, upto)):
            yield max(self._starts[place], after + 1), min(self._ends[place] - 1, upto)

    def forget_before(self, offset: int) -> None:
        """Drops the blocks that say nothing of this offset or later ones: the topic has lost what they speak of. The
        newest block stays."""
        gone = max(bisect_right(self._firsts, offset) - 1, 0)
        for first in self._firsts[:gone]:
            self._deleted[_KEY.pack(KIND, first)] = None
            self._changed.discard(first)
        del self._firsts[:gone]
        if gone:
            left = bisect_left(self._starts, self._firsts[0])
            del self._starts[:left], self._ends[:left]

    def encode(self, changes: Changes) -> None:
        """Adds the changelog records of the blocks that changed since the last call."""
        changes.update(self._deleted)
        self._deleted = {}
        for first in sorted(self._changed):
            changes[_KEY.pack(KIND, first)] = self._pack(first)
        self._changed = set()

    @classmethod
    def recover(cls, records: Iterable[tuple[bytes, bytes]]) -> Uncounted:
        """The ranges of a changelog's blocks. Raises FormatError."""
        uncounted = cls()
        for key, value in sorted(records):
            check_byte(value, VERSION, key)
            numbers, end = _varints(value[1:], key), _KEY.unpack(key)[1]
            uncounted._begin_block(end)
            for gap, length in zip(numbers[::2], numbers[1::2], strict=True):
                uncounted._starts.append(end + gap)
                end += gap + length
                uncounted._ends.append(end)
            uncounted._open_bytes = len(value) - uncounted._bytes_of_last()
        return uncounted

    def _begin_block(self, first: int) -> None:
        self._firsts.append(first)
        self._open_bytes = 1  # the version

    def _pack(self, first: int) -> bytes:
        """The block that begins with this offset."""
        packed, end = bytes((VERSION,)), first
        following = bisect_right(self._firsts, first)
        limit = self._firsts[following] if following < len(self._firsts) else LAST_OFFSET
        for place in range(bisect_left(self._starts, first), bisect_left(self._starts, limit)):
            packed += _varint(self._starts[place] - end) + _varint(self._ends[place] - self._starts[place])
            end = self._ends[place]
        return packed

    def _bytes_of_last(self) -> int:
        """Of the last range, in its block."""
        start, end = self._starts[-1], self._ends[-1]
        before = start if start == self._firsts[-1] else self._ends[-2]
        return len(_varint(start - before) + _varint(end - start))


def _varint(number: int) -> bytes:
    """Seven bits a byte, the lowest first; the eighth says that another byte follows."""
    if number < 0x80:
        return bytes((number,))
    packed = bytearray()
    while number >= 0x80:
        packed.append(number & 0x7F | 0x80)
        number >>= 7
    packed.append(number)
    return bytes(packed)


def _varints(packed: bytes, key: bytes) -> list[int]:
    numbers, number, shift = [], 0, 0
    for byte in packed:
        number |= (byte & 0x7F) << shift
        if byte & 0x80:
            shift += 7
        else:
            numbers.append(number)
            number = shift = 0
    if shift or not numbers or len(numbers) % 2:
        raise FormatError(f"{key!r} is damaged")
    return numbers
