"""Packs the counts of a workspace-day: the same bytes in the changelog and in Redis.

A day aggregate (one workspace and UTC day of one source partition) is some *bases*, each complete in itself, and a
*delta* of what came since, which continues the last base. Its count is the sum of them all.

A *series* is (activity, source, user); its *kind* is one number of activity and source (stream/model/dimensions.py),
where source i > 0 is the i-th of `sources`. A *cell* is a series in a quarter of the day: `key = series number * 96 +
quarter`. Parts are msgpack arrays:

    head     1, written_at, sources [str],
             kinds column, users [str|nil], cell_counts column, totals column    one item a series
    cells    1, keys column, counts column                                       one item a cell
    summary  1, sources [str],
             kinds column, cell_counts column, totals column,                    one item a kind that occurs
             keys column, counts column                                          one item a kind and quarter
    delta    1, written_at, first_series, first_source,
             new_sources [str], new_users [str|nil],                             one item a new source, a new series
             keys column, counts column, kinds column                            one item a cell
    base     1, head bin, cells bin                                              the changelog's value

`written_at` is the last source offset that is counted in the part. Keys ascend. A head's cell_counts say how many of
the cells, in order, are of each series, and totals their sum: a whole day is summed without looking at a cell. A
summary's series are the kinds that occur, ascending. A delta's series numbers and source numbers continue those of the
last base (which has `first_series` and `first_source` of them), so it carries only new ones; `kinds` has the kind of
each cell, so that who asks for no user needs no head. Every new series has a cell in the delta.

A *column* is one byte, the size of an item (1, 2, 4 or 8), and the items, unsigned and little-endian, in the smallest
size that holds all; keys take at least 2. Plain columns, not differences: decision 0009.
"""

from __future__ import annotations

import sys
from array import array
from collections.abc import Sequence
from typing import Final

import msgspec

from stream.model.activity import ACTIVITIES
from stream.model.dimensions import ACTIVITIES_OF_FORMAT
from stream.storage.formats import FormatError, decode_array

VERSION: Final = 1
assert ACTIVITIES_OF_FORMAT[VERSION] == len(ACTIVITIES), "kinds numbered by other activities are another format"

_CODES: Final = {1: "B", 2: "H", 4: "I", 8: "Q"}
_SWAP: Final = sys.byteorder == "big"
assert all(array(code).itemsize == size for size, code in _CODES.items())


class Head(msgspec.Struct, frozen=True, gc=False):
    """The series of a base and their totals; the columns and `users` have one item a series."""

    written_at: int
    sources: list[str]
    kinds: array[int]
    users: list[str | None]
    cell_counts: array[int]
    totals: array[int]


class Cells(msgspec.Struct, frozen=True, gc=False):
    """The cells of a base, by ascending key."""

    keys: array[int]
    counts: array[int]


class Summary(msgspec.Struct, frozen=True, gc=False):
    """A base without its users: one series a kind."""

    sources: list[str]
    kinds: array[int]
    cell_counts: array[int]
    totals: array[int]
    keys: array[int]
    counts: array[int]


class Delta(msgspec.Struct, frozen=True, gc=False):
    """What came after the last base; `keys`, `counts` and `kinds` have one item a cell."""

    written_at: int
    first_series: int
    first_source: int
    new_sources: list[str]
    new_users: list[str | None]
    keys: array[int]
    counts: array[int]
    kinds: array[int]


def encode_column(values: list[int], at_least: int = 1) -> bytes:
    """Packs numbers of 0..2**64-1 in the smallest size that holds all of them, and at least so many bytes each."""
    if at_least == 1:
        try:
            return b"\x01" + bytes(values)
        except ValueError:  # one of them is above 255
            pass
    greatest = max(values, default=0)
    size = 2 if greatest < 1 << 16 else 4 if greatest < 1 << 32 else 8
    items = array(_CODES[size], values)
    if _SWAP:
        items.byteswap()
    return size.to_bytes(1, "little") + items.tobytes()


def decode_column(column: bytes, name: object = "a column") -> array[int]:
    """Unpacks a column. Raises FormatError."""
    try:
        items = array(_CODES[column[0]], column[1:])
    except (IndexError, KeyError, ValueError):
        raise FormatError(f"{name!r} has a damaged column") from None
    if _SWAP:
        items.byteswap()
    return items


def encode_head(
    written_at: int,
    sources: Sequence[str],
    kinds: bytes,
    users: Sequence[str | None],
    cell_counts: bytes,
    totals: bytes,
) -> bytes:
    """Packs a head from its columns."""
    return _encode((VERSION, written_at, sources, kinds, users, cell_counts, totals))


def encode_cells(keys: bytes, counts: bytes) -> bytes:
    """Packs the cells of a base from its columns."""
    return _encode((VERSION, keys, counts))


def encode_summary(
    sources: Sequence[str], kinds: bytes, cell_counts: bytes, totals: bytes, keys: bytes, counts: bytes
) -> bytes:
    """Packs a summary from its columns."""
    return _encode((VERSION, sources, kinds, cell_counts, totals, keys, counts))


