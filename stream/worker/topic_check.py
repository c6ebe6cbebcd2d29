"""Waits for Kafka before a worker starts, checks that its topics will do, and watches their settings from then on."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Final, NamedTuple

from stream.kafka.clients import BROKER_AWAY
from stream.kafka.letter_limit import letter_limit
from stream.kafka.topics import (
    PARTITIONS,
    ActualTopic,
    Role,
    Topics,
    TopicsError,
    WantedTopic,
    find_differences,
    open_topics,
    refuse_unless_compacted,
    wanted_topics,
)
from stream.ports import WorkerMustStop
from stream.retry import BackOff
from stream.settings.worker import WorkerConfig
from stream.worker.readiness import Readiness

log = logging.getLogger(__name__)

LOOK_SECONDS: Final = 30.0
"""Between looks at the settings, so that an alert on them ends within a minute of the end of the difference."""


class Found(NamedTuple):
    """What a worker needs to know of its topics."""

    partitions: int
    """Of the topic of events."""
    letter_bytes: int
    """What a batch on the dead-letter topic may have."""
    differences: tuple[str, ...]
    """Which of their settings are not as `contacts-report topics` would make them, in words."""


async def wait_for_topics(
    config: WorkerConfig, readiness: Readiness, note_kafka: Callable[[int | Exception], None]
) -> Found:
    """Until Kafka answers; `note_kafka` hears how many partitions the topic has, or why Kafka does not tell. Raises
    WorkerMustStop where the topics will not do.
    """
    back_off = BackOff(1.0, 15.0)
    while True:
        try:
            async with open_topics(config.access) as topics:
                found = await _check(config, topics)
                note_kafka(found.partitions)
                return found
        except TopicsError as error:
            readiness.waits_for = str(error)
            note_kafka(error)
        await asyncio.sleep(back_off.take())


async def _check(config: WorkerConfig, topics: Topics) -> Found:
    wanted = wanted_topics(config)
    actual = await topics.describe([topic.name for topic in wanted])
    missing = [topic.name for topic in wanted if topic.name not in actual]
    if missing:
        raise WorkerMustStop(
            f"there is no topic {', '.join(missing)}: `contacts-report topics` makes what is needed, unless "
            "CONTACTS_TOPIC or CONTACTS_GROUP is mistyped"
        )
    letter_bytes = letter_limit(actual[config.dead_letter_topic].settings, await topics.request_bytes())
    partitions = next(actual[topic.name].partitions for topic in wanted if topic.role is Role.ACTIVITY)
    for topic in wanted:
        if actual[topic.name].partitions < partitions:
            raise WorkerMustStop(
                f"{topic.name} has {actual[topic.name].partitions} partitions, {config.topic} {partitions}: "
                f"`contacts-report topics --partitions {partitions}` raises it"
            )
    hidden = [topic.name for topic in wanted if actual[topic.name].hidden]
    if hidden:
        log.warning(
            "Kafka does not let us see the settings of %s (DescribeConfigs), so they were not compared",
            ", ".join(hidden),
        )
    refuse_unless_compacted(actual[config.changelog_topic])
    found = _differing_settings(wanted, actual)
    for difference in found:
        log.warning("%s", difference)
    return Found(partitions, letter_bytes, found)


def _differing_settings(wanted: Sequence[WantedTopic], actual: Mapping[str, ActualTopic]) -> tuple[str, ...]:
    """In words; the number of partitions is no setting."""
    return tuple(str(one) for one in find_differences(wanted, actual, 0) if one.what != PARTITIONS)


async def watch_settings(
    config: WorkerConfig, before: tuple[str, ...], note: Callable[[tuple[str, ...]], None]
) -> None:
    """Look at the topics' settings for ever. `note` hears each time which of them differ, in words; the log, which are
    new since `before` or the last look, and when none is left. Where Kafka does not tell, nothing is known to have
    changed.
    """
    wanted = wanted_topics(config)
    while True:
        await asyncio.sleep(LOOK_SECONDS)
        try:
            async with open_topics(config.access) as topics:
                actual = await topics.describe([topic.name for topic in wanted])
        except (TopicsError, *BROKER_AWAY) as error:
            log.debug("Kafka was not asked for the settings of its topics: %s", error)
            continue
        if len(actual) < len(wanted) or any(topic.hidden for topic in actual.values()):
            continue
        found = _differing_settings(wanted, actual)
        for difference in found:
            if difference not in before:
                log.warning("%s", difference)
        if before and not found:
            log.info("the settings of the topics are as they should be again")
        before = found
        note(found)
