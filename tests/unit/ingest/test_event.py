"""Every rule about plain events, both sides of each boundary, by both readers."""

import json
from typing import Any
from unittest.mock import patch

import pytest

from stream.ingest import event as events
from stream.ingest.event import EventRules, Reason, Rejected, parse
from stream.model.activity import ADDED, DELETED, ContactActivity
from tests.support.records import ABSENT, ARRIVED, EVENT, event, nanoseconds, received

ACTIVITY = ContactActivity(
    event_id="0192f3a1-7c1e-7b3a-9c55-0f2b8d7e6a11",
    activity=ADDED,
    workspace_id="w_1042",
    contact_id="c_99120",
    contact_name="Ada Lovelace",
    source="contact_import",
    user_id="u_7",
    user_name="Grace",
    occurred_at=nanoseconds("2026-11-23T01:13:07Z") + 412_000_000,
    fraction_digits=3,
    batch_id="import_5",
)
"""What the event with every field means."""


def read(value: Any, arrived: str | int = ARRIVED, **rules: Any) -> Any:
    """What is read of a value, whichever decoder reads its JSON."""
    record = received(value, arrived=arrived)
    outcome = parse(record, EventRules(**rules))
    with patch.object(events, "_decode_fields", return_value=None):
        assert parse(record, EventRules(**rules)) == outcome
    return outcome


def means(**changed: Any) -> ContactActivity:
    return ContactActivity(**({name: getattr(ACTIVITY, name) for name in ACTIVITY.__struct_fields__} | changed))


def reason(outcome: object) -> Reason | object:
    """The reason alone; what was counted after all is shown whole."""
    return outcome.reason if isinstance(outcome, Rejected) else outcome


def test_an_event_with_every_field_is_read_whole() -> None:
    assert read(event()) == ACTIVITY


def test_an_event_with_nothing_but_what_is_required() -> None:
    required = {name: EVENT[name] for name in events.REQUIRED_FIELDS}
    nothing = dict.fromkeys(("contact_name", "source", "user_id", "user_name", "batch_id"))
    assert read(required) == means(**nothing)
    assert read(required | nothing) == means(**nothing)


def test_the_common_events_are_decoded_quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    """If msgspec stumbled over these the outcome would be the same, at three times the cost."""
    monkeypatch.delattr(events, "read_object")
    common = [
        received(event()),
        received(event(type="contact.deleted", contact_id=99120)),
        received(event(contact_name="Zoë 😀", source="Webhook", occurred_at="2026-11-23T01:13:07.412345678Z")),
        received(event(occurred_at="2026-11-23T01:13:07Z", user_id=None, source=None)),
        received(event(), {"traceparent": b"00-1-1-01"}),
        received(event(), {"ce_id": b"e", "ce_specversion": b"1.0"}),
        received(b"\x00\x00\x00\x00\x01" + json.dumps(event(more="x" * 2_000)).encode()),
    ]
    assert [type(parse(record, EventRules())) for record in common] == [ContactActivity] * len(common)


def test_tombstones_are_skipped() -> None:
    assert parse(received(None), EventRules()) is None
    assert parse(received(None, {"ce_id": b"e"}), EventRules()) is None
    assert parse(received(None, arrived=-1), EventRules(max_event_bytes=0)) is None


