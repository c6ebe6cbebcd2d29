"""Whatever comes in, nothing is raised, and the outcome is the same whichever decoder reads the JSON."""

import json
from typing import Any
from unittest.mock import patch

from hypothesis import example, given, settings
from hypothesis import strategies as st

from stream.ingest import event as events
from stream.ingest.event import EventRules, Reason, Rejected, parse
from stream.model.activity import ContactActivity
from stream.model.workspace import is_workspace
from tests.support.records import EVENT, Received, event, milliseconds

ARRIVED = milliseconds("2026-11-23T01:13:10Z")

digits = st.text("0123456789", max_size=12)
clocks = st.builds(
    "{}-{:02}-{:02}{}{:02}:{:02}:{:02}{}{}".format,
    st.sampled_from(["2026", "2025", "2024", "2000", "2001", "1999", "2199", "2200", "2262", "0000", "9999", "026"]),
    st.integers(0, 13),
    st.integers(0, 32),
    st.sampled_from("TTTTTt _"),
    st.integers(0, 25),
    st.integers(0, 61),
    st.integers(0, 62),
    st.one_of(st.just(""), digits.map(".{}".format), st.sampled_from([".", ",5", ".٣", ".1_0", ".+1", ". 1", ".1²"])),
    st.one_of(
        st.sampled_from(["Z", "z", "", "+08:00", "-00:00", "+0800", "+8:00", " Z", "Z ", "-23:59", "+24:00"]),
        st.builds("{}{:02}:{:02}".format, st.sampled_from("+-"), st.integers(0, 25), st.integers(0, 61)),
    ),
)
texts = st.one_of(
    st.text(max_size=12),
    st.sampled_from(["", "none", "NONE", "*", ",", ".", "..", "w_1", "user", "contact.added", "a.contact.deleted.v1"]),
    st.builds(lambda text, times: text * times, st.characters(), st.sampled_from([64, 65, 128, 129, 512, 513])),
    clocks,
)
scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.sampled_from([2**63 - 1, 2**63, -(2**63), -(2**63) - 1, 10**128 - 1, 10**128, -(10**128)]),
    st.floats(),
    texts,
)
values = st.recursive(scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3))
names = st.one_of(st.sampled_from([*EVENT, "specversion", "data", "data_base64", "time", "subject"]), texts)
changes = st.dictionaries(names, values, max_size=4)
documents = st.one_of(
    changes.map(lambda changed: event(**changed)),
    st.builds(lambda time, changed: event(**{"occurred_at": time} | changed), clocks, changes),
    st.builds(lambda data, changed: {"specversion": "1.0", "data": event(**data)} | changed, changes, changes),
    st.dictionaries(names, values, max_size=10),
    values,
)
payloads = st.builds(
    lambda document, ascii_only, spaced: json.dumps(
        document, ensure_ascii=ascii_only, separators=None if spaced else (",", ":")
    ).encode("utf-8", "surrogatepass"),
    documents,
    st.booleans(),
    st.booleans(),
)
frames = st.sampled_from([b"", b"", b"", b"\x00\x00\x00\x00\x01", b"\xef\xbb\xbf", b" ", b"\x00", b"\xff", b"["])
headers = st.lists(
    st.tuples(
        st.sampled_from(
            ["ce_id", "CE_Type", "ce_time", "ce_subject", "ce_specversion", "Content-Type", "content-type", "ce_x", ""]
        )
        | st.text(max_size=8),
        st.one_of(
            st.sampled_from(
                [b"1.0", b"application/cloudevents+json", b"application/cloudevents-batch+json", b"contact.added", b""]
            ),
            st.binary(max_size=8),
            clocks.map(str.encode),
        ),
    ),
    max_size=5,
)
timestamps = st.one_of(st.just(ARRIVED), st.integers(-(2**63), 2**63 - 1))
rules = st.sampled_from(
    [EventRules(), EventRules(retention_days=30), EventRules(retention_days=0, future_tolerance_seconds=10**9)]
)


def check(value: bytes, sent: list[tuple[str, bytes]], timestamp: int, rules: EventRules) -> None:
    record = Received(value, tuple(sent), timestamp)
    outcome = parse(record, rules)
    with patch.object(events, "_decode_fields", return_value=None):
        assert outcome == parse(record, rules)
    if isinstance(outcome, Rejected):
        assert outcome.reason in Reason
        assert outcome.message.encode()
        return
    # What is counted can be written everywhere: into a key, a packed row, a JSON answer.
    assert isinstance(outcome, ContactActivity)
    assert outcome.activity in (0, 1)
    assert 0 <= outcome.fraction_digits <= 9
    assert events.FIRST_NANOSECOND <= outcome.occurred_at <= events.LAST_NANOSECOND
    assert is_workspace(outcome.workspace_id)
    texts = [
        text for name in outcome.__struct_fields__ if isinstance(text := getattr(outcome, name), str) and text.encode()
    ]
    assert len(max(texts, key=len)) <= events.NAME_LENGTH
    assert outcome.source is None or (outcome.source == outcome.source.lower() and "," not in outcome.source)


