"""`contacts-report trace` on a real Kafka: each record of an event or a contact, and what became of it."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from cli.main import main
from stream.settings.worker import WorkerConfig
from tests.support.counting import count, make_topics, published, send
from tests.support.kafka import RunningKafka, unique_name
from tests.support.records import ABSENT, event

NOW = datetime.now(UTC).replace(microsecond=0)
AT = NOW - timedelta(minutes=20)
QUARTER = AT.replace(minute=AT.minute // 15 * 15, second=0).isoformat().replace("+00:00", "Z")


@pytest.fixture
def config(kafka: RunningKafka) -> WorkerConfig:
    made = WorkerConfig(kafka=kafka.bootstrap, topic=unique_name("activity"), group=unique_name("group"))
    asyncio.run(make_topics(made))
    return made


def environ(config: WorkerConfig) -> dict[str, str]:
    return {"CONTACTS_KAFKA": config.kafka, "CONTACTS_TOPIC": config.topic, "CONTACTS_GROUP": config.group}


def one(event_id: str, **changed: Any) -> dict[str, Any]:
    return event(**({"id": event_id, "workspace_id": "w", "occurred_at": AT.isoformat()} | changed))


def traced(config: WorkerConfig, capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, list[dict[str, Any]]]:
    code = main(["trace", "--json", *words], environ(config))
    return code, json.loads(capsys.readouterr().out)["records"]


def verdicts(records: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
    return [(r["partition"], r["offset"], r["verdict"], r["duplicate_of"], r["reason"]) for r in records]


def test_each_record_of_an_event_is_told_with_its_verdict(
    config: WorkerConfig, capsys: pytest.CaptureFixture[str]
) -> None:
    async def publish() -> None:
        # Given an event, its copy, one of the same id elsewhere, a rejected one, and others beside them,
        await send(config, [published(one("other")), published(one("e"))])
        await send(config, [published(one("e")), published(one("e", workspace_id="v"), 1)])
        await send(config, [published(one("e", occurred_at="yesterday")), published(None)])
        await count(config, 0)
        await count(config, 1)
        # and one that no worker has come to.
        await send(config, [published(one("e"))])

    begun = datetime.now(UTC)
    asyncio.run(publish())
    # When the event is traced, then each has its place and verdict.
    code, records = traced(config, capsys, "--id", "e", "--workspace", "w")
    assert code == 1
    assert verdicts(records) == [
        (0, 1, "counted", None, None),
        (0, 2, "duplicate", 1, None),
        (0, 3, "rejected", None, "bad_field"),
        (0, 5, "not_reached", None, None),
    ]
    counted, _, rejected, _ = records
    assert (counted["quarter_hour"], counted["activity"]) == (QUARTER, "added")
    assert rejected["dead_letter"] == {"topic": config.dead_letter_topic, "partition": 0, "offset": 0}
    assert "occurred_at" in rejected["message"]
    taken = datetime.fromisoformat(counted["broker_time"])
    assert begun - timedelta(minutes=1) < taken < datetime.now(UTC) + timedelta(minutes=1)
    # In whatever workspace it is, where none is named,
    _, records = traced(config, capsys, "--id", "e")
    assert (1, 0, "counted", None, None) in verdicts(records)
    # and in words.
    assert main(["trace", "--id", "e", "--workspace", "v"], environ(config)) == 0
    said = capsys.readouterr().out
    assert f"{config.topic} 1 offset 0" in said
    assert f"counted as added in the quarter-hour of {QUARTER}" in said


def test_a_contact_is_found_in_whatever_form_an_event_has(
    config: WorkerConfig, capsys: pytest.CaptureFixture[str]
) -> None:
    async def publish() -> None:
        cloud = [("ce_specversion", b"1.0"), ("ce_id", b"c"), ("ce_type", b"contact.added"), ("ce_subject", b"4711")]
        escaped = json.dumps(one("b", contact_id="4711")).replace("4711", "\\u0034711").encode()
        await send(
            config,
            [
                published(one("a", contact_id=4711)),
                published(escaped),
                published(one("-", id=ABSENT, type=ABSENT, contact_id=ABSENT), headers=cloud),
                published(one("d", contact_id="47110")),
                published(b"{4711"),
                published(one("f", contact_id="4711", workspace_id=ABSENT)),
            ],
        )
        await count(config, 0)

    asyncio.run(publish())
    code, records = traced(config, capsys, "--contact", "4711", "--workspace", "w")
    assert code == 1
    assert verdicts(records) == [
        (0, 0, "counted", None, None),
        (0, 1, "counted", None, None),
        (0, 2, "counted", None, None),
        (0, 4, "rejected", None, "not_json"),
        (0, 5, "rejected", None, "missing_field"),
    ]


def test_a_duplicate_of_what_the_search_leaves_out_is_told_all_the_same(
    config: WorkerConfig, capsys: pytest.CaptureFixture[str]
) -> None:
    async def publish() -> None:
        await send(config, [published(one("e", contact_id="x")), published(one("e", contact_id="y"))])
        await count(config, 0)

    asyncio.run(publish())
    code, records = traced(config, capsys, "--contact", "y")
    assert (code, verdicts(records)) == (0, [(0, 1, "duplicate", 0, None)])


def test_the_verdict_that_was_committed_stands_whatever_the_settings_are_today(
    config: WorkerConfig, capsys: pytest.CaptureFixture[str]
) -> None:
    async def publish() -> None:
        await send(config, [published(one("e")), published(one("f", contact_name="x" * 400))])
        await count(WorkerConfig(**{**vars(config), "max_event_bytes": 500}), 0)

    asyncio.run(publish())
    limit = {"--id": "f"}, {"--id": "e", "--max-event-bytes": "10"}
    told = [traced(config, capsys, *(word for pair in asked.items() for word in pair))[1] for asked in limit]
    assert [verdicts(records) for records in told] == [
        [(0, 1, "rejected", None, "too_large")],
        [(0, 0, "counted", None, None)],
    ]


def test_what_lies_before_the_first_offset_that_was_counted_is_said_to(
    config: WorkerConfig, capsys: pytest.CaptureFixture[str]
) -> None:
    async def publish() -> None:
        await send(config, [published(one("e")), published(one("f"))])
        await count(config, 0, first=1)

    asyncio.run(publish())
    assert verdicts(traced(config, capsys, "--id", "e")[1]) == [(0, 0, "before_known", None, None)]


def test_what_is_not_there_is_looked_for_from_a_time_on(
    config: WorkerConfig, capsys: pytest.CaptureFixture[str]
) -> None:
    asyncio.run(send(config, [published(one("e"))]))
    tomorrow = (datetime.now(UTC) + timedelta(days=2)).date().isoformat()
    yesterday = (NOW - timedelta(days=1)).isoformat()
    assert traced(config, capsys, "--id", "e", "--from", tomorrow) == (1, [])
    assert verdicts(traced(config, capsys, "--id", "e", "--from", yesterday)[1]) == [(0, 0, "not_reached", None, None)]
    assert main(["trace", "--id", "nobody"], environ(config)) == 1
    assert "not found in 1 offsets" in capsys.readouterr().out


def test_of_what_is_in_another_workspace_or_of_another_contact_it_is_said_which(
    config: WorkerConfig, capsys: pytest.CaptureFixture[str]
) -> None:
    rejected = one("bad", contact_id="c", workspace_id="v", occurred_at="yesterday")
    beside = [published(one("e", contact_id="c", workspace_id="v")), published(one("f", contact_id="c"))]
    asyncio.run(send(config, [*beside, published(rejected)]))

    def said(*words: str) -> list[str]:
        assert main(["trace", *words], environ(config)) == 1
        return capsys.readouterr().out.splitlines()

    [missed, *elsewhere] = said("--id", "e", "--workspace", "w")
    assert missed.startswith("not found of workspace w in 3 offsets of ")
    assert elsewhere == ["the event with this id is of workspace v, contact c"]
    assert said("--id", "e", "--contact", "d")[1:] == ["the event with this id is of workspace v, contact c"]
    assert said("--id", "bad", "--workspace", "w")[1:] == ["the event with this id is of workspace v, contact c"]
    assert said("--contact", "c", "--workspace", "u")[1:] == [
        "this contact is in workspace v",
        "this contact is in workspace w",
    ]
    # What is nowhere is nowhere, and what is found is not looked for elsewhere.
    assert said("--id", "nobody", "--workspace", "w")[1:] == []
    assert not any("the event with this id" in line for line in said("--id", "e", "--workspace", "v"))
    main(["trace", "--json", "--id", "e", "--workspace", "w"], environ(config))
    assert json.loads(capsys.readouterr().out)["elsewhere"] == [{"workspace_id": "v", "contact_id": "c"}]


def test_what_cannot_be_asked_is_not_done(config: WorkerConfig, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["trace"], environ(config)) == 2
    assert main(["trace", "--id", "e"], {**environ(config), "CONTACTS_TOPIC": unique_name("none")}) == 2
    assert main(["trace", "--id", "e"], {"CONTACTS_KAFKA": "127.0.0.1:1"}) == 2
    said = capsys.readouterr().err
    assert "--id or --contact" in said
    assert "there is no topic" in said
    assert "cannot reach Kafka at 127.0.0.1:1" in said
    with pytest.raises(SystemExit):
        main(["trace", "--id", "e", "--from", "2026-11-23T09:00"], environ(config))
    assert "nor an instant with an offset" in capsys.readouterr().err
