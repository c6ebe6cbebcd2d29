"""`contacts-report skip`: passes over one offset that nothing else helps with."""

import argparse
import asyncio
import json
import sys
from collections.abc import Mapping
from typing import Any

from cli.command import DONE, NOT_DONE, CommandError
from cli.moments import show_ms, show_quarter
from cli.options import add_settings, configuration
from stream.ingest.event import LeftOut, Rejected
from stream.kafka.clients import mute_unread_failures
from stream.kafka.topics import TopicsError
from stream.model.activity import ACTIVITIES, ContactActivity
from stream.model.time import quarter_of
from stream.ports import CommitFailed, KafkaAway, WorkerMustStop
from stream.settings.logs import configure
from stream.settings.worker import WorkerConfig
from stream.worker.skip import Seen, Skip, SkipRefused


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Passes over one offset of a partition: its event is lost to the report. For the day when a partition cannot "
        "pass it and nothing else helps. Runs only while the group has no members, so stop all workers first. Counts "
        "what lies before the offset, notes the offset as one that does not count, and commits; the workers go on "
        "behind it. What is lost is said first. Takes all settings of a worker, and they must be those of the workers."
    )
    parser.add_argument("--partition", type=_number, required=True, metavar="P")
    parser.add_argument("--offset", type=_number, required=True, metavar="O")
    parser.add_argument("--yes", action="store_true", help="do not ask")
    parser.add_argument("--json", action="store_true", help="one JSON object; asks nothing, so with --yes alone")
    add_settings(parser, WorkerConfig)


def run(args: argparse.Namespace, environ: Mapping[str, str]) -> int:
    """Say what is lost, ask, and skip. Returns NOT_DONE where it was not wanted."""
    config = configuration(WorkerConfig, args, environ)
    configure(config.log_format, config.log_level)
    try:
        return asyncio.run(_run(args, config))
    except CommitFailed as error:
        raise CommandError(
            f"whether it was passed over is not known ({error}): give the same command again, which says where the "
            "partition goes on"
        ) from error
    except (SkipRefused, KafkaAway, WorkerMustStop, TopicsError) as error:
        raise CommandError(f"nothing was passed over: {error}") from error


async def _run(args: argparse.Namespace, config: WorkerConfig) -> int:
    mute_unread_failures(asyncio.get_running_loop())
    skip = Skip(config, args.partition, args.offset)
    seen = await skip.look()
    if not args.json:
        _print_lost(config, seen)
    if not args.yes and not _confirm(args):
        print("nothing was passed over", file=sys.stderr)
        return NOT_DONE
    position = await skip.skip(lambda text: print(text, file=sys.stderr))
    if args.json:
        print(
            json.dumps({"lost": _describe_lost(seen), "next_offset": position.next_offset, "skipped": position.skipped})
        )
    else:
        print(f"passed over: partition {seen.partition} goes on at offset {position.next_offset}. Start the workers.")
    return DONE


def _confirm(args: argparse.Namespace) -> bool:
    if args.json or not sys.stdin.isatty():
        raise CommandError("nothing was passed over: --yes says that it is meant")
    return input("Pass over it? Type the offset: ").strip() == str(args.offset)


def _print_lost(config: WorkerConfig, seen: Seen) -> None:
    print(f"lost: {config.topic} {seen.partition} offset {seen.offset}")
    for name, value in _describe_lost(seen).items():
        if value is not None and name not in ("partition", "offset"):
            print(f"    {name}: {value}")
    if seen.offset > seen.next_offset:
        print(f"offsets {seen.next_offset} to {seen.offset - 1} lie before it, and are counted")


def _describe_lost(seen: Seen) -> dict[str, Any]:
    """What is at the offset, as far as it can be read."""
    lost: dict[str, Any] = {"partition": seen.partition, "offset": seen.offset, "cannot_be_read": seen.unreadable}
    if seen.record is not None:
        value = seen.record.value
        lost["broker_time"] = show_ms(seen.record.timestamp)
        lost["value_bytes"] = value.size if isinstance(value, LeftOut) else len(value or b"")
    if isinstance(seen.read, ContactActivity):
        lost |= {
            "workspace_id": seen.read.workspace_id,
            "event_id": seen.read.event_id,
            "contact_id": seen.read.contact_id,
            "activity": ACTIVITIES[seen.read.activity],
            "quarter_hour": show_quarter(quarter_of(seen.read.occurred_at)),
        }
    elif isinstance(seen.read, Rejected):
        lost |= {"would_be_rejected": seen.read.reason.value, "message": seen.read.message}
    return lost


def _number(text: str) -> int:
    if not (text.isascii() and text.isdecimal()):
        raise argparse.ArgumentTypeError(f"'{text}' is no whole number")
    return int(text)