@pytest.mark.parametrize(
    ("changed", "meaning"),
    [
        ({"type": "contact.deleted"}, {"activity": DELETED}),
        ({"id": "e"}, {"event_id": "e"}),
        ({"id": "é" * 128}, {"event_id": "é" * 128}),
        ({"id": "😀" * 128}, {"event_id": "😀" * 128}),
        ({"id": " \x00\n"}, {"event_id": " \x00\n"}),
        ({"workspace_id": "AZaz09._~:@-"}, {"workspace_id": "AZaz09._~:@-"}),
        ({"workspace_id": "w" * 128}, {"workspace_id": "w" * 128}),
        ({"workspace_id": "..."}, {"workspace_id": "..."}),
        ({"workspace_id": ".a"}, {"workspace_id": ".a"}),
        ({"contact_id": "c" * 128}, {"contact_id": "c" * 128}),
        ({"contact_id": "1.0"}, {"contact_id": "1.0"}),
        ({"contact_id": 0}, {"contact_id": "0"}),
        ({"contact_id": -5}, {"contact_id": "-5"}),
        ({"contact_id": 2**63 - 1}, {"contact_id": "9223372036854775807"}),
        ({"contact_id": 2**63}, {"contact_id": "9223372036854775808"}),
        ({"contact_id": -(2**63)}, {"contact_id": "-9223372036854775808"}),
        ({"contact_id": -(2**63) - 1}, {"contact_id": "-9223372036854775809"}),
        ({"contact_id": 2**64}, {"contact_id": "18446744073709551616"}),
        ({"contact_id": 10**128 - 1}, {"contact_id": "9" * 128}),
        ({"contact_id": 1 - 10**128}, {"contact_id": "-" + "9" * 128}),
        ({"contact_name": ""}, {"contact_name": ""}),
        ({"contact_name": "😀" * 512}, {"contact_name": "😀" * 512}),
        ({"user_name": ""}, {"user_name": ""}),
        ({"user_name": "n" * 512}, {"user_name": "n" * 512}),
        ({"source": ""}, {"source": None}),
        ({"source": "none"}, {"source": None}),
        ({"source": "NONE"}, {"source": None}),
        ({"source": "NoNe"}, {"source": None}),
        ({"source": " none"}, {"source": " none"}),
        ({"source": " "}, {"source": " "}),
        ({"source": "User"}, {"source": "user"}),
        ({"source": "WEB Form\t"}, {"source": "web form\t"}),
        ({"source": "s" * 64}, {"source": "s" * 64}),
        ({"source": "İ" * 64}, {"source": "i̇" * 64}),  # 64 before, 128 code points after str.lower
        ({"source": "**"}, {"source": "**"}),
        ({"source": "* "}, {"source": "* "}),
        ({"source": "，"}, {"source": "，"}),
        ({"user_id": ""}, {"user_id": None}),
        ({"user_id": "none"}, {"user_id": None}),
        ({"user_id": "NONE"}, {"user_id": "NONE"}),
        ({"user_id": " none"}, {"user_id": " none"}),
        ({"user_id": "a,b"}, {"user_id": "a,b"}),
        ({"user_id": "*"}, {"user_id": "*"}),
        ({"user_id": "u" * 128}, {"user_id": "u" * 128}),
        ({"batch_id": ""}, {"batch_id": None}),
        ({"batch_id": "none"}, {"batch_id": "none"}),
        ({"batch_id": "b" * 128}, {"batch_id": "b" * 128}),
        ({"unknown": {"deep": [1, {"x": None}]}, "specversion": "0.3", "data_base64": "AA=="}, {}),
    ],
)
def test_good_fields(changed: dict[str, Any], meaning: dict[str, Any]) -> None:
    assert read(event(**changed)) == means(**meaning)


@pytest.mark.parametrize("name", events.REQUIRED_FIELDS)
def test_a_required_field_must_be_there_and_not_null(name: str) -> None:
    for value in (ABSENT, None):
        outcome = read(event(**{name: value}))
        assert outcome == Rejected(Reason.MISSING_FIELD, f"absent or null: {name}")
    assert reason(read(event(**{name: ""}))) == (Reason.UNKNOWN_TYPE if name == "type" else Reason.BAD_FIELD)


@pytest.mark.parametrize(
    "bad_type",
    ["", "contact.updated", "Contact.added", "contact.added ", "contact.added.v1", "x.contact.added", "added", 1, 1.5,
     True, False, [], ["contact.added"], {}, {"contact.added": 1}],
)  # fmt: skip
def test_any_other_type_is_unknown(bad_type: object) -> None:
    assert reason(read(event(type=bad_type))) is Reason.UNKNOWN_TYPE


@pytest.mark.parametrize(
    ("name", "bad"),
    [
        *[(name, value) for name in EVENT for value in (True, 1.5, [], {}, ["x"]) if name != "type"],
        *[(name, 7) for name in EVENT if name not in ("type", "contact_id")],
        ("id", "e" * 129),
        ("id", "😀" * 129),
        ("workspace_id", "w" * 129),
        ("workspace_id", "."),
        ("workspace_id", ".."),
        *[("workspace_id", f"w{character}") for character in " /\\%?#+,;!$&'()*=[]\"<>|^`{}\n\x00é０"],
        ("contact_id", "c" * 129),
        ("contact_name", "n" * 513),
        ("user_name", "n" * 513),
        ("source", "s" * 65),
        ("source", "İ" * 65),
        ("source", ","),
        ("source", "a,b"),
        ("source", "*"),
        ("user_id", "u" * 129),
        ("batch_id", "b" * 129),
    ],
)
def test_bad_fields(name: str, bad: object) -> None:
    outcome = read(event(**{name: bad}))
    assert reason(outcome) is Reason.BAD_FIELD
    assert name in outcome.message


