"""Limits metadata requests to our own topics, since a cluster may have thousands of others.

The metadata of 2,000 topics of 12 partitions takes half a second of the loop each time.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from aiokafka.errors import (
    KafkaError,
    LeaderNotAvailableError,
    TopicAuthorizationFailedError,
    UnknownTopicOrPartitionError,
    for_code,
)
from aiokafka.protocol.metadata import MetadataRequest
from aiokafka.structs import TopicPartition

from stream.kafka.end_requests import ask_ends, read_ends

_MISSING: Final = UnknownTopicOrPartitionError.errno


def metadata_of(topics: Sequence[str]) -> MetadataRequest:
    """The request for these topics. Some brokers make a topic that they are asked for; this one says that it must not
    be made, which Apache Kafka heeds.
    """
    return MetadataRequest(list(topics), allow_auto_topic_creation=False)


def limit_metadata(client: Any, topics: Iterable[str]) -> None:
    """Let a client of aiokafka look after these topics alone; while it has none it asks for all."""
    client._topics = set(topics)


def list_visible(response: Any) -> list[dict[str, Any]]:
    """The topics of an answer that exist. Raises TopicAuthorizationFailedError where one is hidden from us."""
    found = []
    for topic in response.to_object()["topics"]:
        code = topic["error_code"]
        if code == TopicAuthorizationFailedError.errno:
            raise TopicAuthorizationFailedError(topic["topic"])
        if not code:
            found.append(topic)
    return found


async def fetch_partition_counts(client: Any, topics: Sequence[str]) -> dict[str, int]:
    """How many partitions those of the topics have that exist, by metadata asked for now. Raises KafkaError."""
    nodes = [broker.nodeId for broker in client.cluster.brokers()]
    random.shuffle(nodes)
    failure: KafkaError | TimeoutError = KafkaError("no broker is known")
    for node in nodes:
        try:
            response = await client.send(node, metadata_of(topics))
        except (KafkaError, TimeoutError) as error:
            failure = error
        else:
            return {topic["topic"]: len(topic["partitions"]) for topic in list_visible(response)}
    raise failure


def by_leader(client: Any, topic: str, partitions: Iterable[int]) -> dict[int | None, list[int]]:
    """The partitions by the broker that leads them, as far as this client knows; None where nobody does."""
    groups: defaultdict[int | None, list[int]] = defaultdict(list)
    for partition in partitions:
        leader = client.cluster.leader_for_partition(TopicPartition(topic, partition))
        groups[None if leader == -1 else leader].append(partition)
    return dict(groups)


async def fetch_ends(client: Any, leader: int, topic: str, partitions: Sequence[int]) -> Mapping[int, int | KafkaError]:
    """The end of each partition (read committed) as its leader tells it, or why it does not. Raises KafkaError."""
    told = read_ends(await client.send(leader, ask_ends(topic, partitions)))
    ends: dict[int, int | KafkaError] = {p: LeaderNotAvailableError(topic) for p in partitions}
    for partition, (code, end) in told.items():
        ends[partition] = for_code(code)(f"{topic} {partition}") if code else end
    return ends
