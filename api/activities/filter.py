"""Filters the rows of the activity table, and counts how many of a day pass."""

from collections.abc import Callable
from dataclasses import dataclass

from api.query.question import ActivityQuery
from api.report.days import KindSums
from api.report.service import resolve_choice
from api.report.sums import Chosen
from stream.model.activity import ACTIVITIES
from stream.storage.row import Row


@dataclass(frozen=True, slots=True)
class Filter:
    """Which rows pass."""

    activity: int | None
    sources: Chosen
    users: Chosen
    batch: str | None

    @classmethod
    def of(cls, query: ActivityQuery) -> "Filter":
        activity = None if query.activity is None else ACTIVITIES.index(query.activity)
        return cls(activity, resolve_choice(query.query.sources), resolve_choice(query.query.users), query.batch)

    @property
    def is_empty(self) -> bool:
        """Whether every row passes."""
        return (self.activity, self.sources, self.users, self.batch) == (None, None, None, None)

    def passes(self, row: Row) -> bool:
        return (
            (self.activity is None or row.activity == self.activity)
            and (self.sources is None or row.source in self.sources)
            and (self.users is None or row.user_id in self.users)
            and (self.batch is None or row.batch_id == self.batch)
        )

    def count(self, sums: KindSums, piece: int, pieces: int) -> int:
        """How many of a piece's rows pass, as far as cells tell: an import they do not know."""
        return sum(
            count
            for (activity, source), count in zip(sums.kinds, sums.counts[piece::pieces], strict=True)
            if (self.activity is None or activity == self.activity) and (self.sources is None or source in self.sources)
        )

    def sieve(self) -> Callable[[bytes], bool] | None:
        """A quick look at a packed row that never refuses one that passes; None: it would refuse none."""
        needles = [self.batch.encode()] if self.batch is not None else []
        if self.users is not None and len(self.users) == 1:
            needles += [user.encode() for user in self.users if user is not None]
        if not needles:
            return None
        return lambda packed: all(needle in packed for needle in needles)