@pytest.mark.parametrize(
    "number",
    [
        "1.0",
        "1e3",
        "1E3",
        "-0.0",
        "1e999",
        "-1e999",
        "0.5",
        "1" + "0" * 128,
        "-1" + "0" * 128,
        "9" * 5_000,
        "9" * 60_000,
    ],
)
def test_numbers_that_are_no_contact(number: str) -> None:
    value = json.dumps(event(contact_id="NUMBER")).replace('"NUMBER"', number)
    assert reason(read(value)) is Reason.BAD_FIELD


def test_minus_zero_is_the_integer_zero() -> None:
    assert read(json.dumps(event(contact_id="NUMBER")).replace('"NUMBER"', "-0")) == means(contact_id="0")


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b" ",
        b"null",
        b"true",
        b"1",
        b'"text"',
        b"[]",
        b"[" + json.dumps(EVENT).encode() + b"]",
        b"{",
        b"}",
        b"{}}",
        b"{} {}",
        b"{}\x00",
        b"{'id': 1}",
        b'{"id": 1,}',
        b'{"id" 1}',
        b'{"id": 01}',
        b'{"id": +1}',
        b'{"id": .5}',
        b'{"id": 1.}',
        b'{"id": 0x1}',
        b'{"id": NaN}',
        b'{"id": Infinity}',
        b'{"id": -Infinity}',
        b'{"unknown": NaN}',
        b'{"id": nul}',
        b'{"id": "a\nb"}',
        b'{"id": "\x1f"}',
        b'{"unknown": "\x00"}',
        b'{"id": "\\x41"}',
        b'{"id": "\\u12"}',
        b'{"id": "\\u+123"}',
        b"// comment\n{}",
        b"{}// comment",
        b"\x0b{}",
        "\u00a0{}".encode(),
        b"not json at all",
        b"\x00",
        b"\x00abc",
        b"\x00abcd",
        b"\x00\x00\x00\x00{}",  # a frame takes the four bytes after it, whatever they are
        b"\x01\x00\x00\x00\x01{}",
        b"\xef\xbb\xbf\x00\x00\x00\x00\x01{}",  # no frame within a byte order mark
        b"\xef\xbb\xbf\xef\xbb\xbf{}",
        b"\xef\xbb\xbf",
        b"\xef\xbb{}",
        "{}".encode("utf-16"),
        "{}".encode("utf-16-le"),
        "{}".encode("utf-32"),
        b"\xff{}",
        b'{"id": "\xff"}',
        b'{"unknown": "\xff"}',
        b'{"\xff": 1}',
        b'{"unknown": "\xed\xa0\x80"}',  # a surrogate in UTF-8
        b'{"unknown": "\xc0\x80"}',  # overlong
        b'{"unknown": "\xf4\x90\x80\x80"}',  # beyond the last code point
        b'{"unknown": "\xe2\x82"}',
    ],
)
def test_what_is_not_json(value: bytes) -> None:
    assert reason(read(value)) is Reason.NOT_JSON


@pytest.mark.parametrize(
    ("escapes", "good"),
    [
        (r"\ud83d\ude00", True),
        (r"\uD83D\uDE00", True),
        (r"\\ud800", True),
        (r"\\\\ud800", True),
        (r"\ud7ff\ue000", True),
        (r"\ud800", False),
        (r"\uD800", False),
        (r"\udc00", False),
        (r"\udfff", False),
        (r"\udbff", False),
        (r"\ud800x", False),
        (r"\ud800\u0041", False),
        (r"\ud800\ud800\udc00", False),
        (r"\ud800\udc00\udc00", False),
        (r"\udc00\ud800", False),
        (r"\\\ud800", False),
        (r"\ud800\\udc00", False),
        (r"\ud800\n\udc00", False),
    ],
)
def test_surrogates_have_their_other_half(escapes: str, good: bool) -> None:
    """Wherever they are: in a field, in a value or a name that nobody asks for, in what a duplicate replaces."""
    plain = json.dumps(event(id="ID"))
    places = [
        plain.replace('"ID"', f'"{escapes}"'),
        plain.replace("{", f'{{"unknown": ["{escapes}"], ', 1),
        plain.replace("{", f'{{"{escapes}": 1, ', 1),
        plain.replace("{", f'{{"user_id": "{escapes}", ', 1),
    ]
    for value in places:
        assert isinstance(read(value), ContactActivity) if good else reason(read(value)) is Reason.NOT_JSON, value


