"""Records that the compiled core has packed, as aiokafka's producer takes a batch of them."""

from __future__ import annotations

import time
from typing import Any

from aiokafka.producer.message_accumulator import BatchBuilder

from stream.tables.core import load_core

HEADER_BYTES = 61


class FramedBatch(BatchBuilder):  # type: ignore[misc]
    """A batch that is full; its header is written when the producer tells who it is."""

    def __init__(self, records: bytes, count: int) -> None:
        self._records, self._count = records, count
        self._producer_state = (-1, -1, 0)
        self._framed: bytes | None = None

    def append(self, **_given: Any) -> None:
        """Nothing more goes in."""

    def close(self) -> None: ...

    def closed(self) -> bool:
        return True

    def record_count(self) -> int:
        return self._count

    def size(self) -> int:
        return HEADER_BYTES + len(self._records)

    def _set_producer_state(self, producer_id: int, producer_epoch: int, base_sequence: int) -> None:
        assert self._framed is None, "a batch that was sent is sent again as it is"
        self._producer_state = (producer_id, producer_epoch, base_sequence)

    def _build(self) -> bytes:
        if self._framed is None:
            now_ms = time.time_ns() // 1_000_000
            self._framed = load_core().frame_batch(self._records, self._count, now_ms, *self._producer_state)
        return self._framed
