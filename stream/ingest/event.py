"""Reads a record of the activity topic: a contact activity, or the reason why it cannot be counted.

msgspec decodes the JSON that publishers send nearly always. Whatever it stumbles over, json_text.py reads again and
says what is wrong with it. The fields are judged in one way; tests/unit/ingest/test_event_agreement.py compares the
two.
"""

import codecs
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Any, Final, Protocol

import msgspec
from msgspec import Meta

from stream.ingest.cloudevents import Envelope, cloudevent_faults, event_fields, read_envelope
from stream.ingest.json_text import INTEGER_DIGITS, NotJsonError, may_be_nested_deeply, read_object
from stream.ingest.timestamps import Unreadable, read_date_time
from stream.model.activity import ACTIVITY_OF_TYPE, EVENT_TYPES, KNOWN_SOURCES, NONE, ContactActivity, EventType
from stream.model.time import DAY_MILLISECONDS, DAY_NANOSECONDS, NANOSECONDS, NANOSECONDS_A_MILLISECOND
from stream.model.workspace import WORKSPACE_LENGTH, WORKSPACE_PATTERN, WORKSPACE_RULE, is_workspace
from stream.settings.worker import WorkerConfig

FIRST_NANOSECOND: Final = 946_684_800 * NANOSECONDS
"""2000-01-01T00:00:00Z: what was before is too old."""

LAST_NANOSECOND: Final = 2**63 - 1
"""In April 2262. Where publishers set a record's timestamp any may come: what 64 bits cannot hold is not read."""

SOURCE_PATTERN: Final = r"^(?!\*$)[^,]*$"
DATE_TIME_PATTERN: Final = (
    r"^[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])[Tt]([01][0-9]|2[0-3]):[0-5][0-9]:([0-5][0-9]|60)(\.[0-9]+)?"
    r"([Zz]|[+-]([01][0-9]|2[0-3]):[0-5][0-9])$"
)
"""What the schema says of texts; tests/integration/test_schema.py holds it to what `parse` does."""

ID_LENGTH: Final = 128
SOURCE_LENGTH: Final = 64
NAME_LENGTH: Final = 512
"""Longest texts, in code points."""


class Reason(StrEnum):
    """Why a record is not counted; a closed set, in the order in which they are looked for."""

    TOO_LARGE = "too_large"
    NOT_JSON = "not_json"
    MISSING_FIELD = "missing_field"
    UNKNOWN_TYPE = "unknown_type"
    BAD_FIELD = "bad_field"
    TIME_WITHOUT_OFFSET = "time_without_offset"
    TIME_TOO_OLD = "time_too_old"
    TIME_IN_FUTURE = "time_in_future"


class Rejected(msgspec.Struct, frozen=True, gc=False):
    """A record that cannot be counted."""

    reason: Reason
    message: str
    """For the publisher: which fields, and what they must be."""


LOG_APPEND_TIME: Final = 1
"""The `timestamp_type` of a record whose time is the broker's."""


HEADER_BYTES: Final = 100
"""Of memory, that a header of a record takes beside its name and content."""


class Record(Protocol):
    """One record as the broker gave it; aiokafka's ConsumerRecord is one."""

    @property
    def offset(self) -> int: ...
    @property
    def timestamp(self) -> int:
        """Milliseconds since 1970, by the broker's clock, or by the publisher's where the topic says so."""

    @property
    def timestamp_type(self) -> int | None:
        """LOG_APPEND_TIME where it is the broker's clock."""

    @property
    def key(self) -> bytes | None: ...
    @property
    def value(self) -> bytes | None: ...
    @property
    def headers(self) -> Sequence[tuple[str, bytes]]: ...


class PlainRecord(msgspec.Struct, frozen=True):
    """A Record made of its fields, where there is no ConsumerRecord."""

    offset: int
    timestamp: int
    timestamp_type: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes]]


