"""Batches of one partition out of aiokafka's fetches, read committed."""

from __future__ import annotations

import asyncio
import struct
import time
from collections.abc import Callable, Container, Iterator
from itertools import chain, islice
from typing import Any

import aiokafka.consumer.fetcher
from aiokafka import TopicPartition
from aiokafka.consumer.fetcher import FetchError
from aiokafka.errors import (
    CorruptRecordException,
)
from aiokafka.record.default_records import DefaultRecordBatch, _DefaultRecordBatchPy
from aiokafka.record.memory_records import MemoryRecords

from stream.ingest.event import LOG_APPEND_TIME
from stream.ingest.raw import RawRecords
from stream.kafka.fetch_request import PackedFetchRequest
from stream.kafka.unpacking import UNPACKED_BYTES, LargeRecord, unpack
from stream.tables.batch import Batch

AIOKAFKA_VERSION = "0.14.0"
"""Parts of its inside are used here and in the transport."""


class KeptRecords:
    """The record batches of one fetch, as aiokafka reads them; and the bytes of the last one, for a second reader."""

    def __init__(self, fetched: bytes) -> None:
        self._fetched = fetched
        self._records = MemoryRecords(fetched)
        self._start = self._end = 0
        self.has_next = self._records.has_next
        self.size_in_bytes = self._records.size_in_bytes

    def next_batch(self) -> Any:
        batch = self._records.next_batch()
        (length,) = struct.unpack_from(">i", self._fetched, self._end + _LENGTH_AT)
        self._start, self._end = self._end, self._end + _BEFORE_LENGTH + length
        return batch

    def raw(self) -> bytes:
        """The last batch as it came."""
        return self._fetched[self._start : self._end]


def read_leniently(unpacked: bytes | bytearray) -> Iterator[Any]:
    """The records of an unpacked batch, whatever their headers are called: what is no UTF-8 is written as `\\xff`."""
    batch = _DefaultRecordBatchPy(unpacked)
    batch._maybe_uncompress()
    batch._buffer = _Lenient(batch._buffer)
    return iter(batch)


class _Lenient(bytearray):
    """Bytes whose parts are texts, of whatever encoding."""

    def __getitem__(self, at: Any) -> Any:
        part = super().__getitem__(at)
        return _LenientText(part) if isinstance(at, slice) else part


class _LenientText(bytes):
    def decode(self, encoding: str = "utf-8", errors: str = "backslashreplace") -> str:
        return super().decode(encoding, errors)


_LENGTH_AT, _BEFORE_LENGTH = 8, 12


MAGIC_AT = 16
_COUNT_AT = 57
_ATTRIBUTES_AT, _BY_BROKER = 21, 0x08
_ATTRIBUTES = struct.Struct(">h12xq")
"""Attributes, and the latest timestamp."""


# A batch that is handed on holds about so much, or one record batch: it is all in memory until it is applied.
TAKE_BYTES = 4 << 20


def keep_fetched_bytes() -> None:
    """Make aiokafka's consumers keep the bytes of what they fetch, and pack their fetches here; called before each is
    made.

    Kafka takes headers of any name. aiokafka's own reader ends at one that is no UTF-8, and the partition with it.
    Raises RuntimeError for another version of aiokafka, whose inside may be another.
    """
    if aiokafka.__version__ != AIOKAFKA_VERSION:
        raise RuntimeError(f"aiokafka {AIOKAFKA_VERSION} is needed, and {aiokafka.__version__} is installed")
    aiokafka.consumer.fetcher.MemoryRecords = KeptRecords
    aiokafka.consumer.fetcher.FetchRequest = PackedFetchRequest


