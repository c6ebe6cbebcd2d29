"""Every rule about CloudEvents, binary and structured."""

from typing import Any

import pytest

from stream.ingest.event import EventRules, Reason, Rejected, parse
from stream.model.activity import ADDED, DELETED, ContactActivity
from tests.support.records import ABSENT, event, nanoseconds, received

STRUCTURED = {"content-type": b"application/cloudevents+json"}

BINARY = {
    "ce_specversion": b"1.0",
    "ce_id": b"ce-1",
    "ce_type": b"com.example.crm.contact.deleted.v1",
    "ce_source": b"/crm/eu",
    "ce_time": b"2026-11-23T01:13:08Z",
    "ce_subject": b"c_1",
    "content-type": b"application/json",
}

REST: dict[str, Any] = {
    "workspace_id": "w_1042",
    "contact_name": "Ada Lovelace",
    "source": "Contact_Import",
    "user_id": "u_7",
    "user_name": "Grace",
    "batch_id": "import_5",
}

ENVELOPE: dict[str, Any] = {
    "specversion": "1.0",
    "id": "ce-1",
    "type": "com.example.crm.contact.deleted.v1",
    "source": "/crm/eu",
    "time": "2026-11-23T01:13:08Z",
    "subject": "c_1",
    "data": REST,
}

ACTIVITY = ContactActivity(
    event_id="ce-1",
    activity=DELETED,
    workspace_id="w_1042",
    contact_id="c_1",
    contact_name="Ada Lovelace",
    source="contact_import",
    user_id="u_7",
    user_name="Grace",
    occurred_at=nanoseconds("2026-11-23T01:13:08Z"),
    fraction_digits=0,
    batch_id="import_5",
)


def read(value: Any, headers: Any) -> Any:
    return parse(received(value, headers), EventRules())


def reason(outcome: object) -> Reason | object:
    return outcome.reason if isinstance(outcome, Rejected) else outcome


def binary(**changed: Any) -> dict[str, bytes]:
    return {name: value for name, value in (BINARY | changed).items() if value is not ABSENT}


def envelope(**changed: Any) -> dict[str, Any]:
    return {name: value for name, value in (ENVELOPE | changed).items() if value is not ABSENT}


def means(**changed: Any) -> ContactActivity:
    return ContactActivity(**({name: getattr(ACTIVITY, name) for name in ACTIVITY.__struct_fields__} | changed))


def test_binary_takes_attributes_from_headers_and_the_rest_from_the_value() -> None:
    assert read(REST, BINARY) == ACTIVITY


def test_structured_takes_attributes_from_the_envelope_and_the_rest_from_its_data() -> None:
    assert read(ENVELOPE, STRUCTURED) == ACTIVITY


@pytest.mark.parametrize(
    "frame", [b"\x00\x00\x00\x00\x01", b"\xef\xbb\xbf", b"\x00\x00\x00\x00\x01\xef\xbb\xbf", b" \n"]
)
def test_what_may_stand_in_front_of_plain_events_may_here_too(frame: bytes) -> None:
    assert read(frame + (received(REST).value or b""), BINARY) == ACTIVITY
    assert read(frame + (received(ENVELOPE).value or b""), STRUCTURED) == ACTIVITY


@pytest.mark.parametrize(
    "headers",
    [
        {name.upper(): value for name, value in BINARY.items()},
        {name.title(): value for name, value in BINARY.items()},
        binary(ce_specversion=ABSENT),
        binary(**{"content-type": ABSENT}),
        binary(ce_unknown=b"\xff", traceparent=b"00-1-1-01"),
        [("ce_id", b"first"), ("CE_ID", b"second"), *BINARY.items()],
    ],
)
def test_how_binary_is_recognised(headers: Any) -> None:
    assert read(REST, headers) == ACTIVITY


