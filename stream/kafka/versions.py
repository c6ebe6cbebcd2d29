"""Which release of Apache Kafka each broker runs, as far as it tells.

A broker tells no version, but (since Kafka 2.7, KIP-584) which levels of `metadata.version` it knows, and each release
since 3.3 has brought one.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from typing import Any, Final

from aiokafka.admin import AIOKafkaAdminClient

from stream.kafka.clients import BROKER_AWAY, describe
from stream.kafka.transaction_requests import ask_features, read_supported
from stream.ports import KafkaAway
from stream.settings.kafka import KafkaAccess

ANSWER_SECONDS: Final = 10.0
FEATURE: Final = "metadata.version"
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
    return release_of(read_supported(await client.send(node, ask_features())).get(FEATURE))


def release_of(level: int | None) -> Release | None:
    """The release whose newest level is this one, or the first one that knows it."""
    if level is None:
        return None
    known = sorted(FIRST_LEVELS)
    place = bisect_right(known, level)
    return FIRST_LEVELS[known[place - 1]] if place else None
