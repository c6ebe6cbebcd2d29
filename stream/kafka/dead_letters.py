"""Encodes a rejected event for the dead-letter topic.

Same partition number and key, value and headers untouched, and behind them the headers that Kafka Connect gave such
records a name for. Brokers hold batches to their limit as they come, compressed, and dead letters go uncompressed: so a
record that was taken may be too large as a dead letter. Then its value is left out, then its headers too, then its key
too; a header says how many bytes each of them had.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

import msgspec

from stream.ingest.event import LeftOut
from stream.tables.commit import DeadLetter

PREFIX: Final = "__connect.errors."
VALUE_OMITTED: Final = "contacts.value_omitted"
HEADERS_OMITTED: Final = "contacts.headers_omitted"
KEY_OMITTED: Final = "contacts.key_omitted"
PARTS: Final = 3
"""That can be left out."""

Headers = Sequence[tuple[str, bytes | None]]

# Of a batch that is sent, before its first record; and of a record at most, without its key, value and headers.
BATCH_OVERHEAD: Final = 61
RECORD_OVERHEAD: Final = 21
# At most, of one length within a record.
VARINT_BYTES: Final = 5


class EncodedLetter(msgspec.Struct, frozen=True):
    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes | None]]
    size: int
    """Bytes of it at most, within a batch."""


def encode_dead_letter(
    letter: DeadLetter, topic: str, partition: int, limit: int, *, omit_at_least: int = 0
) -> EncodedLetter:
    """The dead letter that leaves out least of those that a batch of `limit` bytes holds; the smallest where none is.

    `omit_at_least`: how many parts are left out whatever their size.
    """
    forms = list(_forms(letter, topic, partition))
    forms = forms[min(omit_at_least, len(forms) - 1) :]
    return next((form for form in forms if BATCH_OVERHEAD + form.size <= limit), forms[-1])


def _forms(letter: DeadLetter, topic: str, partition: int) -> Iterator[EncodedLetter]:
    """All that is known of the record, then with ever more left out."""
    record = letter.record
    key, value = record.key, record.value
    own: Headers = record.headers
    told = _describe(letter, topic, partition)
    if isinstance(value, LeftOut):
        told = [*told, (VALUE_OMITTED, _number(value.size))]
        value = None
    yield _encode(key, value, own, told)
    if value:
        told = [*told, (VALUE_OMITTED, _number(len(value)))]
        value = None
        yield _encode(key, value, own, told)
    if own:
        told = [*told, (HEADERS_OMITTED, _number(_bytes_of(own)))]
        own = ()
        yield _encode(key, value, own, told)
    if key:
        told = [*told, (KEY_OMITTED, _number(len(key)))]
        key = None
        yield _encode(key, value, own, told)


def _describe(letter: DeadLetter, topic: str, partition: int) -> list[tuple[str, bytes | None]]:
    return [
        (PREFIX + "topic", topic.encode()),
        (PREFIX + "partition", _number(partition)),
        (PREFIX + "offset", _number(letter.record.offset)),
        (PREFIX + "exception.class.name", b"contacts.Rejected"),
        (PREFIX + "exception.message", letter.message.encode("utf-8", "replace")),
        ("contacts.reason", letter.reason.value.encode()),
    ]


def _encode(
    key: bytes | None,
    value: bytes | None,
    own: Headers,
    told: Headers,
) -> EncodedLetter:
    headers = [*own, *told]
    size = RECORD_OVERHEAD + 3 * VARINT_BYTES + len(key or b"") + len(value or b"")
    return EncodedLetter(key, value, headers, size + _bytes_of(headers) + 2 * VARINT_BYTES * len(headers))


def _bytes_of(headers: Headers) -> int:
    return sum(len(name.encode()) + len(content or b"") for name, content in headers)


def _number(number: int) -> bytes:
    return str(number).encode()
