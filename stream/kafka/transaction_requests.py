"""The requests of a transaction and what their answers say, byte by byte.

Two ways to say the same. `AddPartitionsToTxn` names the partitions, then `Produce` writes, then `EndTxn` decides. Where
the cluster has `transaction.version` 2 (KIP-890, Apache Kafka 4.0), `Produce` of version 12 adds the partitions itself,
and `EndTxn` of version 5 answers with the producer's next epoch: a request less for each transaction, and what is late
of one transaction can never count as part of the next.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from io import BytesIO
from struct import Struct, pack
from typing import Any, Final, NamedTuple, Self, TypeVar

from stream.version import VERSION

PRODUCE, API_VERSIONS, INIT_PRODUCER_ID, ADD_PARTITIONS, END_TXN = 0, 18, 22, 24, 26
FEATURE: Final = "transaction.version"
SUPPORTED_FEATURES: Final = 0
"""The tag of the features that the broker knows, in an answer of ApiVersions."""
FINALIZED_FEATURES: Final = 2
"""That of those that the whole cluster has."""
ALL_REPLICAS: Final = -1

_INT16, _INT32, _INT64 = Struct(">h"), Struct(">i"), Struct(">q")
_HEADER: Final = Struct(">hhih")

T = TypeVar("T")
Place = tuple[str, int]
"""A topic and a partition of it."""


class Identity(NamedTuple):
    """Who writes: the transactional id, with the producer id and the epoch that the coordinator gave."""

    transactional_id: str
    producer_id: int
    epoch: int


class Answer:
    """The body of an answer, read from its beginning."""

    __slots__ = ("_at", "_data")

    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0

    @classmethod
    def decode(cls, buffer: BytesIO) -> Self:
        return cls(buffer.read())

    def number(self, form: Struct) -> int:
        value: int = self.numbers(form)[0]
        return value

    def numbers(self, form: Struct) -> tuple[Any, ...]:
        """Several at once."""
        values = form.unpack_from(self._data, self._at)
        self._at += form.size
        return values

    def length(self) -> int:
        """Of an array; 0 where there is none."""
        return max(self.number(_INT32), 0)

    def text(self) -> str:
        """Empty where there is none."""
        return self._take(self.number(_INT16))

    def skip_tags(self) -> None:
        """What a later version may have added."""

    def _take(self, length: int) -> str:
        if length <= 0:
            return ""
        self._at += length
        return self._data[self._at - length : self._at].decode()


class FlexibleAnswer(Answer):
    """In the compact form (KIP-482)."""

    __slots__ = ()

    def length(self) -> int:
        return max(self.varint() - 1, 0)

    def text(self) -> str:
        return self._take(self.varint() - 1)

    def skip_tags(self) -> None:
        self.tags()

    def tags(self) -> dict[int, bytes]:
        found = {}
        for _ in range(self.varint()):
            tag, size = self.varint(), self.varint()
            self._at += size
            found[tag] = self._data[self._at - size : self._at]
        return found

    def varint(self) -> int:
        value = shift = 0
        while True:
            byte = self._data[self._at]
            self._at += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
            shift += 7


class Encoded:
    __slots__ = ("_data",)

    def __init__(self, data: bytes) -> None:
        self._data = data

    def encode(self) -> bytes:
        return self._data


class AnswerHeader(NamedTuple):
    correlation_id: int


class Request:
    """A request in the form in which aiokafka's connections take one, with its bytes made already."""

    __slots__ = ("RESPONSE_TYPE", "_body", "api_key", "version")

    def __init__(self, api_key: int, version: int, body: bytes, *, flexible: bool = False) -> None:
        self.api_key, self.version, self._body = api_key, version, body
        self.RESPONSE_TYPE: type[Answer] = FlexibleAnswer if flexible else Answer

    def prepare(self, versions: Mapping[int, tuple[int, int]]) -> Self:  # noqa: ARG002 - as of aiokafka's own
        return self

    def build_request_header(self, correlation_id: int, client_id: str) -> Encoded:
        name = client_id.encode()
        header = _HEADER.pack(self.api_key, self.version, correlation_id, len(name)) + name
        return Encoded(header + b"\0" if self.RESPONSE_TYPE is FlexibleAnswer else header)

    def encode(self) -> bytes:
        return self._body

    def parse_response_header(self, buffer: BytesIO) -> AnswerHeader:
        header = AnswerHeader(_INT32.unpack(buffer.read(4))[0])
        # That of ApiVersions has no tags: who asks does not know yet what is understood.
        if self.RESPONSE_TYPE is FlexibleAnswer and self.api_key != API_VERSIONS:
            tags = buffer.read(1)
            assert tags == b"\0", "an answer's header has no tags yet"
        return header


# ---- requests ------------------------------------------------------------------------------------------------


def ask_features() -> Request:
    version = VERSION.replace("+", "-")  # a broker refuses the answer where it has other signs
    return Request(API_VERSIONS, 3, _compact(b"contacts-report") + _compact(version.encode()) + b"\0", flexible=True)


def init_producer(transactional_id: str, timeout_ms: int) -> Request:
    return Request(INIT_PRODUCER_ID, 0, pack_text(transactional_id) + _INT32.pack(timeout_ms))


