"""A record batch as the broker holds it, made ready to be read, in memory that has a bound whatever a publisher sent.

A batch does not tell how large it is unpacked: 400 MB of blanks are 400 kB of gzip, and 13 kB of zstd. So it is
unpacked into a buffer of a given size, and what does not fit is not unpacked: it stands for one record that is too
large to be read. The same holds where the headers of one record would take a hundred times its bytes.

Batches of the format before Kafka 0.11 are read as aiokafka reads them: brokers make the present one of what old
clients send.
"""

from __future__ import annotations

import struct
from typing import Final

import cramjam
import msgspec
from aiokafka.codec import _detect_xerial_stream, snappy_decode
from aiokafka.errors import CorruptRecordException
from aiokafka.record.default_records import DefaultRecordBase

from stream.ingest.event import LeftOut

UNPACKED_BYTES: Final = 32 << 20
"""Of one batch. Producers gather far less (librdkafka 1 MB, the Java client 16 KiB) before they compress."""
USUAL_RATIO: Final = 16
"""What nearly every batch fits into, in its packed bytes; to make a buffer costs by its size."""
FIRST_BYTES: Final = 1 << 20
"""Of what is left out so much is looked at, for its key. Smaller records may have any headers: these take 32 MB at
most."""
HEADERS_LIMIT: Final = 10_000
"""Of one record that is larger than FIRST_BYTES."""

HEADER: Final = DefaultRecordBase.HEADER_STRUCT
_ATTRIBUTES_AT: Final = DefaultRecordBase.ATTRIBUTES_OFFSET
_CODECS: Final = {
    DefaultRecordBase.CODEC_GZIP: cramjam.gzip.decompress_into,
    DefaultRecordBase.CODEC_LZ4: cramjam.lz4.decompress_into,
    DefaultRecordBase.CODEC_ZSTD: cramjam.zstd.decompress_into,
}


class LargeRecord(msgspec.Struct, frozen=True):
    """What stands for a batch that is not unpacked: a record at its first offset, of which only the size is known."""

    offset: int
    timestamp: int
    timestamp_type: int
    key: bytes | None
    value: LeftOut
    headers: tuple[()] = ()


def unpacked_limit(max_event_bytes: int) -> int:
    """The most bytes that a batch may have, given the most that an event may have."""
    return max(UNPACKED_BYTES, max_event_bytes + FIRST_BYTES)


def unpack(raw: bytes, limit: int = UNPACKED_BYTES) -> bytes | bytearray | LargeRecord:
    """The batch in a form that takes little more to read than its bytes; or a LargeRecord, where it has more than
    `limit` of them. Raises CorruptRecordException.

    What was packed is written anew without its compression, and without a checksum that holds: check that before.
    """
    codec = _codec_of(raw)
    if codec == DefaultRecordBase.CODEC_NONE:
        unpacked: bytes | bytearray = raw
    elif codec == DefaultRecordBase.CODEC_SNAPPY:
        if _snappy_bytes(raw[HEADER.size :]) > limit:
            return _leave_out(raw, b"", limit)
        unpacked = _without_compression(raw, bytearray(HEADER.size) + _unpack_snappy(raw[HEADER.size :]))
    else:
        buffer = _unpack_into(raw, codec, min(USUAL_RATIO * len(raw), limit))
        if isinstance(buffer, memoryview):
            buffer = _unpack_into(raw, codec, limit)
        if isinstance(buffer, memoryview):
            return _leave_out(raw, bytes(buffer[:FIRST_BYTES]), limit)
        unpacked = buffer
    if len(unpacked) > FIRST_BYTES and _has_too_many_headers(unpacked):
        return _leave_out(raw, bytes(unpacked[HEADER.size : HEADER.size + FIRST_BYTES]), limit)
    return unpacked


def _codec_of(raw: bytes) -> int:
    codec: int = HEADER.unpack_from(raw)[5] & DefaultRecordBase.CODEC_MASK
    return codec


def _unpack_into(raw: bytes, codec: int, limit: int) -> bytearray | memoryview:
    """The batch without its compression; where that is larger than `limit`, a view of what fitted."""
    if codec not in _CODECS:
        raise CorruptRecordException(f"a record batch is compressed by {codec}")
    buffer = bytearray(HEADER.size + limit)
    rest = memoryview(buffer)[HEADER.size :]
    try:
        size = _CODECS[codec](memoryview(raw)[HEADER.size :], rest)
    except cramjam.DecompressionError as error:
        if "whole buffer" in str(error):
            return rest
        raise CorruptRecordException(f"a record batch cannot be unpacked: {error}") from error
    rest.release()
    del buffer[HEADER.size + size :]
    return _without_compression(raw, buffer)


