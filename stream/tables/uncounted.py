"""Remembers the offsets that did not count.

    key    75 ("u"), u64 first offset of the block's first range, big-endian
    value  version byte, then for each range two varints: the gap to the end of the range before it (0 for the first),
           and its length in offsets

Duplicates, rejected records and tombstones do not count. A range is of offsets that follow on one another. The newest
block is written again with each commit that changes it; a range that would begin when it has BLOCK_BYTES begins the
next. They are kept as long as the topic keeps its events, so the rows of any offset can be written again by the
verdict that was given then. A range takes about 3 bytes, here as there.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from struct import Struct
from typing import Final

from stream.storage.formats import Changes, FormatError, check_byte

KIND: Final = b"u"
VERSION: Final = 1
BLOCK_BYTES: Final = 512

_KEY: Final = Struct(">cQ")
_HEADER: Final = bytes((VERSION,))


class Uncounted:
    """Offsets of a partition whose record did not count, as ranges, in packed blocks."""

    def __init__(self) -> None:
        self._firsts: list[int] = []
        """First offset of each block; the last block is the open one."""
        self._blocks: list[bytes] = []
        """Packed blocks; the open one without its last range."""
        self._end = 0
        """Where the open block's ranges before the last end."""
        self._last: tuple[int, int] | None = None
        """The last range: first offset, and the offset after its last."""
        self._changed: set[int] = set()
        """First offsets of the blocks that no commit has in this form."""
        self._deleted: Changes = {}
        self._read: tuple[tuple[int, tuple[int, int] | None], list[tuple[int, int]]] | None = None
        """The last decoded block, by its first offset and the last range at that time."""

    @property
    def keys(self) -> int:
        """How many keys the changelog has of them, with what was encoded."""
        return len(self._firsts)

    def add(self, offset: int) -> None:
        """Notes an offset, greater than all before."""
        last = self._last
        if last is not None:
            assert offset >= last[1], f"offset {offset} after {last[1]}"
            if offset == last[1]:
                self._last = last[0], offset + 1
                self._changed.add(self._firsts[-1])
                return
            self._close_last(last)
        if not self._blocks or len(self._blocks[-1]) >= BLOCK_BYTES:
            self._firsts.append(offset)
            self._blocks.append(_HEADER)
            self._end = offset
        self._last = offset, offset + 1
        self._changed.add(self._firsts[-1])

    def __contains__(self, offset: int) -> bool:
        index = bisect_right(self._firsts, offset) - 1
        if index < 0:
            return False
        ranges = self._last_read(index)
        place = bisect_right(ranges, offset, key=lambda known: known[0]) - 1
        return place >= 0 and offset < ranges[place][1]

    def ranges(self, after: int, upto: int) -> Iterator[tuple[int, int]]:
        """The ranges of offsets in (after, upto], cut to it: first and last offset of each, ascending."""
        for index in range(max(bisect_right(self._firsts, after + 1) - 1, 0), len(self._firsts)):
            if self._firsts[index] > upto:
                return
            for first, end in self._ranges_of(index):
                if end - 1 > after and first <= upto:
                    yield max(first, after + 1), min(end - 1, upto)

    def forget_before(self, offset: int) -> None:
        """Drops the blocks that say nothing of this offset or later ones: the topic has lost what they speak of. The
        newest block stays."""
        gone = max(bisect_right(self._firsts, offset) - 1, 0)
        for first in self._firsts[:gone]:
            self._deleted[_KEY.pack(KIND, first)] = None
            self._changed.discard(first)
        del self._firsts[:gone], self._blocks[:gone]

    def encode(self, changes: Changes) -> None:
        """Adds the changelog records of the blocks that changed since the last call."""
        changes.update(self._deleted)
        self._deleted = {}
        for first in sorted(self._changed):
            changes[_KEY.pack(KIND, first)] = self._pack(bisect_right(self._firsts, first) - 1)
        self._changed = set()

    @classmethod
    def recover(cls, records: Iterable[tuple[bytes, bytes]]) -> Uncounted:
        """The ranges of a changelog's blocks. Raises FormatError."""
        uncounted = cls()
        for key, value in sorted(records):
            check_byte(value, VERSION, key)
            uncounted._firsts.append(_KEY.unpack(key)[1])
            uncounted._blocks.append(value)
        if uncounted._blocks:
            uncounted._reopen()
        return uncounted

    def _close_last(self, last: tuple[int, int]) -> None:
        first, end = last
        self._blocks[-1] += _varint(first - self._end) + _varint(end - first)
        self._end = end

    def _pack(self, index: int) -> bytes:
        block = self._blocks[index]
        if index < len(self._blocks) - 1 or self._last is None:
            return block
        first, end = self._last
        return block + _varint(first - self._end) + _varint(end - first)

    def _reopen(self) -> None:
        """Takes the last range out of the newest block again, since it may grow."""
        *before, self._last = self._ranges_of(len(self._blocks) - 1)
        self._blocks[-1] = _HEADER
        self._end = self._firsts[-1]
        for known in before:
            self._close_last(known)

    def _last_read(self, index: int) -> list[tuple[int, int]]:
        """As _ranges_of, but a block that is asked again is not read again: offsets are asked in their order."""
        block = self._firsts[index], self._last
        if self._read is None or self._read[0] != block:
            self._read = block, self._ranges_of(index)
        return self._read[1]

    def _ranges_of(self, index: int) -> list[tuple[int, int]]:
        """A block's ranges: first offset, and the offset after the last."""
        numbers = _varints(self._pack(index), self._firsts[index])
        ranges, end = [], self._firsts[index]
        for gap, length in zip(numbers[::2], numbers[1::2], strict=True):
            ranges.append((end + gap, end + gap + length))
            end += gap + length
        return ranges


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


def _varints(block: bytes, first: int) -> list[int]:
    numbers, number, shift = [], 0, 0
    for byte in block[1:]:
        number |= (byte & 0x7F) << shift
        if byte & 0x80:
            shift += 7
        else:
            numbers.append(number)
            number = shift = 0
    if shift or not numbers or len(numbers) % 2:
        raise FormatError(f"{_KEY.pack(KIND, first)!r} is damaged")
    return numbers
