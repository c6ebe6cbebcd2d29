"""aiokafka's fetches, packed and read here: its own describe each field by an object, which takes longer than all else
that a fetch of a few events costs the worker.

Version 11 alone, which every Apache Kafka since 2.3 speaks; for an older one the request is aiokafka's own.
"""

from __future__ import annotations

from io import BytesIO
from struct import Struct
from typing import Any, Final, Self

from aiokafka.protocol.fetch import FetchRequest, FetchRequest_v11

from stream.kafka.transaction_requests import Answer, Request, pack_text

Aborted = tuple[int, int]
"""A producer id, and the first offset of its transaction."""
Fetched = tuple[int, int, int, int, int, list[Aborted] | None, int, bytes | None]
"""A partition, its error code, the high watermark, the last stable offset, where the log begins, the transactions that
were aborted, the replica to be preferred, and record batches.
"""

_NO_REPLICA, _NO_SESSION, _NO_EPOCH, _NO_OFFSET = -1, 0, -1, -1
_LIMITS: Final = Struct(">iiiibii")
_LENGTH: Final = Struct(">i")
_ASKED: Final = Struct(">iiqqi")
_OF_PARTITION: Final = Struct(">ihqqqi")
_ABORTED: Final = Struct(">qq")
_PREFERRED: Final = Struct(">ii")
"""The replica, and the length of the record batches."""
_BEFORE_TOPICS: Final = 10
"""Bytes: how long this client is throttled, the error code, the session."""
_TEXT_LENGTH: Final = Struct(">h")


class FetchAnswer(Answer):
    """As aiokafka's of the same version, as far as its fetcher looks at it."""

    API_VERSION: Final = 11
    __slots__ = ("topics",)

    def __init__(self, data: bytes, at: int = 0) -> None:
        super().__init__(data)
        self.topics: list[tuple[str, list[Fetched]]] = read_topics(data, at + _BEFORE_TOPICS)

    @classmethod
    def decode(cls, buffer: BytesIO) -> Self:
        return cls(buffer.getvalue(), buffer.tell())  # which copies nothing


class PackedFetchRequest(FetchRequest):  # type: ignore[misc]
    def build(self, request_struct_class: Any) -> Any:
        if request_struct_class is not FetchRequest_v11:
            return super().build(request_struct_class)
        request = Request(self.API_KEY, FetchRequest_v11.API_VERSION, self._pack())
        request.RESPONSE_TYPE = FetchAnswer
        return request

    def _pack(self) -> bytes:
        parts = [
            _LIMITS.pack(
                _NO_REPLICA,
                self._max_wait_ms,
                self._min_bytes,
                self._max_bytes,
                self._isolation_level,
                _NO_SESSION,
                _NO_EPOCH,
            ),
            _LENGTH.pack(len(self._topics)),
        ]
        for topic, partitions in self._topics:
            parts += (pack_text(topic), _LENGTH.pack(len(partitions)))
            parts += [
                _ASKED.pack(partition, _NO_EPOCH, offset, _NO_OFFSET, size) for partition, offset, size in partitions
            ]
        parts += (_LENGTH.pack(0), pack_text(self._rack_id))  # no topic is forgotten by a session
        return b"".join(parts)


def read_topics(data: bytes, at: int) -> list[tuple[str, list[Fetched]]]:
    """The partitions of an answer by topic, from its array of topics on."""
    topics: list[tuple[str, list[Fetched]]] = []
    (number,) = _LENGTH.unpack_from(data, at)
    at += _LENGTH.size
    for _ in range(number):
        (length,) = _TEXT_LENGTH.unpack_from(data, at)
        at += _TEXT_LENGTH.size + length
        topic = data[at - length : at].decode()
        (of_topic,) = _LENGTH.unpack_from(data, at)
        at += _LENGTH.size
        partitions: list[Fetched] = []
        topics.append((topic, partitions))
        for _ in range(of_topic):
            *numbers, number_aborted = _OF_PARTITION.unpack_from(data, at)
            at += _OF_PARTITION.size
            aborted = None
            if number_aborted >= 0:
                end = at + _ABORTED.size * number_aborted
                aborted = list(_ABORTED.iter_unpack(data[at:end]))
                at = end
            preferred, size = _PREFERRED.unpack_from(data, at)
            at += _PREFERRED.size
            records = None
            if size >= 0:
                records = data[at : at + size]
                at += size
            partitions.append((*numbers, aborted, preferred, records))
    return topics
