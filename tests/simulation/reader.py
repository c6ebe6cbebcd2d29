"""What a reader of Redis sees at a moment: the model's content, parsed. Only the packed parts are decoded by the
product's functions.
"""

import json
from collections import Counter
from collections.abc import Mapping
from typing import Any

from stream.storage import day_parts as packed
from stream.storage.row import Row, decode_row
from tests.simulation.recount import Cell
from tests.simulation.redis import State

PREFIX = "cr1:sim:{0}:"
POSITIONS = (PREFIX + "positions").encode()
WORKSPACES = (PREFIX + "workspaces").encode()

Bases = tuple[tuple[bytes, bytes, bytes], ...]
_cells: dict[tuple[Bases, bytes | None], Counter[Cell] | str] = {}
_rows: dict[bytes, Row] = {}


def cells_of(bases: Bases, delta: bytes | None) -> Counter[Cell] | str:
    """The sum of a day aggregate's parts; or what is wrong with them."""
    known = _cells.get((bases, delta))
    if known is None:
        if len(_cells) > 50_000:
            _cells.clear()
        known = _cells[bases, delta] = _sum(bases, delta)
    return known


def _sum(bases: Bases, delta: bytes | None) -> Counter[Cell] | str:
    cells: Counter[Cell] = Counter()
    kinds: list[tuple[int, str | None]] = []
    users: list[str | None] = []
    sources: list[str] = []
    for head, counts, summary in bases:
        h, c = packed.decode_head(head), packed.decode_cells(counts)
        sources, users = list(h.sources), list(h.users)
        kinds = [_kind(k, sources) for k in h.kinds]
        mine: Counter[Cell] = Counter()
        at = 0
        for series, number in enumerate(h.cell_counts):
            total = 0
            for key, count in zip(c.keys[at : at + number], c.counts[at : at + number], strict=True):
                if key // 96 != series or count <= 0:
                    return f"cell {key} stands under series {series}"
                mine[(*kinds[series], users[series], key % 96)] += count
                total += count
            at += number
            if total != h.totals[series]:
                return f"series {series} has {total}, its total says {h.totals[series]}"
        if at != len(c.keys) or list(c.keys) != sorted(set(c.keys)):
            return "keys do not ascend"
        if summary is not None:
            wrong = _check_summary(packed.decode_summary(summary), mine)
            if wrong:
                return wrong
        cells += mine
    if delta is not None:
        t = packed.decode_delta(delta)
        if t.first_series != len(users) or t.first_source != len(sources):
            return f"a delta from {t.first_series, t.first_source} on, after a base of {len(users), len(sources)}"
        sources = sources + list(t.new_sources)
        users = users + list(t.new_users)
        for key, count, kind in zip(t.keys, t.counts, t.kinds, strict=True):
            series = key // 96
            if series < len(kinds) and kinds[series] != _kind(kind, sources):
                return f"cell {key} of the delta is of another kind than its series"
            cells[(*_kind(kind, sources), users[series], key % 96)] += count
    return cells


def _kind(kind: int, sources: list[str]) -> tuple[int, str | None]:
    number, activity = divmod(kind, 2)
    return activity, sources[number - 1] if number else None