def encode_delta(
    written_at: int,
    first_series: int,
    first_source: int,
    new_sources: Sequence[str],
    new_users: Sequence[str | None],
    keys: bytes,
    counts: bytes,
    kinds: bytes,
) -> bytes:
    """Packs a delta from its columns."""
    parts = (VERSION, written_at, first_series, first_source, new_sources, new_users, keys, counts, kinds)
    return _fit(_encode(parts))


def encode_base(head: bytes, cells: bytes) -> bytes:
    """The changelog's value of a base."""
    return _fit(_encode((VERSION, head, cells)))


def _fit(packed: bytes) -> bytes:
    """The same bytes in no more memory than they need: msgspec leaves its buffer, of 512 bytes at least, behind them.
    For what stays in memory (tests/unit/storage/test_day_parts.py measures it).
    """
    return bytes(memoryview(packed))


def decode_head(packed: bytes, name: object = "a head") -> Head:
    """Unpacks a head. Raises FormatError with `name`, the key or field that the bytes are from."""
    parts = decode_array(_HEAD, packed, VERSION, name)
    head = Head(
        parts.written_at,
        parts.sources,
        decode_column(parts.kinds, name),
        parts.users,
        decode_column(parts.cell_counts, name),
        decode_column(parts.totals, name),
    )
    _check_same_length(name, head.kinds, head.users, head.cell_counts, head.totals)
    return head


def decode_cells(packed: bytes, name: object = "cells") -> Cells:
    """Unpacks the cells of a base. Raises FormatError with `name`."""
    parts = decode_array(_CELLS, packed, VERSION, name)
    cells = Cells(decode_column(parts.keys, name), decode_column(parts.counts, name))
    _check_same_length(name, cells.keys, cells.counts)
    return cells


def decode_summary(packed: bytes, name: object = "a summary") -> Summary:
    """Unpacks a summary. Raises FormatError with `name`."""
    parts = decode_array(_SUMMARY, packed, VERSION, name)
    summary = Summary(
        parts.sources,
        decode_column(parts.kinds, name),
        decode_column(parts.cell_counts, name),
        decode_column(parts.totals, name),
        decode_column(parts.keys, name),
        decode_column(parts.counts, name),
    )
    _check_same_length(name, summary.kinds, summary.cell_counts, summary.totals)
    _check_same_length(name, summary.keys, summary.counts)
    return summary


def decode_delta(packed: bytes, name: object = "a delta") -> Delta:
    """Unpacks a delta. Raises FormatError with `name`."""
    parts = decode_array(_DELTA, packed, VERSION, name)
    delta = Delta(
        parts.written_at,
        parts.first_series,
        parts.first_source,
        parts.new_sources,
        parts.new_users,
        decode_column(parts.keys, name),
        decode_column(parts.counts, name),
        decode_column(parts.kinds, name),
    )
    _check_same_length(name, delta.keys, delta.counts, delta.kinds)
    return delta


def decode_base(packed: bytes, name: object = "a base") -> tuple[bytes, bytes]:
    """The head and the cells of a changelog value, still packed. Raises FormatError with `name`."""
    parts = decode_array(_BASE, packed, VERSION, name)
    return parts.head, parts.cells


def encode_text(text: str | None) -> bytes:
    """A user or a source as it lies in an array."""
    return _encode(text)


def read_written_at(packed: bytes, name: object = "a head or delta") -> int:
    """The last source offset that is counted in a head or a delta, without unpacking the rest."""
    return decode_array(_WRITTEN, packed, VERSION, name).written_at


def _check_same_length(name: object, first: Sequence[object], *others: Sequence[object]) -> None:
    for other in others:
        if len(other) != len(first):
            raise FormatError(f"{name!r} has columns of {len(first)} and {len(other)} items")


class _Head(msgspec.Struct, array_like=True, gc=False):
    version: int
    written_at: int
    sources: list[str]
    kinds: bytes
    users: list[str | None]
    cell_counts: bytes
    totals: bytes


class _Cells(msgspec.Struct, array_like=True, gc=False):
    version: int
    keys: bytes
    counts: bytes


class _Summary(msgspec.Struct, array_like=True, gc=False):
    version: int
    sources: list[str]
    kinds: bytes
    cell_counts: bytes
    totals: bytes
    keys: bytes
    counts: bytes


class _Delta(msgspec.Struct, array_like=True, gc=False):
    version: int
    written_at: int
    first_series: int
    first_source: int
    new_sources: list[str]
    new_users: list[str | None]
    keys: bytes
    counts: bytes
    kinds: bytes


class _Base(msgspec.Struct, array_like=True, gc=False):
    version: int
    head: bytes
    cells: bytes


class _Written(msgspec.Struct, array_like=True, gc=False):
    version: int
    written_at: int


_HEAD: Final = msgspec.msgpack.Decoder(_Head)
_CELLS: Final = msgspec.msgpack.Decoder(_Cells)
_SUMMARY: Final = msgspec.msgpack.Decoder(_Summary)
_DELTA: Final = msgspec.msgpack.Decoder(_Delta)
_BASE: Final = msgspec.msgpack.Decoder(_Base)
_WRITTEN: Final = msgspec.msgpack.Decoder(_Written)
_encode: Final = msgspec.msgpack.Encoder().encode
