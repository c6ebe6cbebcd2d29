"""The fields of a record of which nobody knows whether it is an event: what a search goes by."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from stream.ingest.cloudevents import event_fields, read_envelope
from stream.ingest.event import Record, unwrap
from stream.ingest.json_text import NotJsonError, read_object


def read_fields(record: Record) -> Mapping[str, Any]:
    """What the record says of itself, by the names of our event's fields and of whatever type; empty where it is no
    JSON object.
    """
    if not record.value:
        return {}
    envelope = read_envelope(record.headers)
    try:
        document = read_object(unwrap(record.value))
    except NotJsonError:
        return {} if envelope is None else dict(envelope.fields)
    if envelope is None or envelope.batch:
        return document
    return event_fields(envelope, document)