def nested(depth: int, opening: str = "[", closing: str = "]") -> str:
    """The event with something in it that makes it `depth` levels deep, itself included."""
    levels = depth - 1
    return json.dumps(event(unknown="NESTED")).replace('"NESTED"', opening * levels + "1" + closing * levels)


@pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ('{"a":', "}")])
def test_nesting_has_a_limit_of_its_own(opening: str, closing: str) -> None:
    assert read(nested(512, opening, closing)) == ACTIVITY
    assert reason(read(nested(513, opening, closing))) is Reason.NOT_JSON
    assert reason(read(nested(5_000, opening, closing))) is Reason.NOT_JSON


def test_brackets_that_never_close_are_no_json() -> None:
    for endless in (b"[" * 60_000, b'{"a":' * 12_000, b'{"a":' + b"[" * 60_000, b'{"' + b'\\"' * 30_000):
        assert reason(read(endless)) is Reason.NOT_JSON


def test_brackets_in_texts_and_side_by_side_are_no_nesting() -> None:
    assert read(event(unknown="[{" * 2_000)) == ACTIVITY
    assert read(event(unknown='"[\\"' * 2_000)) == ACTIVITY
    assert read(event(unknown=[[], {}] * 2_000)) == ACTIVITY


@pytest.mark.parametrize(
    "before",
    [b"", b"\xef\xbb\xbf", b" \t\r\n", b"\x00\x00\x00\x00\x01", b"\x00{}[]", b"\x00\xff\xff\xff\xff\xef\xbb\xbf "],
)
@pytest.mark.parametrize("after", [b"", b" \t\r\n"])
def test_what_may_stand_around_the_json(before: bytes, after: bytes) -> None:
    assert read(before + json.dumps(event()).encode() + after) == ACTIVITY


def test_the_last_of_duplicate_fields_wins() -> None:
    good = json.dumps(event())
    assert read('{"id": 7, "type": [], "source": "a,b", "occurred_at": null, ' + good[1:]) == ACTIVITY
    assert read(good[:-1] + ', "id": "second"}') == means(event_id="second")
    assert read(good[:-1] + ', "i\\u0064": "second"}') == means(event_id="second")
    assert read(good[:-1] + ', "source": null}') == means(source=None)
    assert reason(read(good[:-1] + ', "id": null}')) is Reason.MISSING_FIELD
    assert reason(read(good[:-1] + ', "id": 7}')) is Reason.BAD_FIELD
    assert reason(read(good[:-1] + ', "type": 7}')) is Reason.UNKNOWN_TYPE


def test_escapes_mean_what_they_stand_for() -> None:
    assert read(json.dumps(event(contact_name='Zoë 😀 "\\/\b\f\n\r\t'))) == means(contact_name='Zoë 😀 "\\/\b\f\n\r\t')
    assert reason(read(json.dumps(event(source="a\\u002cb")).replace("\\\\u", "\\u"))) is Reason.BAD_FIELD
    assert read(json.dumps(event(type="TYPE")).replace("TYPE", "contact\\u002eadded")) == ACTIVITY


@pytest.mark.parametrize(
    ("value", "first"),
    [
        ({}, Reason.MISSING_FIELD),
        (event(id=None, type="x", source=",", occurred_at="x"), Reason.MISSING_FIELD),
        (event(occurred_at=None, type="x", source=","), Reason.MISSING_FIELD),
        (event(type="x", source=",", occurred_at="2026-11-23T01:13:07"), Reason.UNKNOWN_TYPE),
        (event(source=",", occurred_at="2026-11-23T01:13:07"), Reason.BAD_FIELD),
        (event(source=",", occurred_at="1999-11-23T01:13:07Z"), Reason.BAD_FIELD),
        (event(source=",", occurred_at="2027-11-23T01:13:07Z"), Reason.BAD_FIELD),
        (event(occurred_at="1999-11-23T01:13:07"), Reason.TIME_WITHOUT_OFFSET),
        (event(occurred_at="2027-11-23T01:13:07"), Reason.TIME_WITHOUT_OFFSET),
    ],
)
def test_the_first_of_several_reasons(value: dict[str, Any], first: Reason) -> None:
    assert reason(read(value)) is first