def bytes_held(record: Record) -> int:
    """About how much memory a record takes."""
    headers = sum(HEADER_BYTES + len(name) + len(content or b"") for name, content in record.headers)
    return len(record.value or b"") + len(record.key or b"") + headers


class LeftOut(bytes):
    """The value of a record that is too large to be read: no byte of it, but how many it has, as far as is known, and
    why it was left out."""

    size: int
    why: str

    def __new__(cls, size: int, why: str) -> "LeftOut":
        value = super().__new__(cls)
        value.size, value.why = size, why
        return value


@dataclass(frozen=True, slots=True)
class EventRules:
    """What a deployment may set about events."""

    max_event_bytes: int = WorkerConfig.max_event_bytes
    """Of the value as received, frame and byte order mark included."""
    future_tolerance_seconds: int = WorkerConfig.future_tolerance_seconds
    """How far `occurred_at` may be ahead of the record's timestamp."""
    retention_days: int | None = WorkerConfig.retention_days
    """How many days `occurred_at` may lie before the day of the record's timestamp, both in UTC; None: any number."""
    record_future_tolerance_seconds: int = WorkerConfig.record_future_tolerance_seconds
    """How far a record's timestamp may be ahead of the clock reading that came with its fetch."""


class Event(msgspec.Struct, kw_only=True, gc=False):
    """One contact that was added or deleted, as a publisher writes it. Unknown fields are ignored."""

    # Lengths are code points, as msgspec and JSON Schema count them. What is in `extra_json_schema` is for the schema
    # alone and checked below: msgspec would take patterns to Python's `re`, for a fifth of the whole event's cost.
    id: Annotated[
        str,
        Meta(
            min_length=1, max_length=ID_LENGTH, description="Unique in its workspace: the same id twice is one event."
        ),
    ]
    type: Annotated[EventType, Meta(description="What happened.")]
    workspace_id: Annotated[
        str,
        Meta(
            min_length=1,
            max_length=WORKSPACE_LENGTH,
            description="The workspace whose contact it is; neither `.` nor `..`.",
            extra_json_schema={"pattern": WORKSPACE_PATTERN},
        ),
    ]
    contact_id: Annotated[
        Annotated[str, Meta(min_length=1, max_length=ID_LENGTH)] | Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)],
        Meta(description="A text, or an integer of at most 128 digits (not 1.0 or 1e3), kept as its decimal text."),
    ]
    contact_name: Annotated[
        Annotated[str, Meta(max_length=NAME_LENGTH)] | None,
        Meta(description="The contact's name as it was then: shown in the row, never counted by."),
    ] = None
    source: Annotated[
        Annotated[str, Meta(max_length=SOURCE_LENGTH, extra_json_schema={"pattern": SOURCE_PATTERN})] | None,
        Meta(
            description="The way it came, kept in lower case; null, absent, empty and `none` all mean without. "
            "No comma, and no `*` alone.",
            examples=list(KNOWN_SOURCES),
        ),
    ] = None
    user_id: Annotated[
        Annotated[str, Meta(max_length=ID_LENGTH)] | None,
        Meta(description="The user who did it; null, absent, empty and `none` all mean no user."),
    ] = None
    user_name: Annotated[
        Annotated[str, Meta(max_length=NAME_LENGTH)] | None,
        Meta(description="The user's name as it was then; the latest by `occurred_at` labels the user."),
    ] = None
    occurred_at: Annotated[
        str,
        Meta(
            description="When it happened, which decides every bucket: RFC 3339 with an offset, to the nanosecond.",
            examples=["2026-11-23T09:13:07.412+08:00", "2026-11-23T01:13:07Z"],
            extra_json_schema={"format": "date-time", "pattern": DATE_TIME_PATTERN},
        ),
    ]
    batch_id: Annotated[
        Annotated[str, Meta(max_length=ID_LENGTH)] | None,
        Meta(description="Marks the events of one import; empty is as if absent."),
    ] = None