@settings(max_examples=100, deadline=None)
@given(frames, payloads, timestamps, rules)
@example(b"", b'{"id":"\\ud800', ARRIVED, EventRules())
@example(b"", json.dumps(event(contact_id=2**63)).encode(), ARRIVED, EventRules())
@example(b"", json.dumps(event(occurred_at="2001-01-01T00:00:00+23:59")).encode(), ARRIVED, EventRules())
def test_plain_events(frame: bytes, payload: bytes, timestamp: int, rules: EventRules) -> None:
    check(frame + payload, [], timestamp, rules)


@settings(max_examples=100, deadline=None)
@given(frames, payloads, headers, timestamps, rules)
def test_events_with_headers(
    frame: bytes, payload: bytes, sent: list[tuple[str, bytes]], timestamp: int, rules: EventRules
) -> None:
    check(frame + payload, sent, timestamp, rules)


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=64), headers, timestamps)
def test_bytes_of_any_kind(value: bytes, sent: list[tuple[str, bytes]], timestamp: int) -> None:
    check(value, sent, timestamp, EventRules())


mutations = st.lists(
    st.tuples(
        st.sampled_from(["replace", "insert", "delete", "repeat"]),
        st.integers(0, 10_000),
        st.one_of(
            st.binary(min_size=1, max_size=2),
            st.sampled_from(
                [
                    b'"',
                    b"\\",
                    b"\\u",
                    b"\\ud800",
                    b"{",
                    b"}",
                    b"[",
                    b"]",
                    b",",
                    b":",
                    b"null",
                    b"1e5",
                    b"-",
                    b"\x00",
                    b"\xff",
                ]
            ),
        ),
    ),
    min_size=1,
    max_size=4,
)


def mutated(value: bytes, steps: list[tuple[str, int, bytes]]) -> bytes:
    for kind, place, inserted in steps:
        at = place % (len(value) + 1)
        match kind:
            case "replace":
                value = value[:at] + inserted + value[at + len(inserted) :]
            case "insert":
                value = value[:at] + inserted + value[at:]
            case "delete":
                value = value[:at] + value[at + len(inserted) :]
            case _:
                value = value[:at] + value[max(0, at - 20) :]
    return value


@settings(max_examples=150, deadline=None)
@given(payloads | st.just(json.dumps(EVENT).encode()), mutations, headers | st.just([]))
def test_events_with_a_few_bytes_changed(
    payload: bytes, steps: list[tuple[str, int, bytes]], sent: list[tuple[str, bytes]]
) -> None:
    check(mutated(payload, steps), sent, ARRIVED, EventRules())


def test_every_truncation_of_an_event() -> None:
    whole = json.dumps(event(contact_name="Zoë 😀 \\ud800")).encode()
    for length in range(len(whole)):
        check(whole[:length], [], ARRIVED, EventRules())
        check(b"\x00\x00\x00\x00\x01" + whole[:length], [("ce_id", b"e")], ARRIVED, EventRules())


def test_every_byte_in_the_place_of_another() -> None:
    """Within a text that is read, in one that is skipped, and between the texts."""
    for template in (
        b'{"id":"a?b"}',
        b'{"x":"a?b"}',
        b'{"x":?}',
        b'{"x":1?}',
        b'{"id":"\\?"}',
        b'{"id":"\\u00?a"}',
        b"{?}",
    ):
        whole = json.dumps(EVENT).encode()[:-1] + b"," + template[1:]
        for byte in range(256):
            check(whole.replace(b"?", bytes([byte])), [], ARRIVED, EventRules())


def test_headers_that_are_odd_in_every_way_at_once() -> None:
    everything: list[Any] = [
        ("ce_id", None), ("CE_ID", b"\xff"), ("ce_specversion", None), ("content-type", None), ("ce_", b""), ("", b""),
        ("CE_" + "x" * 9_000, b"\x00" * 9_000), ("ce_\ud800", b"x"), ("İ", b"x"),
    ]  # fmt: skip
    check(json.dumps(EVENT).encode(), everything, ARRIVED, EventRules())
