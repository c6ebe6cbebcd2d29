"""The answer of many users, piece by piece: a million of them are neither labelled nor written in one go."""

from collections.abc import AsyncIterator

import msgspec

from api import formats
from api import wire as answers
from api.report.service import Reading, Reports, query_answer, resolve_choice
from api.report.users import user_counts


async def label_users(reports: Reports, workspace_id: str, reading: Reading) -> AsyncIterator[list[answers.UserCounts]]:
    """All users of a reading. Labels of those that it does not label itself are the latest at the time."""
    assert reading.fold is not None, "users were asked for"
    async for piece in reading.fold.all(resolve_choice(reading.stamp.view.query.users)):
        missing = [user for user in piece.users if user is not None and user not in reading.labels.by_user]
        labels = await reports.labels(workspace_id, missing) if missing else {}
        rows = zip(piece.users, piece.added, piece.deleted, strict=True)
        yield user_counts(rows, {**reading.labels.by_user, **labels})


async def json_pieces(reading: Reading, users: AsyncIterator[list[answers.UserCounts]]) -> AsyncIterator[bytes]:
    """The bytes of a UsersAnswer."""
    of, fresh = query_answer(reading.stamp.view), reading.stamp.freshness
    frame = msgspec.json.encode(answers.UsersAnswer(of, fresh, [], reading.warnings))
    # Within a text the quotes would be escaped; and no query has an empty list of users.
    head, _, end = frame.partition(b'"users":[]')
    yield head + b'"users":['
    between = b""
    async for piece in users:
        yield between + msgspec.json.encode(piece)[1:-1]
        between = b","
    yield b"]" + end


async def csv_pieces(users: AsyncIterator[list[answers.UserCounts]], bom: bool) -> AsyncIterator[bytes]:
    mark = formats.BYTE_ORDER_MARK if bom else ""
    yield (mark + formats.csv_lines([formats.USER_COLUMNS])).encode()
    async for piece in users:
        yield formats.csv_lines(map(formats.user_cells, piece)).encode()
