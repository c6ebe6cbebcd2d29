import msgspec
import pytest

from stream.storage.formats import FormatError
from stream.tables.position import Fingerprint, Position, decode_position, encode_position
from tests.support.records import Received

INCARNATION = bytes(range(16))
NEW = Position(500, 500, INCARNATION, None, None, None, 0, 4)
COUNTED = Position(
    777, 500, INCARNATION, Fingerprint(775, 1_700_000_000_000, 99), 20_000, 470_000, 1_700_000_000_001, 4, 12
)


SKIPPED = msgspec.structs.replace(COUNTED, skipped=2)


@pytest.mark.parametrize("position", [NEW, COUNTED, SKIPPED], ids=["new", "counted", "skipped"])
def test_a_position_is_what_was_packed(position: Position) -> None:
    assert decode_position(encode_position(position)) == position


def test_a_position_from_before_keys_were_counted_is_read() -> None:
    stored = msgspec.msgpack.encode((1, *msgspec.structs.astuple(COUNTED)[:-2]))
    assert decode_position(stored) == msgspec.structs.replace(COUNTED, live_keys=None)


def test_where_nothing_was_passed_over_the_bytes_are_those_of_before() -> None:
    assert encode_position(COUNTED) == msgspec.msgpack.encode((1, *msgspec.structs.astuple(COUNTED)[:-1]))


def test_another_version_is_refused() -> None:
    value = encode_position(NEW)

    with pytest.raises(FormatError, match="b'p' is not of format 1"):
        decode_position(value[:1] + b"\x02" + value[2:])
    with pytest.raises(FormatError, match="b'p' is damaged"):
        decode_position(value[:-1])
    with pytest.raises(FormatError, match="incarnation id of 15 bytes"):
        decode_position(msgspec.msgpack.encode((1, 0, 0, INCARNATION[1:], None, None, None, 0, 1)))


def test_a_fingerprint_sees_every_difference() -> None:
    record = Received(b"value", key=b"key", timestamp=5, offset=9)

    others = [
        Received(b"walue", key=b"key", timestamp=5, offset=9),
        Received(b"value", key=b"kez", timestamp=5, offset=9),
        Received(b"value", key=None, timestamp=5, offset=9),
        Received(None, key=b"key", timestamp=5, offset=9),
        Received(b"value", key=b"key", timestamp=6, offset=9),
        Received(b"value", key=b"key", timestamp=5, offset=8),
    ]

    assert Fingerprint.of(record) == Fingerprint.of(
        Received(b"value", key=b"key", timestamp=5, offset=9, headers=[("a", b"")])
    )
    assert all(Fingerprint.of(other) != Fingerprint.of(record) for other in others)
