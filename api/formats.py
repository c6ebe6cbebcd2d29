"""Chooses the format of an answer, and writes CSV (RFC 4180) and NDJSON."""

import re
from collections.abc import Iterable, Sequence
from enum import StrEnum
from functools import lru_cache

import msgspec

from api import wire as answers
from api.direction import close_directions
from api.http.request import REMEMBERED_CHARACTERS, weighted

Cell = str | int | float | None

FORMULA_START = re.compile(
    r"""
    (?: ^ | (?<=[;,\t\r\n]) )
    (?= (?: [^\S\t\r\n] | ["\x00-\x08\x0e-\x1f\u200b\u2060\ufeff] )* [=+@\uff1d\uff0b\uff20\uff0d-] )
    | ^ (?= \s* [\t\r\n] )
    """,
    re.VERBOSE,
)
"""Where a spreadsheet may begin to run a text: at a cell's start, and where it begins another cell, as spreadsheets of
many countries do at a semicolon, whatever the quotes say. Neither blanks nor stray quotes keep it from that; the signs
have full-width forms.
"""

BYTE_ORDER_MARK = "\ufeff"
USER_COLUMNS = ("user_id", "user_name", "added", "deleted")
ACTIVITY_COLUMNS = ("Activity Time", "Contact ID", "Contact Name", "Activity", "Source", "User")


class Format(StrEnum):
    """The suffix of an address."""

    JSON = "json"
    CSV = "csv"
    NDJSON = "ndjson"
    EVENTS = "events"
    """No suffix: what `live` gives."""


MEDIA_TYPES = {
    Format.JSON: "application/json",
    Format.CSV: "text/csv",
    Format.NDJSON: "application/x-ndjson",
    Format.EVENTS: "text/event-stream",
}
CONTENT_TYPES = {
    Format.JSON: "application/json",
    Format.CSV: "text/csv; charset=utf-8; header=present",
    Format.NDJSON: "application/x-ndjson; charset=utf-8",
    Format.EVENTS: "text/event-stream; charset=utf-8",
}


def negotiate(accept: str, offered: tuple[Format, ...]) -> Format | None:
    """The format that an Accept header likes best, of equals the first offered; None where it takes none of them. What
    short headers, such as programs send, come to is remembered.
    """
    return _recall(accept, offered) if len(accept) <= REMEMBERED_CHARACTERS else _negotiate(accept, offered)


@lru_cache(maxsize=256)
def _recall(accept: str, offered: tuple[Format, ...]) -> Format | None:
    return _negotiate(accept, offered)


def _negotiate(accept: str, offered: tuple[Format, ...]) -> Format | None:
    ranges = dict(weighted(accept))

    def quality(media_type: str) -> float:
        kind = media_type.partition("/")[0]
        return ranges.get(media_type, ranges.get(f"{kind}/*", ranges.get("*/*", 0.0)))

    best = max(offered, key=lambda of: quality(MEDIA_TYPES[of]))
    return best if quality(MEDIA_TYPES[best]) > 0 else None


def csv_lines(rows: Iterable[Sequence[Cell]]) -> str:
    """Lines of CSV. Texts are quoted and guarded, numbers are neither, and what there is not is empty. What turns
    direction ends in its cell.
    """
    return "".join([",".join(map(csv_cell, row)) + "\r\n" for row in rows])


def csv_cell(cell: Cell) -> str:
    """One cell on the wire."""
    if isinstance(cell, str):
        return '"' + guard_formula(close_directions(cell)).replace('"', '""') + '"'
    return "" if cell is None else str(cell)


def guard_formula(text: str) -> str:
    """A text that no spreadsheet runs as a formula: an apostrophe stands wherever it might begin to."""
    return FORMULA_START.sub("'", text)


def summary_rows(answer: answers.SummaryAnswer) -> list[Sequence[Cell]]:
    rows: list[Sequence[Cell]] = [("metric", "count", "previous", "change_percent")]
    for name, total in (("added", answer.added), ("deleted", answer.deleted)):
        rows.append((name, total.count, total.previous, total.change_percent))
    return rows


def timeline_rows(answer: answers.TimelineAnswer) -> list[Sequence[Cell]]:
    head = ("start", "end", "state", "added", "deleted", "previous_added", "previous_deleted")
    rows: list[Sequence[Cell]] = [head]
    for b in answers.decoded(answer.timeline, list[answers.Bucket]):
        previous = (None, None) if b.previous is None else (b.previous.added, b.previous.deleted)
        rows.append((b.start, b.end, b.state, b.added, b.deleted, *previous))
    return rows


def sources_rows(answer: answers.SourcesAnswer) -> list[Sequence[Cell]]:
    """A column a source. Sources are in lower case, so no source has the name `Source: start`."""
    spans, of = ("start", "end", "state"), answers.decoded(answer.sources, answers.Sources)
    rows: list[Sequence[Cell]] = [(*spans, *(f"Source: {name}" if name in spans else name for name in of.names))]
    rows.extend((b.start, b.end, b.state, *b.added.values()) for b in of.timeline)
    return rows


def user_cells(user: answers.UserCounts) -> Sequence[Cell]:
    return user.user_id, user.user_name, user.added, user.deleted


def activity_cells(row: answers.ActivityRow) -> Sequence[Cell]:
    user = row.user_name or row.user_id
    return (row.occurred_at, row.contact_id, row.contact_name, row.activity, row.source, user)


def ndjson_lines(rows: Iterable[answers.ActivityRow]) -> bytes:
    return b"".join(msgspec.json.encode(row) + b"\n" for row in rows)
