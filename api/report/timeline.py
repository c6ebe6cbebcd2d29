"""Every bucket of the range with its state and counts."""

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from itertools import repeat
from typing import NamedTuple

from api.report.fold import Counts
from api.report.plan import Plan
from api.wire import Bucket, BucketState, EarlierBucket
from stream.model.time import QUARTER_SECONDS


class Progress(NamedTuple):
    """How many buckets, from the first on, are final, have ended, and have begun."""

    final: int
    ended: int
    begun: int


def progress_of(bounds: Sequence[int], now: float, as_of: float) -> Progress:
    """`now` and `as_of` are seconds since 1970."""
    begun = bisect_right(bounds, now // QUARTER_SECONDS)
    final = begun if as_of >= now else bisect_right(bounds, as_of // QUARTER_SECONDS)
    return Progress(final - 1 if final else 0, begun - 1 if begun else 0, begun)


def bucket_states(of: Progress, counts: Counts) -> list[BucketState]:
    """The state of each bucket.

    One that begins after now is `future` only as long as it holds nothing (events may be some minutes ahead), so that
    no count is ever hidden.
    """
    states: list[BucketState] = []
    for bucket, (added, deleted) in enumerate(zip(counts.added, counts.deleted, strict=True)):
        if bucket < of.final:
            states.append("final")
        elif bucket < of.ended:
            states.append("settling")
        else:
            states.append("open" if bucket < of.begun or added or deleted else "future")
    return states


def timeline(plan: Plan, counts: Counts, states: Sequence[BucketState]) -> list[Bucket]:
    before: Iterable[EarlierBucket | None] = repeat(None, plan.buckets)
    if plan.compared:
        before = map(EarlierBucket, plan.earlier_starts, plan.earlier_ends, counts.added_before, counts.deleted_before)
    of_buckets = zip(plan.starts, plan.ends, states, counts.added, counts.deleted, before, strict=True)
    return [
        Bucket(start, end, state, None, None, previous)
        if state == "future"
        else Bucket(start, end, state, added, deleted, previous)
        for start, end, state, added, deleted, previous in of_buckets
    ]
