"""Checks the cursor of a page, and names what an answer of activities depends on besides the report's query."""

from hashlib import blake2b

import msgspec

from api.errors import ValidationError, ValidationErrors
from api.query.cursor import NO_CURSOR, VERSION, Cursor, decode_cursor, encode_cursor
from api.query.periods import Dates
from api.query.question import ActivityQuery


def read_cursor(text: str, workspace_id: str, query: ActivityQuery) -> Cursor:
    """Raises ValidationErrors where it is no cursor, or one of other parameters (`limit` may differ)."""
    cursor = decode_cursor(text)
    of = query.query.dates
    if cursor is None or (of is not None and Dates(cursor.first, cursor.last) != of):
        raise ValidationErrors([ValidationError("cursor", NO_CURSOR)])
    if cursor.question != _question(workspace_id, query):
        raise ValidationErrors([ValidationError("cursor", "belongs to other parameters")])
    return cursor


def write_cursor(workspace_id: str, query: ActivityQuery, dates: Dates, end: bytes) -> str:
    """The cursor of the rows after `end`."""
    return encode_cursor(Cursor(VERSION, _question(workspace_id, query), dates.first, dates.last, end))


def revision_key(query: ActivityQuery) -> bytes:
    """What an answer depends on beside the report's query."""
    asked = (query.activity, query.order, query.limit, query.cursor, query.batches, query.batch)
    return msgspec.json.encode(asked)


def _question(workspace_id: str, query: ActivityQuery) -> bytes:
    """What a cursor is good for: everything that decides which rows there are, and in which order."""
    report = query.query
    dates = report.dates and (report.dates.first, report.dates.last)
    asked = (
        workspace_id,
        (dates, report.period, report.timezone, report.interval, report.week_start),
        (report.sources, report.users, report.compare),
        (query.activity, query.order, query.batches, query.batch),
    )
    return blake2b(msgspec.json.encode(asked), digest_size=9).digest()
