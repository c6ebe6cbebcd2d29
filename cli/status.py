"""`contacts-report status`: how the deployment is, on one screen."""

import argparse
import asyncio
import json
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from cli.command import DONE, WRONG
from cli.moments import show_ms
from cli.options import add_settings, read_settings
from stream.audit.status import KafkaPart, Line, ask_kafka, lines, recent_of, wrong
from stream.ingest.rejects import total
from stream.kafka.clients import mute_unread_failures
from stream.projection.shown import RedisPart, ask_redis
from stream.settings.redis import redis_client
from stream.settings.worker import TOPICS_SETTINGS, WorkerConfig
from stream.storage.keys import Keys
from stream.version import VERSION

REDIS_TIMEOUT_SECONDS = 5.0
STALLED_AFTER_MS = 30_000
EVERY_SECONDS = 2.0
CLEAR = "\033[H\033[2J"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Shows what Kafka and Redis say of the deployment, and what its workers tell of themselves. Either may be "
        "away: then the other part is shown. Changes nothing. Exits with 1 where something is wrong."
    )
    parser.add_argument("--watch", action="store_true", help="again every two seconds, until ctrl-c")
    parser.add_argument("--json", action="store_true", help="one JSON object")
    add_settings(parser, WorkerConfig, only=TOPICS_SETTINGS)


def run(args: argparse.Namespace, environ: Mapping[str, str]) -> int:
    """Look once, or over and over."""
    config = read_settings(WorkerConfig, args, environ).config()
    while True:
        kafka, redis = asyncio.run(_ask(config))
        now = int(time.time() * 1000)
        trouble = wrong(kafka, redis, now, STALLED_AFTER_MS)
        if args.json:
            print(json.dumps(_as_json(config, kafka, redis, trouble, now), indent=None if args.watch else 2))
        else:
            screen = "\n".join(_screen(config, kafka, redis, trouble, now))
            print((CLEAR if args.watch and sys.stdout.isatty() else "") + screen)
        if not args.watch:
            return WRONG if trouble else DONE
        time.sleep(EVERY_SECONDS)


async def _ask(config: WorkerConfig) -> tuple[KafkaPart, RedisPart]:
    mute_unread_failures(asyncio.get_running_loop())
    async with redis_client(config.redis, timeout_seconds=REDIS_TIMEOUT_SECONDS) as client:
        kafka, redis = await asyncio.gather(ask_kafka(config), ask_redis(client, Keys(config.group)))
    return kafka, redis


def _as_json(
    config: WorkerConfig, kafka: KafkaPart, redis: RedisPart, trouble: Sequence[str], now: int
) -> dict[str, Any]:
    return {
        "at": show_ms(now),
        "group": config.group,
        "topic": config.topic,
        "wrong": list(trouble),
        "as_of": _time(_as_of(redis)),
        "partitions": [msgspec.to_builtins(line) for line in lines(kafka, redis)],
        "workers": redis.workers,
        "recent": msgspec.to_builtins(total(recent_of(redis.workers))),
        "workers_gone": {worker: show_ms(told_ms) for worker, told_ms in redis.gone.items()},
        "kafka": {
            "failure": kafka.failure,
            "members": [str(one) for one in kafka.members],
            "differences": kafka.differences,
        },
        "redis": {"failure": redis.failure, "policy": redis.policy, "partitions": redis.partitions},
    }


def _screen(config: WorkerConfig, kafka: KafkaPart, redis: RedisPart, trouble: Sequence[str], now: int) -> list[str]:
    as_of = _as_of(redis)
    age = "nothing" if as_of is None else f"numbers as of {show_ms(as_of)}, {max(now - as_of, 0) / 1000:.1f} s old"
    return [
        f"contacts-report {VERSION}, group {config.group}, topic {config.topic}, {show_ms(now)}",
        f"Kafka    {kafka.failure or f'{len(kafka.ends)} partitions, {len(kafka.members)} members of the group'}",
        f"Redis    {redis.failure or f'answers, maxmemory-policy {redis.policy}'}",
        f"readers  {_name_hindrance(redis) or f'see {age}'}",
        "",
        *_table(lines(kafka, redis), now),
        "",
        *(f"worker   {_worker(one, now)}" for one in redis.workers),
        *(f"rejected {text}" for text in _list_rejected(redis.workers)),
        *(f"WRONG    {text}" for text in trouble),
        *([] if trouble else ["all is well"]),
    ]


def _name_hindrance(redis: RedisPart) -> str | None:
    """Why readers see nothing, or it is not known what."""
    if redis.failure:
        return "unknown: Redis does not answer"
    return "get 503: Redis is full, and refuses reads too" if redis.full else None


def _table(of: Sequence[Line], now: int) -> list[str]:
    rows = [("partition", "phase", "position", "end", "lag", "events/s", "committed", "Redis told", "owner")]
    rows += [
        (
            str(one.partition),
            one.phase or "-",
            _number(one.position),
            _number(one.end),
            _number(one.lag),
            _number(one.events_per_second),
            _ago(one.committed_ms, now),
            _ago(one.projected_ms, now),
            one.owner or "-",
        )
        for one in of
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def _worker(one: Mapping[str, Any], now: int) -> str:
    state = "ready" if one.get("ready") else f"not ready: {one.get('reason')}"
    return (
        f"{one['worker']} (version {one.get('version')}, started {_ago(one.get('started_ms'), now)}): {state}, "
        f"{one.get('counted', 0)} counted and {one.get('duplicates', 0)} duplicates since"
    )


def _list_rejected(workers: Sequence[Mapping[str, Any]]) -> list[str]:
    """By reason, over all workers, with the place of one."""
    counts: dict[str, int] = {}
    places: dict[str, str] = {}
    for one in workers:
        for reason, of in one.get("rejected", {}).items():
            counts[reason] = counts.get(reason, 0) + of["count"]
            if "offset" in of:
                places[reason] = f"partition {of['partition']}, offset {of['offset']}"
    return [f"{reason} {count} since the workers' start, as at {places[reason]}" for reason, count in counts.items()]


def _as_of(redis: RedisPart) -> int | None:
    """Up to when readers see everything; None where a partition has no position."""
    times = [one.as_of_ms for one in redis.shown.values()]
    known = [at for at in times if at is not None]
    return min(known) if known and len(known) == len(times) else None


def _time(milliseconds: int | None) -> str | None:
    return None if milliseconds is None else show_ms(milliseconds)


def _number(number: float | None) -> str:
    return "-" if number is None else f"{number:,}"


def _ago(milliseconds: int | None, now: int) -> str:
    return "-" if milliseconds is None else f"{max(now - milliseconds, 0) / 1000:.1f} s ago"
