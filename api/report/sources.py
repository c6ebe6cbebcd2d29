"""Added by source: which names there are, their totals, and their counts in each bucket."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import repeat
from typing import Any

from api.report.fold import Counts
from api.report.plan import Plan
from api.wire import BucketState, EarlierSourceBucket, SourceBucket, Sources
from stream.model.activity import KNOWN_SOURCES, NONE

MAX_NAMES = 100
REST = "*"
"""The sum of the sources past MAX_NAMES. No event can have it as its source."""


def sources(plan: Plan, counts: Counts, states: Sequence[BucketState]) -> Sources:
    """The known five in their order, others by name, none; past MAX_NAMES the smallest others are summed."""
    rows = _by_name(counts.added_by_source)
    names = [*KNOWN_SOURCES, *_others(rows)]
    if len(names) > MAX_NAMES:
        names = _sum_smallest(names, rows, MAX_NAMES, plan.buckets)
    nothing = [0] * plan.buckets
    columns = [rows.get(name, nothing) for name in names]
    future: dict[str, int | None] = dict.fromkeys(names)
    added = _by_bucket(names, columns, plan.buckets)
    buckets = [
        SourceBucket(start, end, state, future if state == "future" else of_bucket, before)
        for start, end, state, before, of_bucket in zip(
            plan.starts, plan.ends, states, _earlier(plan, counts, names), added, strict=True
        )
    ]
    return Sources(names, {name: sum(column) for name, column in zip(names, columns, strict=True)}, buckets)


def _earlier(plan: Plan, counts: Counts, names: Sequence[str]) -> Iterable[EarlierSourceBucket | None]:
    """The earlier buckets: every name of the range, then those that only they have; past MAX_NAMES summed too."""
    if not plan.compared:
        return repeat(None, plan.buckets)
    rows = _by_name(counts.added_by_source_before)
    known = [name for name in names if name != REST]
    found = [*known, *(name for name in _others(rows) if name not in known)]
    if REST in names or len(found) > MAX_NAMES:
        found = _sum_smallest(found, rows, MAX_NAMES, plan.buckets, keep=known)
    nothing = [0] * plan.buckets
    added = _by_bucket(found, [rows.get(name, nothing) for name in found], plan.buckets)
    return list(map(EarlierSourceBucket, plan.earlier_starts, plan.earlier_ends, added))


def _by_bucket(names: Sequence[str], columns: Sequence[Sequence[int]], buckets: int) -> list[dict[str, Any]]:
    """Of each bucket the count of each name; column by column, which takes two thirds of a dictionary of each row."""
    shape = dict.fromkeys(names, 0)
    found = [shape.copy() for _ in range(buckets)]
    for name, column in zip(names, columns, strict=True):
        for of_bucket, count in zip(found, column, strict=True):
            of_bucket[name] = count
    return found


def _by_name(rows: Mapping[str | None, list[int]]) -> dict[str, list[int]]:
    return {NONE if source is None else source: row for source, row in rows.items()}


def _others(rows: Mapping[str, object]) -> list[str]:
    return [*sorted(rows.keys() - {*KNOWN_SOURCES, NONE}), *([NONE] if NONE in rows else [])]


def _sum_smallest(
    names: Sequence[str], rows: dict[str, list[int]], number: int, buckets: int, keep: Collection[str] = ()
) -> list[str]:
    """As many of the names, and REST, into whose row the smallest others went: by count, then name; never one of the
    five, none, or of those to `keep`.
    """
    others = (name for name in names if name not in {*KNOWN_SOURCES, NONE, *keep})
    smallest = sorted(others, key=lambda name: (sum(rows[name]), name))[: max(0, len(names) - number)]
    rest = set(smallest)
    rows[REST] = [sum(column) for column in zip([0] * buckets, *(rows[name] for name in smallest), strict=True)]
    return [*(name for name in names if name not in rest), REST]
