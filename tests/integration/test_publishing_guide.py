"""docs/publishing.md says what the code does, and its examples run."""

import json
import re
import runpy
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from stream.ingest.event import Event, EventRules, Reason, parse
from stream.model.activity import ContactActivity
from tests.support.examples import examples
from tests.support.kafka import KafkaCluster, RunningKafka, create_topic, read_partition, unique_name
from tests.support.records import Received

ROOT = Path(__file__).parents[2]
PUBLISHERS = ROOT / "examples" / "publisher"
GUIDE = (ROOT / "docs" / "publishing.md").read_text(encoding="utf-8")
EXAMPLES = {example.name: example for example in examples()}
QUOTED_VALUES = re.findall(r"<!-- example: (\w+) -->\n```json\n(.*?)```", GUIDE, re.DOTALL)
QUOTED_HEADERS = re.findall(r"<!-- headers: (\w+) -->\n```\n(.*?)```", GUIDE, re.DOTALL)


@pytest.mark.parametrize(("name", "quoted"), QUOTED_VALUES)
def test_a_quoted_value_is_that_of_its_example(name: str, quoted: str) -> None:
    assert json.loads(quoted) == EXAMPLES[name].document


@pytest.mark.parametrize(("name", "quoted"), QUOTED_HEADERS)
def test_quoted_headers_are_those_of_their_example(name: str, quoted: str) -> None:
    assert dict(line.split(": ", 1) for line in quoted.splitlines()) == EXAMPLES[name].headers


def test_every_block_of_json_is_an_example() -> None:
    assert QUOTED_VALUES
    assert QUOTED_HEADERS
    assert GUIDE.count("```json") == len(QUOTED_VALUES)


def rows(heading: str) -> list[str]:
    """The first cells of the table whose first column is called `heading`."""
    table = GUIDE.split(f"\n| {heading} |", 1)[1].split("\n\n", 1)[0]
    return re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)


def test_every_reason_is_explained_in_the_order_in_which_they_are_given() -> None:
    assert rows("reason") == [reason.value for reason in Reason]


def test_every_field_is_explained() -> None:
    assert sorted(rows("field")) == sorted(Event.__struct_fields__)


def test_every_setting_has_its_default() -> None:
    rules = EventRules()
    assert f"at most {rules.max_event_bytes:,} bytes (setting `CONTACTS_MAX_EVENT_BYTES`)" in GUIDE
    assert (
        f"at most {rules.future_tolerance_seconds // 60} minutes (setting `CONTACTS_FUTURE_TOLERANCE_SECONDS`)" in GUIDE
    )


def counted(records: list[Any]) -> list[tuple[str, int, str | None, str | None]]:
    """What becomes of published records: workspace, activity, source, user."""
    read = [parse(record, EventRules()) for record in records]
    assert [outcome for outcome in read if not isinstance(outcome, ContactActivity)] == []
    return [
        (activity.workspace_id, activity.activity, activity.source, activity.user_id)
        for activity in read
        if isinstance(activity, ContactActivity)
    ]


async def test_the_example_for_aiokafka_publishes_what_is_counted(
    kafka: KafkaCluster | RunningKafka, monkeypatch: pytest.MonkeyPatch
) -> None:
    topic = unique_name("activity")
    await create_topic(kafka.bootstrap, topic)
    monkeypatch.setenv("CONTACTS_KAFKA", kafka.bootstrap)
    monkeypatch.setenv("CONTACTS_TOPIC", topic)
    script = runpy.run_path(str(PUBLISHERS / "with_aiokafka.py"))
    event = script["contact_activity"]
    await script["publish"](
        [event("added", "w_1042", "c_1", source="user", user_id="u_7"), event("deleted", "w_1", "c_1")]
    )
    records = await read_partition(kafka.bootstrap, topic)
    assert [record.key for record in records] == [b"w_1042", b"w_1"]
    assert counted(records) == [("w_1042", 0, "user", "u_7"), ("w_1", 1, None, None)]


def test_the_example_for_confluent_kafka_publishes_what_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a stand-in for its client: the library is not among what the tests install."""
    records = []

    class Producer:
        def __init__(self, settings: dict[str, Any]) -> None:
            assert settings["bootstrap.servers"] == "broker:9092"

        def produce(self, topic: str, value: str, key: str, headers: dict[str, str], on_delivery: Any) -> None:
            assert topic == "another.topic"
            pairs = tuple((name, text.encode()) for name, text in headers.items())
            records.append(Received(value.encode(), pairs, timestamp=2**42, key=key.encode()))
            on_delivery(None, None)

        def flush(self, timeout: float) -> int:
            return 0

    monkeypatch.setitem(sys.modules, "confluent_kafka", SimpleNamespace(Producer=Producer))  # type: ignore[arg-type]
    monkeypatch.setenv("CONTACTS_KAFKA", "broker:9092")
    monkeypatch.setenv("CONTACTS_TOPIC", "another.topic")
    runpy.run_path(str(PUBLISHERS / "with_confluent_kafka.py"), run_name="__main__")
    assert [record.key for record in records] == [b"w_1042", b"w_1042"]
    assert counted(records) == [("w_1042", 0, "user", "u_7"), ("w_1042", 1, "user", "u_7")]
