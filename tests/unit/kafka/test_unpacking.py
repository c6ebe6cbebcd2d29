"""Record batches that a publisher packed, unpacked in bounded memory."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import cramjam
import pytest
from aiokafka.codec import snappy_encode
from aiokafka.errors import CorruptRecordException
from aiokafka.record.default_records import DefaultRecordBatchBuilder

from stream.ingest.event import EventRules, LeftOut, Reason, Rejected, parse
from stream.kafka.fetch import read_unpacked
from stream.kafka.unpacking import FIRST_BYTES, HEADER, HEADERS_LIMIT, LargeRecord, unpack

CODECS = {"none": 0, "gzip": 1, "snappy": 2, "lz4": 3, "zstd": 4}
MEBIBYTE = 1 << 20


def packed(codec: str, payload: bytes, like: bytes) -> bytes:
    """A batch with the header of another one, as a publisher may make it who makes it by hand."""
    body = {
        "none": lambda: payload,
        "gzip": lambda: bytes(cramjam.gzip.compress(payload)),
        "snappy": lambda: snappy_encode(payload),
        "lz4": lambda: bytes(cramjam.lz4.compress(payload)),
        "zstd": lambda: bytes(cramjam.zstd.compress(payload)),
    }[codec]()
    header = list(HEADER.unpack_from(like))
    header[1], header[5] = HEADER.size - 12 + len(body), header[5] & ~7 | CODECS[codec]
    return HEADER.pack(*header) + body


def batch(*values: bytes | None, key: bytes = b"k", headers: Any = ()) -> bytes:
    builder = DefaultRecordBatchBuilder(2, 0, 0, -1, -1, -1, 1 << 40)
    for offset, value in enumerate(values):
        builder.append(offset, timestamp=1_700_000_000_000, key=key, value=value, headers=list(headers))
    return bytes(builder.build())


def repacked(codec: str, plain: bytes) -> bytes:
    return packed(codec, plain[HEADER.size :], plain)


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("size", [10, 700_000, 3 * MEBIBYTE])
def test_what_fits_is_read_as_it_was_written(codec: str, size: int) -> None:
    plain = batch(b"a" * size, None, b"b", headers=[("h", b"1"), ("n", None)])
    unpacked = unpack(repacked(codec, plain))
    assert not isinstance(unpacked, LargeRecord)
    assert [(r.offset, r.key, r.value, list(r.headers)) for r in read_unpacked(unpacked)] == [
        (0, b"k", b"a" * size, [("h", b"1"), ("n", None)]),
        (1, b"k", None, [("h", b"1"), ("n", None)]),
        (2, b"k", b"b", [("h", b"1"), ("n", None)]),
    ]


@pytest.mark.parametrize("codec", ["gzip", "snappy", "lz4", "zstd"])
@pytest.mark.parametrize("limit", [100_000, 3 * MEBIBYTE])
def test_the_limit_is_exact(codec: str, limit: int) -> None:
    fits = batch(b" " * (limit - 100))
    more = limit - (len(fits) - HEADER.size)
    assert not isinstance(unpack(repacked(codec, batch(b" " * (limit - 100 + more))), limit), LargeRecord)

    left_out = unpack(repacked(codec, batch(b" " * (limit - 100 + more + 1))), limit)

    # Then it is one record that is rejected, with what is known of it.
    assert isinstance(left_out, LargeRecord)
    assert (left_out.offset, left_out.timestamp, left_out.timestamp_type) == (0, 1_700_000_000_000, 0)
    assert left_out.value == b""
    verdict = parse(left_out, EventRules())
    why = f"the record at offset 0 unpacks to more than the {limit} bytes that are read, or to too many headers"
    assert verdict == Rejected(Reason.TOO_LARGE, why)
    if codec != "snappy":
        assert (left_out.key, left_out.value.size) == (b"k", limit - 100 + more + 1)


def test_of_a_batch_of_several_the_message_names_the_offsets() -> None:
    left_out = unpack(repacked("gzip", batch(b" " * 200_000, b"small", b"small")), 100_000)
    assert isinstance(left_out, LargeRecord)
    assert "a batch of 3 records, from offset 0 to 2, unpacks to more than the 100000 bytes" in left_out.value.why
    assert (left_out.key, left_out.value.size) == (None, 100_000)


@pytest.mark.parametrize("codec", ["none", "zstd"])
def test_a_large_record_of_nothing_but_headers_is_left_out(codec: str) -> None:
    # Of two bytes each they would take fifty times as much when they are read.
    headers = [("", b"")] * (FIRST_BYTES // 2 + 100)
    assert isinstance(unpack(repacked(codec, batch(b"v", headers=headers))), LargeRecord)
    large_values = [("h", b" " * 200)] * HEADERS_LIMIT
    assert not isinstance(unpack(repacked(codec, batch(b"v", headers=large_values))), LargeRecord)


@pytest.mark.parametrize("codec", ["gzip", "snappy", "lz4", "zstd"])
def test_what_is_damaged_is_said_to_be(codec: str) -> None:
    plain = batch(b"value")
    with pytest.raises(CorruptRecordException):
        unpack(packed(codec, b"", plain)[: HEADER.size] + b"\x01\x02\x03")
    with pytest.raises(CorruptRecordException):
        unpack(HEADER.pack(*(5 if at == 5 else v for at, v in enumerate(HEADER.unpack_from(plain)))))


BOMB = """
import resource, sys
from stream.kafka.unpacking import LargeRecord, unpack
raw = sys.stdin.buffer.read()
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
assert isinstance(unpack(raw), LargeRecord)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


@pytest.mark.slow
@pytest.mark.parametrize("codec", ["gzip", "lz4", "zstd"])
def test_four_hundred_megabytes_of_blanks_take_no_more_than_the_buffer(codec: str) -> None:
    plain = batch(b" ")
    raw = packed(codec, b" " * (400 * MEBIBYTE), plain)
    done = subprocess.run([sys.executable, "-c", BOMB], input=raw, capture_output=True, check=True)
    assert int(done.stdout) < 80  # MiB


def test_a_value_that_is_left_out_tells_its_size() -> None:
    value = LeftOut(5_000_000, "why")
    assert (value, value.size, value.why) == (b"", 5_000_000, "why")
