"""`contacts-report trace`: what became of an event, or of the events of a contact."""

import argparse
import asyncio
import json
from collections.abc import Mapping
from typing import Any

from cli.command import DONE, WRONG, CommandError
from cli.moments import instant, show_ms, show_quarter
from cli.options import add_settings, read_settings
from cli.progress import Progress
from stream.audit.search import Search
from stream.audit.trace import GOOD, Found, Traced, TraceFailed, Verdict, trace
from stream.ports import KafkaAway
from stream.settings.worker import ACCESS_SETTINGS, EVENT_SETTINGS, WorkerConfig

SETTINGS = (
    *ACCESS_SETTINGS,
    "topic",
    "group",
    *EVENT_SETTINGS,
    "dedupe_window_hours",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Reads the activity topic and the dead letters to their present ends, and says of each record of the event, or "
        "of the contact: where it lies, when the broker took it, and what became of it, by the verdict that the worker "
        "committed. Changes nothing. Exits with 1 where nothing was found, or a record does not count and is no "
        "duplicate."
    )
    parser.add_argument("--id", metavar="ID", dest="event_id", help="the event's id")
    parser.add_argument("--contact", metavar="ID", help="the contact's id")
    parser.add_argument("--workspace", metavar="ID", help="of this workspace alone (default: of any)")
    parser.add_argument(
        "--from",
        dest="from_ms",
        type=instant,
        metavar="DAY|INSTANT",
        help="records that the broker took from then on (default: all that the topic has)",
    )
    parser.add_argument("--json", action="store_true", help="one JSON object")
    add_settings(parser, WorkerConfig, only=SETTINGS)


def run(args: argparse.Namespace, environ: Mapping[str, str]) -> int:
    """Find and explain; returns WRONG where nothing was found, or something is not as a publisher expects."""
    if not args.event_id and not args.contact:
        raise CommandError("--id or --contact says what is looked for")
    config = read_settings(WorkerConfig, args, environ).config()
    search = Search(args.event_id or None, args.contact or None, args.workspace or None)
    try:
        traced = asyncio.run(trace(config, search, args.from_ms, Progress(config.topic)))
    except (KafkaAway, TraceFailed) as error:
        raise CommandError(str(error)) from error
    if args.json:
        print(json.dumps(_as_json(config, search, traced), indent=2))
    else:
        _print_text(config, search, traced)
    return DONE if traced.records and all(one.verdict in GOOD for one in traced.records) else WRONG


def _as_json(config: WorkerConfig, search: Search, traced: Traced) -> dict[str, Any]:
    return {
        "records": [_record(config, one) for one in traced.records],
        "left_out": traced.left_out,
        "elsewhere": [
            {"workspace_id": named.workspace_id, "contact_id": named.contact_id or search.contact_id}
            for named in traced.elsewhere
        ],
        "offsets_read": traced.read,
    }


def _record(config: WorkerConfig, one: Found) -> dict[str, Any]:
    letter = None
    if one.letter is not None:
        letter = {"topic": config.dead_letter_topic, "partition": one.letter[0], "offset": one.letter[1]}
    return {
        "topic": config.topic,
        "partition": one.partition,
        "offset": one.offset,
        "broker_time": show_ms(one.broker_ms),
        "workspace_id": one.named.workspace_id,
        "event_id": one.named.event_id,
        "contact_id": one.named.contact_id,
        "activity": one.activity,
        "quarter_hour": None if one.quarter is None else show_quarter(one.quarter),
        "verdict": one.verdict.value,
        "duplicate_of": one.duplicate_of,
        "reason": one.reason,
        "message": one.message,
        "dead_letter": letter,
        "in_topic": not one.gone,
    }


def _print_text(config: WorkerConfig, search: Search, traced: Traced) -> None:
    for one in traced.records:
        named = f"workspace {one.named.workspace_id}, event {one.named.event_id}, contact {one.named.contact_id}"
        print(f"{config.topic} {one.partition} offset {one.offset}, {show_ms(one.broker_ms)}: {named}")
        print(f"    {_say(config, one)}")
    if traced.left_out:
        print(f"{traced.left_out} more match: say more of what is looked for, or --from")
    if not traced.records:
        where = "" if search.workspace_id is None else f" of workspace {search.workspace_id}"
        print(f"not found{where} in {traced.read:,} offsets of {config.topic}, nor among the dead letters")
    for other in traced.elsewhere:
        if search.event_id is None:
            print(f"this contact is in workspace {other.workspace_id}")
        else:
            print(f"the event with this id is of workspace {other.workspace_id}, contact {other.contact_id}")


def _say(config: WorkerConfig, one: Found) -> str:
    match one.verdict:
        case Verdict.COUNTED:
            where = (
                "" if one.quarter is None else f" as {one.activity} in the quarter-hour of {show_quarter(one.quarter)}"
            )
            return f"counted{where}"
        case Verdict.DUPLICATE:
            return f"a duplicate of offset {one.duplicate_of}: not counted again"
        case Verdict.REJECTED:
            place = "its dead letter is gone, or not written yet"
            if one.letter is not None:
                place = f"dead letter: {config.dead_letter_topic} {one.letter[0]} offset {one.letter[1]}"
            gone = "; the record itself is not in what was read" if one.gone else ""
            return f"rejected, {one.reason}: {one.message} ({place}{gone})"
        case Verdict.NOT_REACHED:
            return f"not reached yet: the workers of {config.group} have committed less"
        case Verdict.BEFORE:
            return f"before what is known: {config.group} began to count behind it"
        case Verdict.EXPIRED:
            return "counted, and its day is older than the retention of counts by now"
        case Verdict.NOT_COUNTED:
            return (
                "not counted, and why is not known any more: passed over with `skip`, or the record it copies is gone"
            )
