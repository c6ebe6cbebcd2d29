"""What a dead letter leaves out: its value, then its headers, then its key, as far as it would not fit."""

from __future__ import annotations

import pytest

from stream.ingest.event import LeftOut, Reason
from stream.kafka.dead_letters import BATCH_OVERHEAD, PARTS, EncodedLetter, encode_dead_letter
from stream.kafka.letter_limit import MESSAGE_BYTES, letter_limit
from stream.kafka.record_batch import BuiltBatch
from stream.tables.commit import DeadLetter
from tests.support.records import Received

LARGE = 5_000
OWN = [("trace", b"h" * LARGE), ("empty", b"")]


def letter(value: bytes = b"v", key: bytes | None = b"k", headers: list[tuple[str, bytes]] | None = None) -> DeadLetter:
    record = Received(value, key=key, headers=headers or [], offset=7)
    return DeadLetter(record, Reason.NOT_JSON, "why")


def left_out(encoded: EncodedLetter) -> dict[str, int]:
    return {
        name.removeprefix("contacts.").removesuffix("_omitted"): int(size or b"")
        for name, size in encoded.headers
        if name.endswith("_omitted")
    }


@pytest.mark.parametrize(
    ("given", "limit", "expected"),
    [
        (letter(b"v" * LARGE, b"k" * LARGE, OWN), 4 * LARGE, {}),
        (letter(b"v" * LARGE, b"k" * LARGE, OWN), 3 * LARGE, {"value": LARGE}),
        (letter(b"v" * LARGE, b"k" * LARGE, OWN), 2 * LARGE, {"value": LARGE, "headers": LARGE + 10}),
        (letter(b"v" * LARGE, b"k" * LARGE, OWN), LARGE, {"value": LARGE, "headers": LARGE + 10, "key": LARGE}),
        (letter(b"v" * LARGE, b"k" * LARGE, OWN), 1, {"value": LARGE, "headers": LARGE + 10, "key": LARGE}),
        # What has no bytes is not left out.
        (letter(b"", b"k" * LARGE), LARGE, {"key": LARGE}),
        (letter(b"v" * LARGE, None), LARGE, {"value": LARGE}),
    ],
)
def test_no_more_is_left_out_than_must_be(given: DeadLetter, limit: int, expected: dict[str, int]) -> None:
    encoded = encode_dead_letter(given, "topic", 3, limit)
    assert left_out(encoded) == expected
    assert encoded.key == (None if "key" in expected else given.record.key)
    assert encoded.value == (None if "value" in expected else given.record.value)
    own = [] if "headers" in expected else list(given.record.headers)
    assert encoded.headers[: len(own)] == own
    assert dict(encoded.headers[len(own) :])["contacts.reason"] == b"not_json"


def test_the_limit_is_kept_to_the_byte() -> None:
    given = letter(b"v" * 100)
    exact = BATCH_OVERHEAD + encode_dead_letter(given, "topic", 3, 1 << 30).size
    assert left_out(encode_dead_letter(given, "topic", 3, exact)) == {}
    assert left_out(encode_dead_letter(given, "topic", 3, exact - 1)) == {"value": 100}


@pytest.mark.parametrize("omitted", range(PARTS + 2))
def test_what_was_refused_goes_with_less(omitted: int) -> None:
    encoded = encode_dead_letter(letter(b"v", b"k", [("h", b"1")]), "topic", 3, 1 << 30, omit_at_least=omitted)
    assert list(left_out(encoded)) == ["value", "headers", "key"][:omitted]


@pytest.mark.parametrize(
    "given", [letter(), letter(b"v" * 70_000, b"k" * 200, OWN), letter(b"", None, [("h\u00e9", b"1")] * 500)]
)
def test_a_size_is_never_less_than_what_is_sent(given: DeadLetter) -> None:
    encoded = encode_dead_letter(given, "topic", 3, 1 << 30)
    batch = BuiltBatch(1 << 30)
    batch.append(encoded.key, encoded.value, encoded.headers)
    sent = len(batch.frame(1, 0, 0))  # as the broker measures it
    assert sent <= BATCH_OVERHEAD + encoded.size <= sent + 50 + 10 * len(encoded.headers)


def test_the_limit_is_that_of_the_topic_within_that_of_the_brokers() -> None:
    assert letter_limit({}, None) == MESSAGE_BYTES
    assert letter_limit({"max.message.bytes": "5000000"}, None) == 5_000_000
    assert letter_limit({"max.message.bytes": "500000000"}, None) == 98 << 20
    assert letter_limit({"max.message.bytes": "500000000"}, 10 << 20) == 8 << 20
    assert letter_limit({"max.message.bytes": "500000000"}, 1 << 20) == 512 << 10


def test_a_value_that_was_never_read_is_told_by_its_size() -> None:
    record = Received(LeftOut(400_000_000, "why"), key=b"k", offset=7)
    encoded = encode_dead_letter(DeadLetter(record, Reason.TOO_LARGE, "why"), "topic", 3, MESSAGE_BYTES)
    assert (encoded.key, encoded.value, left_out(encoded)) == (b"k", None, {"value": 400_000_000})
