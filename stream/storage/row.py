"""One row of the activity table, packed so that the order of its bytes is the order of the table.

    occurred_at   8 bytes, big-endian: nanoseconds since 1970
    event id      UTF-8, in which a zero byte is followed by 0xFF
    end of id     00 01: below every escaped zero and below every other byte, so an id comes before those that it begins
    partition     2 bytes, big-endian
    offset        8 bytes, big-endian
    the rest      msgpack [activity, fraction_digits, contact_id, contact_name, source, user_id, user_name, batch_id]

So rows are ordered by (occurred_at, event id, partition, offset); these first parts are the row's key, and unique.
UTF-8 keeps the order of code points. The sorted sets that hold rows carry the format in their name (`rows1`): another
format is another key.
"""

import struct
from struct import Struct
from typing import Final

import msgspec

from stream.model.activity import ContactActivity
from stream.model.time import start_of_quarter
from stream.storage.formats import FormatError

ROW_BYTES_LIMIT: Final = 32_768
"""All texts of an event at their limits of code points, four bytes each, take less than 9,000."""

PARTITION_LIMIT: Final = 1 << 16


class Row(msgspec.Struct, frozen=True, gc=False):
    """A row of the activity table. Field by field as in ContactActivity."""

    occurred_at: int
    event_id: str
    partition: int
    offset: int
    activity: int
    fraction_digits: int
    contact_id: str
    contact_name: str | None
    source: str | None
    user_id: str | None
    user_name: str | None
    batch_id: str | None


def encode_row(event: ContactActivity, partition: int, offset: int) -> bytes:
    """Packs the row of an event that was counted. About a microsecond."""
    event_id = event.event_id.encode()
    if b"\x00" in event_id:
        event_id = event_id.replace(b"\x00", b"\x00\xff")
    rest = (
        event.activity,
        event.fraction_digits,
        event.contact_id,
        event.contact_name,
        event.source,
        event.user_id,
        event.user_name,
        event.batch_id,
    )
    packed = b"".join((_TIME(event.occurred_at), event_id, _END_AND_PLACE(1, partition, offset), _encode(rest)))
    assert len(packed) <= ROW_BYTES_LIMIT, f"a row of {len(packed)} bytes"
    return packed


def decode_row(packed: bytes) -> Row:
    """Unpacks a row. Raises FormatError."""
    try:
        end = packed.index(b"\x00\x01", _TIME_BYTES)
        event_id = packed[_TIME_BYTES:end].replace(b"\x00\xff", b"\x00").decode()
        place = end + len(_END)
        partition, offset = _READ_PLACE(packed, place)
        return Row(_READ_TIME(packed)[0], event_id, partition, offset, *_DECODER.decode(packed[place + _PLACE_BYTES :]))
    except (ValueError, IndexError, struct.error, msgspec.DecodeError) as error:
        raise FormatError(f"not a row of the activity table ({error}): {packed[:80]!r}") from None


def occurred_at_of(packed: bytes) -> int:
    """Nanoseconds since 1970 of a packed row, without unpacking the rest."""
    return int.from_bytes(packed[:_TIME_BYTES], "big")


def key_of(packed: bytes) -> bytes:
    """A row's place in the order: what a cursor remembers. Raises FormatError.

    The row is the only one at or above its key and below `key_after`: a page in ascending order goes on from
    `key_after(key)`, one in descending order ends below `key`.
    """
    end = packed.find(_END, _TIME_BYTES)
    if end < 0 or len(packed) < end + len(_END) + _PLACE_BYTES:
        raise FormatError(f"not a row of the activity table: {packed[:80]!r}")
    return packed[: end + len(_END) + _PLACE_BYTES]


def key_after(key: bytes) -> bytes:
    """A bound that lies above the row of this key and below every later one: the next number of the same length."""
    return (int.from_bytes(key, "big") + 1).to_bytes(len(key), "big")


def time_bound(occurred_at: int) -> bytes:
    """Lies above every row before an instant (nanoseconds since 1970) and below or at every row of that instant and
    later."""
    return _TIME(occurred_at)


def quarter_bounds(first: int, end: int) -> tuple[bytes, bytes]:
    """Bounds of the rows of quarters first <= q < end (since 1970): at or above the one and below the other."""
    return time_bound(start_of_quarter(first)), time_bound(start_of_quarter(end))


_END: Final = b"\x00\x01"
_TIME: Final = Struct(">Q").pack
_READ_TIME: Final = Struct(">Q").unpack_from
_END_AND_PLACE: Final = Struct(">HHQ").pack
"""The end of the id is the number 1 in two bytes."""
_READ_PLACE: Final = Struct(">HQ").unpack_from
_TIME_BYTES: Final = 8
_PLACE_BYTES: Final = 10
_encode: Final = msgspec.msgpack.Encoder().encode
_DECODER: Final = msgspec.msgpack.Decoder(
    tuple[int, int, str, str | None, str | None, str | None, str | None, str | None]
)
