"""What the measurements come to: pure arithmetic on what was seen, and the table."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

LEFT_OUT = 0.25
"""Of the events, the first share that is not measured: the JVMs compile meanwhile, and caches fill."""

OURS = "contacts-report (compiled)"
"""Whom the others are compared with."""


@dataclass(frozen=True, slots=True)
class Count:
    """A new count of a cell, as it was written: when by the broker's clock (ms), and where."""

    partition: int
    offset: int
    timestamp: int
    cell: str
    counted: int


@dataclass(frozen=True, slots=True)
class Usage:
    """CPU seconds so far of the system and of the servers that it uses, at a time (s)."""

    at: float
    system: float
    servers: float


@dataclass(frozen=True, slots=True)
class Stretch:
    """The part of a catch-up that is measured."""

    events: int
    seconds: float
    system: float
    servers: float

    def as_json(self) -> dict[str, Any]:
        return {
            "events_per_second": round(self.events / self.seconds),
            "cpu_us_per_event": round(self.system / self.events * 1e6, 2),
            "cores": round(self.system / self.seconds, 2),
            "servers_cpu_us_per_event": round(self.servers / self.events * 1e6, 2),
        }


@dataclass(frozen=True, slots=True)
class Difference:
    """Events that the counts lack, and events that they hold too often; `backwards`: counts that were written lower
    than the same cell's before, so that a reader saw them go back.
    """

    missing: int
    extra: int
    backwards: int

    def in_words(self) -> str:
        if not (self.missing or self.extra):
            return "exact" + (f", {self.backwards:,} counts went back meanwhile" if self.backwards else "")
        return ", ".join(
            f"{number:,} {word}" for number, word in ((self.missing, "missing"), (self.extra, "twice")) if number
        )


def total(counts: Iterable[Count]) -> int:
    """How many events the latest counts of all cells come to."""
    return sum({one.cell: one.counted for one in counts}.values())


def progress(counts: Iterable[Count]) -> list[tuple[float, int]]:
    """(time in s, events counted until then), in order of time."""
    latest: dict[str, int] = {}
    steps: dict[int, int] = {}
    for one in counts:
        steps[one.timestamp] = steps.get(one.timestamp, 0) + one.counted - latest.get(one.cell, 0)
        latest[one.cell] = one.counted
    times = sorted(steps)
    sums = accumulate(steps[time] for time in times)
    return [(time / 1000, events) for time, events in zip(times, sums, strict=True)]


def measured_stretch(
    seen: Sequence[tuple[float, int]], usages: Sequence[Usage], wanted: int, done: float | None = None
) -> Stretch:
    """From the first progress beyond LEFT_OUT of `wanted` events until all; CPU until `done`, the last commit."""
    first_at, first = next((at, events) for at, events in seen if events >= wanted * LEFT_OUT)
    last_at, last = next((at, events) for at, events in seen if events >= wanted)
    before, after = usage_at(usages, first_at), usage_at(usages, max(last_at, done or 0.0))
    return Stretch(last - first, last_at - first_at, after.system - before.system, after.servers - before.servers)


def usage_at(usages: Sequence[Usage], at: float) -> Usage:
    """Between two that were taken: in proportion."""
    earlier = [one for one in usages if one.at <= at] or [usages[0]]
    later = [one for one in usages if one.at > at] or [usages[-1]]
    one, other = earlier[-1], later[0]
    share = (at - one.at) / (other.at - one.at) if other.at > one.at else 0.0
    return Usage(
        at,
        one.system + share * (other.system - one.system),
        one.servers + share * (other.servers - one.servers),
    )


def difference(wanted: Mapping[str, int], counts: Iterable[Count]) -> Difference:
    latest: dict[str, int] = {}
    backwards = 0
    for one in counts:
        backwards += one.counted < latest.get(one.cell, 0)
        latest[one.cell] = one.counted
    cells = wanted.keys() | latest.keys()
    wrong = [latest.get(cell, 0) - wanted.get(cell, 0) for cell in cells]
    return Difference(-sum(by for by in wrong if by < 0), sum(by for by in wrong if by > 0), backwards)


def delays_as_json(delays_ms: Sequence[float], probes: int) -> dict[str, Any]:
    """Median and 99th percentile; a probe that was never seen has no delay."""
    if len(delays_ms) < 2:
        return {"p50_ms": None, "p99_ms": None, "probes_lost": probes - len(delays_ms)}
    cuts = statistics.quantiles(delays_ms, n=100, method="inclusive")
    return {"p50_ms": round(cuts[49], 1), "p99_ms": round(cuts[98], 1), "probes_lost": probes - len(delays_ms)}


@dataclass(frozen=True, slots=True)
class Measure:
    """A column that has a better side."""

    key: str
    title: str
    more_is_better: bool
    unit: str


MEASURES = (
    Measure("events_per_second", "events/s", True, "events/s"),
    Measure("cpu_us_per_event", "CPU us an event", False, "us of CPU an event"),
    Measure("cores", "cores", False, "cores"),
    Measure("servers_cpu_us_per_event", "servers' CPU us an event", False, "us of the servers' CPU an event"),
    Measure("peak_memory_mb", "peak memory MB", False, "MB of memory at most"),
    Measure("p50_ms", "p50 ms", False, "ms to readable at the median"),
    Measure("p99_ms", "p99 ms", False, "ms to readable at p99"),
    Measure("load_cores", "cores at 2,000/s", False, "of a core at 2,000 events/s"),
    Measure("recovered_after_seconds", "back after s", False, "s from a crash to the next count"),
)
COMPARED = tuple(one for one in MEASURES if one.key != "cores")
"""More cores used are neither good nor bad by themselves."""


def table(results: Iterable[Mapping[str, Any]]) -> str:
    """In Markdown; who was skipped or failed has one cell that says why."""
    titles = ["system", *(one.title for one in MEASURES), "promises after a crash", "seen after kill -9"]
    rows = [titles, ["---"] * len(titles)]
    for result in results:
        why = result.get("skipped") or result.get("failed")
        if why is not None:
            rows.append([result["system"], why, *[""] * (len(titles) - 2)])
            continue
        figures = [_figure(result.get(one.key)) for one in MEASURES]
        rows.append([result["system"], *figures, result["promise"], result["after_crash"]])
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def _figure(value: float | None) -> str:
    return "–" if value is None else f"{value:,}"


def where_behind(results: Iterable[Mapping[str, Any]]) -> list[str]:
    """A line for each figure in which another system is better than OURS."""
    measured = {result["system"]: result for result in results if "events_per_second" in result}
    ours = measured.get(OURS)
    if ours is None:
        return []
    lines = []
    for one in COMPARED:
        mine = ours.get(one.key)
        for name, other in measured.items():
            theirs = other.get(one.key)
            if name.startswith("contacts-report") or mine is None or theirs is None:
                continue
            if theirs > mine if one.more_is_better else theirs < mine:
                lines.append(f"behind {name}: {_figure(mine)} instead of {_figure(theirs)} {one.unit}")
    return lines
