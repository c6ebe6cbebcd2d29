"""Holds the recent ids in memory, each under a tag.

An open-addressing table in numpy arrays: 8 bytes of the id and 4 that hold two more of it and the tag, 12 bytes a slot;
from 17 to 25 bytes an id, and up to 42 while it grows. Batches are looked up and added in a few passes of numpy, a few
ids one by one, at the same places. What is dead (its tag was withdrawn) goes when the table is built anew, which
happens a part at a time: no call takes longer because the table is large.
"""

from __future__ import annotations

from collections.abc import Sequence
from struct import Struct
from typing import Final

import numpy as np
import numpy.typing as npt

ID_BYTES: Final = 10
TAGS: Final = 1 << 16
NEVER: Final = -(1 << 62)
"""The hour of a tag that is not in use: long before any."""

FEW: Final = 48
"""Handle up to this many ids one by one: numpy takes some 100 us for any number, one by one takes 1 to 2 us each."""

_LEAST_SLOTS: Final = 1_024
_FULL: Final = (7, 10)
_SLOTS_AN_ID: Final = 2.1
_MOVED_A_CALL: Final = 2_048
_MOVED_AN_ID: Final = 8
"""Slots that move to the new table at each call: enough to have moved all of them before that is full, if it is not
much smaller:"""
_SHRINKS_BY: Final = 4
"""A table that is built anew has at least this part of the slots of the one before, however few ids are alive."""

_SPLIT: Final = Struct("<QH").unpack
_SPLIT_ALL: Final = np.dtype([("key", "<u8"), ("rest", "<u2")])

Bools = npt.NDArray[np.bool_]
Keys = npt.NDArray[np.uint64]
Hours = npt.NDArray[np.int64]
Marks = npt.NDArray[np.uint32]


