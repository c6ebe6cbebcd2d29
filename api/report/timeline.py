"""Every bucket of the range with its state and counts."""

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from itertools import repeat
from typing import Protocol

from api.query.periods import now_quarter
from api.report.fold import Counts
from api.report.plan import Plan
from api.wire import Bucket, BucketState, EarlierBucket


class Counted(Protocol):
    """What has counts, which are looked at where some are needed."""

    @property
    def counts(self) -> Counts: ...


def bucket_states(bounds: Sequence[int], of: Counted, now: float, as_of: float) -> list[BucketState]:
    """The state of each bucket; `now` and `as_of` are seconds since 1970.

    One that begins after now is `future` only as long as it holds nothing (events may be some minutes ahead), so that
    no count is ever hidden.
    """
    buckets, quarter = len(bounds) - 1, now_quarter(now)
    final = max(0, bisect_right(bounds, now_quarter(min(as_of, now))) - 1)
    begun = bisect_right(bounds, quarter)
    ended = max(0, begun - 1)
    states = list[BucketState](repeat("final", final))
    states.extend(repeat("settling", ended - final))
    if len(states) < min(begun, buckets):
        states.append("open")
    while len(states) < buckets:
        i = len(states)
        states.append("open" if of.counts.added[i] or of.counts.deleted[i] else "future")
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
