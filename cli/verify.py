"""`contacts-report verify`: recounts from the topic, and compares the tables and Redis with it."""

import argparse
import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import date
from typing import Any

from redis.exceptions import RedisError

from cli.command import DONE, WRONG, CommandError
from cli.options import add_settings, read_settings
from cli.progress import Progress
from stream.audit.projected import ProjectedCounts
from stream.audit.verify import Verified, Verifier, Wrong
from stream.kafka.clients import mute_unread_failures
from stream.kafka.reading import open_reader
from stream.kafka.unpacking import unpacked_limit
from stream.model.time import date_of, day_number
from stream.ports import KafkaAway
from stream.projection.stored import StoredCounts
from stream.settings.redis import redis_client
from stream.settings.redis_words import describe_redis
from stream.settings.worker import ACCESS_SETTINGS, EVENT_SETTINGS, WorkerConfig
from stream.storage.keys import Keys

SETTINGS = (
    *ACCESS_SETTINGS,
    "redis",
    "topic",
    "group",
    *EVENT_SETTINGS,
    "dedupe_window_hours",
    "dedupe_max_ids",
)
REDIS_TIMEOUT_SECONDS = 30.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Recounts every cell from the activity topic, by the verdicts that were kept, and compares it with the tables "
        "(what a recovery of the changelog gives), and these with Redis. Workers may go on. Changes nothing. Exits "
        "with 1 where something is missing, extra or damaged. What is older than what the topic still holds is "
        "unverifiable, which is no fault; neither is what the settings of today would judge otherwise."
    )
    parser.add_argument(
        "--from",
        dest="from_day",
        type=_day,
        metavar="DAY",
        help="only days (UTC) from this one on; the topic is read from one dedupe window earlier",
    )
    parser.add_argument("--no-redis", action="store_true", help="compare the tables alone")
    parser.add_argument("--json", action="store_true", help="one JSON object")
    add_settings(parser, WorkerConfig, only=SETTINGS)


def run(args: argparse.Namespace, environ: Mapping[str, str]) -> int:
    """Verify all partitions; returns WRONG where they differ."""
    config = read_settings(WorkerConfig, args, environ).config()
    try:
        found = asyncio.run(_verify(config, args))
    except KafkaAway as error:
        raise CommandError(str(error)) from error
    except (RedisError, OSError) as error:
        raise CommandError(f"{describe_redis(error)}; --no-redis leaves it alone") from error
    if args.json:
        print(json.dumps(_as_json(found), indent=2))
    else:
        _print_text(found)
    return DONE if found.right else WRONG


async def _verify(config: WorkerConfig, args: argparse.Namespace) -> Verified:
    mute_unread_failures(asyncio.get_running_loop())
    async with (
        open_reader(config.access, config.topic, unpacked_limit(config.max_event_bytes)) as source,
        open_reader(config.access, config.changelog_topic) as changelog,
        _read_projected(config, args.no_redis) as projected,
    ):
        partitions = await source.partitions()
        for topic, there in ((config.topic, partitions), (config.changelog_topic, await changelog.partitions())):
            if there < max(partitions, 1):
                raise CommandError(f"{topic} has {there} partitions: `contacts-report topics` says what is needed")
        verifier = Verifier(config, source, changelog, projected, args.from_day, Progress(config.topic))
        for partition in range(partitions):
            await verifier.verify(partition)
        return verifier.found


@asynccontextmanager
async def _read_projected(config: WorkerConfig, without: bool) -> AsyncIterator[ProjectedCounts | None]:
    if without:
        yield None
        return
    async with redis_client(config.redis, timeout_seconds=REDIS_TIMEOUT_SECONDS) as client:
        yield ProjectedCounts(StoredCounts(client, Keys(config.group)))


def _as_json(found: Verified) -> dict[str, Any]:
    return {
        "right": found.right,
        **_numbers(found.total),
        "differences": [
            {"in": place.where, "workspace_id": place.workspace_id, "day": str(date_of(place.day)), **_numbers(wrong)}
            for place, wrong in sorted(found.differences.items())
        ],
        "differences_left_out": found.left_out,
        "problems": found.problems,
        "partitions": [
            {
                "partition": one.partition,
                "position": one.position,
                "offsets_read": one.read,
                "counted": one.counted,
                "compared_with_redis": one.compared,
                "in_motion": one.in_motion,
                "judged_otherwise_today": {
                    "now_counted": one.otherwise.now_counted,
                    "now_not_counted": one.otherwise.now_not_counted,
                    "offsets": one.otherwise.examples,
                },
            }
            for one in found.partitions
        ],
    }


def _numbers(wrong: Wrong) -> dict[str, Any]:
    return {
        "missing": wrong.missing,
        "extra": wrong.extra,
        "unverifiable": wrong.unverifiable,
        "damaged": wrong.damaged,
    }


def _print_text(found: Verified) -> None:
    for one in found.partitions:
        if one.position is None:
            print(f"partition {one.partition}: nothing is counted")
            continue
        print(
            f"partition {one.partition}: {one.counted:,} events counted again of {one.read:,} offsets up to "
            f"{one.position}; {one.compared:,} workspace-days compared with Redis"
            + (f", {one.in_motion:,} changed too often" if one.in_motion else "")
        )
        other = one.otherwise
        if other.examples:
            print(
                f"    the settings of today would count {other.now_counted} more and {other.now_not_counted} less (no "
                f"fault), as at offset {', '.join(map(str, other.examples))}"
            )
    for place, wrong in sorted(found.differences.items()):
        print(f"{place.where}: workspace {place.workspace_id}, {date_of(place.day)}: {_in_words(wrong)}")
    if found.left_out:
        print(f"{found.left_out} more workspace-days differ")
    for problem in found.problems:
        print(f"problem: {problem}")
    print("all counts are right" if found.right else f"wrong: {_in_words(found.total)}")


def _in_words(wrong: Wrong) -> str:
    words = [
        f"{number} {name}"
        for name, number in (
            ("missing", wrong.missing),
            ("extra", wrong.extra),
            ("unverifiable", wrong.unverifiable),
        )
        if number
    ]
    return ", ".join([*words, *(["damaged"] if wrong.damaged else [])]) or "see the problems"


def _day(text: str) -> int:
    try:
        return day_number(date.fromisoformat(text))
    except ValueError:
        raise argparse.ArgumentTypeError(f"'{text}' is no day like 2026-11-23") from None
