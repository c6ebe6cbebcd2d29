"""Waits for Kafka before a worker starts, and checks that its topics will do."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import NamedTuple

from stream.kafka.letter_limit import letter_limit
from stream.kafka.reach import why_unreachable
from stream.kafka.topics import (
    Role,
    Topics,
    TopicsError,
    TopicsUnreachable,
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
        except TopicsUnreachable as error:
            why = TopicsError(f"{error}: {await why_unreachable(config.kafka)}")
            readiness.waits_for = str(why)
            note_kafka(why)
        except TopicsError as error:
            readiness.waits_for = str(error)
            note_kafka(error)
        await asyncio.sleep(back_off.take())


async def _check(config: WorkerConfig, topics: Topics) -> Found:
    wanted = wanted_topics(config)
    actual = await topics.describe([topic.name for topic in wanted])
    missing = [topic.name for topic in wanted if topic.name not in actual]
    if missing:
        raise WorkerMustStop(f"there is no topic {', '.join(missing)}: `contacts-report topics` makes what is needed")
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
    found = [
        difference for difference in find_differences(wanted, actual, partitions) if difference.what != "partitions"
    ]
    for difference in found:
        log.warning("%s", difference)
    return Found(partitions, letter_bytes, tuple(map(str, found)))
