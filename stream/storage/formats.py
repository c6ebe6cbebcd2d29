"""Decodes stored values, and refuses those that this version cannot read."""

from typing import Final, TypeVar

import msgspec

T = TypeVar("T")

VALUE_BYTES_LIMIT: Final = 1_000_000
"""No changelog value is larger: below the 1,048,588 bytes that a broker takes by default, with room for the key and
the record's frame."""

Changes = dict[bytes, bytes | None]
"""Changelog records of one commit by key; None deletes the key."""


class FormatError(ValueError):
    """A stored value is of a format that this program does not know, or is damaged. It names the key; the worker
    stops."""


class LostKeysError(FormatError):
    """What was read is not all that was committed, or more. The worker stops."""


def check_array(value: bytes, version: int, name: object) -> None:
    """Asserts that a value is a msgpack array of at most 15 elements whose first is `version`."""
    if len(value) < 2 or value[0] & 0xF0 != 0x90 or value[1] != version:
        raise FormatError(f"{name!r} is not of format {version}: it begins with {value[:2].hex() or 'nothing'}")


def check_byte(value: bytes, version: int, name: object) -> None:
    """Asserts that a value's first byte is `version`."""
    if not value or value[0] != version:
        raise FormatError(f"{name!r} is not of format {version}: it begins with {value[:1].hex() or 'nothing'}")


def decode_array(decoder: msgspec.msgpack.Decoder[T], value: bytes, version: int, name: object) -> T:
    """Decodes a msgpack array after checking its version. Raises FormatError."""
    check_array(value, version, name)
    try:
        return decoder.decode(value)
    except msgspec.DecodeError as error:
        raise FormatError(f"{name!r} is damaged: {error}") from None