def test_every_fault_of_its_reason_is_named() -> None:
    assert read({"id": None, "type": "contact.added"}).message == (
        "absent or null: id, workspace_id, contact_id, occurred_at"
    )
    message = read(event(id="", source="*", contact_name=7, occurred_at="yesterday")).message
    assert [part.split()[0] for part in message.split("; ")] == ["id", "source", "contact_name", "occurred_at"]


def test_too_old_comes_before_in_the_future() -> None:
    outcome = parse(received(event(occurred_at="1999-12-31T00:00:00Z"), arrived="1998-01-01T00:00:00Z"), EventRules())
    assert reason(outcome) is Reason.TIME_TOO_OLD


def test_the_size_is_that_of_the_value_as_received() -> None:
    good = json.dumps(event()).encode()
    for before in (b"", b"\x00\x00\x00\x00\x01", b"\xef\xbb\xbf", b" "):
        value = before + good
        assert parse(received(value), EventRules(max_event_bytes=len(value))) == ACTIVITY
        outcome = parse(received(value), EventRules(max_event_bytes=len(value) - 1))
        assert outcome == Rejected(
            Reason.TOO_LARGE, f"the value has {len(value)} bytes, more than the {len(value) - 1} that are read"
        )
    assert reason(parse(received(b"\xff" * 65_537), EventRules())) is Reason.TOO_LARGE
    assert reason(parse(received(b"\xff" * 65_536), EventRules())) is Reason.NOT_JSON
    assert parse(received(good.ljust(65_536)), EventRules()) == ACTIVITY


@pytest.mark.parametrize(
    ("occurred_at", "shown", "digits"),
    [
        ("2026-11-23T01:13:07Z", "2026-11-23T01:13:07.000000000", 0),
        ("2026-11-23t01:13:07z", "2026-11-23T01:13:07.000000000", 0),
        ("2026-11-23T01:13:07.4z", "2026-11-23T01:13:07.400000000", 1),
        ("2026-11-23T01:13:07.40Z", "2026-11-23T01:13:07.400000000", 2),
        ("2026-11-23T01:13:07.000000Z", "2026-11-23T01:13:07.000000000", 6),
        ("2026-11-23T01:13:07.123456789Z", "2026-11-23T01:13:07.123456789", 9),
        ("2026-11-23T01:13:07.1234567899Z", "2026-11-23T01:13:07.123456789", 9),
        ("2026-11-22T23:59:59.99999999999999999999Z", "2026-11-22T23:59:59.999999999", 9),
        ("2026-11-23T01:13:07." + "9" * 60_000 + "Z", "2026-11-23T01:13:07.999999999", 9),
        ("2026-11-22T23:59:60Z", "2026-11-22T23:59:59.999999999", 9),
        ("2026-11-22T23:59:60.5Z", "2026-11-22T23:59:59.999999999", 9),
        ("2026-11-23T09:13:60.0000000001+08:00", "2026-11-23T01:13:59.999999999", 9),
        ("2026-11-23T01:13:07+00:00", "2026-11-23T01:13:07.000000000", 0),
        ("2026-11-23T01:13:07-00:00", "2026-11-23T01:13:07.000000000", 0),
        ("2026-11-23T06:58:07.5+05:45", "2026-11-23T01:13:07.500000000", 1),
        ("2026-11-22T15:43:07-09:30", "2026-11-23T01:13:07.000000000", 0),
        ("2026-11-24T01:12:07+23:59", "2026-11-23T01:13:07.000000000", 0),
        ("2026-11-22T01:14:07-23:59", "2026-11-23T01:13:07.000000000", 0),
        ("2024-02-29T00:00:00Z", "2024-02-29T00:00:00.000000000", 0),
        ("2000-02-29T00:00:00Z", "2000-02-29T00:00:00.000000000", 0),
        ("2000-01-01T00:00:00Z", "2000-01-01T00:00:00.000000000", 0),
        ("1999-12-31T16:00:00-08:00", "2000-01-01T00:00:00.000000000", 0),
        ("2000-12-31T23:59:59Z", "2000-12-31T23:59:59.000000000", 0),
        ("2001-01-01T00:00:00+14:00", "2000-12-31T10:00:00.000000000", 0),
    ],
)
def test_good_times(occurred_at: str, shown: str, digits: int) -> None:
    second, fraction = shown.split(".")
    instant = nanoseconds(f"{second}Z") + int(fraction)
    outcome = read(event(occurred_at=occurred_at), arrived="2026-11-24T00:00:00Z")
    assert outcome == means(occurred_at=instant, fraction_digits=digits)