def _check_summary(summary: packed.Summary, cells: Counter[Cell]) -> str:
    sums: Counter[Any] = Counter()
    for (activity, source, _, quarter), count in cells.items():
        sums[activity, source, quarter] += count
    told: Counter[Any] = Counter()
    kinds = [_kind(k, summary.sources) for k in summary.kinds]
    for key, count in zip(summary.keys, summary.counts, strict=True):
        told[(*kinds[key // 96], key % 96)] += count
    totals: Counter[Any] = Counter()
    for (activity, source, _), count in sums.items():
        totals[activity, source] += count
    if told != sums or dict(zip(kinds, summary.totals, strict=True)) != dict(totals):
        return f"the summary says {told}, the base {sums}"
    if list(summary.cell_counts) != [sum(1 for k in summary.keys if k // 96 == i) for i in range(len(kinds))]:
        return "the summary's cell counts are wrong"
    return ""


def manifest(state: State, workspace: str, day: int) -> dict[int, int]:
    """How many bases each partition has of a day."""
    value = state.get((PREFIX + "days:" + workspace).encode(), {}).get(b"%d" % day)
    if value is None:
        return {}
    return {int(p): int(bases) for p, bases in (part.split(b":") for part in value.split(b" ")[1:])}


class Reading:
    """What was read of hashes that did not change since: a state's values never do."""

    def __init__(self) -> None:
        self._aggregates: dict[tuple[int, int, int, int], tuple[Any, Any, Counter[Cell] | str]] = {}

    def aggregate(self, state: State, workspace: str, day: int, partition: int) -> Counter[Cell] | str:
        """The cells that Redis shows of a day aggregate; or what is wrong with it."""
        fields = state.get(f"{PREFIX}cells:{workspace}:{day // 32}".encode(), _NOTHING)
        days = state.get(f"{PREFIX}days:{workspace}".encode(), _NOTHING)
        key = id(fields), id(days), day, partition
        known = self._aggregates.get(key)
        if known is None:
            known = self._aggregates[key] = fields, days, _aggregate(state, fields, workspace, day, partition)
        return known[2]


_NOTHING: dict[bytes, bytes] = {}


def _aggregate(
    state: State, fields: Mapping[bytes, bytes], workspace: str, day: int, partition: int
) -> Counter[Cell] | str:
    bases = manifest(state, workspace, day).get(partition)
    if bases is None:
        return Counter()
    parts: list[Any] = []
    if not bases and f"{day}.{partition}.t".encode() not in fields:
        return "a delta alone, and it is not there"
    for number in range(bases):
        place = f"{day}.{partition}.{number}."
        found = tuple(fields.get((place + part).encode()) for part in "hcs")
        if None in found:
            return f"base {number} of {bases} is not there whole"
        parts.append(found)
    return cells_of(tuple(parts), fields.get(f"{day}.{partition}.t".encode()))


def rows(state: State, workspace: str, day: int) -> list[Row]:
    found = []
    for member in state.get(f"{PREFIX}rows1:{workspace}:{day}".encode(), {}):
        row = _rows.get(member)
        if row is None:
            if len(_rows) > 50_000:
                _rows.clear()
            row = _rows[member] = decode_row(member)
        found.append(row)
    return found


class Place:
    """What `positions` says of one partition."""

    __slots__ = ("as_of", "counts_from", "missing_rows", "position", "rows_from")

    def __init__(self, state: State, partition: int) -> None:
        held = state.get(POSITIONS, {})

        def number(name: str) -> int | None:
            value = held.get(f"{partition}.{name}".encode())
            return None if value is None else int(value)

        self.position, self.as_of = number("position"), number("as_of")
        self.counts_from, self.rows_from = number("counts_from"), number("rows_from")
        self.missing_rows = json.loads(held.get(f"{partition}.owed".encode(), b"[]") or b"[]")

    def lacks_row(self, offset: int) -> bool:
        return any(after < offset <= upto for after, upto, _ in self.missing_rows)


def partitions(state: State) -> int:
    """How many partitions readers know of."""
    return int(state.get(POSITIONS, {}).get(b"partitions", b"0"))


def is_spoilt(state: State, evicted_keys: int) -> bool:
    """Whether keys were evicted that no worker has noticed yet: content is no recount then."""
    _, known, _ = state.get(POSITIONS, {}).get(b"evicted", b"- 0 unknown").split(b" ")
    return evicted_keys > int(known)


def answers(state: State) -> bool:
    """Whether a report would be given at all, and no 503."""
    held, known = state.get(POSITIONS, {}), partitions(state)
    return known > 0 and all(b"%d.position" % p in held for p in range(known))
