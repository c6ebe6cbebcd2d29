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

from collections.abc import Iterator
from struct import Struct
from typing import Final

from xxhash import xxh3_128_digest

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
        self._hours.setdefault(hour, _Hour()).add(item)
        self._hour_of[item] = hour
        self._size += 1
        if self._size > self._max_ids:
            self.dropped_early += self._drop(min(self._hours))
        return True

    def encode(self, changes: Changes) -> None:
        """Adds the changelog records of what was remembered and dropped since the last call."""
        changes.update(self._deleted)
        self._deleted = {}
        for hour, known in self._hours.items():
            for number, block in known.take_changed():
                changes[_KEY.pack(KIND, hour, number)] = bytes((VERSION,)) + b"".join(block)

    def adopt(self, key: bytes, value: bytes) -> None:
        """Takes a record of the changelog, those of an hour in the order of their blocks. Raises FormatError."""
        check_byte(value, VERSION, key)
        _, hour, number = _KEY.unpack(key)
        block = [value[at : at + ID_BYTES] for at in range(1, len(value), ID_BYTES)]
        known = self._hours.setdefault(hour, _Hour())
        follows = number == len(known.blocks) and (number == 0 or len(known.blocks[-1]) >= BLOCK_IDS)
        if len(value) % ID_BYTES != 1 or not follows:
            raise FormatError(f"{key!r} holds {len(value) - 1} bytes, or does not follow on the block before it")
        known.blocks.append(block)
        known.written += 1
        self._hour_of.update(dict.fromkeys(block, hour))
        self._size += len(block)

    def finish_adopting(self) -> None:
        """Once all records are taken: what a shorter window or a lower limit no longer allows goes with the next
        commit."""
        self._expire()
        while self._size > self._max_ids:
            self._drop(min(self._hours))

    def _is_too_old(self, hour: int, latest: int) -> bool:
        """An hour more than the window is kept: the clocks of brokers differ."""
        return latest - hour > self._window + 1

    def _turn_to(self, hour: int) -> None:
        """Moves the latest hour on to that of a record that counts."""
        if self.latest_hour is None or hour > self.latest_hour:
            self.latest_hour = hour
            self._expire()

    def _expire(self) -> None:
        latest = self.latest_hour
        if latest is not None:
            for hour in [hour for hour in self._hours if self._is_too_old(hour, latest)]:
                self._drop(hour)

    def _drop(self, hour: int) -> int:
        """Forgets an hour, in the changelog too. Returns the number of its ids."""
        gone = self._hours.pop(hour)
        items = [item for block in gone.blocks for item in block]
        for item in items:
            if self._hour_of.get(item) == hour:  # gone with a later hour that was seen before this one
                del self._hour_of[item]
        for number in range(gone.written):
            self._deleted[_KEY.pack(KIND, hour, number)] = None
        self._size -= len(items)
        return len(items)


class _Hour:
    """The ids of one hour in blocks, in the order in which they came."""

    def __init__(self) -> None:
        self.blocks: list[list[bytes]] = []
        self.written = 0
        """How many blocks the changelog has."""
        self._changed: int | None = None
        """Number of the first block that the changelog has not, or not as it is: since then all ids went to it, and to
        those after it."""

    def add(self, item: bytes) -> None:
        full = BLOCK_IDS if self._changed is None else BLOCK_IDS_LIMIT
        if not self.blocks or len(self.blocks[-1]) >= full:
            self.blocks.append([])
        if self._changed is None:
            self._changed = len(self.blocks) - 1
        self.blocks[-1].append(item)

    def take_changed(self) -> Iterator[tuple[int, list[bytes]]]:
        """The blocks that are to be written, by number: they are, with this."""
        first = len(self.blocks) if self._changed is None else self._changed
        self.written, self._changed = len(self.blocks), None
        return enumerate(self.blocks[first:], first)


def _hour_of(timestamp: int) -> int:
    """Where publishers set the time, it may be any: what no key can hold is the last hour that one can hold."""
    return min(max(timestamp // HOUR_MILLISECONDS, 0), LAST_HOUR)