@pytest.mark.parametrize(
    "occurred_at",
    [
        "2026-11-23T01:13:07",
        "2026-11-23t01:13:07.4",
        "2026-11-23T01:13:60",
        "0000-01-01T00:00:00",
        "9999-12-31T23:59:59",
    ],
)
def test_times_without_an_offset(occurred_at: str) -> None:
    assert read(event(occurred_at=occurred_at)) == Rejected(
        Reason.TIME_WITHOUT_OFFSET, "occurred_at has no offset, like Z or +08:00"
    )


@pytest.mark.parametrize(
    "occurred_at",
    [
        "",
        "Z",
        "now",
        "1795396387",
        "2026-11-23",
        "2026-11-23Z",
        "2026-11-23T01:13",
        "2026-11-23T01:13Z",
        "2026-11-23 01:13:07Z",
        "2026-11-23 01:13:07",
        "2026-11-23_01:13:07Z",
        " 2026-11-23T01:13:07Z",
        "2026-11-23T01:13:07Z ",
        "2026-11-23T01:13:07Z\n",
        "2026-11-23T01:13:07 Z",
        "2026-11-23T01:13:07ZZ",
        "20261123T011307Z",
        "2026-W48-1T01:13:07Z",
        "2026-327T01:13:07Z",
        "26-11-23T01:13:07Z",
        "+2026-11-23T01:13:07Z",
        "-2026-11-23T01:13:07Z",
        "12026-11-23T01:13:07Z",
        "2026-1-23T01:13:07Z",
        "2026-11-23T1:13:07Z",
        "2026-00-23T01:13:07Z",
        "2026-13-23T01:13:07Z",
        "2026-11-00T01:13:07Z",
        "2026-11-31T01:13:07Z",
        "2026-02-29T01:13:07Z",
        "2100-02-29T01:13:07Z",
        "1900-02-29T01:13:07Z",
        "2026-11-31T01:13:07",
        "2026-11-23T24:00:00Z",
        "2026-11-23T01:60:07Z",
        "2026-11-23T01:13:61Z",
        "2026-11-23T01:13:99",
        "2026-11-23T01:13:07.Z",
        "2026-11-23T01:13:07.",
        "2026-11-23T01:13:07,412Z",
        "2026-11-23T01:13:07.4 Z",
        "2026-11-23T01:13:07.1_2Z",
        "2026-11-23T01:13:07.+12Z",
        "2026-11-23T01:13:07.-12Z",
        "2026-11-23T01:13:07. 12Z",
        "2026-11-23T01:13:07.٣Z",
        "2026-11-23T01:13:07.²Z",
        "٢٠٢٦-11-23T01:13:07Z",
        "2026-11-23T01:13:0٧Z",
        "2026-11-23T01:13:07+08",
        "2026-11-23T01:13:07+0800",
        "2026-11-23T01:13:07+8:00",
        "2026-11-23T01:13:07+24:00",
        "2026-11-23T01:13:07-24:00",
        "2026-11-23T01:13:07+08:60",
        "2026-11-23T01:13:07+99:99",
        "2026-11-23T01:13:07+08:00:00",
        "2026-11-23T01:13:07+٠٨:00",
        "2026-11-23T01:13:07−08:00",
        "2026-11-23T01:13:07UTC",
        "2026-11-23T01:13:07[UTC]",
        "2026-11-23T01:13:07Z[Asia/Kuala_Lumpur]",
    ],
)
def test_malformed_times(occurred_at: str) -> None:
    assert read(event(occurred_at=occurred_at)) == Rejected(
        Reason.BAD_FIELD, "occurred_at is no RFC 3339 date-time, like 2026-11-23T09:13:07.412+08:00"
    )


