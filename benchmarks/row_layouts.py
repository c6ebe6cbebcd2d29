"""How rows may lie in Redis, for the benchmark `blocks`: members of a sorted set for each workspace-day, as the product
keeps them, in several ways of writing them; and packed blocks in a hash, which blocks.lua draws.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from struct import Struct
from typing import Any, NamedTuple, Protocol

import msgspec
import numpy as np
from redis import Redis

from stream.model.time import NANOSECONDS
from stream.projection.calls import CALL_BYTES, OPERATION_LIMIT
from stream.storage.row import key_of, occurred_at_of

BLOCK_BYTES = 8_192
LATE_SECONDS = 3_600
"""Rows of events that came so long after they had occurred may have blocks of their own."""

QUARTER_SECONDS = 900
NAME = Struct(">IIQQII")
STORED = np.dtype(
    [("block", ">u4"), ("rows", ">u4"), ("first", ">u8"), ("last", ">u8"), ("early", ">u4"), ("late", ">u4")]
)
NAMES = STORED.newbyteorder("<")
Names = np.ndarray[Any, Any]
HELD_BYTES = 24
SCRIPT = Path(__file__).with_name("blocks.lua").read_text()

MEMBERS: Mapping[str, str] = {
    "none written": "return 1",
    "a table a key": """
local at = 1
for _, key in ipairs(KEYS) do
  local n, add = tonumber(ARGV[at]), {}
  for i = 1, n do
    add[2 * i - 1], add[2 * i] = '0', ARGV[at + i]
  end
  redis.call('ZADD', key, unpack(add))
  at = at + 1 + n
end""",
    "one table": """
local at, add, call = 1, {}, redis.call
for _, key in ipairs(KEYS) do
  local n = tonumber(ARGV[at])
  for i = 1, n do
    add[2 * i - 1], add[2 * i] = '0', ARGV[at + i]
  end
  call('ZADD', key, unpack(add, 1, 2 * n))
  at = at + 1 + n
end""",
    "one argument a key": """
local call, decode = redis.call, cmsgpack.unpack
for i, key in ipairs(KEYS) do
  call('ZADD', key, unpack(decode(ARGV[i])))
end""",
}
"""Ways in which a script adds members: "a table a key" is replica.lua's. "none written" is what the call costs by
itself."""


class Arrived(NamedTuple):
    """A row as it is committed: the workspace-day that it belongs to, and whether it came late."""

    key: str
    row: bytes
    late: bool = False


class Run(NamedTuple):
    """Rows of one call that lie in one key."""

    key: str
    rows: Sequence[bytes]
    late: bool


class Span(NamedTuple):
    """A stretch of a day, [low, high) as bounds of rows."""

    key: str
    low: bytes
    high: bytes


class Layout(Protocol):
    name: str
    settings: Mapping[str, int]
    """Of the server."""

    def write(self, runs: Sequence[Run]) -> None:
        """One call."""

    def all_rows(self, key: str) -> list[bytes]:
        """In order."""

    def newest(self, key: str, limit: int, before: bytes | None) -> list[bytes]:
        """Newest first; those before a row's key."""

    def within(self, spans: Sequence[Span], needle: bytes) -> list[bytes]:
        """Rows of these spans in which some bytes are."""

    def count(self, keys: Sequence[str]) -> list[int]:
        """How many rows each day has."""

    def cut(self, key: str, rows: int) -> int:
        """Delete so many of the oldest rows; returns how many are gone."""

    def drop(self, keys: Sequence[str]) -> None:
        """Whole days."""