class IdTable:
    """Ids of ID_BYTES bytes, evenly distributed, each with a tag that says when it was added."""

    def __init__(self) -> None:
        self.hour_of_tag: Final = np.full(TAGS, NEVER, np.int64)
        """The caller's: which hour a tag stands for; NEVER where it is withdrawn, and its ids dead."""
        self._slots = _Slots(_LEAST_SLOTS)
        self._old: _Slots | None = None
        self._moved = 0

    def find(self, ids: Sequence[bytes], oldest: int) -> list[int]:
        """The places, among the ids, of those that are here with an hour of at least `oldest`. Every id only once."""
        hours = self.hour_of_tag
        if len(ids) <= FEW:
            split = [_SPLIT(item) for item in ids]
            return [
                place
                for place, (key, rest) in enumerate(split)
                if self._slots.has(key or 1, rest, hours, oldest)
                or (self._old is not None and self._old.has(key or 1, rest, hours, oldest))
            ]
        keys, rests = _split(ids)
        found = self._slots.find(keys, rests, hours, oldest)
        if self._old is not None:
            found |= self._old.find(keys, rests, hours, oldest)
        places: list[int] = found.nonzero()[0].tolist()
        return places

    def add(self, ids: Sequence[bytes], tag: int) -> None:
        """Adds ids that are not here with this tag, each only once."""
        self._make_room(len(ids))
        if len(ids) <= FEW:
            for item in ids:
                key, rest = _SPLIT(item)
                self._slots.add(key or 1, rest << 16 | tag)
            return
        keys, rests = _split(ids)
        self._slots.add_all(keys, (rests.astype(np.uint32) << np.uint32(16)) | np.uint32(tag))

    def drop_dead(self) -> None:
        """Removes every id whose tag is withdrawn, so that the tag may be used again."""
        self._begin_anew()
        self._move_on(self._old.capacity if self._old is not None else 0)

    def _make_room(self, more: int) -> None:
        self._move_on(_MOVED_A_CALL + _MOVED_AN_ID * more)
        if self._slots.is_full_with(more):
            if self._old is not None:
                self._move_on(self._old.capacity)
            self._begin_anew(more)
            if self._slots.capacity <= _MOVED_A_CALL * 8 and self._old is not None:
                self._move_on(self._old.capacity)

    def _begin_anew(self, more: int = 0) -> None:
        if self._old is not None:
            self._move_on(self._old.capacity)
        self._old = self._slots
        self._moved = 0
        alive = self._old.count_alive(self.hour_of_tag)
        least = max(_LEAST_SLOTS, self._old.capacity // _SHRINKS_BY)
        self._slots = _Slots(max(least, int((alive + more) * _SLOTS_AN_ID)))

    def _move_on(self, slots: int) -> None:
        """Takes the next slots of the old table into the new one."""
        old = self._old
        if old is None:
            return
        keys, marks = old.alive(self._moved, self._moved + slots, self.hour_of_tag)
        self._slots.add_all(keys, marks)
        self._moved += slots
        if self._moved >= old.capacity:
            self._old = None


class _Slots:
    """The arrays. A key of 0 is an empty slot; an id lies in the first empty slot from its key's place on."""

    def __init__(self, capacity: int) -> None:
        self.capacity: Final = capacity
        self._used = 0
        self._keys = np.zeros(capacity, np.uint64)
        self._marks = np.zeros(capacity, np.uint32)
        self._one_key = self._keys.data
        self._one_mark = self._marks.data

    def is_full_with(self, more: int) -> bool:
        return (self._used + more) * _FULL[1] > self.capacity * _FULL[0]

    def has(self, key: int, rest: int, hours: Hours, oldest: int, slot: int | None = None) -> bool:
        keys, capacity = self._one_key, self.capacity
        slot = key % capacity if slot is None else slot
        while stored := keys[slot]:
            if stored == key:
                mark = self._one_mark[slot]
                if mark >> 16 == rest and hours[mark & 0xFFFF] >= oldest:
                    return True
            slot += 1
            if slot == capacity:
                slot = 0
        return False

    def add(self, key: int, mark: int, slot: int | None = None) -> None:
        keys, capacity = self._one_key, self.capacity
        slot = key % capacity if slot is None else slot
        while keys[slot]:
            slot += 1
            if slot == capacity:
                slot = 0
        keys[slot] = key
        self._one_mark[slot] = mark
        self._used += 1

    def find(self, keys: Keys, rests: Marks, hours: Hours, oldest: int) -> Bools:
        found = np.zeros(len(keys), np.bool_)
        left = np.arange(len(keys))
        slots = self._first(keys)
        while len(left) > FEW:
            stored = self._keys[slots]
            same = stored == keys
            if same.any():
                marks = self._marks[slots]
                same &= (marks >> np.uint32(16) == rests) & (hours[marks & np.uint32(0xFFFF)] >= oldest)
                found[left[same]] = True
            on = (stored != 0) & ~same
            left, keys, rests, slots = left[on], keys[on], rests[on], self._next(slots[on])
        last = zip(left.tolist(), keys.tolist(), rests.tolist(), slots.tolist(), strict=True)
        for place, key, rest, slot in last:  # of thousands a few have long ways, which numpy would walk for each anew
            found[place] = self.has(key, rest, hours, oldest, slot)
        return found

    def add_all(self, keys: Keys, marks: Marks) -> None:
        assert self._used + len(keys) < self.capacity, "a table of ids was filled to the last slot"
        self._used += len(keys)
        slots = self._first(keys)
        while len(keys) > FEW:
            free = (self._keys[slots] == 0).nonzero()[0]
            at = slots[free]
            self._keys[at] = keys[free]
            self._marks[at] = marks[free]  # of those that want one slot the last has it, in both arrays
            on = (self._keys[slots] != keys) | (self._marks[slots] != marks)
            keys, marks, slots = keys[on], marks[on], self._next(slots[on])
        self._used -= len(keys)
        for key, mark, slot in zip(keys.tolist(), marks.tolist(), slots.tolist(), strict=True):
            self.add(key, mark, slot)

    def count_alive(self, hours: Hours) -> int:
        return len(self.alive(0, self.capacity, hours)[0])

    def alive(self, start: int, end: int, hours: Hours) -> tuple[Keys, Marks]:
        keys, marks = self._keys[start:end], self._marks[start:end]
        alive = (keys != 0) & (hours[marks & np.uint32(0xFFFF)] != NEVER)
        return keys[alive], marks[alive]

    def _first(self, keys: Keys) -> npt.NDArray[np.intp]:
        return (keys % np.uint64(self.capacity)).astype(np.intp)

    def _next(self, slots: npt.NDArray[np.intp]) -> npt.NDArray[np.intp]:
        slots = slots + 1
        slots[slots == self.capacity] = 0
        return slots


def _split(ids: Sequence[bytes]) -> tuple[Keys, Marks]:
    """The two parts of each id: 8 bytes, never 0, and 2."""
    both = np.frombuffer(b"".join(ids), _SPLIT_ALL)
    keys = both["key"].astype(np.uint64)
    keys[keys == 0] = 1
    return keys, both["rest"].astype(np.uint32)
