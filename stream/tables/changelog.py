"""What the keys of a changelog's records are, and whether all of them are there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from stream.storage.formats import FormatError, LostKeysError
from stream.tables import counts, names, position, recent_ids, uncounted
from stream.tables.position import Position, decode_position

_KINDS: Final = (counts.KIND, recent_ids.KIND, uncounted.KIND, names.KIND)


def check_kind(key: bytes) -> None:
    """Raises FormatError where a key is of no known kind."""
    if key != position.KEY and key[:1] not in _KINDS:
        raise FormatError(f"{key!r} is a key of no known kind")


def read_position(records: Mapping[bytes, bytes]) -> Position:
    """Raises FormatError where there is none, or more or fewer records than it was committed with."""
    if position.KEY not in records:
        raise FormatError("there are records without a position")
    known = decode_position(records[position.KEY])
    if known.live_keys is not None and known.live_keys != len(records):
        raise LostKeysError(
            f"the changelog has {len(records)} keys, where the commit of offset {known.next_offset} left "
            f"{known.live_keys}: it lost records (is its cleanup.policy `compact`?). A new CONTACTS_GROUP counts "
            "the topic from its beginning"
        )
    return known