def cut_calls(commit: Iterable[Arrived]) -> Iterator[list[Run]]:
    """Calls of the size that the product's have, a workspace-day after another."""
    by_key: dict[tuple[str, bool], list[bytes]] = {}
    for arrived in commit:
        by_key.setdefault((arrived.key, arrived.late), []).append(arrived.row)
    runs: list[Run] = []
    size = 0
    for (key, late), rows in sorted(by_key.items()):
        for part in pieces(rows, CALL_BYTES // 2):
            of_part = sum(map(len, part))
            if runs and size + of_part > CALL_BYTES:
                yield runs
                runs, size = [], 0
            runs.append(Run(key, part, late))
            size += of_part
    if runs:
        yield runs


def pieces(rows: Sequence[bytes], most_bytes: int) -> Iterator[list[bytes]]:
    part: list[bytes] = []
    size = 0
    for row in rows:
        if part and (size + len(row) > most_bytes or len(part) == OPERATION_LIMIT):
            yield part
            part, size = [], 0
        part.append(row)
        size += len(row)
    yield part


class Members:
    """Rows are members of a sorted set, all of score 0. `way`: one of MEMBERS, "MULTI" (no script), or "by time" (no
    script, and the score is the row's time: what its writing would cost)."""

    def __init__(self, client: Redis, way: str, settings: Mapping[str, int] | None = None) -> None:
        self.settings = settings or {}
        self.name = f"members, {way}" + "".join(f", {name} {value}" for name, value in self.settings.items())
        self._client, self._way = client, way
        self._script = client.register_script(MEMBERS[way]) if way in MEMBERS else None

    def write(self, runs: Sequence[Run]) -> None:
        if self._script is not None:
            self._script(keys=[run.key for run in runs], args=list(self._arguments(runs)))
            return
        pipe = self._client.pipeline(transaction=True)
        for run in runs:
            pipe.zadd(run.key, {row: occurred_at_of(row) // 1_000 if self._way == "by time" else 0 for row in run.rows})
        pipe.execute()

    def _arguments(self, runs: Sequence[Run]) -> Iterator[Any]:
        for run in runs:
            if self._way == "one argument a key":
                yield b"".join((_ARRAY_HEAD(0xDD, 2 * len(run.rows)), *map(scored, run.rows)))
            else:
                yield len(run.rows)
                yield from run.rows

    def all_rows(self, key: str) -> list[bytes]:
        return self._client.zrange(key, 0, -1)  # type: ignore[return-value]

    def newest(self, key: str, limit: int, before: bytes | None) -> list[bytes]:
        high = b"+" if before is None else b"(" + before
        return self._client.zrevrangebylex(key, high, b"-", start=0, num=limit)  # type: ignore[return-value]

    def within(self, spans: Sequence[Span], needle: bytes) -> list[bytes]:
        pipe = self._client.pipeline(transaction=False)
        for span in spans:
            pipe.zrevrangebylex(span.key, b"(" + span.high, b"[" + span.low, start=0, num=1_000)
        return [row for rows in pipe.execute() for row in rows if needle in row]

    def count(self, keys: Sequence[str]) -> list[int]:
        pipe = self._client.pipeline(transaction=False)
        for key in keys:
            pipe.zcard(key)
        return pipe.execute()

    def cut(self, key: str, rows: int) -> int:
        return self._client.zremrangebyrank(key, 0, rows - 1)

    def drop(self, keys: Sequence[str]) -> None:
        self._client.unlink(*keys)


class Blocks:
    """Rows lie in packed blocks of at most so many bytes. `late_apart`: those that came late in blocks of their own."""

    settings: Mapping[str, int] = {}

    def __init__(self, client: Redis, *, late_apart: bool = True, block_bytes: int = BLOCK_BYTES) -> None:
        self._client, self._script = client, client.register_script(SCRIPT)
        self.name = f"blocks of {block_bytes // 1024} KiB" + ("" if late_apart else ", late rows among the others")
        self._block_bytes = block_bytes
        self._series = (b"0", b"0l") if late_apart else (b"0",)

    def write(self, runs: Sequence[Run]) -> None:
        keys: list[str] = []
        words: list[bytes] = []
        for run in runs:
            for part in pieces(sorted(run.rows), self._block_bytes):
                keys.append(run.key)
                words += (self._series[-1] if run.late else b"0", name_of(part), b"".join(map(packed, part)))
        self._script(keys=keys, args=["add", self._block_bytes, *words])

    def all_rows(self, key: str) -> list[bytes]:
        [day] = self._read_days([key])
        return sorted(day.open_rows + self._rows_of(key, day.closed))

    def newest(self, key: str, limit: int, before: bytes | None) -> list[bytes]:
        [day] = self._read_days([key])
        rows, closed = day.open_rows, day.closed
        if before is not None:
            rows, closed = [row for row in rows if row < before], closed[closed["early"] <= second_of(before)]
        closed = closed[np.argsort(closed["late"])[::-1]]
        rows.sort(reverse=True)
        at, number = 0, 2
        while at < len(closed) and (len(rows) < limit or second_of(rows[limit - 1]) <= closed["late"][at]):
            found = self._rows_of(key, closed[at : at + number])
            rows += found if before is None else [row for row in found if row < before]
            rows.sort(reverse=True)
            at, number = at + number, 2 * number
        return rows[:limit]

    def within(self, spans: Sequence[Span], needle: bytes) -> list[bytes]:
        by_key: dict[str, list[Span]] = {}
        for span in spans:
            by_key.setdefault(span.key, []).append(span)
        found: list[bytes] = []
        pipe = self._client.pipeline(transaction=False)
        wanted: list[tuple[list[Span], Names]] = []
        for (key, of_day), day in zip(by_key.items(), self._read_days(list(by_key)), strict=True):
            found += rows_within(day.open_rows, of_day, needle)
            closed = day.closed[meeting(day.closed, of_day)]
            if len(closed):
                pipe.hmget(key, fields_of(closed))
                wanted.append((of_day, closed))
        for (of_day, closed), values in zip(wanted, pipe.execute(), strict=True):
            found += rows_within(unpack_all(closed, values, needle), of_day, needle)
        return sorted(found, reverse=True)

    def count(self, keys: Sequence[str]) -> list[int]:
        return self._script(keys=keys, args=["count", "0"])  # type: ignore[no-any-return]

    def cut(self, key: str, rows: int) -> int:
        return self._script(keys=[key], args=["cut", "0", rows])  # type: ignore[no-any-return]

    def drop(self, keys: Sequence[str]) -> None:
        self._client.unlink(*keys, *(f"{key}:{series.decode()}" for key in keys for series in self._series))

    def _rows_of(self, key: str, closed: Names) -> list[bytes]:
        if not len(closed):
            return []
        return unpack_all(closed, self._client.hmget(key, fields_of(closed)))

    def _read_days(self, keys: Sequence[str]) -> list[Day]:
        """Names and open blocks of each day, of all series, in one read."""
        pipe = self._client.pipeline(transaction=False)
        for key in keys:
            pipe.hmget(key, [kind + series for series in self._series for kind in (b"i", b"o")])
            for series in self._series:
                pipe.get(key.encode() + b":" + series)
        replies, days = iter(pipe.execute()), []
        for _ in keys:
            of_series = next(replies)
            closed: list[Names] = []
            open_rows: list[bytes] = []
            for series, index, head in zip(self._series, of_series[::2], of_series[1::2], strict=True):
                rows = next(replies)
                if index:
                    closed.append(names_of(index, series))
                if rows:
                    open_rows += unpack(rows, int.from_bytes(head[HELD_BYTES + 4 : HELD_BYTES + 8], "big"))
            days.append(Day(np.concatenate(closed) if closed else np.empty(0, NAMES), open_rows))
        return days


class Day(NamedTuple):
    closed: Names
    open_rows: list[bytes]


def names_of(index: bytes, series: bytes) -> Names:
    """The first number of a name is that of its block; rows that came late have odd ones here, all others even."""
    names = np.frombuffer(index, STORED).astype(NAMES)
    names["block"] = 2 * names["block"] + series.endswith(b"l")
    return names


def fields_of(closed: Names) -> list[bytes]:
    return [b"b0%s.%d" % (b"l" if block % 2 else b"", block // 2) for block in closed["block"].tolist()]


def unpack_all(closed: Names, values: Iterable[Any], needle: bytes = b"") -> list[bytes]:
    """The rows of those blocks in which some bytes are."""
    found: list[bytes] = []
    for value, rows in zip(values, closed["rows"].tolist(), strict=True):
        if needle in value:
            found += unpack(value, rows)
    return found


def meeting(closed: Names, spans: Sequence[Span]) -> np.ndarray[Any, Any]:
    """Which blocks may have rows of one of these spans."""
    met = np.zeros(len(closed), bool)
    for span in spans:
        met |= (closed["early"] < second_of(span.high)) & (closed["late"] >= second_of(span.low))
    return met


def rows_within(rows: Iterable[bytes], spans: Sequence[Span], needle: bytes) -> list[bytes]:
    passing = [row for row in rows if needle in row]
    return [row for row in passing if any(span.low <= row < span.high for span in spans)]


def name_of(rows: Sequence[bytes]) -> bytes:
    """Of rows in order."""
    offsets = [int.from_bytes(key_of(row)[-8:], "big") for row in rows]
    return NAME.pack(0, len(rows), min(offsets), max(offsets), second_of(rows[0]), second_of(rows[-1]))


def scored(row: bytes) -> bytes:
    """A row behind the score 0, as msgpack's texts: the script's own unpacking knows no byte strings."""
    return b"\xa10\xda" + len(row).to_bytes(2, "big") + row


def packed(row: bytes) -> bytes:
    """As msgpack's byte string."""
    return msgspec.msgpack.encode(row)


def unpack(rows: bytes, count: int) -> list[bytes]:
    """In compiled code: rows are a msgpack array without its head."""
    return _ARRAY.decode(_ARRAY_HEAD(0xDD, count) + rows)


def unpack_in_python(rows: bytes) -> list[bytes]:
    found, at = [], 0
    while at < len(rows):
        if rows[at] == 0xC4:
            size, at = rows[at + 1], at + 2
        else:
            size, at = rows[at + 1] << 8 | rows[at + 2], at + 3
        found.append(rows[at : at + size])
        at += size
    return found


def second_of(row: bytes) -> int:
    """Of a row, or of a bound of rows."""
    return int.from_bytes(row[:8], "big") // NANOSECONDS


_ARRAY_HEAD = Struct(">BI").pack
_ARRAY = msgspec.msgpack.Decoder(list[bytes])
