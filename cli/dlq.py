"""`contacts-report dlq ls | show | replay`: the dead letters, and how they come back."""

import argparse
import asyncio
import base64
import json
import sys
from collections import Counter
from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import asynccontextmanager
from typing import Any

from cli.command import DONE, WRONG, CommandError
from cli.moments import instant, show_ms
from cli.options import add_settings, read_settings
from stream.audit.letter_search import LetterReader, Selection
from stream.audit.replay import Choice, Chooser, Decision, replay
from stream.ingest.event import Reason
from stream.kafka.clients import mute_unread_failures
from stream.kafka.letters import Letter
from stream.kafka.reading import open_reader
from stream.kafka.replay import Replayer, open_replayer, read_replayed
from stream.kafka.topics import TopicsError
from stream.kafka.unpacking import unpacked_limit
from stream.ports import Fenced, KafkaAway
from stream.settings.worker import ACCESS_SETTINGS, WorkerConfig

SETTINGS = (*ACCESS_SETTINGS, "topic", "max_event_bytes")
REPLAY_SETTINGS = (*SETTINGS, "group", "future_tolerance_seconds", "retention_days", "replication_factor")
KEYS_SHOWN = 20


def add_arguments(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)
    _add_ls(actions)
    _add_show(actions)
    _add_replay(actions)


def _add_ls(actions: Any) -> None:
    ls = actions.add_parser(
        "ls",
        help="lists dead letters",
        description="Lists the dead letters that are there, without what is in them, and ends; then how many they are, "
        "by reason and by key.",
    )
    _add_selection(ls)
    ls.add_argument("--follow", action="store_true", help="go on with those that come, until ctrl-c")
    ls.add_argument("--counts", action="store_true", help="only how many they are")
    ls.add_argument("--json", action="store_true", help="one JSON object a letter; with --counts one in all")
    add_settings(ls, WorkerConfig, only=SETTINGS)
    ls.set_defaults(act=_ls)


def _add_show(actions: Any) -> None:
    show = actions.add_parser(
        "show", help="shows dead letters whole", description="Shows dead letters with key, headers and value, as JSON."
    )
    show.add_argument("places", nargs="+", type=_place, metavar="PARTITION:OFFSET", help="on the dead-letter topic")
    add_settings(show, WorkerConfig, only=SETTINGS)
    show.set_defaults(act=_show)


def _add_replay(actions: Any) -> None:
    again = actions.add_parser(
        "replay",
        help="publishes rejected events again",
        description="Sends the records of dead letters again, to the partition that each came from, with the key, the "
        "value and the headers that it had, so that a copy of a counted event stays one. What was replayed before is "
        "left alone, and so is what was too large for its letter. Exits with 1 where something was left alone.",
    )
    again.add_argument(
        "places", nargs="*", type=_place, metavar="PARTITION:OFFSET", help="these letters alone (default: all)"
    )
    _add_selection(again)
    again.add_argument("--dry-run", action="store_true", help="only say what would be done, and how it would be judged")
    again.add_argument("--again", action="store_true", help="also those that were replayed before")
    again.add_argument("--json", action="store_true", help="one JSON object a letter")
    add_settings(again, WorkerConfig, only=REPLAY_SETTINGS)
    again.set_defaults(act=_replay)


def _add_selection(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--reason", action="append", choices=[one.value for one in Reason], help="of this reason; repeatable"
    )
    parser.add_argument("--key", help="with this key")
    parser.add_argument("--from", dest="from_ms", type=instant, metavar="DAY|INSTANT", help="rejected from then on")
    parser.add_argument("--before", dest="before_ms", type=instant, metavar="DAY|INSTANT", help="rejected before then")


def run(args: argparse.Namespace, environ: Mapping[str, str]) -> int:
    """Carry out one action. Raises CommandError."""
    config = read_settings(WorkerConfig, args, environ).config()
    selection = Selection(
        frozenset(getattr(args, "reason", None) or ()),
        args.key.encode() if getattr(args, "key", None) is not None else None,
        getattr(args, "from_ms", None),
        getattr(args, "before_ms", None),
        frozenset(getattr(args, "places", ())),
    )
    try:
        code: int = asyncio.run(_act(args, config, selection))
    except (KafkaAway, Fenced, TopicsError) as error:
        raise CommandError(str(error)) from error
    return code


async def _act(args: argparse.Namespace, config: WorkerConfig, selection: Selection) -> int:
    mute_unread_failures(asyncio.get_running_loop())
    code: int = await args.act(args, config, selection)
    return code


async def _ls(args: argparse.Namespace, config: WorkerConfig, selection: Selection) -> int:
    reasons: Counter[str] = Counter()
    keys: Counter[str] = Counter()
    async with open_reader(config.access, config.dead_letter_topic, unpacked_limit(config.max_event_bytes)) as reader:
        await _require_topic(reader.topic, await reader.partitions())
        letters = LetterReader(reader, selection)
        async for letter in letters.follow() if args.follow else letters.present():
            reasons[letter.reason] += 1
            _count_key(keys, letter)
            if not args.counts:
                print(json.dumps(_line(letter)) if args.json else _text(letter))
    counts = {
        "letters": reasons.total(),
        "by_reason": dict(reasons.most_common()),
        "by_key": dict(keys.most_common(KEYS_SHOWN)),
        "others": letters.others,
    }
    if args.counts and args.json:
        print(json.dumps(counts, indent=2))
    elif not args.json:
        _print_counts(counts)
    return DONE


