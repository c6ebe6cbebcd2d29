"""Remembers the offsets that did not count.

    key    75 ("u"), u64 first offset of the block's first range, big-endian
    value  version byte, then for each range two varints: the gap to the end of the range before it (0 for the first),
           and its length in offsets

Duplicates, rejected records and tombstones do not count. A range is of offsets that follow on one another. The newest
block is written again with each commit that changes it; a range that would begin when it has BLOCK_BYTES begins the
next. They are kept as long as the topic keeps its events, so the rows of any offset can be written again by the
verdict that was given then. A range takes about 3 bytes in the changelog.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from itertools import accumulate, pairwise
from operator import itemgetter
from struct import Struct
from typing import Final

from stream.storage.formats import Changes, FormatError, check_byte

KIND: Final = b"u"
VERSION: Final = 1
BLOCK_BYTES: Final = 512

_KEY: Final = Struct(">cQ")

Block = list[int]
"""The bounds of its ranges, ascending: of each the first offset, and the one after its last."""


class Uncounted:
    """Offsets of a partition whose record did not count, as ranges."""

    def __init__(self) -> None:
        self._blocks: list[Block] = []
        """Ascending; the last one is open."""
        self._changes: Changes = {}
        """Since the last commit."""

    def add(self, offset: int) -> None:
        """Notes an offset, greater than all before."""
        newest = self._blocks[-1] if self._blocks else []
        assert not newest or offset >= newest[-1], f"offset {offset} after {newest[-1]}"
        if newest and offset == newest[-1]:
            newest[-1] += 1
        elif newest and len(_pack(newest)) < BLOCK_BYTES:
            newest += (offset, offset + 1)
        else:
            newest = [offset, offset + 1]
            self._blocks.append(newest)
        self._changes[_key(newest)] = _pack(newest)

    def __contains__(self, offset: int) -> bool:
        return any(self.ranges(offset - 1, offset))

    def ranges(self, after: int, upto: int) -> Iterator[tuple[int, int]]:
        """The ranges of offsets in (after, upto], cut to it: first and last offset of each, ascending."""
        for block in self._blocks[self._find(after + 1) : self._find(upto) + 1]:
            for start, end in zip(block[::2], block[1::2], strict=True):
                if end > after + 1 and start <= upto:
                    yield max(start, after + 1), min(end - 1, upto)

    def forget_before(self, offset: int) -> None:
        """Drops the blocks that say nothing of this offset or later ones: the topic has lost what they speak of. The
        newest block stays."""
        gone = self._find(offset)
        self._changes.update((_key(block), None) for block in self._blocks[:gone])
        del self._blocks[:gone]

    def encode(self, changes: Changes) -> None:
        """Adds the changelog records of the blocks that changed since the last call."""
        changes.update(sorted(self._changes.items()))
        self._changes = {}

    def adopt(self, key: bytes, value: bytes) -> None:
        """Takes a record of the changelog, in the order of their keys. Raises FormatError."""
        check_byte(value, VERSION, key)
        _, first = _KEY.unpack(key)
        self._blocks.append(list(accumulate(_varints(value[1:], key), initial=first))[1:])

    def _find(self, offset: int) -> int:
        """Number of the block that speaks of an offset; of the first one where it lies before all."""
        return max(bisect_right(self._blocks, offset, key=itemgetter(0)) - 1, 0)


def _key(block: Block) -> bytes:
    return _KEY.pack(KIND, block[0])


def _pack(block: Block) -> bytes:
    packed = bytearray((VERSION,))
    for before, bound in pairwise([block[0], *block]):
        number = bound - before
        while number >= 0x80:  # seven bits a byte, the lowest first; the eighth says that another byte follows
            packed.append(number & 0x7F | 0x80)
            number >>= 7
        packed.append(number)
    return bytes(packed)


def _varints(packed: bytes, key: bytes) -> list[int]:
    numbers, number, shift = [], 0, 0
    for byte in packed:
        number |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            numbers.append(number)
            number = shift = 0
    if shift or not numbers or len(numbers) % 2:
        raise FormatError(f"{key!r} is damaged")
    return numbers
