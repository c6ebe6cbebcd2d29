"""`contacts-report doctor`: looks for what is set wrong, and says what it means and what mends it."""

import argparse
import asyncio
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec
from redis.exceptions import RedisError

from cli.command import DONE, WRONG
from cli.options import add_settings, read_settings
from stream.audit.certificates import check_kafka_certificates, check_redis_certificate, check_redis_files
from stream.audit.finding import Finding, bad, good
from stream.audit.kafka_checks import check_kafka
from stream.audit.membership import REASONS, find_silent
from stream.audit.redis_checks import check_permissions, check_redis
from stream.kafka.clients import mute_unread_failures
from stream.kafka.groups import group_members
from stream.ports import KafkaAway
from stream.projection.checks import RedisRefused, ask_certificate, ask_server
from stream.projection.permissions import ask_permissions
from stream.projection.worker_status import read_worker_statuses
from stream.settings.api import ApiConfig
from stream.settings.declare import Reading
from stream.settings.redis import redis_client
from stream.settings.redis_words import describe_redis
from stream.settings.worker import WorkerConfig
from stream.storage.keys import PARTITIONS, Keys
from stream.version import VERSION

REDIS_TIMEOUT_SECONDS = 5.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Looks at Kafka, Redis, topics, rights, certificates, clocks, and the settings of worker and API. Says "
        "of each what was found and, where it is not good, what it means and what mends it. Changes nothing. Exits "
        "with 1 where something is not good."
    )
    parser.add_argument("--json", action="store_true", help="one JSON object")
    add_settings(parser, WorkerConfig, ApiConfig)


def run(args: argparse.Namespace, environ: Mapping[str, str]) -> int:
    """Check all; returns WRONG where something is not good."""
    worker, api = read_settings(WorkerConfig, args, environ), read_settings(ApiConfig, args, environ)
    found = list(_check_settings(worker, api))
    if not worker.problems:
        found += asyncio.run(_check_servers(worker.config()))
    if args.json:
        print(json.dumps({"findings": [msgspec.to_builtins(one) for one in found]}, indent=2))
    else:
        _print_text(found)
    return DONE if all(one.good for one in found) else WRONG


def _check_settings(worker: Reading[WorkerConfig], api: Reading[ApiConfig]) -> Iterator[Finding]:
    problems = dict.fromkeys(str(problem) for problem in [*worker.problems, *api.problems])
    for problem in problems:
        yield bad("settings", problem, "Worker or API do not start with it.", "contacts-report config")
    for warning in dict.fromkeys([*worker.warnings, *api.warnings]):
        yield bad("settings", warning, "It may not be what you meant.", "contacts-report config")
    if not problems:
        yield good("settings", "can be read")


async def _check_servers(config: WorkerConfig) -> list[Finding]:
    mute_unread_failures(asyncio.get_running_loop())
    certificates = await asyncio.to_thread(lambda: [*check_kafka_certificates(config), *check_redis_files(config)])
    kafka, redis = await asyncio.gather(check_kafka(config), _check_redis(config))
    return [*kafka, *certificates, *redis]


async def _check_redis(config: WorkerConfig) -> list[Finding]:
    async with redis_client(config.redis, timeout_seconds=REDIS_TIMEOUT_SECONDS) as client:
        try:
            facts = await ask_server(client)
            found = [good("Redis", "answers"), *check_redis(facts)]
            certificate = await ask_certificate(client)
        except RedisRefused as error:
            return [
                bad(
                    "Redis",
                    str(error),
                    "Readers get 503, and nothing is counted.",
                    "contacts-report config   # CONTACTS_REDIS, and where it came from",
                )
            ]
        if certificate is not None:
            found.append(check_redis_certificate(certificate))
        keys = Keys(config.group)
        try:
            found.append(check_permissions(await ask_permissions(client, keys)))
        except RedisRefused as error:
            found.append(bad("rights in Redis", str(error), "Every write of a worker is a script: nothing is counted."))
        try:
            partitions = await client.hget(keys.positions, PARTITIONS)
            workers = await read_worker_statuses(client, keys)
        except (RedisError, OSError) as error:
            return [*found, bad("right to read Redis", describe_redis(error), "Readers get 503.")]
        found += _check_group(config, partitions is not None, workers)
        # A full Redis takes no reports, and those that it has expire: who reports to it cannot be told.
        return found if facts.full else [*found, *await _check_members(config, workers)]


async def _check_members(config: WorkerConfig, workers: Sequence[Mapping[str, Any]]) -> list[Finding]:
    """Whether all members of the group report to this Redis; nothing where Kafka does not say who they are."""
    try:
        members = await group_members(config.access, config.group)
    except KafkaAway:
        return []
    silent = find_silent(members, workers, config.topic)
    subject = "members of the group"
    if silent is None:
        return [good(subject, "report to this Redis")] if members else []
    return [
        bad(
            subject,
            silent.words,
            f"What they count does not reach the readers of this Redis: {REASONS}.",
            f"kafka-consumer-groups.sh --describe --members --group {config.group}   # the hosts that they run on",
        )
    ]


def _check_group(config: WorkerConfig, written: bool, workers: Sequence[Mapping[str, Any]]) -> Iterator[Finding]:
    if not written:
        yield bad(
            f"keys of the group {config.group}",
            "this Redis has none",
            "No worker of this group has written here: the API answers 503. Are CONTACTS_GROUP and CONTACTS_REDIS (its "
            "database too) those of the workers?",
            "contacts-report config",
        )
    versions = sorted({str(one.get("version")) for one in workers})
    if len({VERSION, *versions} - {"None"}) > 1:
        yield bad(
            "versions",
            f"workers run {', '.join(versions)}, and this command is {VERSION}",
            "During an update it is so for a while. Stored values of a newer version stop an older worker.",
            "contacts-report status",
        )
    elif workers:
        yield good("versions", f"{len(workers)} workers run {VERSION}")


def _print_text(found: Sequence[Finding]) -> None:
    for one in found:
        print(f"{'ok   ' if one.good else 'WRONG'}  {one.subject}: {one.found}")
        if one.meaning is not None:
            print(f"       {one.meaning}")
        if one.command is not None:
            print(f"       $ {one.command}")
    wrong = sum(not one.good for one in found)
    print(f"{len(found)} checks, {wrong} failed")
