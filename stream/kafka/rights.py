"""What this user of Kafka may do, as the brokers say it: nothing is tried, and nothing changes.

Kafka tells with the metadata of a topic, and with the description of a group, which operations the asker may do with it
(KIP-430). aiokafka's own request for metadata is older than that.
"""

from __future__ import annotations

import asyncio
from enum import IntEnum
from typing import Any, ClassVar, Final

import msgspec
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import GroupAuthorizationFailedError, TopicAuthorizationFailedError
from aiokafka.protocol.admin import DescribeGroupsRequest_v3, DescribeGroupsResponse_v3
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.coordination import FindCoordinatorRequest
from aiokafka.protocol.types import Array, Boolean, Int16, Int32, Schema, String

from stream.kafka.clients import BROKER_AWAY, describe
from stream.kafka.groups import ANSWER_SECONDS, PASSING
from stream.ports import KafkaAway
from stream.settings.kafka import KafkaAccess

NOT_TOLD: Final = -(1 << 31)
TRANSACTION: Final = 1
TRANSACTIONAL_ID_REFUSED: Final = 53
AGAIN_SECONDS: Final = 0.3
TRIES: Final = 20


class Operation(IntEnum):
    """The bits of an answer, by Kafka's own numbers."""

    READ = 3
    WRITE = 4
    DESCRIBE = 8
    DESCRIBE_CONFIGS = 10


Operations = frozenset[Operation] | None
"""None: the brokers do not tell."""


class Rights(msgspec.Struct, frozen=True):
    """What may be done."""

    topics: dict[str, Operations]
    """Only those that exist, or are hidden from us: then nothing may be done with them."""
    group: Operations
    transactional_ids: bool
    """Whether we may see who coordinates them: whoever may write under them may."""


async def ask_rights(kafka: KafkaAccess, topics: list[str], group: str, transactional_id: str) -> Rights:
    """Raises KafkaAway."""
    admin = AIOKafkaAdminClient(**kafka.options(), request_timeout_ms=int(ANSWER_SECONDS * 1000))
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            await admin.start()
            answer = await admin._send_request(_MetadataRequest(topics))
            found = {topic["topic"]: topic for topic in answer.to_object()["topics"]}
            told = {
                name: _operations(topic["operations"], topic["error_code"] == TopicAuthorizationFailedError.errno)
                for name, topic in found.items()
                if topic["error_code"] in (0, TopicAuthorizationFailedError.errno)
            }
            return Rights(told, await _ask_group(admin, group), await _ask_transactional_id(admin, transactional_id))
    except BROKER_AWAY as error:
        raise KafkaAway(f"Kafka did not tell what we may do: {describe(error)}") from error
    finally:
        await admin.close()


async def _ask_group(admin: AIOKafkaAdminClient, group: str) -> Operations:
    for _ in range(TRIES):
        try:
            coordinator = await admin.find_coordinator(group)
            answer = await admin._send_request(_GroupsRequest(group), coordinator)
        except GroupAuthorizationFailedError:
            return frozenset()
        except PASSING:
            await asyncio.sleep(AGAIN_SECONDS)
            continue
        [told] = answer.to_object()["groups"]
        if told["error_code"] not in {error.errno for error in PASSING}:
            refused = told["error_code"] == GroupAuthorizationFailedError.errno
            return _operations(told["authorized_operations"], refused)
        await asyncio.sleep(AGAIN_SECONDS)
    return None


async def _ask_transactional_id(admin: AIOKafkaAdminClient, transactional_id: str) -> bool:
    answer = await admin._send_request(FindCoordinatorRequest(transactional_id, TRANSACTION))
    return bool(answer.error_code != TRANSACTIONAL_ID_REFUSED)


def _operations(bits: int, refused: bool) -> Operations:
    if refused:
        return frozenset()
    return None if bits == NOT_TOLD else frozenset(one for one in Operation if bits >> one & 1)


class _GroupsRequestStruct(DescribeGroupsRequest_v3):  # type: ignore[misc]
    """aiokafka reads the answer as one of version 2, without the operations."""

    RESPONSE_TYPE: ClassVar[type[Response]] = DescribeGroupsResponse_v3


class _GroupsRequest(Request[_GroupsRequestStruct]):  # type: ignore[misc]
    API_KEY: ClassVar[int] = DescribeGroupsRequest_v3.API_KEY

    def __init__(self, group: str) -> None:
        self._group = group

    def build(self, request_struct_class: Any) -> _GroupsRequestStruct:
        made: _GroupsRequestStruct = request_struct_class([self._group], True)
        return made


class _MetadataResponse(Response):  # type: ignore[misc]
    API_KEY: ClassVar[int] = 3
    API_VERSION: ClassVar[int] = 8
    SCHEMA: ClassVar[Schema] = Schema(
        ("throttle_time_ms", Int32),
        (
            "brokers",
            Array(("node_id", Int32), ("host", String("utf-8")), ("port", Int32), ("rack", String("utf-8"))),
        ),
        ("cluster_id", String("utf-8")),
        ("controller_id", Int32),
        (
            "topics",
            Array(
                ("error_code", Int16),
                ("topic", String("utf-8")),
                ("is_internal", Boolean),
                (
                    "partitions",
                    Array(
                        ("error_code", Int16),
                        ("partition", Int32),
                        ("leader", Int32),
                        ("leader_epoch", Int32),
                        ("replicas", Array(Int32)),
                        ("isr", Array(Int32)),
                        ("offline_replicas", Array(Int32)),
                    ),
                ),
                ("operations", Int32),
            ),
        ),
        ("cluster_operations", Int32),
    )


class _MetadataRequestStruct(RequestStruct):  # type: ignore[misc]
    API_KEY: ClassVar[int] = 3
    API_VERSION: ClassVar[int] = 8
    RESPONSE_TYPE: ClassVar[type[Response]] = _MetadataResponse
    SCHEMA: ClassVar[Schema] = Schema(
        ("topics", Array(String("utf-8"))),
        ("allow_auto_topic_creation", Boolean),
        ("include_cluster_operations", Boolean),
        ("include_topic_operations", Boolean),
    )


class _MetadataRequest(Request[_MetadataRequestStruct]):  # type: ignore[misc]
    """Makes no topic that is missing."""

    API_KEY: ClassVar[int] = 3

    def __init__(self, topics: list[str]) -> None:
        self._topics = topics

    def build(self, request_struct_class: Any) -> _MetadataRequestStruct:
        made: _MetadataRequestStruct = request_struct_class(self._topics, False, False, True)
        return made
