"""`contacts-report topics`: creates the three topics with the right settings, or says what differs."""

import argparse
import asyncio
import json
from collections.abc import Mapping

from cli.command import DONE, WRONG, CommandError
from cli.options import add_settings, read_settings
from stream.kafka.topics import (
    PARTITIONS,
    Outcome,
    TopicsError,
    ensure_topics,
    open_topics,
    outcome_as_json,
    wanted_topics,
)
from stream.projection.partitions import Announcements
from stream.projection.replica import RedisReplica
from stream.settings.redis import redis_client
from stream.settings.worker import TOPICS_SETTINGS, WorkerConfig
from stream.storage.keys import Keys
from stream.worker.new_partitions import NewPartitions

REDIS_TIMEOUT_SECONDS = 5.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Creates the activity topic, the dead-letter topic and the changelog where they are missing, and says what "
        "differs in those that are there; their settings are left alone. The flag --partitions N also raises all of "
        "them to N partitions, the activity topic last, and begins the new ones, so that reports never wait for a "
        "worker; partitions cannot be taken away again."
    )
    parser.add_argument("--json", action="store_true", help="one JSON object")
    add_settings(parser, WorkerConfig, only=TOPICS_SETTINGS)


def run(args: argparse.Namespace, environ: Mapping[str, str]) -> int:
    """Create or compare; returns WRONG where something differs that was not repaired."""
    reading = read_settings(WorkerConfig, args, environ)
    config = reading.config()
    # Only the flag raises what is there. A variable or a file holds for every later call too, and only for new topics.
    raise_to = config.partitions if args.partitions is not None else None
    try:
        outcome = asyncio.run(_ensure(config, raise_to))
    except TopicsError as error:
        raise CommandError(str(error)) from error
    if args.json:
        print(json.dumps(outcome_as_json(outcome), indent=2))
    else:
        _print_text(config, outcome)
    return WRONG if outcome.differences else DONE


async def _ensure(config: WorkerConfig, raise_to: int | None) -> Outcome:
    async with (
        open_topics(config.access) as topics,
        redis_client(config.redis, timeout_seconds=REDIS_TIMEOUT_SECONDS) as redis,
    ):
        keys = Keys(config.group)

        async def count() -> int:
            return (await topics.partitions([config.topic]))[config.topic]

        growth = NewPartitions(config, RedisReplica(redis, keys), Announcements(redis, keys), count)
        return await ensure_topics(
            topics, wanted_topics(config), partitions_if_new=config.partitions, raise_to=raise_to, growth=growth
        )


def _print_text(config: WorkerConfig, outcome: Outcome) -> None:
    for topic in wanted_topics(config):
        if topic.name in outcome.created:
            said = f"created with {outcome.partitions} partitions"
        elif topic.name in outcome.raised:
            said = f"raised to {outcome.partitions} partitions"
        else:
            said = "is there"
        print(f"{topic.name}: {said}")
    for name in outcome.hidden:
        print(f"{name}: Kafka does not let us see its settings (DescribeConfigs), so they were not compared")
    for difference in outcome.differences:
        print(f"differs: {difference}{_advice(difference.what, difference.wanted)}")


def _advice(what: str, wanted: str) -> str:
    return f" (contacts-report topics --partitions {wanted} raises what has fewer)" if what == PARTITIONS else ""
