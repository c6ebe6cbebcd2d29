"""Record batches of a transaction, as the bytes that a broker takes: packed by the core, or record by record."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Protocol

from aiokafka.record.default_records import DefaultRecordBatchBuilder

from stream.core import load_core

MAGIC = 2


class RecordBatch(Protocol):
    """Some records for one partition."""

    def frame(self, producer_id: int, epoch: int, sequence: int) -> bytes:
        """The whole batch, with who wrote it. Called once: a batch that is sent again is sent as it was."""

    @property
    def count(self) -> int:
        """How many records it has."""


class PackedBatch:
    """Records that the compiled core has packed."""

    __slots__ = ("_records", "count")

    def __init__(self, records: bytes, count: int) -> None:
        self._records, self.count = records, count

    def frame(self, producer_id: int, epoch: int, sequence: int) -> bytes:
        now_ms = time.time_ns() // 1_000_000
        framed: bytes = load_core().frame_batch(self._records, self.count, now_ms, producer_id, epoch, sequence)
        return framed


class BuiltBatch:
    """Records one after another, as many as the size allows."""

    __slots__ = ("_builder", "count")

    def __init__(self, limit: int) -> None:
        """`limit`: of its bytes. A single record may have more."""
        self._builder = DefaultRecordBatchBuilder(MAGIC, 0, 1, -1, -1, 0, limit)
        self.count = 0

    def append(self, key: bytes | None, value: bytes | None, headers: Sequence[tuple[str, bytes | None]]) -> bool:
        """Whether there was room for it."""
        if self._builder.append(self.count, None, key, value, headers) is None:
            return False
        self.count += 1
        return True

    def frame(self, producer_id: int, epoch: int, sequence: int) -> bytes:
        self._builder.set_producer_state(producer_id, epoch, sequence)
        return bytes(self._builder.build())
