"""Added by source: which names there are, their totals, and their counts in each bucket."""

from collections.abc import Sequence

from api.answers import BucketState, SourceBucket, Sources
from api.query import NONE
from api.report.fold import Counts
from api.report.plan import Plan
from stream.events import KNOWN_SOURCES

MAX_NAMES = 100
REST = "*"
"""The sum of the sources past MAX_NAMES. No event can have it as its source."""


def sources(plan: Plan, counts: Counts, states: Sequence[BucketState]) -> Sources:
    """The known five in their order, others by name, none; past MAX_NAMES the smallest others are summed."""
    rows = {NONE if source is None else source: row for source, row in counts.added_by_source.items()}
    names = [*KNOWN_SOURCES, *sorted(rows.keys() - {*KNOWN_SOURCES, NONE}), *([NONE] if NONE in rows else [])]
    if len(names) > MAX_NAMES:
        rest = _smallest(rows, len(names) - MAX_NAMES)
        names = [name for name in names if name not in rest]
        rows[REST] = [sum(column) for column in zip(*(rows[name] for name in rest), strict=True)]
        names.append(REST)
    nothing = [0] * plan.buckets
    columns = [rows.get(name, nothing) for name in names]
    future: dict[str, int | None] = dict.fromkeys(names)
    buckets = [
        SourceBucket(start, end, state, future if state == "future" else dict(zip(names, values, strict=True)))
        for start, end, state, *values in zip(plan.starts, plan.ends, states, *columns, strict=True)
    ]
    return Sources(names, {name: sum(column) for name, column in zip(names, columns, strict=True)}, buckets)


def _smallest(rows: dict[str, list[int]], number: int) -> set[str]:
    """The names to be summed: the smallest by count, then name; never one of the five or none."""
    others = rows.keys() - {*KNOWN_SOURCES, NONE}
    return set(sorted(others, key=lambda name: (sum(rows[name]), name))[:number])