REQUIRED_FIELDS: Final = ("id", "type", "workspace_id", "contact_id", "occurred_at")


def parse(record: Record, rules: EventRules) -> ContactActivity | Rejected | None:
    """Read one record of the activity topic; None for a tombstone (a null value), which says nothing of anything.

    `occurred_at` decides the bucket: 23:59:59.999Z counts in that day's last quarter, 00:00:00Z in the first of the
    next day. Never raises: what cannot be counted comes back as Rejected, with the first reason in Reason's order.
    """
    value = record.value
    if value is None:
        return None
    if isinstance(value, LeftOut):
        return Rejected(Reason.TOO_LARGE, value.why)
    if len(value) > rules.max_event_bytes:
        message = f"the value has {len(value)} bytes, more than the {rules.max_event_bytes} that are read"
        return Rejected(Reason.TOO_LARGE, message)
    envelope, payload = read_envelope(record.headers), unwrap(value)
    fields = _decode_fields(payload, envelope)
    if fields is not None:
        return _judge(fields, record.timestamp, rules)
    try:
        document = read_object(payload)
    except NotJsonError as fault:
        return Rejected(Reason.NOT_JSON, str(fault))
    if envelope is None:
        return _judge(document, record.timestamp, rules)
    if envelope.batch:
        return Rejected(Reason.NOT_JSON, "a batch of CloudEvents is not read: publish each event as a record")
    faults = cloudevent_faults(envelope, document)
    if faults:
        return Rejected(Reason.BAD_FIELD, "; ".join(faults))
    return _judge(event_fields(envelope, document), record.timestamp, rules)


def _decode_fields(payload: bytes, envelope: Envelope | None) -> Mapping[str, Any] | None:
    """The fields of an event whose JSON, and their types and lengths, are in order; None where they may not be."""
    if may_be_nested_deeply(payload):
        return None
    try:
        payload.decode()  # msgspec skips unknown fields without decoding them: what is not UTF-8 would pass
        if envelope is None:
            return msgspec.structs.asdict(_decode(payload))
        document = _decode_object(payload)
        if envelope.batch or cloudevent_faults(envelope, document):
            return None
        return msgspec.structs.asdict(msgspec.convert(event_fields(envelope, document), Event))
    except (ValueError, RecursionError):
        return None


def unwrap(value: bytes) -> bytes:
    """The JSON of a value: behind the frame of a Confluent schema registry and a byte order mark, where there are."""
    if value[:1] == b"\x00":
        value = value[_CONFLUENT_FRAME_BYTES:]
    return value.removeprefix(codecs.BOM_UTF8)


def _judge(fields: Mapping[str, Any], timestamp: int, rules: EventRules) -> ContactActivity | Rejected:
    missing = [name for name in REQUIRED_FIELDS if fields.get(name) is None]
    if missing:
        return Rejected(Reason.MISSING_FIELD, f"absent or null: {', '.join(missing)}")
    if fields["type"] not in EVENT_TYPES:
        return Rejected(Reason.UNKNOWN_TYPE, f"type must be {' or '.join(EVENT_TYPES)}")
    moment = read_date_time(fields["occurred_at"]) if isinstance(fields["occurred_at"], str) else Unreadable.MALFORMED
    faults = _field_faults(fields)
    if moment is Unreadable.MALFORMED:
        faults.append(f"occurred_at {moment.value}")
    if faults:
        return Rejected(Reason.BAD_FIELD, "; ".join(faults))
    if isinstance(moment, Unreadable):
        return Rejected(Reason.TIME_WITHOUT_OFFSET, f"occurred_at {moment.value}")
    occurred_at, fraction_digits = moment
    time_fault = _time_fault(occurred_at, timestamp, rules)
    if time_fault is not None:
        return time_fault
    source = fields.get("source")
    return ContactActivity(
        event_id=fields["id"],
        activity=ACTIVITY_OF_TYPE[fields["type"]],
        workspace_id=fields["workspace_id"],
        contact_id=str(fields["contact_id"]),
        contact_name=fields.get("contact_name"),
        source=None if source is None else _none_if_blank(source.lower()),
        user_id=_none_if_blank(fields.get("user_id")),
        user_name=fields.get("user_name"),
        occurred_at=occurred_at,
        fraction_digits=fraction_digits,
        batch_id=fields.get("batch_id") or None,
    )


