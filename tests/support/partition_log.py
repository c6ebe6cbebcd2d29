"""Logs of one partition, a recount of them without the product's tables, and its tables read back cell by cell."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from stream.ingest.event import Rejected, parse
from stream.model.activity import ContactActivity
from stream.model.steps import finish
from stream.storage import day_parts as packed
from stream.storage.row import decode_row
from stream.tables.batch import Batch
from stream.tables.commit import AggregateChange, Commit
from stream.tables.partition import PartitionState
from stream.tables.rules import CountingRules
from stream.tables.state import State
from tests.support.records import Received

Cell = tuple[str, int, int, int, str | None, str | None]
"""Workspace, day, quarter, activity, source, user."""

INCARNATION = bytes(16)
HOUR_MS = 3_600_000
DAY_NS = 86_400 * 10**9
QUARTER_NS = 900 * 10**9


def record(offset: int, timestamp: int, value: dict[str, Any] | bytes | None) -> Received:
    packed_value = json.dumps(value, ensure_ascii=False).encode() if isinstance(value, dict) else value
    return Received(packed_value, timestamp=timestamp, key=b"k", offset=offset)


@dataclass
class Recount:
    """What the counts must be, record by record, in dicts and lists."""

    rules: CountingRules
    cells: Counter[Cell] = field(default_factory=Counter)
    rows: dict[int, Cell] = field(default_factory=dict)
    """By offset."""
    labels: dict[tuple[str, str | None], tuple[int, int, str | None]] = field(default_factory=dict)
    sources: set[tuple[str, str | None]] = field(default_factory=set)
    uncounted: set[int] = field(default_factory=set)
    outcomes: Counter[str] = field(default_factory=Counter)
    ids: list[tuple[str, str, int]] = field(default_factory=list)
    latest_hour: int | None = None
    counts_from: int | None = None

    def take(self, records: Iterable[Received]) -> None:
        for known in records:
            event = parse(known, self.rules.event)
            outcome = self._judge(event, known.timestamp // HOUR_MS)
            self.outcomes[outcome] += 1
            if outcome == "counted":
                assert isinstance(event, ContactActivity)
                self._count(event, known.offset)
            else:
                self.uncounted.add(known.offset)

    def kept_cells(self) -> Counter[Cell]:
        return Counter(
            {cell: n for cell, n in self.cells.items() if self.counts_from is None or cell[1] >= self.counts_from}
        )

    def _judge(self, event: ContactActivity | Rejected | None, hour: int) -> str:
        if event is None:
            return "skipped"
        if isinstance(event, Rejected):
            return str(event.reason)
        known = event.workspace_id, event.event_id
        window = self.rules.dedupe_window_hours
        if any(seen[:2] == known and hour - seen[2] <= window for seen in self.ids):
            return "duplicate"
        self.latest_hour = hour if self.latest_hour is None else max(hour, self.latest_hour)
        self.ids = [seen for seen in [*self.ids, (*known, hour)] if self.latest_hour - seen[2] <= window + 1]
        while len(self.ids) > self.rules.dedupe_max_ids:
            oldest = min(seen[2] for seen in self.ids)
            self.ids = [seen for seen in self.ids if seen[2] != oldest]
        return "counted"

    def _count(self, event: ContactActivity, offset: int) -> None:
        assert self.latest_hour is not None
        retention = self.rules.event.retention_days
        if retention is not None:
            self.counts_from = max(self.counts_from or 0, self.latest_hour // 24 - retention)
        day = event.occurred_at // DAY_NS
        quarter = event.occurred_at // QUARTER_NS % 96
        cell = (event.workspace_id, day, quarter, event.activity, event.source, event.user_id)
        self.cells[cell] += 1
        self.rows[offset] = cell
        user, source = (event.workspace_id, event.user_id), (event.workspace_id, event.source)
        label = None if event.user_id is None else event.user_name
        if user in self.labels or self._has_room():
            old = self.labels.setdefault(user, (event.occurred_at, offset, label))
            if label is not None and (old[2] is None or event.occurred_at >= old[0]):
                self.labels[user] = event.occurred_at, offset, label
        if source not in self.sources and self._has_room():
            self.sources.add(source)

    def _has_room(self) -> bool:
        """Whether one name more is kept."""
        if len(self.labels) + len(self.sources) < self.rules.name_limit:
            return True
        self.outcomes["names_not_kept"] += 1
        return False


def whole_aggregates(state: State, after: int = -1) -> list[AggregateChange]:
    """Every day aggregate whose last event has an offset above this one."""
    return [change for _, change in finish(state.whole_in_order(after))]


def cells_of(changes: Iterable[AggregateChange]) -> Counter[Cell]:
    """The cells of whole day aggregates, by their heads, cells and deltas; their summaries are held against them."""
    found: Counter[Cell] = Counter()
    for change in changes:
        own = Counter(cells_of_aggregate(change))
        assert sum(own.values()) == own.total()
        found.update({(change.workspace_id, change.day, *cell): count for cell, count in own.items()})
    return found


def cells_of_aggregate(change: AggregateChange) -> Counter[tuple[int, int, str | None, str | None]]:
    found: Counter[tuple[int, int, str | None, str | None]] = Counter()
    assert [number for number, *_ in change.bases] == list(range(change.base_count))
    sources: list[str | None] = [None]
    users: list[str | None] = []
    for _, head_value, cells_value, summary_value in change.bases:
        head, cells = packed.decode_head(head_value), packed.decode_cells(cells_value)
        sources, users = [None, *head.sources], head.users
        in_base: Counter[tuple[int, int, str | None, str | None]] = Counter()
        for key, count in zip(cells.keys, cells.counts, strict=True):
            kind = head.kinds[key // 96]
            in_base[key % 96, kind & 1, sources[kind >> 1], users[key // 96]] += count
        summary = packed.decode_summary(summary_value)
        by_summary: Counter[tuple[int, int, str | None]] = Counter()
        for key, count in zip(summary.keys, summary.counts, strict=True):
            kind = summary.kinds[key // 96]
            by_summary[key % 96, kind & 1, [None, *summary.sources][kind >> 1]] += count
        by_cells: Counter[tuple[int, int, str | None]] = Counter()
        for cell, count in in_base.items():
            by_cells[cell[:3]] += count
        assert by_summary == by_cells
        found.update(in_base)
    if change.delta is not None:
        delta = packed.decode_delta(change.delta)
        assert (delta.first_series, delta.first_source) == (len(users), len(sources) - 1)
        users, sources = [*users, *delta.new_users], [*sources, *delta.new_sources]
        assert len(delta.keys) > 0
        for key, count, kind in zip(delta.keys, delta.counts, delta.kinds, strict=True):
            found[key % 96, kind & 1, sources[kind >> 1], users[key // 96]] += count
    return found


class CommitSink:
    """What a changelog and a replica hold after each commit: the latest of each key, each day aggregate as it was
    sent.
    """

    def __init__(self) -> None:
        self.table: dict[bytes, bytes] = {}
        self.aggregates: dict[tuple[str, int], AggregateChange] = {}
        self.rows: dict[int, Cell] = {}

    def take(self, commit: Commit) -> None:
        assert commit.table[-1][0] == b"p"
        assert len({key for key, _ in commit.table}) == len(commit.table)
        for key, value in commit.table:
            if value is None:
                del self.table[key]
            else:
                self.table[key] = value
        assert commit.position.live_keys == len(self.table)
        for change in commit.aggregates:
            self._take_aggregate(change)

    def _take_aggregate(self, change: AggregateChange) -> None:
        aggregate = change.workspace_id, change.day
        if change.dropped:
            self.aggregates.pop(aggregate, None)
            return
        old = self.aggregates.get(aggregate)
        bases = {base[0]: base for base in [*(old.bases if old else ()), *change.bases]}
        self.aggregates[aggregate] = AggregateChange(
            *aggregate, tuple(bases[n] for n in sorted(bases)), change.delta, change.base_count, []
        )
        for value in change.rows:
            row = decode_row(value)
            assert row.offset not in self.rows
            quarter = row.occurred_at // QUARTER_NS
            self.rows[row.offset] = (
                change.workspace_id,
                quarter // 96,
                quarter % 96,
                row.activity,
                row.source,
                row.user_id,
            )


def begun(rules: CountingRules, first_offset: int = 0) -> PartitionState:
    state = PartitionState(3, rules)
    state.begin(incarnation=INCARNATION, first_offset=first_offset, partitions=4)
    return state


def batch(records: Sequence[Received], start: int, end: int | None = None) -> Batch:
    return Batch(records, start, end if end is not None else records[-1].offset + 1)
