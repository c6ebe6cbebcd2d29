"""Remembers the ids that this partition counted lately, to recognise duplicates.

    key    69 ("i"), u32 hour of broker time, u32 number of the block, big-endian
    value  version byte, then 10 bytes an id: the first 80 bits of XXH3-128 of `<workspace id> 00 <event id>`

The newest block of an hour is written again with each commit until it holds BLOCK_IDS, then the next one begins.

A record of hour c is a duplicate of a counted one of hour h if c - h is at most the window, while the partition's
latest hour is at most window + 1 after h (one more than the window, for brokers whose clocks differ). The latest hour
is that of counted records only, so a verdict depends on the log alone, however it was cut into batches and commits.
Above `max_ids` the oldest hour goes at once, whole, and with it the id that was just counted where that is of this
hour.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import groupby
from struct import Struct
from typing import Final

from xxhash import xxh3_128_digest

from stream.model.steps import Steps, finish
from stream.model.time import HOUR_MILLISECONDS
from stream.storage.formats import Changes, FormatError, check_byte

KIND: Final = b"i"
VERSION: Final = 1
BLOCK_IDS: Final = 128
"""So a commit writes again at most 1,270 bytes of ids that it did not bring."""
BLOCK_IDS_LIMIT: Final = 8_192
"""Of one block, where a commit brings many."""
WINDOW_HOURS_LIMIT: Final = 1 << 15
LAST_HOUR: Final = (1 << 32) - 1
ID_BYTES: Final = 10

_KEY: Final = Struct(">cII")


class RecentIds:
    """The ids that a partition counted within the window."""

    def __init__(self, window_hours: int, max_ids: int, latest_hour: int | None = None) -> None:
        assert 0 <= window_hours <= WINDOW_HOURS_LIMIT, f"a window of {window_hours} hours"
        assert max_ids >= 1, "at least one id is remembered"
        self._window = window_hours
        self._max_ids = max_ids
        self.latest_hour = latest_hour
        """Greatest hour (since 1970) of broker time among the records that counted."""
        self.dropped_early = 0
        """Ids that went before their time because there were more than max_ids, since construction."""
        self._hours: dict[int, _Hour] = {}
        self._hour_of: dict[bytes, int] = {}
        """The latest hour at which each id was counted: a record within the window of an earlier one is within that of
        this one, too."""
        self._size = 0
        self._deleted: Changes = {}

    def __len__(self) -> int:
        return self._size

    @property
    def keys(self) -> int:
        """How many keys the changelog has of them, with what was encoded."""
        return sum(hour.blocks for hour in self._hours.values())

    def remember(self, workspace_id: str, event_id: str, timestamp: int) -> bool:
        """Judges one event by its record's timestamp, in ms of broker time. False: a duplicate. Else it counts, and is
        remembered from now on."""
        item = xxh3_128_digest(f"{workspace_id}\0{event_id}".encode())[:ID_BYTES]
        hour = _hour_of(timestamp)
        known = self._hour_of.get(item)
        if known is not None and hour - known <= self._window:
            return False
        if self.latest_hour is not None and self._is_too_old(hour, self.latest_hour):
            return True  # too far behind the latest to be remembered
        self._turn_to(hour)
        self._add(item, hour)
        if self._size > self._max_ids:
            self.dropped_early += self._drop_oldest()
        return True

    def encode(self, changes: Changes) -> None:
        """Adds the changelog records of what was remembered and dropped since the last call."""
        changes.update(self._deleted)
        self._deleted = {}
        for hour in self._hours.values():
            hour.encode(changes)

    @classmethod
    def recover(
        cls, window_hours: int, max_ids: int, latest_hour: int | None, records: Iterable[tuple[bytes, bytes]]
    ) -> RecentIds:
        """The ids of a changelog's blocks. What a shorter window or a lower limit no longer allows goes with the next
        commit. Raises FormatError."""
        return finish(cls.unpack(window_hours, max_ids, latest_hour, records))

    @classmethod
    def unpack(
        cls, window_hours: int, max_ids: int, latest_hour: int | None, records: Iterable[tuple[bytes, bytes]]
    ) -> Steps[RecentIds]:
        """As `recover`, a block a step: 10 ms where it is full."""
        ids = cls(window_hours, max_ids, latest_hour)
        for hour, blocks in groupby(sorted((*_KEY.unpack(key)[1:], value) for key, value in records), lambda b: b[0]):
            for _, number, value in blocks:
                ids._adopt(hour, number, value)
                yield
        ids._expire()
        while ids._size > max_ids:
            ids._drop_oldest()
            yield
        return ids

    def _is_too_old(self, hour: int, latest: int) -> bool:
        """An hour more than the window is kept: the clocks of brokers differ."""
        return latest - hour > self._window + 1

    def _turn_to(self, hour: int) -> None:
        """Moves the latest hour on to that of a record that counts."""
        if self.latest_hour is None or hour > self.latest_hour:
            self.latest_hour = hour
            self._expire()

    def _add(self, item: bytes, hour: int) -> None:
        known = self._hours.setdefault(hour, _Hour(hour))
        known.items.append(item)
        self._hour_of[item] = known.hour
        self._size += 1

    def _expire(self) -> None:
        latest = self.latest_hour
        if latest is not None:
            for hour in [hour for hour in self._hours if self._is_too_old(hour, latest)]:
                self._drop(hour)

    def _drop_oldest(self) -> int:
        return self._drop(min(self._hours))

    def _drop(self, hour: int) -> int:
        """Forgets an hour, in the changelog too. Returns the number of its ids."""
        gone = self._hours.pop(hour)
        for item in gone.items:
            if self._hour_of.get(item) == hour:  # gone with a later hour that was seen before this one
                del self._hour_of[item]
        for number in range(gone.blocks):
            self._deleted[_KEY.pack(KIND, hour, number)] = None
        self._size -= len(gone.items)
        return len(gone.items)

    def _adopt(self, hour: int, number: int, value: bytes) -> None:
        key = _KEY.pack(KIND, hour, number)
        check_byte(value, VERSION, key)
        known = self._hours.setdefault(hour, _Hour(hour))
        if len(value) % ID_BYTES != 1 or number != known.blocks or known.is_open:
            raise FormatError(f"{key!r} holds {len(value) - 1} bytes, or does not follow on the block before it")
        for at in range(1, len(value), ID_BYTES):
            self._add(value[at : at + ID_BYTES], hour)
        known.note_block(len(value) // ID_BYTES)


class _Hour:
    """The ids of one hour in the order in which they came, and what of them is in the changelog."""

    def __init__(self, hour: int) -> None:
        self.hour: Final = hour
        self.items: list[bytes] = []
        self._written = 0
        """How many of them the changelog has."""
        self._sealed = 0
        """How many of them are in blocks that are never written again."""
        self._sealed_blocks = 0

    @property
    def is_open(self) -> bool:
        """Whether the last block is to be written again."""
        return self._written > self._sealed

    @property
    def blocks(self) -> int:
        """How many blocks the changelog has."""
        return self._sealed_blocks + self.is_open

    def encode(self, changes: Changes) -> None:
        """Adds the blocks of the ids that the changelog has not, with those of the open block."""
        while self._written < len(self.items):
            block = self.items[self._sealed : self._sealed + BLOCK_IDS_LIMIT]
            changes[_KEY.pack(KIND, self.hour, self._sealed_blocks)] = bytes((VERSION,)) + b"".join(block)
            self.note_block(len(block))

    def note_block(self, ids: int) -> None:
        """Notes how many ids the changelog's newest block has."""
        self._written = self._sealed + ids
        if ids >= BLOCK_IDS:
            self._sealed = self._written
            self._sealed_blocks += 1


def _hour_of(timestamp: int) -> int:
    """Where publishers set the time, it may be any: what no key can hold is the last hour that one can hold."""
    return min(max(timestamp // HOUR_MILLISECONDS, 0), LAST_HOUR)
