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

from itertools import chain
from struct import Struct
from typing import Final

from xxhash import xxh3_128_digest

from stream.model.time import hour_of
from stream.storage.formats import Changes, FormatError, check_byte

KIND: Final = b"i"
VERSION: Final = 1
BLOCK_IDS: Final = 128
"""So a commit writes again at most 1,270 bytes of ids that it did not bring."""
BLOCK_IDS_LIMIT: Final = 8_192
"""Of one block, where a commit brings many."""
WINDOW_HOURS_LIMIT: Final = 1 << 15
LAST_HOUR: Final = (1 << 32) - 1
"""The last one that a key can hold: a publisher may set any time."""
ID_BYTES: Final = 10

_KEY: Final = Struct(">cII")


class RecentIds:
    """The ids that a partition counted within the window."""

    def __init__(self, window_hours: int, max_ids: int) -> None:
        assert 0 <= window_hours <= WINDOW_HOURS_LIMIT, f"a window of {window_hours} hours"
        assert max_ids >= 1, "at least one id is remembered"
        self._window = window_hours
        self._max_ids = max_ids
        self.latest_hour: int | None = None
        """Greatest hour (since 1970) of broker time among the records that counted."""
        self.dropped_early = 0
        """Ids that went before their time because there were more than max_ids, since construction."""
        self._blocks: dict[int, list[list[bytes]]] = {}
        """The ids of each hour as the changelog has them, block by block."""
        self._fresh: dict[int, list[bytes]] = {}
        """Those of each hour that no commit has yet."""
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
        hour = min(max(hour_of(timestamp), 0), LAST_HOUR)
        known = self._hour_of.get(item)
        if known is not None and hour - known <= self._window:
            return False
        if self._is_too_old(hour):
            return True  # too far behind the latest to be remembered
        self._turn_to(hour)
        self._blocks.setdefault(hour, [])
        self._fresh.setdefault(hour, []).append(item)
        self._hour_of[item] = hour
        self._size += 1
        if self._size > self._max_ids:
            self.dropped_early += self._drop(min(self._blocks))
        return True

    def encode(self, changes: Changes) -> None:
        """Adds the changelog records of what was remembered and dropped since the last call."""
        changes.update(self._deleted)
        self._deleted = {}
        for hour, blocks in self._blocks.items():
            ids = self._fresh.pop(hour, [])
            if ids and blocks and len(blocks[-1]) < BLOCK_IDS:
                ids = blocks.pop() + ids
            for start in range(0, len(ids), BLOCK_IDS_LIMIT):
                block = ids[start : start + BLOCK_IDS_LIMIT]
                changes[_key(hour, len(blocks))] = bytes((VERSION,)) + b"".join(block)
                blocks.append(block)

    def adopt(self, key: bytes, value: bytes) -> None:
        """Takes a record of the changelog, those of an hour in the order of their blocks. Raises FormatError."""
        check_byte(value, VERSION, key)
        _, hour, number = _KEY.unpack(key)
        block = [value[at : at + ID_BYTES] for at in range(1, len(value), ID_BYTES)]
        known = self._blocks.setdefault(hour, [])
        follows = number == len(known) and (number == 0 or len(known[-1]) >= BLOCK_IDS)
        if len(value) % ID_BYTES != 1 or not follows:
            raise FormatError(f"{key!r} holds {len(value) - 1} bytes, or does not follow on the block before it")
        known.append(block)
        self._hour_of.update(dict.fromkeys(block, hour))
        self._size += len(block)

    def finish_adopting(self, latest_hour: int | None) -> None:
        """Once all records are taken: what a shorter window or a lower limit no longer allows goes with the next
        commit."""
        if latest_hour is not None:
            self._turn_to(latest_hour)
        while self._size > self._max_ids:
            self._drop(min(self._blocks))

    def _is_too_old(self, hour: int) -> bool:
        """An hour more than the window is kept: the clocks of brokers differ."""
        return self.latest_hour is not None and self.latest_hour - hour > self._window + 1

    def _turn_to(self, hour: int) -> None:
        """Moves the latest hour on to that of a record that counts."""
        if self.latest_hour is None or hour > self.latest_hour:
            self.latest_hour = hour
            for old in [known for known in self._blocks if self._is_too_old(known)]:
                self._drop(old)

    def _drop(self, hour: int) -> int:
        """Forgets an hour, in the changelog too. Returns the number of its ids."""
        blocks = self._blocks.pop(hour)
        items = [*chain.from_iterable(blocks), *self._fresh.pop(hour, [])]
        for item in items:
            if self._hour_of.get(item) == hour:  # counted again in a later hour it stays, or went, with that
                del self._hour_of[item]
        self._deleted.update((_key(hour, number), None) for number in range(len(blocks)))
        self._size -= len(items)
        return len(items)


def _key(hour: int, number: int) -> bytes:
    return _KEY.pack(KIND, hour, number)
