"""Lists the members of the consumer group with what they own: before a command takes one of its partitions, and for who
asks how the deployment is.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.coordinator.protocol import ConsumerProtocol
from aiokafka.errors import (
    GroupAuthorizationFailedError,
    GroupCoordinatorNotAvailableError,
    GroupLoadInProgressError,
    NotCoordinatorForGroupError,
    for_code,
)

from stream.kafka.clients import BROKER_AWAY, describe
from stream.ports import KafkaAway
from stream.settings.kafka import KafkaAccess

ANSWER_SECONDS: Final = 20.0
AGAIN_SECONDS: Final = 0.3
PASSING: Final = (GroupCoordinatorNotAvailableError, GroupLoadInProgressError, NotCoordinatorForGroupError)


class Member(NamedTuple):
    """A member of the group: how its client calls itself, the host that it comes from, and the partitions of all
    topics that it was given last.
    """

    client: str
    host: str
    partitions: Mapping[str, tuple[int, ...]]

    def __str__(self) -> str:
        return f"{self.client} at {self.host}"


async def group_members(kafka: KafkaAccess, group: str) -> list[Member]:
    """A group's members; empty where there is no such group. Raises KafkaAway."""
    admin = AIOKafkaAdminClient(**kafka.options(), request_timeout_ms=int(ANSWER_SECONDS * 1000))
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            await admin.start()
            told = await _describe(admin, group)
    except BROKER_AWAY as error:
        raise KafkaAway(f"Kafka did not tell who is in the group {group}: {describe(error)}") from error
    finally:
        await admin.close()
    if told["error_code"] == GroupAuthorizationFailedError.errno:
        raise KafkaAway(f"Kafka does not let us see the group {group} (Describe)")
    if told["error_code"]:
        raise KafkaAway(f"Kafka did not tell who is in the group {group}: {for_code(told['error_code']).__name__}")
    return [
        Member(member["client_id"], member["client_host"], _partitions(member["member_assignment"]))
        for member in told["members"]
    ]


def _partitions(assignment: bytes) -> dict[str, tuple[int, ...]]:
    """By topic; empty while the group deals them out."""
    if not assignment:
        return {}
    told = ConsumerProtocol.ASSIGNMENT.decode(assignment)
    return {topic: tuple(partitions) for topic, partitions in told.assignment}


async def _describe(admin: AIOKafkaAdminClient, group: str) -> Any:
    """The group; asked again while the cluster looks for who keeps it, or its broker still loads it."""
    while True:
        try:
            [answer] = await admin.describe_consumer_groups([group])
        except PASSING:
            pass
        else:
            [told] = answer.to_object()["groups"]
            if told["error_code"] not in {error.errno for error in PASSING}:
                return told
        await asyncio.sleep(AGAIN_SECONDS)
