"""Sums one UTC day of a workspace by user: packed parts -> how many each user added and deleted."""

from collections.abc import Iterable
from typing import NamedTuple

from api.read.parts import PartitionDay
from api.report.days import sources_with, users_with
from api.report.user_table import UserTable
from stream.model.dimensions import Kind, kinds_of
from stream.model.steps import Steps
from stream.model.time import QUARTERS_A_DAY
from stream.storage.day_parts import Head, decode_cells, decode_delta, decode_head

WHOLE = (0, QUARTERS_A_DAY)

USERS_A_PIECE = 5_000
"""Some milliseconds."""


class UserSums(NamedTuple):
    """How many each user added, and deleted; of those who have any. The activities' numbers are their places."""

    added: dict[str | None, int]
    deleted: dict[str | None, int]


def user_sums(
    table: UserTable, parts: Iterable[PartitionDay], window: tuple[int, int], sources: frozenset[str | None] | None
) -> Steps[UserSums]:
    """Sums by user over the quarters [first, end) of the day, of all sources or some.

    Needs heads and deltas, and cells where the window is not the whole day.
    """
    sums = UserSums({}, {})

    def add(user_id: str | None, kind: Kind, count: int) -> None:
        activity, source = kind
        if count and (sources is None or source in sources):
            user = table.find_or_add(user_id)
            sums[activity][user] = sums[activity].get(user, 0) + count

    for part in parts:
        base_sources: list[str] = []
        base_users: list[str | None] = []
        for number, packed in enumerate(part.heads):
            head = decode_head(packed)
            base_sources, base_users, kinds = head.sources, head.users, kinds_of(head.sources)
            counts = head.totals if window == WHOLE else _counts_inside(head, part.cells[number], window)
            for series, count in enumerate(counts):
                if series % USERS_A_PIECE == 0:
                    yield
                add(head.users[series], kinds[head.kinds[series]], count)
        if part.delta is not None:
            delta = decode_delta(part.delta)
            kinds, users = kinds_of(sources_with(base_sources, delta)), users_with(base_users, delta)
            for key, kind, count in zip(delta.keys, delta.kinds, delta.counts, strict=True):
                series, quarter = divmod(key, QUARTERS_A_DAY)
                if window[0] <= quarter < window[1]:
                    add(users[series], kinds[kind], count)
            yield
    return sums


def _counts_inside(head: Head, packed: bytes, window: tuple[int, int]) -> list[int]:
    """Of each series what lies in [first, end)."""
    counts, cells = [0] * len(head.users), decode_cells(packed)
    for key, count in zip(cells.keys, cells.counts, strict=True):
        series, quarter = divmod(key, QUARTERS_A_DAY)
        if window[0] <= quarter < window[1]:
            counts[series] += count
    return counts
