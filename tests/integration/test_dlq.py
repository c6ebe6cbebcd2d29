"""`contacts-report dlq` on a real Kafka: dead letters are listed, shown, and replayed once."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer

from cli.main import main
from stream.audit.letter_search import LetterReader, Selection
from stream.kafka.clients import mute_unread_failures
from stream.kafka.reading import open_reader
from stream.kafka.replay import open_replayer
from stream.kafka.topics import open_topics
from stream.ports import Fenced
from stream.settings.worker import WorkerConfig
from tests.integration.test_trace import config, environ, one  # noqa: F401  a fixture
from tests.support.counting import count, published, send
from tests.support.kafka import read_partition

Capture = pytest.CaptureFixture[str]
HEADERS = [("trace", b"\x00\xff"), ("trace", b"2")]
LARGE = 3 << 20


def lines(capsys: Capture, config: WorkerConfig, *words: str) -> tuple[int, list[dict[str, Any]]]:  # noqa: F811
    code = main(["dlq", *words, "--json"], environ(config))
    return code, [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def places(letters: list[dict[str, Any]]) -> list[tuple[int, int, str]]:
    return [(one["source_partition"], one["source_offset"], one["reason"]) for one in letters]


def reject_some(config: WorkerConfig) -> None:  # noqa: F811
    """Three rejected events in two partitions, between good ones."""

    async def publish() -> None:
        await send(config, [published(one("a")), published(b"{", key=b"x", headers=HEADERS)])
        await send(config, [published(one("b", type="contact.gone")), published(b"[", 1, key=None)])
        await count(config, 0)
        await count(config, 1)

    asyncio.run(publish())


def test_letters_are_listed_by_reason_key_and_time(config: WorkerConfig, capsys: Capture) -> None:  # noqa: F811
    reject_some(config)
    code, letters = lines(capsys, config, "ls")
    assert (code, places(letters)) == (0, [(0, 1, "not_json"), (0, 2, "unknown_type"), (1, 0, "not_json")])
    assert {name: letters[0][name] for name in ("partition", "offset", "key", "topic", "value_bytes", "omitted")} == {
        "partition": 0,
        "offset": 0,
        "key": "x",
        "topic": config.topic,
        "value_bytes": 1,
        "omitted": {},
    }
    assert "value" not in letters[0]
    tomorrow = (datetime.now(UTC) + timedelta(days=2)).date().isoformat()
    for words, found in (
        (("--reason", "not_json"), [(0, 1, "not_json"), (1, 0, "not_json")]),
        (("--key", "k"), [(0, 2, "unknown_type")]),
        (("--from", tomorrow), []),
        (("--before", tomorrow), places(letters)),
        (("--before", "2020-01-01"), []),
    ):
        assert places(lines(capsys, config, "ls", *words)[1]) == found
    assert main(["dlq", "ls", "--counts", "--json"], environ(config)) == 0
    assert json.loads(capsys.readouterr().out) == {
        "letters": 3,
        "by_reason": {"not_json": 2, "unknown_type": 1},
        "by_key": {"x": 1, "k": 1, "-": 1},
        "others": 0,
    }
    assert main(["dlq", "ls"], environ(config)) == 0
    said = capsys.readouterr().out
    assert "0:0" in said
    assert "3 dead letters" in said
    assert "reason not_json: 2" in said


def test_a_letter_is_shown_whole(config: WorkerConfig, capsys: Capture) -> None:  # noqa: F811
    reject_some(config)
    assert main(["dlq", "show", "0:0"], environ(config)) == 0
    shown = json.loads(capsys.readouterr().out)
    assert (shown["value"], shown["key"]) == ("{", "x")
    assert shown["headers"] == [["trace", {"base64": "AP8="}], ["trace", "2"]]
    assert main(["dlq", "show", "0:7", "9:0"], environ(config)) == 1
    said = capsys.readouterr().err
    assert "no dead letter at 0:7" in said
    assert "no dead letter at 9:0" in said


def test_a_replay_sends_the_record_as_it_was_and_never_twice(config: WorkerConfig, capsys: Capture) -> None:  # noqa: F811
    reject_some(config)
    # Given what a dry run says, which does nothing,
    code, told = lines(capsys, config, "replay", "--dry-run")
    assert (code, [one["decision"] for one in told]) == (0, ["replay"] * 3)
    assert [one["would_be_rejected"] for one in told] == ["not_json", "unknown_type", "not_json"]
    assert [one["sent_to"] for one in told] == [None] * 3
    assert asyncio.run(topic_partitions(config)) == {}
    # when one is replayed,
    code, told = lines(capsys, config, "replay", "0:0")
    assert (code, [(one["source_partition"], one["sent_to"]) for one in told]) == (0, [(0, 3)])
    # then its record is in its partition again, untouched,
    record = asyncio.run(read_partition(config.kafka, config.topic, 0))[-1]
    assert (record.offset, record.key, record.value, list(record.headers)) == (3, b"x", b"{", HEADERS)
    # and the next replay leaves it alone,
    code, told = lines(capsys, config, "replay", "--reason", "not_json")
    assert (code, [one["decision"] for one in told]) == (1, ["replayed_before", "replay"])
    record = asyncio.run(read_partition(config.kafka, config.topic, 1))[-1]
    assert (record.key, record.value) == (None, b"[")
    # unless it is asked to;
    code, told = lines(capsys, config, "replay", "0:0", "--again")
    assert (code, [one["decision"] for one in told]) == (0, ["replay"])
    assert main(["dlq", "replay", "0:9"], environ(config)) == 1
    assert "no dead letter at 0:9" in capsys.readouterr().err
    # what says so is compacted.
    assert asyncio.run(cleanup(config)) == "compact"


def test_what_is_replayed_counts_once(config: WorkerConfig, capsys: Capture) -> None:  # noqa: F811
    strict = WorkerConfig(**{**vars(config), "max_event_bytes": 500})

    async def publish() -> None:
        await send(config, [published(one("a", contact_name="x" * 400))])
        await count(strict, 0)

    asyncio.run(publish())
    assert lines(capsys, config, "replay")[0] == 0
    assert lines(capsys, config, "replay", "--again")[0] == 0
    outcomes = asyncio.run(count(config, 0)).outcomes
    assert (outcomes.counted, outcomes.duplicate, outcomes.rejected) == (1, 1, {})


def test_a_letter_without_its_value_is_left_alone(config: WorkerConfig, capsys: Capture) -> None:  # noqa: F811
    async def publish() -> None:
        producer = AIOKafkaProducer(bootstrap_servers=config.kafka)
        await producer.start()
        told = [
            ("__connect.errors.topic", config.topic.encode()),
            ("__connect.errors.partition", b"0"),
            ("__connect.errors.offset", b"5"),
            ("__connect.errors.exception.class.name", b"contacts.Rejected"),
            ("__connect.errors.exception.message", b"too large"),
            ("contacts.reason", b"too_large"),
        ]
        for headers in (
            [*told, ("contacts.value_omitted", b"70000")],
            [*told, ("contacts.headers_omitted", b"70000")],
            [("__connect.errors.topic", b"another"), *told[1:]],
            [("something", b"else")],
        ):
            await producer.send_and_wait(config.dead_letter_topic, b"v", b"k", 0, headers=headers)
        await producer.stop()

    asyncio.run(publish())
    code, told = lines(capsys, config, "replay")
    assert (code, [one["decision"] for one in told]) == (1, ["incomplete", "incomplete", "other_topic"])
    assert asyncio.run(read_partition(config.kafka, config.topic, 0)) == []
    assert main(["dlq", "ls"], environ(config)) == 0
    assert "1 records on the topic are no dead letters of this product" in capsys.readouterr().out


async def test_a_second_replay_fences_the_first_which_then_sends_nothing(config: WorkerConfig) -> None:  # noqa: F811
    mute_unread_failures(asyncio.get_running_loop())
    await send(config, [published(b"{")])
    await count(config, 0)
    async with open_reader(config.access, config.dead_letter_topic) as reader:
        [letter] = [letter async for letter in LetterReader(reader, Selection()).present()]
    async with open_replayer(config) as first, open_replayer(config) as second:
        await second.send([letter])
        with pytest.raises(Fenced):
            await first.send([letter])
    assert len(await read_partition(config.kafka, config.topic, 0)) == 2


async def topic_partitions(config: WorkerConfig) -> dict[str, int]:  # noqa: F811
    async with open_topics(config.access) as topics:
        return await topics.partitions([f"{config.dead_letter_topic}.replayed"])


async def cleanup(config: WorkerConfig) -> str:  # noqa: F811
    name = f"{config.dead_letter_topic}.replayed"
    async with open_topics(config.access) as topics:
        return (await topics.describe([name]))[name].settings["cleanup.policy"]


def test_following_goes_on_with_what_comes(config: WorkerConfig) -> None:  # noqa: F811
    async def follow() -> list[tuple[int, int]]:
        found: list[tuple[int, int]] = []
        async with open_reader(config.access, config.dead_letter_topic) as reader:
            async with asyncio.timeout(60):
                async for letter in LetterReader(reader, Selection()).follow():
                    found.append((letter.source_partition, letter.source_offset))
                    if len(found) == 1:
                        await send(config, [published(b"]", 1)])
                        await count(config, 1)
                    else:
                        return found
        return found

    asyncio.run(send(config, [published(b"{")]))
    asyncio.run(count(config, 0))
    assert asyncio.run(follow()) == [(0, 0), (1, 0)]
