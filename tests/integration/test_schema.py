"""The documents for machines are those of the code, and say what the code does."""

import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from stream.ingest import schema
from stream.ingest.event import REQUIRED_FIELDS, Event, EventRules, Reason, Rejected, parse
from stream.model.activity import ContactActivity
from tests.support.examples import Example, examples
from tests.support.records import EVENT, event, received

DOCS = Path(__file__).parents[2] / "docs"
EVENTS = Draft202012Validator(schema.event_schema())
CLOUDEVENTS = Draft202012Validator(schema.cloudevent_schema())


def test_the_schemas_are_schemas() -> None:
    Draft202012Validator.check_schema(schema.event_schema())
    Draft202012Validator.check_schema(schema.cloudevent_schema())


def test_the_schema_has_every_field_with_a_description() -> None:
    properties = schema.event_schema()["properties"]
    assert set(properties) == set(Event.__struct_fields__) == set(EVENT)
    assert [name for name, field in properties.items() if not field["description"]] == []
    assert set(schema.event_schema()["required"]) == set(REQUIRED_FIELDS)


def validator(example: Example) -> Draft202012Validator | None:
    """The schema for the value of an example; None where it is for the headers to say."""
    content_type = example.headers.get("content-type", "")
    if content_type.startswith("application/cloudevents+json"):
        return CLOUDEVENTS
    return None if any(name.lower().startswith("ce_") for name in example.headers) else EVENTS


BY_THE_CLOCK = {Reason.TIME_TOO_OLD, Reason.TIME_IN_FUTURE, Reason.TOO_LARGE}


@pytest.mark.parametrize(
    "example",
    [example for example in examples() if example.document is not None and validator(example) is not None],
    ids=lambda example: example.name,
)
def test_the_schema_takes_what_is_counted_and_refuses_what_is_rejected(example: Example) -> None:
    """But for size and clock, which a schema knows nothing of."""
    schema_takes_it = (validator(example) or EVENTS).is_valid(example.document)
    outcome = parse(example.record, example.rules)
    counted = isinstance(outcome, ContactActivity)
    assert schema_takes_it == (counted or (isinstance(outcome, Rejected) and outcome.reason in BY_THE_CLOCK))


@pytest.mark.parametrize(
    "changed",
    [
        *[{name: value} for name in EVENT for value in (None, "", 5, True, 1.5, [], {}, "x", "é")],
        *[{name: "😀" * length} for name in EVENT for length in (64, 65, 128, 129, 512, 513)],
        *[{"workspace_id": text} for text in (".", "..", "...", "a b", "a/b", "AZaz09._~:@-")],
        *[{"source": text} for text in ("*", "**", ",", "a,b", "none")],
        *[{"type": text} for text in ("contact.added", "contact.deleted", "x.contact.added", "contact.added.v1")],
        *[{"contact_id": number} for number in (0, -1, 2**63, 10**128 - 1)],
        *[
            {"occurred_at": text}
            for text in (
                "2026-11-23t01:13:07z", "2026-11-23T01:13:60.5-00:00", "2026-11-23T01:13:07", "2026-11-23 01:13:07Z",
                "2026-11-23T24:13:07Z", "2026-11-23T01:60:07Z", "2026-11-23T01:13:61Z", "2026-13-23T01:13:07Z",
                "2026-11-32T01:13:07Z", "2026-11-23T01:13:07.Z", "2026-11-23T01:13:07+24:00",
                "2026-11-23T01:13:07+0800",
            )
        ],
    ],
    ids=lambda changed: ascii(changed)[:40],
)  # fmt: skip
def test_schema_and_reader_agree_at_each_boundary(changed: dict[str, Any]) -> None:
    document = event(**changed)
    counted = isinstance(parse(received(document, arrived="2026-11-25T00:00:00Z"), EventRules()), ContactActivity)
    assert EVENTS.is_valid(document) == counted


def test_asyncapi_names_both_topics_every_message_and_every_reason() -> None:
    document = json.loads((DOCS / "asyncapi.json").read_text(encoding="utf-8"))
    assert [channel["address"] for channel in document["channels"].values()] == [
        "contacts.activity.v1",
        "contacts.activity.v1.dlq",
    ]
    messages = document["components"]["messages"]
    assert messages["rejected"]["headers"]["properties"]["contacts.reason"]["enum"] == [
        reason.value for reason in Reason
    ]
    used = {name for channel in document["channels"].values() for name in channel["messages"]}
    assert used == set(messages)


def test_every_reference_of_asyncapi_leads_somewhere() -> None:
    document = schema.asyncapi("another.topic")
    assert document["channels"]["rejected"]["address"] == "another.topic.dlq"

    def references(node: Any) -> list[str]:
        if isinstance(node, list):
            return [found for item in node for found in references(item)]
        if isinstance(node, dict):
            own = [node["$ref"]] if isinstance(node.get("$ref"), str) else []
            return own + [found for item in node.values() for found in references(item)]
        return []

    found = references(document)
    assert found
    for reference in found:
        target: Any = document
        for step in reference.removeprefix("#/").split("/"):
            target = target[step]
        assert isinstance(target, dict)
