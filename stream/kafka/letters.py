"""A dead letter as it is read back from its topic; how it is written stands in dead_letters.py."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from stream.ingest.event import LOG_APPEND_TIME, LeftOut, PlainRecord, Record
from stream.kafka.dead_letters import HEADERS_OMITTED, KEY_OMITTED, PREFIX, VALUE_OMITTED

OMISSIONS: Final[Mapping[str, str]] = {VALUE_OMITTED: "value", HEADERS_OMITTED: "headers", KEY_OMITTED: "key"}

_TOLD: Final = (
    PREFIX + "topic",
    PREFIX + "partition",
    PREFIX + "offset",
    PREFIX + "exception.class.name",
    PREFIX + "exception.message",
    "contacts.reason",
)


class Letter(msgspec.Struct, frozen=True):
    """One rejected record, and where it lies on the dead-letter topic."""

    partition: int
    offset: int
    arrived_ms: int
    """The broker's time of the letter, in milliseconds since 1970."""
    source_topic: str
    source_partition: int
    source_offset: int
    reason: str
    message: str
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes]]
    """Of the record as it was published."""
    omitted: Mapping[str, int]
    """`value`, `headers`, `key`: what was too large for the letter, and how many bytes it had."""

    def record(self) -> PlainRecord:
        """The rejected record, as far as it is known: its time is that of the letter, moments later."""
        return PlainRecord(self.source_offset, self.arrived_ms, LOG_APPEND_TIME, self.key, self.value, self.headers)


def read_letter(partition: int, record: Record) -> Letter | None:
    """The dead letter in a record; None where it is of another make, or too large to be read."""
    if isinstance(record.value, LeftOut):
        return None
    headers = list(record.headers)
    omitted: dict[str, int] = {}
    try:
        while headers and headers[-1][0] in OMISSIONS:
            name, size = headers.pop()
            omitted[OMISSIONS[name]] = int(size)
        told = headers[-len(_TOLD) :]
        if tuple(name for name, _ in told) != _TOLD:
            return None
        topic, source_partition, source_offset, _, message, reason = (content.decode() for _, content in told)
        return Letter(
            partition,
            record.offset,
            record.timestamp,
            topic,
            int(source_partition),
            int(source_offset),
            reason,
            message,
            record.key,
            record.value,
            headers[: -len(_TOLD)],
            omitted,
        )
    except (ValueError, AttributeError):  # not ours: a number that is none, or a header without a value
        return None