def _count_key(keys: Counter[str], letter: Letter) -> None:
    """Of many keys the rare ones go, so that a topic of any size takes little memory."""
    keys[_show_key(letter.key)] += 1
    if len(keys) > 500 * KEYS_SHOWN:
        for key, _ in keys.most_common()[50 * KEYS_SHOWN :]:
            del keys[key]


def _print_counts(counts: Mapping[str, Any]) -> None:
    print(f"{counts['letters']} dead letters")
    for name in ("reason", "key"):
        for one, count in counts[f"by_{name}"].items():
            print(f"    {name} {one}: {count}")
    if counts["others"]:
        print(f"{counts['others']} records on the topic are no dead letters of this product")


async def _show(args: argparse.Namespace, config: WorkerConfig, selection: Selection) -> int:
    left = set(args.places)
    async with open_reader(config.access, config.dead_letter_topic, unpacked_limit(config.max_event_bytes)) as reader:
        await _require_topic(reader.topic, await reader.partitions())
        async for letter in LetterReader(reader, selection).present():
            left.discard((letter.partition, letter.offset))
            headers = [[name, _content(content)] for name, content in letter.headers]
            print(json.dumps(_line(letter) | {"headers": headers, "value": _content(letter.value)}, indent=2))
    return WRONG if _say_missing(left) else DONE


def _say_missing(places: Collection[tuple[int, int]]) -> bool:
    for partition, offset in sorted(places):
        print(f"there is no dead letter at {partition}:{offset}", file=sys.stderr)
    return bool(places)


async def _replay(args: argparse.Namespace, config: WorkerConfig, selection: Selection) -> int:
    decisions: Counter[Decision] = Counter()
    missing = set(args.places)
    async with open_reader(config.access, config.dead_letter_topic, unpacked_limit(config.max_event_bytes)) as reader:
        await _require_topic(reader.topic, await reader.partitions())
        async with _replayer(args, config) as (replayer, replayed):
            async for choice in replay(
                LetterReader(reader, selection), Chooser(config, replayed, args.again), replayer
            ):
                decisions[choice.decision] += 1
                missing.discard((choice.letter.partition, choice.letter.offset))
                _print_choice(args, config, choice)
    if not args.json:
        left = decisions.total() - decisions[Decision.REPLAY]
        print(f"{decisions[Decision.REPLAY]} {'would be ' if args.dry_run else ''}replayed, {left} left alone")
    return WRONG if _say_missing(missing) or set(decisions) - {Decision.REPLAY} else DONE


@asynccontextmanager
async def _replayer(
    args: argparse.Namespace, config: WorkerConfig
) -> AsyncIterator[tuple[Replayer | None, Collection[tuple[int, int]]]]:
    """Who sends, and what was replayed before; a dry run sends nothing, and makes no topic."""
    if args.dry_run:
        yield None, await read_replayed(config)
    else:
        async with open_replayer(config) as replayer:
            yield replayer, replayer.replayed


def _print_choice(args: argparse.Namespace, config: WorkerConfig, choice: Choice) -> None:
    letter = choice.letter
    if args.json:
        more = {"decision": choice.decision.value, "would_be_rejected": choice.judged, "sent_to": choice.offset}
        print(json.dumps(_line(letter) | more))
        return
    place = f"{letter.partition}:{letter.offset} ({letter.reason})"
    again = f"; by today's settings it is rejected again: {choice.judged}" if choice.judged else ""
    match choice.decision:
        case Decision.REPLAY if choice.offset is None:
            print(f"{place}: would go to {config.topic} {letter.source_partition}{again}")
        case Decision.REPLAY:
            print(f"{place}: is {config.topic} {letter.source_partition} offset {choice.offset} now{again}")
        case Decision.REPLAYED_BEFORE:
            print(f"{place}: left alone, it was replayed before (--again replays it once more)")
        case Decision.INCOMPLETE:
            print(f"{place}: left alone, it lacks what was too large for a letter: {', '.join(sorted(letter.omitted))}")
        case Decision.OTHER_TOPIC:
            print(f"{place}: left alone, it is of the topic {letter.source_topic}")


async def _require_topic(topic: str, partitions: int) -> None:
    if not partitions:
        raise CommandError(f"there is no topic {topic}")


def _line(letter: Letter) -> dict[str, Any]:
    return {
        "partition": letter.partition,
        "offset": letter.offset,
        "rejected_at": show_ms(letter.arrived_ms),
        "reason": letter.reason,
        "message": letter.message,
        "topic": letter.source_topic,
        "source_partition": letter.source_partition,
        "source_offset": letter.source_offset,
        "key": None if letter.key is None else _show_key(letter.key),
        "value_bytes": letter.omitted.get("value", len(letter.value or b"")),
        "omitted": dict(letter.omitted),
    }


def _text(letter: Letter) -> str:
    where = f"{letter.source_topic} {letter.source_partition} offset {letter.source_offset}"
    lacks = f" (without {', '.join(sorted(letter.omitted))}, too large)" if letter.omitted else ""
    return (
        f"{letter.partition}:{letter.offset} {show_ms(letter.arrived_ms)} {letter.reason} {where}, "
        f"key {_show_key(letter.key)}: {letter.message}{lacks}"
    )


def _show_key(key: bytes | None) -> str:
    return "-" if key is None else key.decode(errors="backslashreplace")


def _content(content: bytes | None) -> Any:
    """Text, or what is none in base64."""
    if content is None:
        return None
    try:
        return content.decode()
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(content).decode()}


def _place(text: str) -> tuple[int, int]:
    partition, _, offset = text.partition(":")
    if not (partition.isdecimal() and offset.isdecimal()):
        raise argparse.ArgumentTypeError(f"'{text}' is no PARTITION:OFFSET")
    return int(partition), int(offset)