def test_without_version_and_id_headers_are_no_cloudevent() -> None:
    plain = event(type="contact.added")
    expected = parse(received(plain), EventRules())
    assert isinstance(expected, ContactActivity)
    for headers in (
        {"ce_time": b"2026-11-23T01:13:08Z", "ce_subject": b"c_1", "ce_type": b"contact.deleted"},
        {"content-type": b"application/json", "ce-id": b"ce-1", "ce_idx": b"ce-1", "id": b"ce-1"},
        {"content-type": b"\xff\xfe", "": b"", "traceparent": b"00-1-1-01"},
        {"content-type": b"application/cloudevents"},
        {"content-type": b"application/cloudevents+xml"},
    ):
        assert read(plain, headers) == expected
    assert reason(read(event(type="a.contact.added"), {"ce_type": b"contact.added"})) is Reason.UNKNOWN_TYPE


@pytest.mark.parametrize(
    "content_type",
    [
        b"application/cloudevents+json",
        b"Application/CloudEvents+JSON",
        b"application/cloudevents+json; charset=utf-8",
        b" application/cloudevents+json ;charset=utf-8",
    ],
)
def test_how_structured_is_recognised(content_type: bytes) -> None:
    for name in ("content-type", "Content-Type", "CONTENT-TYPE"):
        assert read(ENVELOPE, {name: content_type}) == ACTIVITY


def test_headers_win_over_the_value() -> None:
    value = REST | {"id": "v", "type": "contact.added", "occurred_at": "2026-11-23T00:00:00Z", "contact_id": 5}
    assert read(value, BINARY) == ACTIVITY
    assert read(value | {"id": 7, "type": [], "occurred_at": "x", "contact_id": 1.5}, BINARY) == ACTIVITY
    assert read(value | {"id": None, "type": None}, BINARY) == ACTIVITY


def test_what_a_header_lacks_is_taken_from_the_value() -> None:
    value = REST | {"id": "v", "type": "contact.added", "occurred_at": "2026-11-23T00:00:00.50Z", "contact_id": 5}
    at = nanoseconds("2026-11-23T00:00:00Z") + 500_000_000
    fields = {"activity": ADDED, "contact_id": "5", "occurred_at": at, "fraction_digits": 2}
    assert read(value, {"ce_specversion": b"1.0"}) == means(event_id="v", **fields)
    assert read(value, {"ce_id": b"ce-1"}) == means(**fields)
    assert read(value, binary(ce_id=ABSENT)) == means(event_id="v")
    assert read(value, binary(ce_type=ABSENT)) == means(activity=ADDED)
    assert read(value, binary(ce_time=ABSENT)) == means(occurred_at=at, fraction_digits=2)
    assert read(value, binary(ce_subject=ABSENT)) == means(contact_id="5")
    assert read(value, binary(ce_id=None, ce_time=None)) == means(
        event_id="v", occurred_at=at, fraction_digits=2
    )  # headers without a value
    assert read(REST | {"type": "x.contact.added.v1"}, binary(ce_type=ABSENT)) == means(activity=ADDED)


def test_what_the_envelope_lacks_is_taken_from_its_data() -> None:
    data = REST | {"id": "d", "type": "contact.added", "occurred_at": "2026-11-23T00:00:00Z", "contact_id": 5}
    at = nanoseconds("2026-11-23T00:00:00Z")
    assert read(envelope(data=data), STRUCTURED) == ACTIVITY
    assert read(envelope(data=data, id=ABSENT), STRUCTURED) == means(event_id="d")
    assert read(envelope(data=data, type=None), STRUCTURED) == means(activity=ADDED)
    assert read(envelope(data=data, time=ABSENT), STRUCTURED) == means(occurred_at=at)
    assert read(envelope(data=data, subject=None), STRUCTURED) == means(contact_id="5")
    assert read(envelope(data=data, specversion=ABSENT), STRUCTURED) == ACTIVITY
    assert read(envelope(data=data, specversion=None, data_base64=None), STRUCTURED) == ACTIVITY


