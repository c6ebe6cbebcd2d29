"""Records with headers, CloudEvents among them: the core reads of them what the strict reader in Python reads."""

import json
import os
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream.ingest.cloudevents import BATCH, STRUCTURED
from stream.tables.rules import CountingRules
from tests.support.records import Received
from tests.unit.core.test_agreement import BATCH_BYTES, EVENT, UNLIMITED, Compiled, packed
from tests.unit.core.test_compiled_state import SLOW, both, raw_batch
from tests.unit.tables.test_partition_properties import START

pytestmark = [pytest.mark.timeout(900), pytest.mark.usefixtures("core")]

Header = tuple[str, bytes | None]

CONTENTS: dict[str, list[bytes]] = {
    "ce_id": [b"e1", b"e2", "ü".encode() * 128, b"x" * 129],
    "ce_type": [b"contact.added", b"contact.deleted.v1", b"com.x.contact.added", b"added", b"contact.added.v1.v1"],
    "ce_time": [
        b"2026-11-20T12:00:00Z",
        b"2026-11-20T21:00:00.5+09:00",
        b"2026-11-20 12:00:00Z",
        b"2026-11-20T12:00:00",
    ],
    "ce_subject": [b"c1", b"7", "ß".encode()],
    "ce_specversion": [b"1.0", b"1.0", b"0.3", b"1.0 "],
    "content-type": [
        b"application/json",
        b"application/json; charset=utf-8",
        b"application/json\xa0",
        STRUCTURED.encode(),
        f" {STRUCTURED.upper()} ; charset=utf-8".encode(),
        BATCH.encode(),
        b"text/x-cloudevents",
    ],
    "traceparent": [b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"],
    "ce_source": [b"/crm"],
    "ce_\u0131d": [b"e1"],
}
ODD = [None, b"", b"\xff", b"\xed\xa0\x80", b"e\x00"]


def named(name: str) -> st.SearchStrategy[Header]:
    names = st.sampled_from([name, name, name, name.upper(), name.title()])
    return st.tuples(names, st.sampled_from([*CONTENTS[name], *CONTENTS[name], *ODD]))


def cased(name: str) -> st.SearchStrategy[Header]:
    return st.tuples(st.sampled_from([name, name.title()]), st.sampled_from(CONTENTS[name][:2]))


USUAL = ("ce_id", "ce_type", "ce_time", "ce_subject", "ce_specversion", "content-type")
HEADERS = st.one_of(
    st.lists(st.sampled_from(sorted(CONTENTS)).flatmap(named), max_size=8),
    st.tuples(*map(cased, USUAL)).map(list),
    st.tuples(st.tuples(*map(cased, USUAL)), st.sampled_from(sorted(CONTENTS)).flatmap(named)).map(
        lambda drawn: [*drawn[0], drawn[1]]
    ),
)
FIELDS = st.fixed_dictionaries(
    {},
    optional={
        "id": st.sampled_from(["e1", "e3", 7, None, ""]),
        "type": st.sampled_from(["contact.added", "contact.added.v1", "com.x.contact.deleted", "x", None, 1]),
        "workspace_id": st.sampled_from(["w", "w", "w", "..", None]),
        "contact_id": st.sampled_from(["c", 7, 2**70, 1.5, None]),
        "occurred_at": st.sampled_from(["2026-11-20T12:00:00Z", "2026-11-20T12:00:00+00:00", "now", None]),
        "source": st.sampled_from(["user", "Ü", None]),
        "user_id": st.sampled_from(["u1", "none", None]),
        "specversion": st.sampled_from(["1.0", "0.3"]),
        "time": st.just("2026-11-20T12:00:00Z"),
        "subject": st.just("c3"),
        "data": st.sampled_from([{"workspace_id": "w", "contact_id": "c", "id": "e4"}, 1, None]),
        "data_base64": st.sampled_from([None, "e30="]),
    },
)
WHOLE = FIELDS.map(lambda fields: EVENT | fields)
VALUES = st.one_of(
    WHOLE.map(json.dumps),
    FIELDS.map(json.dumps),
    WHOLE.map(lambda fields: json.dumps(fields, indent=1)),
    WHOLE.map(lambda fields: json.dumps(fields)[:-1] + ', "id": "e5"}'),
    st.sampled_from(["[]", "{", "", "null", '{"workspace_id": "\\ud800"}']),
).map(str.encode)
FRAMES = st.sampled_from([b"", b"", b"", b"", b"\x00\x00\x00\x00\x07", b"\xef\xbb\xbf"])
RECORDS = st.lists(st.tuples(HEADERS, FRAMES, VALUES), min_size=1, max_size=12)


def records_of(drawn: list[tuple[list[Header], bytes, bytes]]) -> list[Received]:
    return [
        Received(frame + value, headers, START, b"k", 100 + number, 0)
        for number, (headers, frame, value) in enumerate(drawn)
    ]


@settings(SLOW, max_examples=int(os.environ.get("TEST_HEADERS", "100")))
@given(RECORDS, st.sampled_from([0, 2]))
def test_headers_mean_the_same_to_both_forms(drawn: list[tuple[list[Header], bytes, bytes]], codec: int) -> None:
    # Given records with any headers, in bytes
    records = records_of(drawn)
    state = both(CountingRules())
    # When both forms count them, then verdicts, dead letters, rows and changelog are the same
    state.apply(raw_batch(packed(records, codec), 100, 100 + len(records)))
    state.encode()


REST = json.dumps({"workspace_id": "w", "source": "user", "user_id": "u1"}).encode()
WHOLE_EVENT = json.dumps({"id": "e1"} | EVENT).encode()
BINARY: list[Header] = [
    ("ce_specversion", b"1.0"),
    ("ce_id", b"e1"),
    ("ce_source", b"/crm"),
    ("ce_type", b"com.example.contact.deleted.v1"),
    ("ce_time", b"2026-11-20T12:00:00Z"),
    ("ce_subject", b"c1"),
    ("content-type", b"application/json; charset=utf-8"),
]


@pytest.mark.parametrize(
    ("headers", "value", "odd"),
    [
        ([], WHOLE_EVENT, 0),
        ([("traceparent", b"00-1-1-01"), ("tracestate", None)], WHOLE_EVENT, 0),
        ([("content-type", b"application/json"), ("ce_type", b"x")], WHOLE_EVENT, 0),
        (BINARY, REST, 0),
        ([(name.title(), content) for name, content in reversed(BINARY)], REST, 0),
        ([("ce_id", b"e0"), *BINARY], REST, 0),
        (BINARY, WHOLE_EVENT, 0),
        ([*BINARY, ("ce_id", None)], WHOLE_EVENT, 0),
        ([*BINARY, ("ce_id", None)], REST, 1),
        ([*BINARY, ("ce_specversion", b"0.3")], REST, 1),
        ([*BINARY, ("content-type", STRUCTURED.encode())], REST, 1),
        ([*BINARY, ("ce_subject", b"\xff")], REST, 1),
        ([*BINARY, ("ce_\u0131d", b"e2")], REST, 1),
    ],
)
def test_the_core_decides_the_plain_ones(core: Any, headers: list[Header], value: bytes, odd: int) -> None:
    [record] = records_of([(headers, b"", value)])
    fetched = core.Fetched(packed([record]), 100, [], False, BATCH_BYTES)
    *_, left = Compiled(core, CountingRules()).state.read(fetched, UNLIMITED, UNLIMITED)
    assert len(left) == odd


@pytest.mark.parametrize("name", [b"ce_id\xff", b"\xff"])
def test_a_header_whose_name_is_no_text_is_left_to_the_strict_reader(name: bytes) -> None:
    [record] = records_of([([("#" * len(name), b"e2")], b"", WHOLE_EVENT)])
    state = both(CountingRules())
    state.apply(raw_batch(packed([record]).replace(b"#" * len(name), name), 100, 101))
    assert state.encode().outcomes.counted == 1