def _field_faults(fields: Mapping[str, Any]) -> list[str]:
    """What is wrong with the fields but `type` and `occurred_at`, each fault with the name of its field."""
    faults = [
        _text_fault("id", fields["id"], 1, ID_LENGTH),
        _workspace_fault(fields["workspace_id"]),
        _contact_fault(fields["contact_id"]),
        _source_fault(fields.get("source")),
    ]
    for name, longest in _OPTIONAL_TEXTS.items():
        if fields.get(name) is not None:
            faults.append(_text_fault(name, fields[name], 0, longest))
    return [fault for fault in faults if fault is not None]


def _text_fault(name: str, text: object, shortest: int, longest: int) -> str | None:
    if isinstance(text, str) and shortest <= len(text) <= longest:
        return None
    return f"{name} must be a string of {shortest} to {longest} characters"


def _workspace_fault(text: object) -> str | None:
    if isinstance(text, str):
        if is_workspace(text):
            return None
        if not text or is_workspace(text[:WORKSPACE_LENGTH]):
            return _text_fault("workspace_id", text, 1, WORKSPACE_LENGTH)
    return f"workspace_id {WORKSPACE_RULE}"


def _contact_fault(contact: object) -> str | None:
    # An integer too long to be one comes out of stream/ingest/json_text.py as a float, like 1.0 and 1e3.
    if isinstance(contact, int) and not isinstance(contact, bool):
        return None
    if _text_fault("contact_id", contact, 1, ID_LENGTH) is None:
        return None
    return (
        f"contact_id must be a string of 1 to {ID_LENGTH} characters or an integer of at most {INTEGER_DIGITS} digits"
    )


def _source_fault(source: object) -> str | None:
    if source is None:
        return None
    if isinstance(source, str) and ("," in source or source == "*"):
        return "source must have no comma, and be no lone *"
    return _text_fault("source", source, 0, SOURCE_LENGTH)


def _time_fault(occurred_at: int, timestamp: int, rules: EventRules) -> Rejected | None:
    if occurred_at < FIRST_NANOSECOND:
        return Rejected(Reason.TIME_TOO_OLD, "occurred_at is before 2000-01-01T00:00:00Z")
    if rules.retention_days is not None:
        first_day = timestamp // DAY_MILLISECONDS - rules.retention_days
        if occurred_at < first_day * DAY_NANOSECONDS:
            message = f"occurred_at is on a day more than {rules.retention_days} days before that of the record, in UTC"
            return Rejected(Reason.TIME_TOO_OLD, message)
    latest = timestamp * NANOSECONDS_A_MILLISECOND + rules.future_tolerance_seconds * NANOSECONDS
    if occurred_at > min(latest, LAST_NANOSECOND):
        message = f"occurred_at is more than {rules.future_tolerance_seconds} s ahead of the record's timestamp"
        return Rejected(Reason.TIME_IN_FUTURE, message)
    return None


def _none_if_blank(text: str | None) -> str | None:
    return None if text in _BLANK else text


_CONFLUENT_FRAME_BYTES: Final = 5
_BLANK: Final = frozenset((None, "", NONE))
_OPTIONAL_TEXTS: Final = {
    "contact_name": NAME_LENGTH,
    "user_id": ID_LENGTH,
    "user_name": NAME_LENGTH,
    "batch_id": ID_LENGTH,
}
_decode: Final = msgspec.json.Decoder(Event).decode
_decode_object: Final = msgspec.json.Decoder(dict[str, Any]).decode