class Cursor:
    """What one fetch brought of one partition, taken out in batches of records."""

    def __init__(self, partition_records: Any, unpacked_bytes: int = UNPACKED_BYTES) -> None:
        self._from, self._unpacked_bytes = partition_records, unpacked_bytes
        self._left: Iterator[Any] | None = None
        """Of the record batch that was begun."""
        self._end = partition_records.next_fetch_offset

    @property
    def exhausted(self) -> bool:
        return self._left is None and not self._from._records.has_next()

    def take(self, limit: int) -> Batch:
        """The next records, in order, at most `limit`, and no further record batch once TAKE_BYTES are reached. None,
        where only markers or aborted records came: the end has moved all the same.
        """
        start = self._from.next_fetch_offset
        records: list[Any] = []
        size = 0
        while self._left is not None or (len(records) < limit and size < TAKE_BYTES and self._from._records.has_next()):
            if self._left is None:
                batch = self._from._records.next_batch()
                self._end = batch.next_offset
                self._left, unpacked = self._visible(batch, start)
                size += unpacked
            records += islice(self._left, limit - len(records))
            following = next(self._left, None)
            if following is not None:
                self._left = chain((following,), self._left)
                break
            self._left = None
        end = self._end if self._left is None else records[-1].offset + 1
        self._from.next_fetch_offset = end
        return Batch(records=records, start=start, end=end, fetched_at_ms=time.time_ns() // 1_000_000)

    def _visible(self, batch: Any, start: int) -> tuple[Iterator[Any], int]:
        """The records of a record batch that a reader of committed records sees, from an offset on; and how many bytes
        they take.
        """
        if not is_visible(batch, self._from):
            return iter(()), 0
        records, size = records_of(batch, self._from._records.raw(), self._unpacked_bytes)
        if batch.base_offset < start:
            return (record for record in records if record.offset >= start), size
        return records, size


class RawCursor:
    """What one fetch brought of one partition, taken out in batches of bytes, for the compiled core."""

    def __init__(self, partition_records: Any, unpacked_bytes: int = UNPACKED_BYTES) -> None:
        self._from, self._unpacked_bytes = partition_records, unpacked_bytes

    @property
    def exhausted(self) -> bool:
        return not self._from._records.has_next()

    def take(self, limit: int) -> Batch:
        """As Cursor.take, whole record batches: no further one once there are `limit` records, or TAKE_BYTES."""
        of, start = self._from, self._from.next_fetch_offset
        visible: list[bytes] = []
        number = size = 0
        by_broker: tuple[int, int] | None = None
        end = start
        while number < limit and size < TAKE_BYTES and of._records.has_next():
            batch = of._records.next_batch()
            end = batch.next_offset
            if not is_visible(batch, of):
                continue
            raw = of._records.raw()
            visible.append(raw)
            size += len(raw)
            number += int.from_bytes(raw[_COUNT_AT : _COUNT_AT + 4], "big") if raw[MAGIC_AT] >= 2 else 1
            stamped = read_broker_stamp(batch, raw)
            if stamped is not None and (by_broker is None or stamped > by_broker):
                by_broker = stamped
        of.next_fetch_offset = end
        records = RawRecords(
            visible[0] if len(visible) == 1 else b"".join(visible), start, self._decode, self._unpacked_bytes, by_broker
        )
        return Batch(records=records, start=start, end=end, fetched_at_ms=time.time_ns() // 1_000_000)

    def _decode(self, raw: bytes) -> list[Any]:
        return decode_batches(raw, self._unpacked_bytes)


def is_visible(batch: Any, of: Any) -> bool:
    """Whether a reader of committed records sees a record batch of a fetch: each is to be asked about, in order. Raises
    CorruptRecordException.
    """
    if of._check_crcs and not batch.validate_crc():
        raise CorruptRecordException(f"a record batch of {of._tp} is corrupt")
    if batch.producer_id is not None:
        of._consume_aborted_up_to(batch.base_offset)
        if batch.is_control_batch and of._contains_abort_marker(batch):
            of._aborted_producers.discard(batch.producer_id)
        if batch.is_transactional and batch.producer_id in of._aborted_producers:
            return False
    return not batch.is_control_batch


def read_broker_stamp(batch: Any, raw: bytes) -> tuple[int, int] | None:
    """The latest time that the broker set in a record batch, and the batch's first offset; None where it set none."""
    if raw[MAGIC_AT] < 2:
        stamped = [(r.timestamp, r.offset) for r in batch if r.timestamp_type == LOG_APPEND_TIME]
        return max(stamped, default=None)
    attributes, timestamp = _ATTRIBUTES.unpack_from(raw, _ATTRIBUTES_AT)
    return (timestamp, batch.base_offset) if attributes & _BY_BROKER else None


def decode_batches(raw: bytes, unpacked_bytes: int = UNPACKED_BYTES) -> list[Any]:
    """The records of record batches that are all visible."""
    kept, found = KeptRecords(raw), list[Any]()
    while kept.has_next():
        batch = kept.next_batch()
        found += records_of(batch, kept.raw(), unpacked_bytes)[0]
    return found


def records_of(batch: Any, raw: bytes, unpacked_bytes: int) -> tuple[Iterator[Any], int]:
    """The records of a record batch, and how many bytes they take."""
    if raw[MAGIC_AT] < 2:
        return iter(batch), len(raw)
    unpacked = unpack(raw, unpacked_bytes)
    if isinstance(unpacked, LargeRecord):
        return iter((unpacked,)), len(unpacked.key or b"")
    return read_unpacked(unpacked), len(unpacked)


def read_unpacked(unpacked: bytes | bytearray) -> Iterator[Any]:
    """The records of a batch, one after another."""
    offset = -1
    try:
        for record in DefaultRecordBatch(unpacked):
            offset = record.offset
            yield record
    except UnicodeDecodeError:
        for record in read_leniently(unpacked):
            if record.offset > offset:
                yield record


async def take_fetched_batches(
    fetcher: Any,
    partitions: Container[TopicPartition],
    timeout: float,
    limit: int,
    unpacked_bytes: int = UNPACKED_BYTES,
    *,
    raw: bool = False,
) -> dict[TopicPartition, Batch | Exception]:
    """What has been fetched of these partitions, a batch each, or why there is none; waits up to `timeout` seconds for
    the first. `partitions` is looked at again at each answer, and after `notify_waiters`. `raw`: as bytes, for the
    compiled core.
    """
    cursor = RawCursor if raw else Cursor
    deadline = asyncio.get_running_loop().time() + timeout
    while True:
        if fetcher._subscriptions.reassignment_in_progress:
            await fetcher._subscriptions.wait_for_assignment()
        found: dict[TopicPartition, Batch | Exception] = {}
        for tp in list(fetcher._records):
            if tp in partitions:
                answer = take_batch(fetcher, tp, limit, lambda records: cursor(records, unpacked_bytes))
                if answer is not None:
                    found[tp] = answer
            elif not fetcher._subscriptions.is_assigned(tp):
                del fetcher._records[tp]
        left = deadline - asyncio.get_running_loop().time()
        if found or left <= 0 or fetcher._closed:
            return found
        waiter = fetcher._create_fetch_waiter()
        await asyncio.wait([waiter], timeout=left)
        if waiter.done():
            waiter.result()  # raises what the coordinator found
        else:
            waiter.cancel()


def notify_waiters(fetcher: Any) -> None:
    """Let `take_fetched_batches` look again; `partitions` may have changed under it."""
    for waiter in list(fetcher._fetch_waiters):
        fetcher._notify(waiter)


def take_batch(
    fetcher: Any, tp: TopicPartition, limit: int, new_cursor: Callable[[Any], Cursor | RawCursor]
) -> Batch | Exception | None:
    result = fetcher._records[tp]
    answer: Batch | Exception | None = None
    if isinstance(result, FetchError):
        answer = result._error
        result = None
    elif result.check_assignment(tp) and result.has_more():
        if not hasattr(result, "cursor"):
            result.cursor = new_cursor(result._partition_records)
        try:
            answer = result.cursor.take(limit)
        except CorruptRecordException as error:
            answer, result = error, None
        else:
            result._update_position()
            if result.cursor.exhausted:
                result = None
    else:
        result = None
    if result is None:
        del fetcher._records[tp]
        fetcher._notify(fetcher._wait_consume_future)
    return answer
