"""`contacts-report rebuild-redis`: empties what a group keeps in Redis; its workers send everything again."""

import argparse
import asyncio
import json
from collections.abc import Mapping

from redis.exceptions import RedisError

from cli.command import DONE, CommandError
from cli.options import add_settings, read_settings
from stream.projection.replica import empty
from stream.settings.redis import redis_client
from stream.settings.redis_words import describe_redis
from stream.settings.worker import WorkerConfig
from stream.storage.keys import Keys

SETTINGS = ("redis", "group")
REDIS_TIMEOUT_SECONDS = 30.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Deletes every key of the group in Redis. Its workers notice within a second and send all counts again from "
        "what is committed in Kafka, then the activity rows, newest first. Until every partition's counts are there "
        "the API answers 503. Nothing that Kafka holds is touched."
    )
    parser.add_argument("--json", action="store_true", help="one JSON object")
    add_settings(parser, WorkerConfig, only=SETTINGS)


def run(args: argparse.Namespace, environ: Mapping[str, str]) -> int:
    """Delete the keys, and say how many they were."""
    config = read_settings(WorkerConfig, args, environ).config()
    if not args.json:
        print(f"deleting the keys of the group {config.group}; its workers send everything again")
    try:
        deleted = asyncio.run(_empty(config))
    except (RedisError, OSError) as error:
        raise CommandError(
            f"{describe_redis(error)}: some of the keys may be deleted; give the same command again once that is mended"
        ) from error
    print(json.dumps({"group": config.group, "deleted_keys": deleted}) if args.json else f"deleted {deleted} keys")
    return DONE


async def _empty(config: WorkerConfig) -> int:
    async with redis_client(config.redis, timeout_seconds=REDIS_TIMEOUT_SECONDS) as client:
        return await empty(client, Keys(config.group))
