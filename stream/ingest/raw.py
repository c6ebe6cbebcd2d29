"""Fetched records as the bytes of their record batches: the compiled core reads these, and whoever asks for a record
has all of them unpacked.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, overload

from stream.ingest.event import Record


class RawRecords(Sequence[Record]):
    """Records that follow on one another, in record batches of which each record is committed."""

    def __init__(
        self,
        raw: bytes,
        start: int,
        decode: Callable[[bytes], list[Record]],
        unpacked_bytes: int,
        by_broker: tuple[int, int] | None,
    ) -> None:
        """`start`: the first offset that is wanted. `unpacked_bytes`: what one record batch may come to. `by_broker`:
        the latest time that a broker set, in milliseconds since 1970, and the first offset of its batch; None where no
        broker set one.
        """
        self.raw: Final = raw
        self.unpacked_bytes: Final = unpacked_bytes
        self.by_broker: Final = by_broker
        self._start, self._decode = start, decode
        self._decoded: list[Record] | None = None

    def __bool__(self) -> bool:
        """Whether there are record batches; what they hold may all lie before the start."""
        return bool(self.raw)

    def __len__(self) -> int:
        return len(self._records())

    @overload
    def __getitem__(self, at: int) -> Record: ...
    @overload
    def __getitem__(self, at: slice) -> Sequence[Record]: ...
    def __getitem__(self, at: int | slice) -> Record | Sequence[Record]:
        return self._records()[at]

    def _records(self) -> list[Record]:
        if self._decoded is None:
            self._decoded = [record for record in self._decode(self.raw) if record.offset >= self._start]
        return self._decoded
