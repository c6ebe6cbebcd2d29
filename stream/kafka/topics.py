"""Knows which topics are needed and how they must be set, and compares those that are there.

Three topics, in the order in which they are made and in which partitions are added to them. The activity topic is last,
so that a worker that sees a partition of it also sees that partition of the others:

    <group>-state-changelog   what the worker has counted, compacted: what a worker reads when it starts
    <topic>.dlq               rejected events
    <topic>                   contact activity

Brokers that tell no settings, or only some (the embedded one), are not said to differ in what they do not tell.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol, TypeVar

from aiokafka.admin import AIOKafkaAdminClient, NewPartitions, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import (
    BrokerResponseError,
    KafkaError,
    RequestTimedOutError,
    TopicAlreadyExistsError,
    TopicAuthorizationFailedError,
    for_code,
)

from stream.kafka.metadata import list_visible, metadata_of
from stream.kafka.reach import why_not_begun
from stream.model.time import DAY_MILLISECONDS, HOUR_MILLISECONDS
from stream.ports import WorkerMustStop
from stream.settings.kafka import KafkaAccess
from stream.settings.worker import WorkerConfig

T = TypeVar("T")

LOG_APPEND_TIME = "LogAppendTime"
TIMESTAMP_TYPE = "message.timestamp.type"
MESSAGE_BYTES = "max.message.bytes"
IN_SYNC_REPLICAS = "min.insync.replicas"
CLEANUP_POLICY = "cleanup.policy"
COMPACT = "compact"
REPLICATION = "replication.factor"
PARTITIONS = "partitions"
REQUEST_BYTES = "socket.request.max.bytes"

AT_LEAST = frozenset({MESSAGE_BYTES, IN_SYNC_REPLICAS, REPLICATION})
"""What may be larger than wanted."""

MEBIBYTE = 1024 * 1024
BROKER_MESSAGE_BYTES = MEBIBYTE + 12
"""What brokers take where nothing is set: 1 MiB and the overhead of a batch."""
CHANGELOG_MESSAGE_BYTES = 4 * MEBIBYTE
"""Eight times the largest packed base, so that a batch of several changed day aggregates fits."""
CHANGELOG_SEGMENT_BYTES = 32 * MEBIBYTE
"""The newest segment is never compacted, so a recovery reads up to this much more than what is alive."""

METADATA_PATIENCE_SECONDS = 0.1


class TopicsError(Exception):
    """Kafka did not do, or did not answer, what was asked about topics; the text is for the person who asked."""


class TopicHidden(TopicsError):
    """Kafka does not let us see a topic."""


class TopicsRefused(TopicsError):
    """Kafka answered that it does not do it, so nothing was done."""


class Growth(Protocol):
    """What must be done beside a topic that is raised. Raises TopicsError."""

    async def prepare(self, known: int, partitions: int) -> None:
        """Right before the activity topic is raised from `known` partitions."""

    async def withdraw(self, partitions: int) -> None:
        """Kafka has refused to raise it."""


class Role(StrEnum):
    """What a topic is for, in the order of making and of adding partitions."""

    CHANGELOG = "changelog"
    DEAD_LETTERS = "dead letters"
    ACTIVITY = "activity"


@dataclass(frozen=True, slots=True)
class WantedTopic:
    name: str
    role: Role
    replicas: int
    settings: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class ActualTopic:
    name: str
    partitions: int
    replicas: int
    """The smallest number over its partitions."""
    settings: Mapping[str, str] = field(default_factory=dict)
    """Only what the broker told."""
    hidden: bool = False
    """Whether the broker tells the settings to others than us."""


@dataclass(frozen=True, slots=True)
class Difference:
    """Something about a topic that is not as the worker needs it."""

    topic: str
    what: str
    """A setting's name, `partitions` or `replication.factor`."""
    wanted: str
    actual: str

    def __str__(self) -> str:
        least = "at least " if self.what in AT_LEAST else ""
        return f"{self.topic}: {self.what} is {self.actual}, wanted is {least}{self.wanted}"


