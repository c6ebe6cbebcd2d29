"""Rows as lines of an answer: one activity each, or an import of many."""

from collections.abc import Sequence
from datetime import datetime
from zoneinfo import ZoneInfo

from api import wire as answers
from stream.model.activity import ACTIVITIES
from stream.model.time import NANOSECONDS
from stream.storage.row import Row


def activity_row(row: Row, here: ZoneInfo) -> answers.ActivityRow:
    return answers.ActivityRow(
        time_text(row, here),
        row.contact_id,
        row.contact_name,
        ACTIVITIES[row.activity],
        row.source,
        row.user_id,
        row.user_name,
        row.event_id,
        row.batch_id,
    )


def time_text(row: Row, here: ZoneInfo) -> str:
    """`occurred_at` in a zone, with the digits of the second that it came with."""
    seconds, nanoseconds = divmod(row.occurred_at, NANOSECONDS)
    text = datetime.fromtimestamp(seconds, here).isoformat()
    if not row.fraction_digits:
        return text
    return f"{text[:19]}.{f'{nanoseconds:09d}'[: row.fraction_digits]}{text[19:]}"


def fold_row(rows: Sequence[Row], here: ZoneInfo) -> answers.ActivityRow:
    oldest, newest = sorted((rows[0], rows[-1]), key=lambda row: (row.occurred_at, row.event_id))
    one_source = len({row.source for row in rows}) == 1
    one_user = len({row.user_id for row in rows}) == 1
    return answers.ActivityRow(
        time_text(newest, here),
        None,
        None,
        ACTIVITIES[newest.activity],
        newest.source if one_source else None,
        newest.user_id if one_user else None,
        newest.user_name if one_user else None,
        None,
        newest.batch_id,
        len(rows),
        time_text(oldest, here),
        time_text(newest, here),
    )
