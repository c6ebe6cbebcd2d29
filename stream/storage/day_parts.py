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
from typing import TYPE_CHECKING, Final

import msgspec

from stream.model.activity import ACTIVITIES
from stream.model.dimensions import ACTIVITIES_OF_FORMAT
from stream.storage.formats import FormatError, decode_array

VERSION: Final = 1
assert ACTIVITIES_OF_FORMAT[VERSION] == len(ACTIVITIES), "kinds numbered by other activities are another format"

_CODES: Final = {1: "B", 2: "H", 4: "I", 8: "Q"}
_SWAP: Final = sys.byteorder == "big"
assert all(array(code).itemsize == size for size, code in _CODES.items())

if TYPE_CHECKING:
    Column = array[int]
else:
    Column = array


class Head(msgspec.Struct, frozen=True, array_like=True, tag=VERSION):
    """The series of a base and their totals; the columns and `users` have one item a series."""

    written_at: int
    sources: list[str]
    kinds: Column
    users: list[str | None]
    cell_counts: Column
    totals: Column


class Cells(msgspec.Struct, frozen=True, array_like=True, tag=VERSION):
    """The cells of a base, by ascending key."""

    keys: Column
    counts: Column


class Summary(msgspec.Struct, frozen=True, array_like=True, tag=VERSION):
    """A base without its users: one series a kind."""

    sources: list[str]
    kinds: Column
    cell_counts: Column
    totals: Column
    keys: Column
    counts: Column


class Delta(msgspec.Struct, frozen=True, array_like=True, tag=VERSION):
    """What came after the last base; `keys`, `counts` and `kinds` have one item a cell."""

    written_at: int
    first_series: int
    first_source: int
    new_sources: list[str]
    new_users: list[str | None]
    keys: Column
    counts: Column
    kinds: Column


class _Base(msgspec.Struct, frozen=True, array_like=True, tag=VERSION):
    head: bytes
    cells: bytes


class _Written(msgspec.Struct, array_like=True, tag=VERSION):
    written_at: int


def make_column(values: Sequence[int], at_least: int = 1) -> Column:
    """Numbers of 0..2**64-1 in the smallest size that holds all of them, and at least so many bytes each."""
    greatest = max(values, default=0)
    return array(next(code for size, code in _CODES.items() if size >= at_least and greatest < 1 << 8 * size), values)


def encode(part: Head | Cells | Summary | Delta) -> bytes:
    """Packs a part of a day aggregate."""
    return _encode(part)


def encode_base(head: bytes, cells: bytes) -> bytes:
    """The changelog's value of a base."""
    return _encode(_Base(head, cells))


def encode_text(text: str | None) -> bytes:
    """A user or a source as it lies in an array."""
    return _encode(text)


def decode_head(packed: bytes, name: object = "a head") -> Head:
    """Unpacks a head. Raises FormatError with `name`, the key or field that the bytes are from."""
    head = decode_array(_HEAD, packed, VERSION, name)
    _check_same_length(name, head.kinds, head.users, head.cell_counts, head.totals)
    return head


def decode_cells(packed: bytes, name: object = "cells") -> Cells:
    """Unpacks the cells of a base. Raises FormatError with `name`."""
    cells = decode_array(_CELLS, packed, VERSION, name)
    _check_same_length(name, cells.keys, cells.counts)
    return cells


def decode_summary(packed: bytes, name: object = "a summary") -> Summary:
    """Unpacks a summary. Raises FormatError with `name`."""
    summary = decode_array(_SUMMARY, packed, VERSION, name)
    _check_same_length(name, summary.kinds, summary.cell_counts, summary.totals)
    _check_same_length(name, summary.keys, summary.counts)
    return summary


def decode_delta(packed: bytes, name: object = "a delta") -> Delta:
    """Unpacks a delta. Raises FormatError with `name`."""
    delta = decode_array(_DELTA, packed, VERSION, name)
    _check_same_length(name, delta.keys, delta.counts, delta.kinds)
    return delta


def decode_base(packed: bytes, name: object = "a base") -> tuple[bytes, bytes]:
    """The head and the cells of a changelog value, still packed. Raises FormatError with `name`."""
    base = decode_array(_BASE, packed, VERSION, name)
    return base.head, base.cells


def read_written_at(packed: bytes, name: object = "a head or delta") -> int:
    """The last source offset that is counted in a head or a delta, without unpacking the rest."""
    return decode_array(_WRITTEN, packed, VERSION, name).written_at


def _check_same_length(name: object, first: Sequence[object], *others: Sequence[object]) -> None:
    for other in others:
        if len(other) != len(first):
            raise FormatError(f"{name!r} has columns of {len(first)} and {len(other)} items")


def _pack_column(column: Column) -> bytes:
    if _SWAP:
        column = column[:]
        column.byteswap()
    return bytes((column.itemsize,)) + column.tobytes()


def _unpack_column(_: type, packed: bytes) -> Column:
    try:
        column = array(_CODES[packed[0]], packed[1:])
    except (IndexError, KeyError, ValueError, TypeError):
        raise ValueError("a damaged column") from None
    if _SWAP:
        column.byteswap()
    return column


_encode: Final = msgspec.msgpack.Encoder(enc_hook=_pack_column).encode
_HEAD: Final = msgspec.msgpack.Decoder(Head, dec_hook=_unpack_column)
_CELLS: Final = msgspec.msgpack.Decoder(Cells, dec_hook=_unpack_column)
_SUMMARY: Final = msgspec.msgpack.Decoder(Summary, dec_hook=_unpack_column)
_DELTA: Final = msgspec.msgpack.Decoder(Delta, dec_hook=_unpack_column)
_BASE: Final = msgspec.msgpack.Decoder(_Base)
_WRITTEN: Final = msgspec.msgpack.Decoder(_Written)