@pytest.mark.parametrize(
    "occurred_at",
    [
        "1999-12-31T23:59:59.999999999Z",
        "1999-12-31T23:59:60Z",
        "2000-01-01T00:00:00+00:01",
        "2000-01-01T23:58:59+23:59",
        "1970-01-01T00:00:00Z",
        "0001-01-01T00:00:00Z",
        "0000-01-01T00:00:00+23:59",
        "0000-02-29T00:00:00Z",
    ],
)
def test_times_before_2000_are_too_old(occurred_at: str) -> None:
    assert read(event(occurred_at=occurred_at)) == Rejected(
        Reason.TIME_TOO_OLD, "occurred_at is before 2000-01-01T00:00:00Z"
    )


@pytest.mark.parametrize(
    ("tolerance", "last", "first_refused"),
    [
        (300, "2026-11-23T01:18:10.123Z", "2026-11-23T01:18:10.123000001Z"),
        (300, "2026-11-23T09:18:10.123+08:00", "2026-11-23T09:18:10.124+08:00"),
        (0, "2026-11-23T01:13:10.123Z", "2026-11-23T01:13:10.123000001Z"),
        (86_400, "2026-11-24T01:13:10.123Z", "2026-11-24T01:13:10.123000001Z"),
    ],
)
def test_how_far_ahead_a_time_may_be(tolerance: int, last: str, first_refused: str) -> None:
    arrived = "2026-11-23T01:13:10.123Z"
    good = read(event(occurred_at=last), arrived, future_tolerance_seconds=tolerance)
    assert isinstance(good, ContactActivity)
    assert read(event(occurred_at=first_refused), arrived, future_tolerance_seconds=tolerance) == Rejected(
        Reason.TIME_IN_FUTURE, f"occurred_at is more than {tolerance} s ahead of the record's timestamp"
    )


def test_the_last_day_of_the_calendar_is_in_the_future() -> None:
    for occurred_at in ("9999-12-31T23:59:59-23:59", "9999-12-31T23:59:60Z", "2199-12-31T23:59:59Z"):
        assert reason(read(event(occurred_at=occurred_at))) is Reason.TIME_IN_FUTURE


@pytest.mark.parametrize(
    ("timestamp", "expected"),
    [(-1, Reason.TIME_IN_FUTURE), (-(2**63), Reason.TIME_IN_FUTURE), (0, Reason.TIME_IN_FUTURE)],
)
def test_timestamps_that_say_nothing_leave_everything_in_the_future(timestamp: int, expected: Reason) -> None:
    assert reason(read(event(), arrived=timestamp)) is expected


def test_no_time_beyond_64_bits_is_counted_whatever_the_timestamp() -> None:
    endless = 2**63 - 1
    last = read(event(occurred_at="2262-04-11T23:47:16.854775807Z"), arrived=endless)
    assert last == means(occurred_at=2**63 - 1, fraction_digits=9)
    for occurred_at in ("2262-04-11T23:47:16.854775808Z", "9999-12-31T23:59:59Z"):
        assert reason(read(event(occurred_at=occurred_at), arrived=endless)) is Reason.TIME_IN_FUTURE
    assert read(event(), arrived=endless) == ACTIVITY


@pytest.mark.parametrize(
    ("days", "first", "last_refused"),
    [
        (0, "2026-11-23T00:00:00Z", "2026-11-22T23:59:59.999999999Z"),
        (1, "2026-11-22T00:00:00Z", "2026-11-21T23:59:60Z"),
        (30, "2026-10-24T08:00:00+08:00", "2026-10-24T07:59:59+08:00"),
        (366, "2025-11-22T00:00:00Z", "2025-11-21T23:59:59Z"),
        (1_000_000, "2000-01-01T00:00:00Z", "1999-12-31T23:59:59Z"),
    ],
)
@pytest.mark.parametrize("arrived", ["2026-11-23T00:00:00Z", "2026-11-23T23:59:59.999Z"])
def test_retention_counts_days_of_utc_back_from_that_of_the_record(
    arrived: str, days: int, first: str, last_refused: str
) -> None:
    assert isinstance(read(event(occurred_at=first), arrived, retention_days=days), ContactActivity)
    assert reason(read(event(occurred_at=last_refused), arrived, retention_days=days)) is Reason.TIME_TOO_OLD


def test_messages_fit_a_header_whatever_the_event() -> None:
    for value in (event(id="😀" * 16_000), event(type="\x00" * 9_000), b"{" + b"\xff" * 60_000, '{"' + "a" * 60_000):
        message = read(value).message
        assert len(message.encode()) < 500
        assert message.isprintable()
