"""What the keys of a changelog's records are, and whether all of them are there."""

from __future__ import annotations

from typing import Any, Final, Protocol

from stream.storage.formats import FormatError, LostKeysError
from stream.tables import counts, names, position, recent_ids, uncounted
from stream.tables.position import Position, decode_position

_KINDS: Final = (counts.KIND, recent_ids.KIND, uncounted.KIND, names.KIND)


def check_kind(key: bytes) -> None:
    """Raises FormatError where a key is of no known kind."""
    if key != position.KEY and key[:1] not in _KINDS:
        raise FormatError(f"{key!r} is a key of no known kind")


class Records(Protocol):
    """The latest record of each key: a dict, or a table of the compiled core."""

    def get(self, key: bytes, /) -> bytes | None: ...
    def __len__(self) -> int: ...


class RawTable(Records, Protocol):
    """The latest record of each key, kept by the compiled core until a partition adopts them."""

    def read(self, fetched: Any, /) -> None:
        """Take the records of a fetch, a `Fetched` of the core."""

    def put(self, key: bytes, value: bytes | None, /) -> None:
        """Take one record. Without a value it deletes its key."""

    def arrange(self) -> bool:
        """Look at some keys for their order. False: all were looked at, and a partition may adopt them."""

    def one_of_each_kind(self) -> list[bytes]:
        """A key of each kind, once all were arranged."""


def read_position(records: Records) -> Position:
    """Raises FormatError where there is none, or more or fewer records than it was committed with."""
    stored = records.get(position.KEY)
    if stored is None:
        raise FormatError("there are records without a position")
    known = decode_position(stored)
    if known.live_keys is not None and known.live_keys != len(records):
        raise LostKeysError(
            f"the changelog has {len(records)} keys, where the commit of offset {known.next_offset} left "
            f"{known.live_keys}: it lost records (is its cleanup.policy `compact`?). A new CONTACTS_GROUP counts "
            "the topic from its beginning"
        )
    return known
