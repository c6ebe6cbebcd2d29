"""The examples of tests/examples: one record a file, and what becomes of it.

`record`: `arrived` (the broker's time), `key`, `headers`, and as value `value` (JSON; null for a tombstone) or `text`
(as it is), behind the bytes of `before` (hexadecimal). `rules`: settings that differ. `expected`: `counted` with what
the row shows (times in UTC, with the digits that they came with), `rejected` with the reason and the fields that its
message names, or `"skipped"`.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stream.ingest.event import EventRules
from tests.support.records import Received, milliseconds

FOLDER = Path(__file__).parents[1] / "examples"


@dataclass(frozen=True)
class Example:
    name: str
    title: str
    record: Received
    rules: EventRules
    document: Any
    """The value as JSON; None where it is none."""
    headers: dict[str, str]
    expected: Any


def examples() -> list[Example]:
    return [_example(path) for path in sorted(FOLDER.glob("*.json"))]


def _example(path: Path) -> Example:
    written = json.loads(path.read_text(encoding="utf-8"))
    record = written["record"]
    headers = record.get("headers", {})
    if "text" in record:
        value: bytes | None = record["text"].encode()
    elif record["value"] is None:
        value = None
    else:
        value = bytes.fromhex(record.get("before", "")) + json.dumps(record["value"], ensure_ascii=False).encode()
    return Example(
        name=path.stem,
        title=written["title"],
        record=Received(
            value=value,
            headers=tuple((name, text.encode()) for name, text in headers.items()),
            timestamp=milliseconds(record["arrived"]),
            key=record["key"].encode(),
        ),
        rules=EventRules(**written.get("rules", {})),
        document=record.get("value"),
        headers=headers,
        expected=written["expected"],
    )
