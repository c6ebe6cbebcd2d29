"""Every bucket of the range with its state and counts."""

from collections.abc import Iterable, Sequence
from itertools import repeat

from api.report.fold import Counts
from api.report.plan import Plan
from api.wire import Bucket, BucketState, EarlierBucket
from stream.model.time import QUARTER_SECONDS


def bucket_states(bounds: Sequence[int], counts: Counts, now: float, as_of: float) -> list[BucketState]:
    """The state of each bucket; `now` and `as_of` are seconds since 1970.

    One that begins after now is `future` only as long as it holds nothing (events may be some minutes ahead), so that
    no count is ever hidden.
    """
    states: list[BucketState] = []
    for i in range(len(bounds) - 1):
        start, end = bounds[i] * QUARTER_SECONDS, bounds[i + 1] * QUARTER_SECONDS
        if start > now:
            states.append("open" if counts.added[i] or counts.deleted[i] else "future")
        elif now < end:
            states.append("open")
        else:
            states.append("final" if as_of >= end else "settling")
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
