"""Encodes where a page of the activity table ended, as text that a caller sends back.

A cursor is no secret and is not signed, so anyone can make one: what is read is judged like any other parameter.
"""

import binascii
from base64 import urlsafe_b64decode, urlsafe_b64encode
from datetime import date

import msgspec

from api.query.periods import FIRST_DATE, LAST_DATE
from stream.storage.formats import FormatError
from stream.storage.row import key_of

NO_CURSOR = "is not a cursor of an earlier answer"
VERSION = 1


class Cursor(msgspec.Struct, array_like=True, frozen=True):
    """Where a page ended: the dates that its first page had, and the key of the last row that was looked at.

    `question` is what decides which rows there are, and in which order, as a digest.
    """

    version: int
    question: bytes
    first: date
    last: date
    key: bytes


def encode_cursor(cursor: Cursor) -> str:
    return urlsafe_b64encode(msgspec.msgpack.encode(cursor)).decode().rstrip("=")


def decode_cursor(text: str) -> Cursor | None:
    """None where the text can be no cursor of any answer."""
    try:
        packed = urlsafe_b64decode(text + "=" * (-len(text) % 4))
        cursor = msgspec.msgpack.decode(packed, type=Cursor)
        whole = cursor.version == VERSION and key_of(cursor.key) == cursor.key
    except (ValueError, binascii.Error, msgspec.DecodeError, FormatError):
        return None
    return cursor if whole and FIRST_DATE <= cursor.first <= cursor.last <= LAST_DATE else None