def _without_compression(raw: bytes, buffer: bytearray) -> bytearray:
    """Writes the header in front of what was unpacked."""
    header = list(HEADER.unpack_from(raw))
    header[5] &= ~DefaultRecordBase.CODEC_MASK
    HEADER.pack_into(buffer, 0, *header)
    return buffer


def _snappy_bytes(packed: bytes) -> int:
    """How large it says it is: snappy holds each block to what it declares. One block, or several after one another in
    the form of the Java client."""
    if not _detect_xerial_stream(packed):
        return _read_declared_size(packed)
    size, at = 0, 16
    while at < len(packed):
        (length,) = struct.unpack_from(">i", packed, at)
        if length <= 0:
            raise CorruptRecordException("a record batch has a block of no bytes")
        size += _read_declared_size(packed[at + 4 : at + 4 + length])
        at += 4 + length
    return size


def _unpack_snappy(packed: bytes) -> bytes:
    try:
        unpacked: bytes = snappy_decode(packed)
    except cramjam.DecompressionError as error:
        raise CorruptRecordException(f"a record batch cannot be unpacked: {error}") from error
    return unpacked


def _read_declared_size(block: bytes) -> int:
    try:
        return int(cramjam.snappy.decompress_raw_len(block))
    except cramjam.DecompressionError as error:
        raise CorruptRecordException(f"a record batch cannot be unpacked: {error}") from error


def _has_too_many_headers(unpacked: bytes | bytearray) -> bool:
    """Whether one large record has: each takes a hundred bytes in memory, and may be of two."""
    at, end = HEADER.size, len(unpacked)
    try:
        while at < end:
            length, start = _varint(unpacked, at)
            if length > FIRST_BYTES and _headers_of(unpacked, start) > HEADERS_LIMIT:
                return True
            at = start + max(length, 0)
    except IndexError:
        pass  # whoever reads it says that it is damaged
    return False


def _headers_of(unpacked: bytes | bytearray, at: int) -> int:
    _, at = _after_offset(unpacked, at)
    for _ in ("key", "value"):
        length, at = _varint(unpacked, at)
        at += max(length, 0)
    return _varint(unpacked, at)[0]


def _after_offset(unpacked: bytes | bytearray, at: int) -> tuple[int, int]:
    """A record's difference in time to its batch, and where its key begins."""
    delta, at = _varint(unpacked, at + 1)
    return delta, _varint(unpacked, at)[1]


def _varint(data: bytes | bytearray, at: int) -> tuple[int, int]:
    """A number, and where it ends. Raises IndexError where the data does."""
    number = shift = 0
    while True:
        byte = data[at]
        number |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return (number >> 1) ^ -(number & 1), at


def _leave_out(raw: bytes, first: bytes, limit: int) -> LargeRecord:
    """`first`: what the batch holds begins like this; empty where that is not known."""
    base_offset, *_, last_delta, first_timestamp, max_timestamp, _, _, _, records = HEADER.unpack_from(raw)
    by_broker = bool(HEADER.unpack_from(raw)[5] & DefaultRecordBase.TIMESTAMP_TYPE_MASK)
    key, size = _first_key(first) if records == 1 else (None, None)
    of = (
        f"the record at offset {base_offset}"
        if records == 1
        else (f"a batch of {records} records, from offset {base_offset} to {base_offset + last_delta},")
    )
    why = f"{of} unpacks to more than the {limit} bytes that are read, or to too many headers"
    timestamp = max_timestamp if by_broker else first_timestamp
    return LargeRecord(base_offset, timestamp, int(by_broker), key, LeftOut(size if size is not None else limit, why))


def _first_key(first: bytes) -> tuple[bytes | None, int | None]:
    """The first record's key, and how many bytes its value has."""
    try:
        _, at = _varint(first, 0)
        _, at = _after_offset(first, at)
        length, at = _varint(first, at)
        if at + length > len(first):
            return None, None
        key, at = (first[at : at + length], at + length) if length >= 0 else (None, at)
        size, _ = _varint(first, at)
        return key, max(size, 0)
    except IndexError:
        return None, None
