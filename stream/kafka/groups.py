"""Lists the members of the consumer group, before a command takes one of its partitions."""

from __future__ import annotations

import asyncio
from typing import Any, Final

from aiokafka.admin import AIOKafkaAdminClient
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


async def group_members(kafka: KafkaAccess, group: str) -> list[str]:
    """The clients and hosts of a group's members; empty where there is no such group. Raises KafkaAway."""
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
    return [f"{member['client_id']} at {member['client_host']}" for member in told["members"]]


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
