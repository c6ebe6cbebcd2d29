"""Which release of Apache Kafka each broker runs, as far as it tells.

A broker tells no version, but (since Kafka 2.7, KIP-584) which levels of `metadata.version` it knows, and each release
since 3.3 has brought one. aiokafka's own request for what a broker can do is older than that.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from io import BytesIO
from typing import Any, ClassVar, Final

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.protocol.api import Request, RequestStruct, Response, ResponseHeader_v0
from aiokafka.protocol.types import CompactArray, CompactString, Int16, Int32, Schema, TaggedFields

from stream.kafka.clients import BROKER_AWAY, describe
from stream.ports import KafkaAway
from stream.settings.kafka import KafkaAccess
from stream.version import VERSION

ANSWER_SECONDS: Final = 10.0
FEATURE: Final = "metadata.version"
SUPPORTED_FEATURES: Final = 0
"""The tag of an answer under which they are."""
FIRST_LEVELS: Final = {
    7: (3, 3),
    8: (3, 4),
    9: (3, 5),
    12: (3, 6),
    15: (3, 7),
    20: (3, 8),
    21: (3, 9),
    22: (4, 0),
    26: (4, 1),
    28: (4, 2),
    30: (4, 3),
    31: (4, 4),
    34: (4, 5),
}
"""The first level that each release knew: MetadataVersion.java of Apache Kafka. A newer one is told as the last."""

Release = tuple[int, int]


async def ask_releases(kafka: KafkaAccess) -> dict[str, Release | None]:
    """By broker, as host:port; None where it does not tell. Raises KafkaAway."""
    admin = AIOKafkaAdminClient(**kafka.options(), request_timeout_ms=int(ANSWER_SECONDS * 1000))
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            await admin.start()
            brokers = sorted(admin._client.cluster.brokers(), key=lambda broker: broker.nodeId)
            return {f"{broker.host}:{broker.port}": await _ask(admin._client, broker.nodeId) for broker in brokers}
    except BROKER_AWAY as error:
        raise KafkaAway(f"Kafka did not tell its versions: {describe(error)}") from error
    finally:
        await admin.close()


async def _ask(client: Any, node: int) -> Release | None:
    try:
        answer = await client.send(node, _ApiVersionsRequest())
    except NotImplementedError:  # older than the request
        return None
    features = answer.tags.get(SUPPORTED_FEATURES, b"")
    levels = {name: most for name, _, most, _ in _FEATURES.decode(BytesIO(features))} if features else {}
    return release_of(levels.get(FEATURE))


def release_of(level: int | None) -> Release | None:
    """The release whose newest level is this one, or the first one that knows it."""
    if level is None:
        return None
    known = sorted(FIRST_LEVELS)
    place = bisect_right(known, level)
    return FIRST_LEVELS[known[place - 1]] if place else None


_FEATURES: Final = CompactArray(
    ("name", CompactString("utf-8")), ("least", Int16), ("most", Int16), ("tags", TaggedFields)
)


class _ApiVersionsResponse(Response):  # type: ignore[misc]
    API_KEY: ClassVar[int] = 18
    API_VERSION: ClassVar[int] = 3
    SCHEMA: ClassVar[Schema] = Schema(
        ("error_code", Int16),
        ("apis", CompactArray(("key", Int16), ("least", Int16), ("most", Int16), ("tags", TaggedFields))),
        ("throttle_time_ms", Int32),
        ("tags", TaggedFields),
    )


class _ApiVersionsRequestStruct(RequestStruct):  # type: ignore[misc]
    API_KEY: ClassVar[int] = 18
    API_VERSION: ClassVar[int] = 3
    FLEXIBLE_VERSION: ClassVar[bool] = True
    RESPONSE_TYPE: ClassVar[type[Response]] = _ApiVersionsResponse
    SCHEMA: ClassVar[Schema] = Schema(
        ("software", CompactString("utf-8")), ("version", CompactString("utf-8")), ("tags", TaggedFields)
    )

    def parse_response_header(self, read_buffer: BytesIO | bytes) -> ResponseHeader_v0:
        """Of this answer it is always the oldest, for who does not know yet what a broker can do."""
        header: ResponseHeader_v0 = ResponseHeader_v0.decode(read_buffer)
        return header


class _ApiVersionsRequest(Request[_ApiVersionsRequestStruct]):  # type: ignore[misc]
    API_KEY: ClassVar[int] = 18

    def build(self, request_struct_class: Any) -> _ApiVersionsRequestStruct:
        made: _ApiVersionsRequestStruct = request_struct_class("contacts-report", VERSION.replace("+", "-"), {})
        return made