def add_partitions(who: Identity, places: Iterable[Place]) -> Request:
    topics = _by_topic((place, place[1]) for place in places)
    parts = [_identity(who), _INT32.pack(len(topics))]
    for topic, partitions in topics.items():
        parts += (pack_text(topic), pack(f">i{len(partitions)}i", len(partitions), *partitions))
    return Request(ADD_PARTITIONS, 0, b"".join(parts))


def end_transaction(who: Identity, *, whole: bool) -> Request:
    """Commit. `whole`: as of `transaction.version` 2."""
    if not whole:
        return Request(END_TXN, 0, _identity(who) + b"\1")
    body = _compact(who.transactional_id.encode()) + pack(">qh", who.producer_id, who.epoch) + b"\1\0"
    return Request(END_TXN, 5, body, flexible=True)


def produce(who: Identity, timeout_ms: int, batches: Sequence[tuple[Place, bytes]], *, whole: bool) -> Request:
    """Write record batches, one a partition. `whole`: as of `transaction.version` 2, which adds the partitions."""
    topics = _by_topic((place, (place[1], batch)) for place, batch in batches)
    limits = pack(">hi", ALL_REPLICAS, timeout_ms)
    if not whole:
        parts = [pack_text(who.transactional_id), limits, _INT32.pack(len(topics))]
        for topic, of_topic in topics.items():
            parts += (pack_text(topic), _INT32.pack(len(of_topic)))
            for partition, batch in of_topic:
                parts += (pack(">ii", partition, len(batch)), batch)
        return Request(PRODUCE, 7, b"".join(parts))
    parts = [_compact(who.transactional_id.encode()), limits, _varint(len(topics) + 1)]
    for topic, of_topic in topics.items():
        parts += (_compact(topic.encode()), _varint(len(of_topic) + 1))
        for partition, batch in of_topic:
            parts += (_INT32.pack(partition), _varint(len(batch) + 1), batch, b"\0")
        parts.append(b"\0")
    parts.append(b"\0")
    return Request(PRODUCE, 12, b"".join(parts), flexible=True)


# ---- answers -------------------------------------------------------------------------------------------------


def read_features(answer: Answer) -> dict[str, int]:
    """What the whole cluster has, by its level. Empty where the broker tells none."""
    return {name: level for name, level, _ in _read_tag(answer, FINALIZED_FEATURES)}


def read_supported(answer: Answer) -> dict[str, int]:
    """The newest level of each feature that the broker knows. Empty where it tells none."""
    return {name: newest for name, _, newest in _read_tag(answer, SUPPORTED_FEATURES)}


def _read_tag(answer: Answer, tag: int) -> list[tuple[str, int, int]]:
    """Name and two levels of each feature under a tag of an answer of ApiVersions."""
    assert isinstance(answer, FlexibleAnswer)
    if answer.number(_INT16):
        return []
    for _ in range(answer.length()):
        for form in (_INT16, _INT16, _INT16):
            answer.number(form)
        answer.skip_tags()
    answer.number(_INT32)
    told = answer.tags().get(tag)
    if told is None:
        return []
    of_tag, found = FlexibleAnswer(told), list[tuple[str, int, int]]()
    for _ in range(of_tag.length()):
        found.append((of_tag.text(), of_tag.number(_INT16), of_tag.number(_INT16)))
        of_tag.skip_tags()
    return found


def read_producer(answer: Answer) -> tuple[int, int, int]:
    """The error code, the producer id and its epoch."""
    answer.number(_INT32)
    return answer.number(_INT16), answer.number(_INT64), answer.number(_INT16)


def read_added(answer: Answer) -> dict[Place, int]:
    """Of each partition the error code."""
    answer.number(_INT32)
    found = {}
    for _ in range(answer.length()):
        topic = answer.text()
        for _ in range(answer.length()):
            partition = answer.number(_INT32)
            found[topic, partition] = answer.number(_INT16)
    return found


def read_end(answer: Answer) -> int:
    """The error code. What follows it, as of `transaction.version` 2, `read_producer` reads too."""
    answer.number(_INT32)
    return answer.number(_INT16)


def read_produced(answer: Answer) -> dict[Place, int]:
    """Of each partition the error code."""
    found = {}
    for _ in range(answer.length()):
        topic = answer.text()
        for _ in range(answer.length()):
            partition = answer.number(_INT32)
            found[topic, partition] = answer.number(_INT16)
            for _ in range(3):  # the first offset, the broker's time, and where the log begins
                answer.number(_INT64)
            if isinstance(answer, FlexibleAnswer):
                for _ in range(answer.length()):
                    answer.number(_INT32)
                    answer.text()
                    answer.skip_tags()
                answer.text()
            answer.skip_tags()
        answer.skip_tags()
    return found


# ---- parts ---------------------------------------------------------------------------------------------------


def _by_topic(of: Iterable[tuple[Place, T]]) -> dict[str, list[T]]:
    topics: dict[str, list[T]] = {}
    for (topic, _), one in of:
        topics.setdefault(topic, []).append(one)
    return topics


def _identity(who: Identity) -> bytes:
    return pack_text(who.transactional_id) + pack(">qh", who.producer_id, who.epoch)


def pack_text(text: str) -> bytes:
    """In the form before the compact one."""
    data = text.encode()
    return _INT16.pack(len(data)) + data


def _compact(data: bytes) -> bytes:
    return _varint(len(data) + 1) + data


def _varint(number: int) -> bytes:
    found = bytearray()
    while number > 0x7F:
        found.append(number & 0x7F | 0x80)
        number >>= 7
    found.append(number)
    return bytes(found)
