"""Checks that Kafka is as a deployment needs it: releases, topics, rights, clock. Changes nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from stream.audit.broker_clock import check_broker_clock
from stream.audit.finding import Finding, bad, good
from stream.kafka.groups import group_members
from stream.kafka.reading import open_reader
from stream.kafka.rights import Operation, Operations, ask_rights
from stream.kafka.topics import (
    CLEANUP_POLICY,
    COMPACT,
    IN_SYNC_REPLICAS,
    MESSAGE_BYTES,
    PARTITIONS,
    REPLICATION,
    TIMESTAMP_TYPE,
    ActualTopic,
    Difference,
    TopicHidden,
    Topics,
    TopicsError,
    count_partitions,
    find_differences,
    open_topics,
    wanted_topics,
)
from stream.kafka.versions import Release, ask_releases
from stream.ports import KafkaAway
from stream.settings.worker import WorkerConfig

ANSWER_SECONDS: Final = 5.0
LEAST_RELEASE: Final = (4, 0)
UNREADABLE: Final = "Who may not read it cannot count, recover, or look at dead letters."


async def check_kafka(config: WorkerConfig) -> list[Finding]:
    """All that can be seen of Kafka; where it cannot be reached, that alone."""
    wanted = wanted_topics(config)
    try:
        async with open_topics(config.access) as topics:
            actual, hidden = await _describe(topics, [topic.name for topic in wanted])
    except TopicsError as error:
        return [
            bad(
                "Kafka",
                str(error),
                "Nothing is counted. Wrong servers, a firewall, or a security setting that is not the brokers'.",
                "contacts-report config   # CONTACTS_KAFKA and CONTACTS_KAFKA_SECURITY, and where each came from",
            )
        ]
    found = [good("Kafka", f"{config.kafka} answers"), *_check_topics(config, actual, hidden)]
    clock, versions, rights = await asyncio.gather(
        _check_clock(config, actual), _check_versions(config), _check_rights(config, [*actual, *hidden])
    )
    return [*found, versions, *clock, *rights, await _check_group(config)]


async def _check_clock(config: WorkerConfig, actual: Mapping[str, ActualTopic]) -> list[Finding]:
    return [await check_broker_clock(config)] if config.topic in actual else []


async def _check_versions(config: WorkerConfig) -> Finding:
    try:
        return judge_releases(await ask_releases(config.access))
    except KafkaAway as error:
        return bad("Kafka versions", str(error), f"Apache Kafka {_named(LEAST_RELEASE)} or newer is needed.")


def judge_releases(releases: Mapping[str, Release | None]) -> Finding:
    """By broker; None where it does not tell."""
    subject = "Kafka versions"
    told = sorted({release for release in releases.values() if release is not None})
    if not told:
        return good(subject, "are not told by these brokers")
    by_broker = ", ".join(f"{broker} {_named(release)}" for broker, release in releases.items())
    if told[0] < LEAST_RELEASE:
        return bad(
            subject, by_broker, f"Apache Kafka {_named(LEAST_RELEASE)} or newer is needed; older ones are not tested."
        )
    if len(set(releases.values())) > 1:
        return bad(
            subject,
            f"differ: {by_broker}",
            "While brokers are updated it is so for a while; what the oldest cannot do, none does.",
            "kafka-features.sh --bootstrap-server … describe",
        )
    return good(subject, f"{len(releases)} brokers run {_named(told[0])}")


def _named(release: Release | None) -> str:
    return "not told" if release is None else ".".join(map(str, release))


async def _describe(topics: Topics, names: Sequence[str]) -> tuple[dict[str, ActualTopic], list[str]]:
    """The topics that are there, and the names of those that are hidden from us."""
    actual: dict[str, ActualTopic] = {}
    hidden = []
    for name in names:
        try:
            actual |= await topics.describe([name])
        except TopicHidden:
            hidden.append(name)
    return actual, hidden


def _check_topics(config: WorkerConfig, actual: Mapping[str, ActualTopic], hidden: Sequence[str]) -> Iterator[Finding]:
    wanted = wanted_topics(config)
    partitions = count_partitions(config.topic, actual, config.partitions)
    for topic in wanted:
        there = actual.get(topic.name)
        if topic.name in hidden:
            yield bad(
                f"topic {topic.name}",
                "is hidden from us: neither Read, Write nor Describe",
                "No worker starts without it.",
                f"kafka-acls.sh --list --topic {topic.name}   # docs/operations.md has what each command needs",
            )
            continue
        if there is None and topic.name == config.topic and config.changelog_topic in actual:
            yield bad(
                f"topic {topic.name}",
                "is not there, and its changelog is",
                "No worker counts without it. If it was deleted, do not create it again: a new one ends every worker "
                "(docs/runbook.md, A topic that is gone).",
                "contacts-report status   # says whether any of it was counted",
            )
            continue
        if there is None:
            yield bad(
                f"topic {topic.name}",
                "is not there",
                "No worker starts without it. Or is CONTACTS_TOPIC or CONTACTS_GROUP mistyped?",
                "contacts-report topics",
            )
            continue
        if there.hidden:
            yield bad(
                f"topic {topic.name}",
                "its settings are hidden from us (DescribeConfigs)",
                "Nobody sees where they differ.",
                f"kafka-acls.sh --add --allow-principal User:… --operation DescribeConfigs --topic {topic.name}",
            )
        apart = find_differences([topic], actual, partitions)
        for one in apart:
            yield bad(
                f"topic {topic.name}",
                f"{one.what} is {one.actual}, wanted is {one.wanted}",
                MEANINGS[one.what],
                _mend(one),
            )
        if not apart and not there.hidden:
            yield good(f"topic {topic.name}", f"{there.partitions} partitions, set as it should be")


MEANINGS: Final = {
    PARTITIONS: "A worker that finds fewer of the others than of the activity topic ends.",
    REPLICATION: "With fewer copies a broker that is lost may take events or counts with it.",
    CLEANUP_POLICY: (
        f"Of the changelog anything but `{COMPACT}` loses counts: no worker starts. Elsewhere events may be lost."
    ),
    TIMESTAMP_TYPE: "Duplicates are told by times that publishers set, and may set wrong.",
    MESSAGE_BYTES: "What is larger is refused: an event, or a dead letter, at which its partition then stands still.",
    IN_SYNC_REPLICAS: "What was acknowledged may be lost with a broker.",
    "unclean.leader.election.enable": "A broker that lags may come to lead: events and counts may be lost.",
    "retention.ms": (
        "Kafka deletes events sooner or later than CONTACTS_TOPIC_RETENTION_MS and CONTACTS_DLQ_RETENTION_MS say: what "
        "is gone is not counted, traced or replayed."
    ),
    "retention.bytes": "Kafka deletes events by their size, counted or not.",
    "segment.bytes": "The newest segment of the changelog is never compacted: a recovery reads more of it.",
    "segment.ms": "The newest segment of the changelog is never compacted: a recovery reads more of it.",
    "min.cleanable.dirty.ratio": "The changelog is compacted at another share of stale bytes: a recovery reads more.",
    "delete.retention.ms": "A recovery that pauses for longer may miss that something was deleted.",
}
"""What it means where a topic differs in it."""


def _mend(one: Difference) -> str:
    if one.what == PARTITIONS:
        return f"contacts-report topics --partitions {max(int(one.wanted), int(one.actual))}"
    if one.what == REPLICATION:
        return "kafka-reassign-partitions.sh …   # with more replicas of each partition"
    return f"kafka-configs.sh --alter --topic {one.topic} --add-config {one.what}={one.wanted}"


async def _check_reading(config: WorkerConfig, topic: str, told: Operations) -> Finding:
    """Whether records may be read, as the brokers say; and one is, where there is one."""
    subject = f"right to read {topic}"
    if told is not None and Operation.READ not in told:
        return _right(subject, told, Operation.READ, UNREADABLE, f"--topic {topic}")
    try:
        async with open_reader(config.access, topic) as reader:
            async with asyncio.timeout(ANSWER_SECONDS * 4):
                for partition, (first, end) in (await reader.bounds(range(await reader.partitions()))).items():
                    if first < end:
                        async for _ in reader.read({partition: (end - 1, end)}):
                            break
                        break
    except (KafkaAway, TimeoutError) as error:
        return bad(subject, str(error) or "no answer", UNREADABLE, _allow(Operation.READ, f"--topic {topic}"))
    return good(subject, "is there")


async def _check_rights(config: WorkerConfig, topics: list[str]) -> list[Finding]:
    """What a worker writes, and where it joins: told by the brokers, since to try it would change something."""
    try:
        rights = await ask_rights(config.access, topics, config.group, f"{config.group}-0")
    except KafkaAway as error:
        return [bad("rights", str(error), "What may not be done is only seen when it is tried.")]
    visible = [topic for topic in rights.topics if rights.topics[topic] != frozenset()]
    found = [await _check_reading(config, topic, rights.topics[topic]) for topic in visible]
    for topic, loss in (
        (config.changelog_topic, "Nothing can be committed: the worker recovers over and over."),
        (config.dead_letter_topic, "A record that cannot be counted stops its partition."),
    ):
        if topic in rights.topics:
            resource = f"--topic {topic}"
            found.append(_right(f"right to write {topic}", rights.topics[topic], Operation.WRITE, loss, resource))
    loss = "A worker cannot join it: nothing is counted."
    found.append(_right(f"right to join {config.group}", rights.group, Operation.READ, loss, f"--group {config.group}"))
    subject = f"right to transactions {config.group}-…"
    if rights.transactional_ids:
        return [*found, good(subject, "is there")]
    loss = "Nothing can be committed: every commit is a transaction."
    resource = f"--transactional-id {config.group}- --resource-pattern-type prefixed"
    return [*found, bad(subject, "is not there (Write)", loss, _allow(Operation.WRITE, resource))]


def _right(subject: str, told: Operations, wanted: Operation, loss: str, resource: str) -> Finding:
    if told is None:
        return good(subject, "is not told by these brokers")
    if wanted in told:
        return good(subject, "is there")
    return bad(subject, f"is not there ({wanted.name.capitalize()})", loss, _allow(wanted, resource))


def _allow(operation: Operation, resource: str) -> str:
    return f"kafka-acls.sh --add --allow-principal User:… --operation {operation.name.capitalize()} {resource}"


async def _check_group(config: WorkerConfig) -> Finding:
    subject = f"group {config.group}"
    try:
        members = await group_members(config.access, config.group)
    except KafkaAway as error:
        return bad(
            subject,
            str(error),
            "Workers join it, and `skip` and `status` ask who is in it.",
            f"kafka-acls.sh --add --allow-principal User:… --operation Read --group {config.group}",
        )
    if not members:
        return bad(subject, "has no members", "Nothing is counted until a worker runs.", "contacts-report worker")
    return good(subject, f"has {len(members)} members")
