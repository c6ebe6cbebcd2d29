"""Takes the fields of our events out of CloudEvents 1.0.

Binary: attributes in headers `ce_…`, the value holds the other fields. Structured: the value is the envelope, its
`data` holds the other fields. Headers win over the value, the envelope over its data; what they lack comes from there.
The attribute `source` names the system that published, not the way a contact came: it is not read.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

SPEC_VERSION: Final = "1.0"
STRUCTURED: Final = "application/cloudevents+json"
BATCH: Final = "application/cloudevents-batch+json"

FIELD_OF_ATTRIBUTE: Final[Mapping[str, str]] = {
    "id": "id",
    "type": "type",
    "time": "occurred_at",
    "subject": "contact_id",
}


class Envelope(msgspec.Struct, frozen=True, gc=False):
    """What the headers of a CloudEvent say."""

    media_type: str
    """Lower-case, without parameters; empty where there is none."""
    spec_version: str | bytes | None
    fields: Mapping[str, str | bytes]
    """Fields of our event that are headers: text, or the bytes where they are not UTF-8 (and so no good field)."""

    @property
    def structured(self) -> bool:
        return self.media_type == STRUCTURED

    @property
    def batch(self) -> bool:
        return self.media_type == BATCH


def read_envelope(headers: Sequence[tuple[str, bytes]]) -> Envelope | None:
    """Read the headers of a record: names in any case, the last of one name. None where they make no CloudEvent."""
    read: dict[str, bytes | None] = {}
    for header, content in headers:
        name = header.lower()
        if name in _HEADERS:
            read[name] = content
    if not read:
        return None
    media_type = _media_type(read.get("content-type"))
    if "ce_specversion" not in read and "ce_id" not in read and media_type not in (STRUCTURED, BATCH):
        return None
    # Kafka knows headers without a value: they say nothing.
    said = {name: content for name, content in read.items() if content is not None}
    fields = {field: _text(said[name]) for name, field in _FIELD_OF_HEADER.items() if name in said}
    return Envelope(media_type, _text(said["ce_specversion"]) if "ce_specversion" in said else None, fields)


def cloudevent_faults(envelope: Envelope, document: Mapping[str, Any]) -> list[str]:
    """What we cannot read of a CloudEvent, whatever its fields are: another version, data in base64."""
    faults = []
    version = envelope.spec_version
    if version is None and envelope.structured:
        version = document.get("specversion")
    if version is not None and version != SPEC_VERSION:
        faults.append(f"specversion must be {SPEC_VERSION}")
    if envelope.structured and document.get("data_base64") is not None:
        faults.append("data_base64 is not read: the other fields must be a JSON object in data")
    return faults


def event_fields(envelope: Envelope, document: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of our event: from the headers, else the envelope, else the data."""
    if envelope.structured:
        data = document.get("data")
        fields = dict(data) if isinstance(data, dict) else {}
        for attribute, field in FIELD_OF_ATTRIBUTE.items():
            if document.get(attribute) is not None:
                fields[field] = document[attribute]
    else:
        fields = dict(document)
    fields.update(envelope.fields)
    if isinstance(fields.get("type"), str):
        fields["type"] = _last_words(fields["type"])
    return fields


def _last_words(event_type: str) -> str:
    """`contact.added` for `contact.added`, `com.example.contact.added` and `com.example.contact.added.v1`."""
    return ".".join(event_type.removesuffix(".v1").split(".")[-2:])


def _media_type(content_type: bytes | None) -> str:
    return "" if content_type is None else content_type.decode("latin-1").partition(";")[0].strip().lower()


def _text(content: bytes) -> str | bytes:
    try:
        return content.decode()
    except UnicodeDecodeError:
        return content


_FIELD_OF_HEADER: Final = {f"ce_{attribute}": field for attribute, field in FIELD_OF_ATTRIBUTE.items()}
_HEADERS: Final = frozenset((*_FIELD_OF_HEADER, "ce_specversion", "content-type"))