def wanted_topics(config: WorkerConfig) -> tuple[WantedTopic, ...]:
    """The three topics of a deployment, in the order in which they are made."""
    replicas = config.replication_factor
    # As many brokers may be lost as still leave two copies; with fewer than three copies there is none to spare.
    durable = {
        IN_SYNC_REPLICAS: str(replicas // 2 + 1 if replicas > 2 else 1),
        "unclean.leader.election.enable": "false",
    }
    activity_bytes = max(BROKER_MESSAGE_BYTES, config.max_event_bytes + MEBIBYTE // 16)
    changelog = {
        CLEANUP_POLICY: COMPACT,
        # By the broker's clock segments roll and tombstones expire, whatever the clocks of workers say.
        TIMESTAMP_TYPE: LOG_APPEND_TIME,
        MESSAGE_BYTES: str(CHANGELOG_MESSAGE_BYTES),
        "segment.bytes": str(CHANGELOG_SEGMENT_BYTES),
        "segment.ms": str(6 * HOUR_MILLISECONDS),
        # Compacted when a fifth is stale: a recovery reads so much in vain, and compaction writes five times as much.
        "min.cleanable.dirty.ratio": "0.2",
        # A recovery that is paused in its middle for longer than this could miss a tombstone.
        "delete.retention.ms": str(DAY_MILLISECONDS),
        **durable,
    }
    dead_letters = {
        CLEANUP_POLICY: "delete",
        TIMESTAMP_TYPE: LOG_APPEND_TIME,
        "retention.ms": str(config.dlq_retention_ms),
        # The largest event, and room for the headers that a dead letter adds.
        MESSAGE_BYTES: str(activity_bytes + MEBIBYTE),
        **durable,
    }
    activity = {
        CLEANUP_POLICY: "delete",
        # Duplicates are judged by the hours of the broker's clock, and no publisher can set that.
        TIMESTAMP_TYPE: LOG_APPEND_TIME,
        "retention.ms": str(config.topic_retention_ms),
        "retention.bytes": "-1",
        MESSAGE_BYTES: str(activity_bytes),
        **durable,
    }
    return (
        WantedTopic(config.changelog_topic, Role.CHANGELOG, replicas, changelog),
        WantedTopic(config.dead_letter_topic, Role.DEAD_LETTERS, replicas, dead_letters),
        WantedTopic(config.topic, Role.ACTIVITY, replicas, activity),
    )


def count_partitions(topic: str, actual: Mapping[str, ActualTopic], if_none: int) -> int:
    """How many all topics must have: as many as `topic` of activity, where it is gone as many as the others have."""
    if topic in actual:
        return actual[topic].partitions
    return max((there.partitions for there in actual.values()), default=if_none)


def find_differences(
    wanted: Sequence[WantedTopic], actual: Mapping[str, ActualTopic], partitions: int
) -> tuple[Difference, ...]:
    """How the topics that are there differ from the wanted ones with `partitions` each; missing ones are left out."""
    found: list[Difference] = []
    for topic in wanted:
        there = actual.get(topic.name)
        if there is None:
            continue
        if there.partitions != partitions:
            found.append(Difference(topic.name, PARTITIONS, str(partitions), str(there.partitions)))
        if there.replicas < topic.replicas:
            found.append(Difference(topic.name, REPLICATION, str(topic.replicas), str(there.replicas)))
        found += [
            Difference(topic.name, name, value, there.settings[name])
            for name, value in topic.settings.items()
            if name in there.settings and not _satisfies(name, value, there.settings[name])
        ]
    return tuple(found)


def refuse_unless_compacted(changelog: ActualTopic) -> None:
    """Raises WorkerMustStop where Kafka deletes what the changelog holds by age or size: the state of old days and ids
    would be gone, and the next recovery would go on without it and without a word.
    """
    policy = changelog.settings.get(CLEANUP_POLICY, COMPACT)
    if policy.strip() != COMPACT:
        raise WorkerMustStop(
            f"{changelog.name} has {CLEANUP_POLICY}={policy}, so Kafka deletes what was counted; only {COMPACT} keeps "
            f"it: kafka-configs.sh --alter --topic {changelog.name} --add-config {CLEANUP_POLICY}={COMPACT}. What is "
            "deleted already does not come back; a new CONTACTS_GROUP counts the topic from its beginning"
        )


def _satisfies(name: str, wanted: str, actual: str) -> bool:
    if name in AT_LEAST:
        return int(actual) >= int(wanted)
    return _number(actual) == _number(wanted)


def _number(text: str) -> float | str:
    """`0.2` and `0.20` are equal; `compact` is itself."""
    try:
        return float(text)
    except ValueError:
        return text


class Topics:
    """The topics of one Kafka. Every method raises TopicsError, and none takes longer than the time limit by much."""

    def __init__(self, admin: AIOKafkaAdminClient, kafka: KafkaAccess, timeout_seconds: float) -> None:
        self._admin = admin
        self._kafka = kafka
        self._timeout_seconds = timeout_seconds

    async def describe(self, names: Sequence[str]) -> dict[str, ActualTopic]:
        """Those of the topics that are there, with their settings."""
        found: dict[str, ActualTopic] = {}
        for topic in await self._list_visible(names):
            name = topic["topic"]
            replicas = min((len(partition["replicas"]) for partition in topic["partitions"]), default=0)
            settings = await self._settings(name)
            found[name] = ActualTopic(name, len(topic["partitions"]), replicas, settings or {}, settings is None)
        return found

    async def partitions(self, names: Sequence[str]) -> dict[str, int]:
        """How many partitions those of the topics have that are there."""
        return {topic["topic"]: len(topic["partitions"]) for topic in await self._list_visible(names)}

    async def create(self, topic: WantedTopic, partitions: int) -> bool:
        """Make a topic; False where somebody else just did. Returns when it can be seen."""
        new = NewTopic(topic.name, partitions, topic.replicas, topic_configs=dict(topic.settings))
        what = f"create {topic.name}"
        answer = await self._ask(what, self._admin.create_topics([new], timeout_ms=self._timeout_ms))
        _, code, *message = answer.topic_errors[0]
        if code == TopicAlreadyExistsError.errno:
            return False
        if code:
            raise TopicsError(f"Kafka refused to {what}: {message[0] if message else for_code(code).__name__}")
        await self.wait_until_seen(topic.name, partitions)
        return True

    async def add_partitions(self, name: str, partitions: int, *, validate_only: bool = False) -> None:
        """Raise a topic to this many partitions. Returns when they can be seen. Raises TopicsRefused.

        `validate_only`: do nothing, but raise where Kafka would refuse.
        """
        request = {name: NewPartitions(partitions)}
        what = f"give {name} {partitions} partitions"
        asked = self._admin.create_partitions(request, timeout_ms=self._timeout_ms, validate_only=validate_only)
        await self._ask(what, asked)
        if not validate_only:
            await self.wait_until_seen(name, partitions)

    async def _list_visible(self, names: Sequence[str]) -> list[dict[str, Any]]:
        what = f"describe {', '.join(names)}"
        response = await self._ask(what, self._admin._send_request(metadata_of(names)))
        try:
            return list_visible(response)
        except TopicAuthorizationFailedError as error:
            raise TopicHidden(
                f"Kafka at {self._kafka} does not let us describe {error.args[0]}: `contacts-report doctor` names the "
                "right that is missing"
            ) from error

    async def request_bytes(self) -> int | None:
        """The largest request that every broker takes; None where they do not tell us, which is no trouble."""
        brokers = [str(broker.nodeId) for broker in self._admin._client.cluster.brokers()]
        resources = [ConfigResource(ConfigResourceType.BROKER, broker) for broker in brokers]
        try:
            answers = await self._ask("tell their settings", self._admin.describe_configs(resources))
        except TopicsError:
            return None
        found = [resource for answer in answers for resource in answer.resources]
        told = [entry[1] for resource in found for entry in resource[4] if entry[0] == REQUEST_BYTES]
        return min(map(int, told)) if len(told) == len(brokers) else None

    async def _settings(self, name: str) -> dict[str, str] | None:
        """None where we may not see them."""
        # Without a choice of settings: the embedded broker closes the connection on a request that names some.
        resource = ConfigResource(ConfigResourceType.TOPIC, name)
        (answer,) = await self._ask(f"tell the settings of {name}", self._admin.describe_configs([resource]))
        code, message, _, _, entries = answer.resources[0]
        if code == TopicAuthorizationFailedError.errno:
            return None
        if code:
            raise TopicsError(f"Kafka did not tell the settings of {name}: {message or for_code(code).__name__}")
        return {entry[0]: entry[1] for entry in entries if entry[1] is not None}

    async def wait_until_seen(self, name: str, partitions: int = 1) -> int:
        """How many partitions a topic has, once it has at least so many: what the controller has done reaches the
        brokers a moment later.
        """
        deadline = asyncio.get_running_loop().time() + self._timeout_seconds
        while (seen := (await self.partitions([name])).get(name, 0)) < partitions:
            if asyncio.get_running_loop().time() > deadline:
                raise TopicsError(f"Kafka took {name} with {partitions} partitions, but does not show it")
            await asyncio.sleep(METADATA_PATIENCE_SECONDS)
        return seen

    async def _ask(self, what: str, question: Awaitable[T]) -> T:
        try:
            async with asyncio.timeout(self._timeout_seconds):
                return await question
        except TimeoutError:
            message = f"Kafka at {self._kafka} did not {what} within {self._timeout_seconds:g} s"
            raise TopicsError(message) from None
        except KafkaError as error:
            # A broker that ran out of time, or whose connection broke, may have done it nevertheless.
            refused = isinstance(error, BrokerResponseError) and not isinstance(error, RequestTimedOutError)
            kind = TopicsRefused if refused else TopicsError
            raise kind(f"Kafka at {self._kafka} did not {what}: {error}") from error

    @property
    def _timeout_ms(self) -> int:
        return max(1, int(self._timeout_seconds * 1000))


@asynccontextmanager
async def open_topics(kafka: KafkaAccess, *, timeout_seconds: float = 10.0) -> AsyncIterator[Topics]:
    """The topics of a Kafka. Raises TopicsError where it is away, or does not let us in."""
    admin = AIOKafkaAdminClient(**kafka.options(), request_timeout_ms=max(1, int(timeout_seconds * 1000)))
    try:
        try:
            async with asyncio.timeout(timeout_seconds):
                await admin.start()
        except (KafkaError, TimeoutError) as error:
            raise TopicsError(await why_not_begun(kafka, error)) from error
        yield Topics(admin, kafka, timeout_seconds)
    finally:
        await admin.close()


@dataclass(frozen=True, slots=True)
class Outcome:
    """What `ensure_topics` did and what it left."""

    created: tuple[str, ...]
    raised: tuple[str, ...]
    partitions: int
    """Of the activity topic, now."""
    differences: tuple[Difference, ...]
    hidden: tuple[str, ...] = ()
    """The topics whose settings we may not see."""


async def ensure_topics(
    topics: Topics,
    wanted: Sequence[WantedTopic],
    *,
    partitions_if_new: int,
    raise_to: int | None = None,
    growth: Growth | None = None,
) -> Outcome:
    """Make the missing topics, each with the activity topic's partitions; change none that is there, but to raise it.

    With `raise_to` all topics get this many partitions, the activity topic last: right before, `growth` prepares them,
    for readers must know of a partition before it can hold an event. May be repeated after a failure at any point.
    Raises TopicsError; where `raise_to` is less than what is there, or Kafka would refuse it, before anything is
    changed.
    """
    names = [topic.name for topic in wanted]
    activity = next(topic for topic in wanted if topic.role is Role.ACTIVITY)
    before = await topics.partitions(names)
    largest = max(before.values(), default=0)
    if raise_to is not None and raise_to < largest:
        has = ", ".join(f"{name} has {count}" for name, count in before.items() if count > raise_to)
        raise TopicsError(f"partitions cannot be lowered to {raise_to}: {has}")
    partitions = assumed = raise_to or before.get(activity.name) or max(largest, partitions_if_new)
    growing = [] if raise_to is None else [name for name in names if before.get(name, raise_to) < raise_to]
    for name in growing:
        await topics.add_partitions(name, partitions, validate_only=True)
    created: list[str] = []
    raised: list[str] = []
    for topic in wanted:
        if topic.name not in before:
            if await topics.create(topic, partitions):
                created.append(topic.name)
            elif topic is activity and raise_to is None:
                # Somebody has made it a moment ago, with a number of partitions that the others must have too.
                partitions = await topics.wait_until_seen(topic.name)
                for name in created if partitions > assumed else ():
                    await topics.add_partitions(name, partitions)
        elif topic.name in growing:
            if topic is activity and growth is not None:
                await _grow(topics, topic.name, before[topic.name], partitions, growth)
            else:
                await topics.add_partitions(topic.name, partitions)
            raised.append(topic.name)
    after = await topics.describe(names)
    hidden = tuple(name for name in names if name in after and after[name].hidden)
    return Outcome(tuple(created), tuple(raised), partitions, find_differences(wanted, after, partitions), hidden)


async def _grow(topics: Topics, name: str, known: int, partitions: int, growth: Growth) -> None:
    await growth.prepare(known, partitions)
    try:
        await topics.add_partitions(name, partitions)
    except TopicsRefused:
        await growth.withdraw(partitions)
        raise


def outcome_as_json(outcome: Outcome) -> dict[str, Any]:
    """The outcome as JSON's types."""
    return {
        "created": list(outcome.created),
        "raised": list(outcome.raised),
        "partitions": outcome.partitions,
        "differences": [
            {"topic": one.topic, "what": one.what, "wanted": one.wanted, "actual": one.actual}
            for one in outcome.differences
        ],
        "hidden": list(outcome.hidden),
    }
