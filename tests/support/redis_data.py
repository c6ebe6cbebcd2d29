"""Puts events into Redis as the worker would, without the worker's code: what the layout says, written out plainly.

So a reader is tested against the drawing (stream/storage/keys.py, stream/storage/day_parts.py, stream/storage/row.py)
and not against what another part of the product happens to write.
"""

import json
import random
import struct
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
import redis

QUARTER = 900 * 10**9
DAY = 96 * QUARTER


@dataclass(frozen=True)
class Event:
    """A contact activity that was counted. `at`: nanoseconds since 1970."""

    at: int
    id: str
    activity: str = "added"
    source: str | None = None
    user: str | None = None
    label: str | None = None
    contact: str = "c"
    name: str | None = None
    batch: str | None = None
    digits: int = 0
    partition: int = 0
    offset: int = 0
    workspace: str = "w"


@dataclass
class Positions:
    """What the worker says of its partitions; times in seconds since 1970, days since 1970."""

    as_of: float
    moved: float | None = None
    partitions: int = 1
    fields: dict[str, Any] = field(default_factory=dict)
    """Further fields of `positions`, or others in place of those that are made."""


class RedisData:
    """Writes one deployment (`group`); each call of `write` replaces all that there was of the workspaces it names."""

    def __init__(self, client: "redis.Redis", group: str, seed: int = 0) -> None:
        self.client = client
        self.prefix = f"cr1:{group}:{{0}}:"
        self.random = random.Random(seed)

    def positions(self, positions: Positions) -> None:
        fields: dict[str, Any] = {"partitions": positions.partitions}
        for p in range(positions.partitions):
            fields |= {
                f"{p}.history": "00" * 16,
                f"{p}.token": "t",
                f"{p}.number": 1,
                f"{p}.position": 1000,
                f"{p}.owed": "[]",
                f"{p}.as_of": int(positions.as_of * 1000),
                f"{p}.moved": int((positions.moved or positions.as_of) * 1000),
                f"{p}.end": 1000,
                f"{p}.when": int(positions.as_of * 1000),
                f"{p}.worker": "test",
            }
        fields |= positions.fields
        self.client.delete(self.prefix + "positions")
        self.client.hset(
            self.prefix + "positions", mapping={name: value for name, value in fields.items() if value is not None}
        )

    def write(self, events: Iterable[Event], workspaces: Iterable[str] = ("w",), rows: bool = True) -> None:
        """These workspaces have these events and no others, and all listeners are told."""
        by_workspace: dict[str, list[Event]] = {workspace: [] for workspace in workspaces}
        for event in events:
            by_workspace.setdefault(event.workspace, []).append(event)
        with self.client.pipeline(transaction=True) as pipe:
            for workspace, mine in by_workspace.items():
                self.forget(pipe, workspace)
                if mine:
                    self._write_workspace(pipe, workspace, mine, rows)
            pipe.publish(self.prefix + "changes", "\n".join(by_workspace))
            pipe.execute()

    def forget(self, pipe: Any, workspace: str) -> None:
        pipe.zrem(self.prefix + "workspaces", workspace)
        for key in self.client.scan_iter(self.prefix.replace("{", "[{]").replace("}", "[}]") + "*", count=1000):
            if f":{workspace}:" in f":{key.decode().removeprefix(self.prefix)}:":
                pipe.delete(key)

    def change_day(self, day: int, workspace: str = "w") -> None:
        """As though something had changed in it, with the same parts and counts."""
        days_key = f"{self.prefix}days:{workspace}"
        manifest: Any = self.client.hget(days_key, str(day))
        self.client.hset(days_key, mapping={"all": self._version(), str(day): self._version() + manifest[16:].decode()})

    def _version(self) -> str:
        return f"{self.random.getrandbits(64):016x}"

    def _write_workspace(self, pipe: Any, workspace: str, events: Sequence[Event], rows: bool) -> None:
        days_key = f"{self.prefix}days:{workspace}"
        pipe.zadd(self.prefix + "workspaces", {workspace: 0})
        pipe.hset(days_key, "all", self._version())
        by_day: dict[int, list[Event]] = defaultdict(list)
        for event in events:
            by_day[event.at // DAY].append(event)
        for day, of_day in by_day.items():
            by_partition: dict[int, list[Event]] = defaultdict(list)
            for event in of_day:
                by_partition[event.partition].append(event)
            manifest = [self._version()]
            for partition, mine in sorted(by_partition.items()):
                parts, bases = self.parts_of(mine)
                manifest.append(f"{partition}:{bases}")
                pipe.hset(
                    f"{self.prefix}cells:{workspace}:{day // 32}",
                    mapping={f"{day}.{partition}.{name}": value for name, value in parts.items()},
                )
            pipe.hset(days_key, str(day), " ".join(manifest))
            if rows:
                pipe.zadd(f"{self.prefix}rows1:{workspace}:{day}", {packed_row(event): 0 for event in of_day})
        self._write_names(pipe, workspace, events)

    def _write_names(self, pipe: Any, workspace: str, events: Sequence[Event]) -> None:
        names: dict[str, str] = {}
        stamps: dict[str, tuple[Any, ...]] = {}
        for event in events:
            names[f"s:{event.source or ''}"] = ""
            stamp = (event.label is not None, event.at, event.partition, event.offset)
            who = f"u:{event.user or ''}"
            if who not in stamps or stamp > stamps[who]:
                stamps[who] = stamp
                flag = "0" if event.label is None else "1" + event.label
                names[who] = f"{event.at // 10**9} {event.at % 10**9} {event.partition} {event.offset} {flag}"
        if names:
            pipe.hset(f"{self.prefix}names:{workspace}", mapping=names)

    def parts_of(self, events: Sequence[Event]) -> tuple[dict[str, bytes], int]:
        """Frozen bases, a live base and a delta, as many events in each as comes up."""
        shuffled = list(events)
        self.random.shuffle(shuffled)
        number_of_bases = self.random.choice([0, 1, 1, 1, 2, 3])
        cuts = sorted(self.random.randint(0, len(shuffled)) for _ in range(number_of_bases))
        stretches = [shuffled[a:b] for a, b in zip([0, *cuts], [*cuts, len(shuffled)], strict=True)]
        *base_events, delta_events = stretches
        base_events = [stretch for stretch in base_events if stretch]
        parts: dict[str, bytes] = {}
        series: list[tuple[int, str | None]] = []
        sources: list[str] = []
        for number, stretch in enumerate(base_events):
            series, sources = [], []
            cells = _cells(stretch, series, sources)
            parts |= _base(number, cells, series, sources)
        if base_events and self.random.random() < 0.2:
            series, sources = [], []  # the last base was frozen: the next one is empty, and the delta begins anew
        if delta_events:
            first_series, first_source = len(series), len(sources)
            cells = _cells(delta_events, series, sources)
            keys = sorted(cells)
            parts["t"] = msgspec.msgpack.encode(
                [
                    1,
                    0,
                    first_series,
                    first_source,
                    sources[first_source:],
                    [user for _, user in series[first_series:]],
                    column(keys, 2),
                    column([cells[key] for key in keys]),
                    column([series[key // 96][0] for key in keys]),
                ]
            )
        return parts, len(base_events)


def _cells(events: Sequence[Event], series: list[tuple[int, str | None]], sources: list[str]) -> Counter[int]:
    """Cell key -> count; new series and sources are numbered on."""
    cells: Counter[int] = Counter()
    number_of = {source: number for number, source in enumerate(sources, start=1)}
    place_of = {one: place for place, one in enumerate(series)}
    for event in events:
        number = 0 if event.source is None else number_of.setdefault(event.source, len(number_of) + 1)
        one = (number * 2 + (event.activity == "deleted"), event.user)
        cells[place_of.setdefault(one, len(place_of)) * 96 + event.at % DAY // QUARTER] += 1
    sources[:], series[:] = number_of, place_of
    return cells


def _base(
    number: int, cells: Mapping[int, int], series: Sequence[tuple[int, str | None]], sources: Sequence[str]
) -> dict[str, bytes]:
    keys = sorted(cells)
    kinds = sorted({kind for kind, _ in series})
    place_of = {kind: place for place, kind in enumerate(kinds)}
    by_kind: Counter[int] = Counter()
    for key, count in cells.items():
        by_kind[place_of[series[key // 96][0]] * 96 + key % 96] += count
    summary_keys = sorted(by_kind)
    head = [
        1,
        0,
        list(sources),
        column([kind for kind, _ in series]),
        [user for _, user in series],
        *_cells_and_counts(cells, len(series)),
    ]
    summary = [
        1,
        list(sources),
        column(kinds),
        *_cells_and_counts(by_kind, len(kinds)),
        column(summary_keys, 2),
        column([by_kind[key] for key in summary_keys]),
    ]
    encode = msgspec.msgpack.encode
    return {
        f"{number}.h": encode(head),
        f"{number}.c": encode([1, column(keys, 2), column([cells[key] for key in keys])]),
        f"{number}.s": encode(summary),
    }


def _cells_and_counts(cells: Mapping[int, int], series: int) -> tuple[bytes, bytes]:
    """Two columns: how many cells each series has, and what they come to."""
    numbers, counts = [0] * series, [0] * series
    for key, count in cells.items():
        numbers[key // 96] += 1
        counts[key // 96] += count
    return column(numbers), column(counts)


def column(values: Sequence[int], at_least: int = 1) -> bytes:
    greatest = max(values, default=0)
    size = max(at_least, 1 if greatest < 256 else 2 if greatest < 65536 else 4)
    return bytes([size]) + b"".join(value.to_bytes(size, "little") for value in values)


def packed_row(event: Event) -> bytes:
    return (
        struct.pack(">Q", event.at)
        + event.id.encode().replace(b"\x00", b"\x00\xff")
        + b"\x00\x01"
        + struct.pack(">HQ", event.partition, event.offset)
        + msgspec.msgpack.encode(
            [
                ("added", "deleted").index(event.activity),
                event.digits,
                event.contact,
                event.name,
                event.source,
                event.user,
                event.label,
                event.batch,
            ]
        )
    )


def missing_rows(*ranges: tuple[int, int, int]) -> str:
    return json.dumps([list(one) for one in ranges])
