"""Remembers the ids that this partition counted lately, to recognise duplicates.

    key    69 ("i"), u32 hour of broker time, u32 number of the block, big-endian
    value  version byte, then 10 bytes an id: the first 80 bits of XXH3-128 of `<workspace id> 00 <event id>`

The newest block of an hour is written again with each commit until it holds BLOCK_IDS, then the next one begins.

A record of hour c is a duplicate of a counted one of hour h if c - h is at most the window, while the partition's
latest hour is at most window + 1 after h (one more than the window, for brokers whose clocks differ). The latest hour
is that of counted records only, so a verdict depends on the log alone, however it was cut into batches and commits.
Above `max_ids` the oldest hour goes at once, whole, and with it the id that was just counted where that is of this
hour.

In memory the ids lie in one table with a tag for their hour (id_table.py): an hour goes by withdrawing its tag. What
was measured is in decision 0011.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby
from struct import Struct
from typing import Final

from xxhash import xxh3_128_digest

from stream.model.activity import ContactActivity
from stream.model.steps import Steps, finish
from stream.model.time import HOUR_MILLISECONDS
from stream.storage.formats import Changes, FormatError, check_byte
from stream.tables.id_table import ID_BYTES, NEVER, TAGS, IdTable

KIND: Final = b"i"
VERSION: Final = 1
BLOCK_IDS: Final = 128
"""So a commit writes again at most 1,270 bytes of ids that it did not bring."""
BLOCK_IDS_LIMIT: Final = 8_192
"""Of one block, where a commit brings many."""
WINDOW_HOURS_LIMIT: Final = TAGS // 2
LAST_HOUR: Final = (1 << 32) - 1

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
        self._table = IdTable()
        self._hours: dict[int, _Hour] = {}
        self._next_tag = 0
        self._freed_tags: list[int] = []
        """Once all tags were given: those that stand for no hour, and of which no id is left."""
        self._size = 0
        self._deleted: Changes = {}

    def __len__(self) -> int:
        return self._size

    @property
    def keys(self) -> int:
        """How many keys the changelog has of them, with what was encoded."""
        return sum(hour.blocks for hour in self._hours.values())

    def remember(self, events: Sequence[ContactActivity], timestamps: list[int]) -> list[int]:
        """Judges events in the order of their offsets; `timestamps` are those of their records, in ms of broker time.
        Returns the places of the duplicates; the others count, and are remembered from now on."""
        digest = xxh3_128_digest
        ids = [digest(f"{event.workspace_id}\0{event.event_id}".encode())[:ID_BYTES] for event in events]
        duplicates: list[int] = []
        start = 0
        for hour, end in _hours_of(timestamps):
            while start < end:
                start = self._remember_some(ids, start, end, hour, duplicates)
        return duplicates

    def encode(self, changes: Changes) -> None:
        """Adds the changelog records of what was remembered and dropped since the last call."""
        changes.update(self._deleted)
        self._deleted = {}
        for hour in self._hours.values():
            if hour.fresh:
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
            known = ids._begin(hour)
            for _, number, value in blocks:
                ids._adopt(known, number, value)
                yield
        ids._expire()
        while ids._size > max_ids:
            ids._drop_oldest()
            yield
        return ids

    def _remember_some(self, ids: list[bytes], start: int, end: int, hour: int, duplicates: list[int]) -> int:
        """Judges ids of one hour from `start` on, up to the first that makes the ids too many. Returns the next place.

        Within one hour the verdicts do not depend on whether the latest hour moves to it: what the window of this hour
        allows is allowed by the latest hour before and after.
        """
        some = ids[start:end]
        known = set(self._table.find(some, hour - self._window))
        if self._is_too_far_behind(hour):
            # None of them is remembered, so none is a duplicate of another, in whatever batch that came.
            duplicates.extend(sorted(start + place for place in known))
            return end
        if known or len(set(some)) < len(some):
            known |= _find_repeated(some, known)
        fresh = [item for place, item in enumerate(some) if place not in known] if known else some
        room = self._max_ids - self._size
        if len(fresh) > room:
            fresh = fresh[: room + 1]
            end = start + 1 + next(p for p in range(len(some)) if p not in known and some[p] is fresh[-1])
        duplicates.extend(place for place in sorted(start + place for place in known) if place < end)
        if fresh:
            self._turn_to(hour)
            current = self._hours.get(hour) or self._begin(hour)
            self._table.add(fresh, current.tag)
            current.fresh += b"".join(fresh)
            self._size += len(fresh)
            if self._size > self._max_ids:
                self._drop_oldest()
        return end

    def _is_too_far_behind(self, hour: int) -> bool:
        """Whether a record of this hour is too far behind the latest to be remembered."""
        return self.latest_hour is not None and self.latest_hour - hour > self._window + 1

    def _turn_to(self, hour: int) -> None:
        """Moves the latest hour on to that of a record that counts."""
        if self.latest_hour is None or hour > self.latest_hour:
            self.latest_hour = hour
            self._expire()

    def _begin(self, hour: int) -> _Hour:
        begun = self._hours[hour] = _Hour(hour, self._new_tag())
        self._table.hour_of_tag[begun.tag] = hour
        return begun

    def _new_tag(self) -> int:
        if self._next_tag < TAGS:
            self._next_tag += 1
            return self._next_tag - 1
        if not self._freed_tags:
            self._table.drop_dead()
            taken = {known.tag for known in self._hours.values()}
            self._freed_tags = [tag for tag in range(TAGS) if tag not in taken]
        return self._freed_tags.pop()

    def _expire(self) -> None:
        latest = self.latest_hour
        if latest is not None:
            for hour in [hour for hour in self._hours if latest - hour > self._window + 1]:
                self._drop(hour)

    def _drop_oldest(self) -> None:
        self.dropped_early += self._drop(min(self._hours))

    def _drop(self, hour: int) -> int:
        """Forgets an hour, in the changelog too; the number of its ids."""
        gone = self._hours.pop(hour)
        self._table.hour_of_tag[gone.tag] = NEVER
        self._size -= len(gone)
        for number in range(gone.blocks):
            self._deleted[_KEY.pack(KIND, hour, number)] = None
        return len(gone)

    def _adopt(self, known: _Hour, number: int, value: bytes) -> None:
        key = _KEY.pack(KIND, known.hour, number)
        check_byte(value, VERSION, key)
        items = value[1:]
        if len(items) % ID_BYTES or number != known.blocks or known.is_open:
            raise FormatError(f"{key!r} holds {len(items)} bytes, or does not follow on the block before it")
        self._table.add([items[at : at + ID_BYTES] for at in range(0, len(items), ID_BYTES)], known.tag)
        known.advance(items)
        self._size += len(items) // ID_BYTES


class _Hour:
    """The ids of one hour: their tag, and what of them is in the changelog."""

    __slots__ = ("_block", "_open", "_sealed_ids", "fresh", "hour", "tag")

    def __init__(self, hour: int, tag: int) -> None:
        self.hour: Final = hour
        self.tag: Final = tag
        self.fresh = bytearray()
        """Ids that no commit has yet."""
        self._block = 0
        self._open = b""
        self._sealed_ids = 0

    def __len__(self) -> int:
        return self._sealed_ids + (len(self._open) + len(self.fresh)) // ID_BYTES

    @property
    def is_open(self) -> bool:
        """Whether the last block is to be written again."""
        return bool(self._open)

    @property
    def blocks(self) -> int:
        """How many blocks the changelog has."""
        return self._block + self.is_open

    def encode(self, changes: Changes) -> None:
        """Adds the records of the fresh ids, behind those of the open block."""
        items = self._open + self.fresh
        self.fresh = bytearray()
        step = BLOCK_IDS_LIMIT * ID_BYTES
        for at in range(0, len(items), step):
            block = bytes(items[at : at + step])
            changes[_KEY.pack(KIND, self.hour, self._block)] = bytes((VERSION,)) + block
            self.advance(block)

    def advance(self, items: bytes) -> None:
        """Notes what the changelog's newest block holds."""
        if len(items) < BLOCK_IDS * ID_BYTES:
            self._open = items
            return
        self._open = b""
        self._block += 1
        self._sealed_ids += len(items) // ID_BYTES


def _hours_of(timestamps: list[int]) -> list[tuple[int, int]]:
    """Runs of one hour: the hour, and the place where the run ends."""
    if not timestamps:
        return []
    hour = _hour_of(min(timestamps))
    if hour == _hour_of(max(timestamps)):
        return [(hour, len(timestamps))]
    runs: list[tuple[int, int]] = []
    for place, timestamp in enumerate(timestamps):
        hour = _hour_of(timestamp)
        if runs and runs[-1][0] == hour:
            runs.pop()
        runs.append((hour, place + 1))
    return runs


def _hour_of(timestamp: int) -> int:
    """Where publishers set the time, it may be any: what no key can hold is the last hour that one can hold."""
    return min(max(timestamp // HOUR_MILLISECONDS, 0), LAST_HOUR)


def _find_repeated(ids: list[bytes], known: set[int]) -> set[int]:
    """The places of ids that stand before in the list, among those that are not known."""
    seen: set[bytes] = set()
    repeated = set()
    for place, item in enumerate(ids):
        if place not in known:
            if item in seen:
                repeated.add(place)
            seen.add(item)
    return repeated
