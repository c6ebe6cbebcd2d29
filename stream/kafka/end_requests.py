"""The request for where partitions end, and its answer, byte by byte: it is asked several times a second."""

from __future__ import annotations

from collections.abc import Sequence
from struct import Struct
from typing import Final

from stream.kafka.transaction_requests import Answer, Request, pack_text

LIST_OFFSETS: Final = 2
VERSION: Final = 2
"""Of the request: that of Apache Kafka 0.11, which brokers of today still speak."""
_NO_REPLICA, _READ_COMMITTED, _LATEST = -1, 1, -1

_BEFORE_TOPICS: Final = Struct(">ibi")
"""The replica that asks, the isolation, and how many topics."""
_LENGTH: Final = Struct(">i")
_ASKED: Final = Struct(">iq")
_ANSWERED: Final = Struct(">ihqq")
"""The partition, its error code, a time, and its end."""


def ask_ends(topic: str, partitions: Sequence[int]) -> Request:
    """Where partitions of one topic end, for a reader of committed records."""
    parts = [
        _BEFORE_TOPICS.pack(_NO_REPLICA, _READ_COMMITTED, 1),
        pack_text(topic),
        _LENGTH.pack(len(partitions)),
        *(_ASKED.pack(partition, _LATEST) for partition in partitions),
    ]
    return Request(LIST_OFFSETS, VERSION, b"".join(parts))


def read_ends(answer: Answer) -> dict[int, tuple[int, int]]:
    """Of each partition the error code, and its end where that is 0."""
    answer.number(_LENGTH)  # how long this client is throttled
    found = {}
    for _ in range(answer.length()):
        answer.text()
        for _ in range(answer.length()):
            partition, code, _, end = answer.numbers(_ANSWERED)
            found[partition] = code, end
    return found
