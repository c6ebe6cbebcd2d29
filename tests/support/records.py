"""Records as the broker gives them, built by hand."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

ARRIVED = "2026-11-23T01:13:10Z"
"""When the records of the tests arrived at the broker, unless they say otherwise."""

EVENT: Mapping[str, Any] = {
    "id": "0192f3a1-7c1e-7b3a-9c55-0f2b8d7e6a11",
    "type": "contact.added",
    "workspace_id": "w_1042",
    "contact_id": "c_99120",
    "contact_name": "Ada Lovelace",
    "source": "contact_import",
    "user_id": "u_7",
    "user_name": "Grace",
    "occurred_at": "2026-11-23T09:13:07.412+08:00",
    "batch_id": "import_5",
}
"""An event with every field."""

ABSENT = object()
"""In `event(...)`: the field is left out."""


@dataclass(frozen=True)
class Received:
    """A record with nothing but what is read of it."""

    value: bytes | None
    headers: Sequence[tuple[str, bytes]] = ()
    timestamp: int = 0
    key: bytes | None = b"w_1042"
    offset: int = 0
    timestamp_type: int = 1


def milliseconds(instant: str) -> int:
    return round(datetime.fromisoformat(instant).timestamp() * 1000)


def nanoseconds(instant: str) -> int:
    """Of an instant in whole seconds."""
    return round(datetime.fromisoformat(instant).timestamp()) * 1_000_000_000


def event(**changed: Any) -> dict[str, Any]:
    """The event with every field, but for what is changed."""
    return {name: value for name, value in (EVENT | changed).items() if value is not ABSENT}


def received(
    value: Mapping[str, Any] | bytes | str | None,
    headers: Mapping[str, bytes] | Sequence[tuple[str, bytes]] = (),
    arrived: str | int = ARRIVED,
) -> Received:
    if isinstance(value, str):
        value = value.encode()
    elif isinstance(value, Mapping):
        value = json.dumps(value, ensure_ascii=False).encode()
    pairs = tuple(headers.items()) if isinstance(headers, Mapping) else tuple(headers)
    return Received(value, pairs, milliseconds(arrived) if isinstance(arrived, str) else arrived)
