"""Selects the records of one event or one contact."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from stream.ingest.event import LeftOut, Record
from stream.ingest.fields import read_fields


class Named(msgspec.Struct, frozen=True):
    """What a record says of whom it is about, as far as it says it."""

    event_id: str | None
    contact_id: str | None
    workspace_id: str | None


class Search(msgspec.Struct, frozen=True):
    """What is looked for: an event's id, a contact's id, or both; in one workspace, or in all of them."""

    event_id: str | None
    contact_id: str | None
    workspace_id: str | None

    def loosened(self) -> Search | None:
        """The event by its id alone, else the contact in any workspace; None where that is what is looked for."""
        loose = Search(self.event_id, self.contact_id if self.event_id is None else None, None)
        return None if loose == self else loose

    def find(self, record: Record) -> Named | None:
        """What the record says, where it is one of those; None where it is another. A rejected record that does not
        say which workspace it is of may be of this one; one that is no JSON may be where it has the words in it.
        """
        if not self._may_match(record):
            return None
        fields = read_fields(record)
        if not fields:
            return Named(None, None, None) if self._mentions(record.value or b"") else None
        named = Named(_text(fields, "id"), _text(fields, "contact_id"), _text(fields, "workspace_id"))
        wrong = (
            (self.event_id is not None and named.event_id != self.event_id)
            or (self.contact_id is not None and named.contact_id != self.contact_id)
            or (self.workspace_id is not None and named.workspace_id not in (None, self.workspace_id))
        )
        return None if wrong else named

    def _may_match(self, record: Record) -> bool:
        """Quickly: a text stands in JSON as it is, unless there are escapes; or in a header."""
        value = record.value
        if value is None or isinstance(value, LeftOut):
            return False
        return bool(record.headers) or b"\\" in value or self._mentions(value)

    def _mentions(self, value: bytes) -> bool:
        return all(text is None or text.encode() in value for text in (self.event_id, self.contact_id))


def _text(fields: Mapping[str, Any], name: str) -> str | None:
    value = fields.get(name)
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return value if isinstance(value, str) else None