def test_headers_win_over_a_structured_envelope_too() -> None:
    headers = STRUCTURED | {"ce_id": b"h", "ce_subject": b"c_2"}
    assert read(ENVELOPE, headers) == means(event_id="h", contact_id="c_2")


def test_the_attribute_source_is_not_the_source_of_the_contact() -> None:
    without = {name: value for name, value in REST.items() if name != "source"}
    assert read(without, BINARY) == means(source=None)
    assert read(envelope(data=without), STRUCTURED) == means(source=None)


def test_fields_beside_the_data_are_not_read() -> None:
    outcome = read(envelope(data=ABSENT) | REST, STRUCTURED)
    assert outcome == Rejected(Reason.MISSING_FIELD, "absent or null: workspace_id")


@pytest.mark.parametrize("data", [ABSENT, None, [], [REST], "text", 1, True, {}])
def test_without_an_object_as_data_the_workspace_is_missing(data: Any) -> None:
    outcome = read(envelope(data=data), STRUCTURED)
    assert outcome == Rejected(Reason.MISSING_FIELD, "absent or null: workspace_id")


@pytest.mark.parametrize(
    ("event_type", "activity"),
    [
        ("contact.added", ADDED),
        ("contact.added.v1", ADDED),
        ("contact.deleted", DELETED),
        ("com.example.contact.deleted", DELETED),
        ("com.example.contact.deleted.v1", DELETED),
        (".contact.added", ADDED),
        ("contact.contact.added", ADDED),
    ],
)
def test_types_end_in_ours(event_type: str, activity: int) -> None:
    assert read(REST, binary(ce_type=event_type.encode())) == means(activity=activity)
    assert read(envelope(type=event_type), STRUCTURED) == means(activity=activity)


@pytest.mark.parametrize(
    "event_type",
    [
        "", ".", "added", "xcontact.added", "com.example.xcontact.added", "contact.added.v2", "contact.added.v1.v1",
        "contact.added.", "contact.added.v1.", "contact.added.x", "contact..added", "Contact.Added", "contact.added.V1",
        "com-contact.added", "com/contact.added", "contact.added\n",
    ],
)  # fmt: skip
def test_other_types_are_unknown(event_type: str) -> None:
    assert reason(read(REST, binary(ce_type=event_type.encode()))) is Reason.UNKNOWN_TYPE
    assert reason(read(envelope(type=event_type), STRUCTURED)) is Reason.UNKNOWN_TYPE


def test_a_type_that_is_no_text_is_unknown() -> None:
    assert reason(read(REST, binary(ce_type=b"\xff"))) is Reason.UNKNOWN_TYPE
    assert reason(read(envelope(type=5), STRUCTURED)) is Reason.UNKNOWN_TYPE


@pytest.mark.parametrize("version", ["0.3", "1", "1.0.0", "1.1", "", " 1.0", "1.0 "])
@pytest.mark.parametrize("value", [REST, {}, {"type": "x"}])
def test_another_version_is_a_bad_field_whatever_else_is_missing(version: str, value: dict[str, Any]) -> None:
    refused = Rejected(Reason.BAD_FIELD, "specversion must be 1.0")
    assert read(value, binary(ce_specversion=version.encode())) == refused
    assert read(value, {"ce_specversion": version.encode()}) == refused
    assert read({"specversion": version} | value, STRUCTURED) == refused


@pytest.mark.parametrize("version", [1.0, 1, True, [], {}])
def test_a_version_that_is_no_text_is_another(version: object) -> None:
    assert reason(read(envelope(specversion=version), STRUCTURED)) is Reason.BAD_FIELD
    assert reason(read(REST, {"ce_id": b"e", "ce_specversion": b"\xff"})) is Reason.BAD_FIELD


