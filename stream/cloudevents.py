"""Is a record a CloudEvent 1.0, and which of its attributes are fields of our events?

Binary: attributes in headers `ce_…`, the value holds the other fields. Structured: the value is the envelope, its
`data` holds the other fields. Headers win over the value, the envelope over its data; what they lack comes from there.
The attribute `source` names the system that published, not the way a contact came: it is not read.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

SPEC_VERSION: Final = "1.0"

FIELD_OF_ATTRIBUTE: Final[Mapping[str, str]] = {
    "id": "id",
    "type": "type",
    "time": "occurred_at",
    "subject": "contact_id",
}

HEADER_PREFIX: Final = "ce_"
STRUCTURED: Final = "application/cloudevents+json"
BATCH: Final = "application/cloudevents-batch+json"


class Envelope(msgspec.Struct, frozen=True, gc=False):
    """What the headers of a CloudEvent say."""

    media_type: str
    """Lower-case, without parameters; empty where there is none."""
    attributes: Mapping[str, Any]
    """By name without `ce_`: text, or the header's bytes where they are not UTF-8. Last of duplicates."""

    @property
    def structured(self) -> bool:
        return self.media_type == STRUCTURED

    @property
    def batch(self) -> bool:
        return self.media_type == BATCH


def read_envelope(headers: Sequence[tuple[str, bytes]]) -> Envelope | None:
    """Read the headers of a record, names in any case; None where they make no CloudEvent of it."""
    media_type = ""
    named: dict[str, bytes | None] = {}
    for header, content in headers:
        name = header.lower()
        if name[:3] == HEADER_PREFIX:
            named[name[3:]] = content
        elif name == "content-type":
            media_type = _text(content or b"", errors="replace").partition(";")[0].strip().lower()
    if "specversion" in named or "id" in named or media_type in (STRUCTURED, BATCH):
        attributes = {name: _text(content) for name, content in named.items() if content is not None}
        return Envelope(media_type, attributes)
    return None


def faults(envelope: Envelope, document: Mapping[str, Any]) -> list[str]:
    """What we cannot read of a CloudEvent, whatever its fields are: another version, data in base64."""
    found = []
    version = envelope.attributes.get("specversion")
    if version is None and envelope.structured:
        version = document.get("specversion")
    if version is not None and version != SPEC_VERSION:
        found.append(f"specversion must be {SPEC_VERSION}")
    if envelope.structured and document.get("data_base64") is not None:
        found.append("data_base64 is not read: the data must be a JSON object in data")
    return found


def fields(envelope: Envelope, document: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of our event: from the headers, else the envelope, else the data."""
    merged: dict[str, Any] = {}
    if not envelope.structured:
        merged.update(document)
    else:
        data = document.get("data")
        merged.update(data if isinstance(data, dict) else {})
        merged.update(_renamed(document))
    merged.update(_renamed(envelope.attributes))
    if isinstance(merged.get("type"), str):
        merged["type"] = _last_words(merged["type"])
    return merged


def _last_words(event_type: str) -> str:
    """`contact.added` for `contact.added`, `com.example.contact.added` and `com.example.contact.added.v1`."""
    return ".".join(event_type.removesuffix(".v1").split(".")[-2:])


def _renamed(attributes: Mapping[str, Any]) -> dict[str, Any]:
    return {field: attributes[name] for name, field in FIELD_OF_ATTRIBUTE.items() if attributes.get(name) is not None}


def _text(content: bytes, errors: str = "strict") -> Any:
    try:
        return content.decode(errors=errors)
    except UnicodeDecodeError:
        return content
