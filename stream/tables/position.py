"""Says how far a partition is counted, and of which topic.

key    70 ("p"), the last record of every commit
value  msgpack [1, next_offset, first_offset, incarnation 16 bytes, fingerprint nil|[offset, timestamp, crc32],
       counts_from nil|day, latest_hour nil|hour, greatest_broker_ms, partitions, live_keys, skipped]

An array without its last elements is of a version that did not know them yet; `skipped` is left out where it is 0.
"""

from __future__ import annotations

import zlib
from typing import Final

import msgspec

from stream.ingest.event import Record
from stream.storage.formats import FormatError, decode_array

KEY: Final = b"p"
VERSION: Final = 1
INCARNATION_BYTES: Final = 16


class Fingerprint(msgspec.Struct, frozen=True, array_like=True):
    """What the last applied record looked like: another record at its offset means another topic."""

    offset: int
    timestamp: int
    """Milliseconds since 1970, as the broker gave it."""
    checksum: int
    """CRC-32 of the key's bytes followed by the value's; what is null has none."""

    @classmethod
    def of(cls, record: Record) -> Fingerprint:
        checksum = zlib.crc32(record.value or b"", zlib.crc32(record.key or b""))
        return cls(record.offset, record.timestamp, checksum)


class Position(msgspec.Struct, frozen=True, array_like=True, tag=VERSION):
    """All that a partition remembers of how far it is, as it is stored."""

    next_offset: int
    """The next offset to apply; all below it is counted, or was found not to count."""
    first_offset: int
    """The first offset that the topic had when counting began."""
    incarnation: bytes
    """Drawn at random with the partition's first commit: counts of another incarnation are not a continuation of
    these.
    """
    fingerprint: Fingerprint | None
    """The last record that was applied; None before the first."""
    counts_from: int | None
    """UTC day before which retention has dropped counts; it never goes back."""
    latest_hour: int | None
    """Greatest hour (since 1970) of broker time among the records that counted."""
    greatest_broker_ms: int
    """Greatest broker timestamp among all records applied; 0 before the first."""
    partitions: int
    """The largest number of partitions that the topic was seen to have."""
    live_keys: int | None = None
    """How many keys the changelog has with this commit, this one included: fewer were lost, more were not deleted. None
    where it was not counted yet."""
    skipped: int = 0
    """How many offsets were passed over by hand (`contacts-report skip`)."""


def encode_position(position: Position) -> bytes:
    """Packs the position's record."""
    assert len(position.incarnation) == INCARNATION_BYTES, "an incarnation id is 16 bytes"
    parts = msgspec.structs.astuple(position)
    return _encode((VERSION, *(parts if position.skipped else parts[:-1])))


def decode_position(value: bytes) -> Position:
    """Unpacks the position's record. Raises FormatError."""
    position = decode_array(_DECODER, value, VERSION, KEY)
    if len(position.incarnation) != INCARNATION_BYTES:
        raise FormatError(f"{KEY!r} has an incarnation id of {len(position.incarnation)} bytes")
    return position


_encode: Final = msgspec.msgpack.Encoder().encode
_DECODER: Final = msgspec.msgpack.Decoder(Position)
