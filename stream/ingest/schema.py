"""Tells publishers, in a form for machines, what they may send: docs/event.schema.json and docs/asyncapi.json, out of
the types that read it.
"""

import json
from typing import Any, Final

import msgspec

from stream.ingest.cloudevents import FIELD_OF_ATTRIBUTE, SPEC_VERSION, STRUCTURED
from stream.ingest.event import Event, Reason
from stream.settings.worker import WorkerConfig, dead_letter_topic
from stream.version import VERSION

DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"

Schema = dict[str, Any]


def event_schema() -> Schema:
    """The JSON Schema of an event.

    It cannot say all: a schema takes 1.0 and 1e3 for integers and 30 February for a date, and knows no clock.
    """
    schema: Schema = msgspec.json.schema(Event)["$defs"]["Event"]
    # The quick reader's limit, not the publisher's: longer integers are read by the thorough one.
    for choice in schema["properties"]["contact_id"]["anyOf"]:
        choice.pop("minimum", None)
        choice.pop("maximum", None)
    return {"$schema": DIALECT, **schema, "title": "Contact activity"}


def cloudevent_schema() -> Schema:
    """The JSON Schema of the same event as a structured CloudEvent 1.0."""
    fields = event_schema()["properties"]
    attributes = {attribute: fields.pop(field) for attribute, field in FIELD_OF_ATTRIBUTE.items()}
    attributes["type"] = _type_of_cloudevents()
    attributes["subject"] = {"type": "string", "minLength": 1, "maxLength": 128, "description": "The contact's id."}
    return {
        "$schema": DIALECT,
        "title": "Contact activity as a structured CloudEvent",
        "type": "object",
        "properties": {
            "specversion": {"const": SPEC_VERSION},
            "source": {"type": "string", "format": "uri-reference", "description": "Who published; not read."},
            **attributes,
            "data": {"type": "object", "properties": fields, "required": ["workspace_id"]},
            "data_base64": {"type": "null", "description": "Not read: the data is a JSON object."},
        },
        "required": ["specversion", "id", "source", "type", "time", "subject", "data"],
    }


def asyncapi(topic: str = WorkerConfig.topic) -> Schema:
    """The AsyncAPI 3 document of the topic that is read, and of the one that takes what could not be counted."""
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Contacts report: events in",
            "version": VERSION,
            "description": "Contacts that were added and deleted, counted once and reported live. "
            "The publishing guide, docs/publishing.md, says the same in words.",
        },
        "defaultContentType": "application/json",
        "channels": {
            "activity": {
                "address": topic,
                "description": "One record an event. The worker skips records with a null value. Before the JSON it "
                "skips the frame of a Confluent schema registry (a zero byte and four more) and a byte order mark. "
                f"By default a value has at most {WorkerConfig.max_event_bytes} bytes.",
                "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in _MESSAGES_IN},
                "bindings": {"kafka": {"topic": topic, "bindingVersion": "0.5.0"}},
            },
            "rejected": {
                "address": dead_letter_topic(topic),
                "description": "Records that could not be counted; the headers have the reason.",
                "messages": {"rejected": {"$ref": "#/components/messages/rejected"}},
                "bindings": {"kafka": {"topic": dead_letter_topic(topic), "bindingVersion": "0.5.0"}},
            },
        },
        "operations": {
            "count": {
                "action": "receive",
                "channel": {"$ref": "#/channels/activity"},
                "summary": "Count a contact activity, once.",
                "messages": [{"$ref": f"#/channels/activity/messages/{name}"} for name in _MESSAGES_IN],
            },
            "reject": {
                "action": "send",
                "channel": {"$ref": "#/channels/rejected"},
                "summary": "Set aside a record that cannot be counted.",
                "messages": [{"$ref": "#/channels/rejected/messages/rejected"}],
            },
        },
        "components": {
            "messages": _messages(),
            "schemas": {
                "event": _embedded(event_schema()),
                "cloudevent": _embedded(cloudevent_schema()),
                "cloudeventData": _cloudevent_data(),
            },
        },
    }


_MESSAGES_IN: Final = ("event", "binaryCloudEvent", "structuredCloudEvent")


def _messages() -> Schema:
    key = {
        "kafka": {
            "key": {
                "type": "string",
                "description": "Any, provided that every copy of an event has the same one: its `workspace_id`, or "
                "`workspace_id/contact_id` once a workspace outgrows a partition.",
            },
            "bindingVersion": "0.5.0",
        }
    }
    return {
        "event": {
            "title": "Contact activity",
            "contentType": "application/json",
            "payload": {"$ref": "#/components/schemas/event"},
            "bindings": key,
        },
        "binaryCloudEvent": {
            "title": "Contact activity as a binary CloudEvent",
            "contentType": "application/json",
            "headers": _cloudevent_headers(),
            "payload": {"$ref": "#/components/schemas/cloudeventData"},
            "bindings": key,
        },
        "structuredCloudEvent": {
            "title": "Contact activity as a structured CloudEvent",
            "contentType": STRUCTURED,
            "payload": {"$ref": "#/components/schemas/cloudevent"},
            "bindings": key,
        },
        "rejected": {
            "title": "A record that was not counted",
            "description": "The record with its partition, key, value and headers, and these additional headers.",
            "headers": _reject_headers(),
            "payload": {},
        },
    }


def _cloudevent_headers() -> Schema:
    attributes = cloudevent_schema()["properties"]
    names = ("specversion", "source", *FIELD_OF_ATTRIBUTE)
    return {
        "type": "object",
        "description": "Header names in any case. Attributes without a header are read from the value.",
        "properties": {f"ce_{name}": attributes[name] for name in names},
        "required": ["ce_id"],
    }


def _cloudevent_data() -> Schema:
    data: Schema = cloudevent_schema()["properties"]["data"]
    return {"title": "The fields that a CloudEvent's headers have no name for", **data}


def _reject_headers() -> Schema:
    text = {"type": "string"}
    return {
        "type": "object",
        "properties": {
            "contacts.reason": {"type": "string", "enum": [reason.value for reason in Reason]},
            "__connect.errors.topic": text,
            "__connect.errors.partition": text,
            "__connect.errors.offset": text,
            "__connect.errors.exception.class.name": text,
            "__connect.errors.exception.message": {"type": "string", "description": "Which fields are wrong, and why."},
            **{
                f"contacts.{part}_omitted": {
                    "type": "string",
                    "description": f"Size in bytes of {what} that was too large and is left out.",
                }
                for part, what in (("value", "a value"), ("headers", "its own headers"), ("key", "a key"))
            },
        },
        "required": ["contacts.reason"],
    }


def _type_of_cloudevents() -> Schema:
    return {
        "type": "string",
        "pattern": r"^(.*\.)?contact\.(added|deleted)(\.v1)?$",
        "description": "The event type, optionally after a prefix that ends with a dot.",
        "examples": ["com.example.contact.added.v1"],
    }


def _embedded(schema: Schema) -> Schema:
    return {name: value for name, value in schema.items() if name != "$schema"}


def documents() -> dict[str, str]:
    """The generated files of docs/, by name."""
    return {
        "event.schema.json": _text(event_schema()),
        "asyncapi.json": _text(asyncapi()),
    }


def _text(document: Schema) -> str:
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"