@pytest.mark.parametrize("encoded", ["", "e30=", 5, {}, []])
def test_data_in_base64_is_a_bad_field_whatever_else_is_missing(encoded: object) -> None:
    for value in (envelope(data_base64=encoded), envelope(data_base64=encoded, data=ABSENT), {"data_base64": encoded}):
        assert reason(read(value, STRUCTURED)) is Reason.BAD_FIELD


def test_in_binary_the_value_may_have_fields_that_only_an_envelope_knows() -> None:
    assert read(REST | {"data_base64": "AA==", "specversion": "0.3", "data": 5}, BINARY) == ACTIVITY


@pytest.mark.parametrize(
    "headers",
    [
        {"content-type": b"application/cloudevents-batch+json"},
        {"content-type": b"application/cloudevents-batch+json; charset=utf-8", "ce_id": b"x", "ce_specversion": b"0.3"},
    ],
)
@pytest.mark.parametrize("value", [b"[]", b"[{}]", b"{}", received(ENVELOPE).value, b"x"])
def test_batches_are_not_json(headers: dict[str, bytes], value: bytes) -> None:
    assert reason(read(value, headers)) is Reason.NOT_JSON


@pytest.mark.parametrize(
    "value", [b"", b"[]", b"x", b"\xff{}", b'{"x": "\\ud800"}', b"{} x", b"[" * 60_000, b'{"a":' * 9_000]
)
def test_what_is_not_json_is_so_before_anything_about_cloudevents(value: bytes) -> None:
    for headers in (BINARY, binary(ce_specversion=b"0.3"), STRUCTURED, STRUCTURED | {"ce_specversion": b"0.3"}):
        assert reason(read(value, headers)) is Reason.NOT_JSON


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("ce_id", b"", Reason.BAD_FIELD),
        ("ce_id", b"\xff", Reason.BAD_FIELD),
        ("ce_id", b"e" * 129, Reason.BAD_FIELD),
        ("ce_id", "é".encode() * 129, Reason.BAD_FIELD),
        ("ce_subject", b"", Reason.BAD_FIELD),
        ("ce_subject", b"\xff", Reason.BAD_FIELD),
        ("ce_subject", b"c" * 129, Reason.BAD_FIELD),
        ("ce_time", b"", Reason.BAD_FIELD),
        ("ce_time", b"\xff", Reason.BAD_FIELD),
        ("ce_time", b"2026-11-23 01:13:08Z", Reason.BAD_FIELD),
        ("ce_time", b"2026-11-23T01:13:08", Reason.TIME_WITHOUT_OFFSET),
        ("ce_time", b"1999-11-23T01:13:08Z", Reason.TIME_TOO_OLD),
        ("ce_time", b"2026-11-24T01:13:08Z", Reason.TIME_IN_FUTURE),
    ],
)
def test_headers_keep_the_rules_of_their_fields(name: str, content: bytes, expected: Reason) -> None:
    good = REST | {"id": "v", "type": "contact.added", "occurred_at": "2026-11-23T00:00:00Z", "contact_id": 5}
    assert reason(read(good, BINARY | {name: content})) is expected


def test_the_longest_headers() -> None:
    assert read(REST, binary(ce_id="é".encode() * 128)) == means(event_id="é" * 128)
    assert read(REST, binary(ce_subject=b"c" * 128)) == means(contact_id="c" * 128)
    assert read(REST, binary(ce_subject=b"5")) == means(contact_id="5")
    assert read(envelope(subject=5), STRUCTURED) == means(contact_id="5")


def test_an_attribute_that_nobody_has_is_missing() -> None:
    for header, field in (
        ("ce_id", "id"),
        ("ce_type", "type"),
        ("ce_time", "occurred_at"),
        ("ce_subject", "contact_id"),
    ):
        assert read(REST, binary(**{header: ABSENT})) == Rejected(Reason.MISSING_FIELD, f"absent or null: {field}")


def test_the_identity_is_workspace_and_id_whoever_published() -> None:
    assert read(REST, binary(ce_source=b"/crm/us")) == read(REST, BINARY)
