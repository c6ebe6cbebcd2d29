"""Remembers the manifests that the last reads showed, and chooses the fields that the next read asks for.

A day's value in `days:<workspace>`, its manifest, names the parts that the day has, and a transaction cannot use what
it reads. So a read goes by the manifests that were seen last, and shows which of them have moved. They are lists in the
order of the days, as Redis gives them: one comparison says that all are as they were.
"""

import time
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from functools import lru_cache
from itertools import chain, compress, repeat
from operator import attrgetter, eq, itemgetter, ne
from typing import Final, NamedTuple

from msgspec import Struct

from api.cache import Memory, size_of_texts
from api.read.parts import CELLS, HEADS, SUMMARIES, DayParts, PartitionDay, Parts, Shape
from api.read.snapshot import RowRange, State
from stream.settings.redis import Command
from stream.storage.keys import DAYS_A_HASH, Keys, parse_manifest

KNOWN_BYTES = 900
"""Of what is known of a workspace, with its state; of that the partitions are told besides."""

KNOWN_PARTITION_BYTES = 160

KNOWN_DAY_BYTES = 220
"""A day's places, and its manifest beside its text."""

PREPARED_BYTES, PREPARED_DAY_BYTES, PREPARED_PARTITION_BYTES = 1_000, 250, 100
"""Of a read that is kept, of a day of it (its places in lists), and of a partition of a day (its shape): beside what is
sent, and the manifests.
"""

CHANGED: Final = b""
"""In place of a manifest: whatever the day's version is by now."""


class KeysLost(Exception):
    """Redis lacks what it must have, as after an eviction: a zero in its place would be wrong."""


class Days:
    """Days that are read together, ascending, as they are named to Redis."""

    __slots__ = ("days", "places", "texts", "words")

    def __init__(self, days: Sequence[int]) -> None:
        self.days = days
        self.places = {day: place for place, day in enumerate(days)}
        self.texts = [b"%d" % day for day in days]
        self.words = b"".join(b"$%d\r\n%b\r\n" % (len(text), text) for text in self.texts)
        """Packed as the words of a command."""


class Known:
    """What the last reads of a workspace showed."""

    __slots__ = ("grown", "layout", "manifests", "read_at", "restless", "state")

    def __init__(self) -> None:
        self.layout = object()
        """Another object after whatever may change what a read should ask, which is all but new counts of a restless
        day."""
        self.manifests: dict[int, bytes] = {}
        self.restless: set[int] = set()
        """Days, all of them in `manifests`, that had changed since the read before: their parts are asked for at
        once.
        """
        self.state: State | None = None
        self.read_at = 0.0
        """When the state was read, by the monotonic clock."""
        self.grown = True
        """Whether the memory must be told its size again. A new version of a restless day is no reason: its manifest is
        hardly longer."""

    @property
    def size_bytes(self) -> int:
        partitions = 0 if self.state is None else len(self.state.positions.partitions)
        of_days = KNOWN_DAY_BYTES * len(self.manifests) + sum(map(len, self.manifests.values()))
        return KNOWN_BYTES + KNOWN_PARTITION_BYTES * partitions + of_days

    def update(self, changed: Mapping[int, bytes | None]) -> None:
        """Days are as they are now, None: gone; restless, where they were others before."""
        gone = [day for day, manifest in changed.items() if manifest is None] if None in changed.values() else ()
        if gone or not changed.keys() <= self.restless:
            self.lay_out_anew()
            self.restless |= self.manifests.keys() & changed.keys()
        self.manifests.update(changed)  # type: ignore[arg-type]
        for day in gone:
            del self.manifests[day]
            self.restless.discard(day)

    def lay_out_anew(self) -> None:
        """The next read may have to ask something else."""
        self.layout, self.grown = object(), True

    def clear(self) -> None:
        self.manifests, self.restless = {}, set()
        self.lay_out_anew()


class Seen(Struct, frozen=True):
    """Days as they were seen last; a read goes by it."""

    asked: Days | None
    """None: all that there are."""
    known: Known
    days: Sequence[int]
    """Those that are asked, or all that were seen; ascending."""
    manifests: Sequence[bytes | None]
    """Of each of these days; None: it was not seen."""
    places: Mapping[int, int]
    """Of each of these days."""
    again: bool
    """Whether a read that went by what was seen before is tried again: what has not changed since then may soon."""

    @property
    def found(self) -> list[int]:
        """The days that were seen."""
        return [day for day, manifest in zip(self.days, self.manifests, strict=True) if manifest is not None]

    def now(self) -> Sequence[bytes | None]:
        """The manifests that the days are taken to have now, some of them CHANGED."""
        restless = self.known.restless
        if not restless:
            return self.manifests
        if len(restless) > len(self.days) // 8:
            of_days = zip(self.days, self.manifests, strict=True)
            return [CHANGED if day in restless else manifest for day, manifest in of_days]
        now = list(self.manifests)
        for day in restless:
            place = self.places.get(day)
            if place is not None:
                now[place] = CHANGED
        return now


class Asked(Struct, frozen=True):
    """What a read asks of days, ascending, by the parts that they had when they were seen."""

    wanted: Mapping[int, Parts]
    segments: Sequence[bytes]
    """Of each day the manifest that the read goes by, without its version."""
    shapes: Sequence[Shape]
    required: bytes
    """Of each value that is asked for, whether it must be there: 1 or 0."""
    fields: Sequence[tuple[int, int, bytes]]
    """Of each hash of cells, ascending: its number, and how many fields are asked, packed as words of a command."""

    @property
    def size_bytes(self) -> int:
        texts = sum(map(len, self.segments)) + len(self.required) + sum(len(words) for _, _, words in self.fields)
        partitions = sum(map(len, self.shapes))
        return PREPARED_DAY_BYTES * len(self.shapes) + PREPARED_PARTITION_BYTES * partitions + texts


class Prepared(Struct, frozen=True):
    """A read as it is sent: the next one that asks the same of days with the same parts need not be written again."""

    layout: object
    """That of the days when it was written."""
    asked: Asked | None
    """None: no parts."""
    names: Sequence[str]
    ranges: Sequence[RowRange]
    listed: bool
    """Whether it asks too if the workspace is listed."""
    commands: Sequence[Command]

    def suits(self, known: Known, names: Sequence[str]) -> bool:
        """Whether it may be sent again, for these names. Where it asks too little, its answer shows what is lacking."""
        return self.layout is known.layout and self.names == names

    def lasts(self, known: Known) -> bool:
        """Whether the next read should ask the same: the parts of restless days alone, and no rows."""
        days = set() if self.asked is None else self.asked.wanted.keys()
        return self.layout is known.layout and not self.ranges and days <= known.restless

    @property
    def size_bytes(self) -> int:
        asked = 0 if self.asked is None else self.asked.size_bytes
        return PREPARED_BYTES + asked + size_of_texts(self.names) + sum(map(len, self.commands))


class Manifests:
    """The manifests that this process has seen, in its memory."""

    def __init__(self, memory: Memory) -> None:
        self._memory = memory

    def seen(self, workspace_id: str, asked: Days | None, before: Seen | None) -> Seen:
        """What was seen last of these days. `before`: what an earlier try went by, in case it is remembered no more."""
        known: Known = self._memory.get(("known", workspace_id)) or (Known() if before is None else before.known)
        manifests = known.manifests
        of = Days(sorted(manifests)) if asked is None else asked
        return Seen(asked, known, of.days, list(map(manifests.get, of.days)), of.places, before is not None)

    def note(self, workspace_id: str, known: Known, state: State) -> None:
        """Remember what a read showed of the whole, and what was learned from it of days."""
        before, known.state, known.read_at = known.state, state, time.monotonic()
        if before is None or len(before.positions.partitions) != len(state.positions.partitions):
            known.grown = True
        if known.grown:
            self.keep(workspace_id, known)

    def keep(self, workspace_id: str, known: Known) -> None:
        """Remember what is known of a workspace: of reads that began together, what came first."""
        held: Known | None = self._memory.get(("known", workspace_id))
        if held is None or held is known:
            known.grown = False
            self._memory.put(("known", workspace_id), known, known.size_bytes)


def learn(seen: Seen, changed: Mapping[int, bytes | None]) -> None:
    """Take to heart what a read showed: the days whose manifests are others than it went by, None where one is gone."""
    known = seen.known
    restless = known.restless
    if restless and not seen.again:
        quiet = restless - changed.keys()
        if seen.asked is not None:
            quiet &= seen.asked.places.keys()
        if quiet:
            restless -= quiet
            known.lay_out_anew()
    if changed:
        known.update(changed)


def changes(
    days: Sequence[int], manifests: Sequence[bytes | None], then_days: Sequence[int], then: Sequence[bytes | None]
) -> dict[int, bytes | None]:
    """What days have now that had something else then, or nothing; None: they are there no more."""
    if manifests == then and days == then_days:
        return {}
    if days is then_days or days == then_days:  # as nearly always, and then it takes a third
        return dict(compress(zip(days, manifests, strict=True), map(ne, manifests, then)))
    before, after = dict(zip(then_days, then, strict=True)), dict(zip(days, manifests, strict=True))
    changed = {day: manifest for day, manifest in after.items() if before.get(day) != manifest}
    return changed | dict.fromkeys(before.keys() - after.keys())


def ask(seen: Seen, wanted: Mapping[int, Parts]) -> Asked:
    """What to ask of the days by the parts that they had when they were seen. Days of `wanted` are among them."""
    # Of each day all at once: a loop over the days of two years takes three times as long.
    days = list(wanted)
    texts = list(map(b"%d".__mod__, days))
    manifests = list(map(seen.manifests.__getitem__, map(seen.places.__getitem__, days)))
    segments = _segments_of(manifests)
    wordings = list(map(_wording, segments, wanted.values(), map(len, texts)))
    numbers, shapes = list(map(_number, wordings)), list(map(_shape, wordings))
    words = list(map(bytes.join, texts, map(_around, wordings)))
    fields: list[tuple[int, int, bytes]] = []
    start = 0
    while start < len(days):
        of_hash = days[start] // DAYS_A_HASH
        end = bisect_left(days, (of_hash + 1) * DAYS_A_HASH, start)
        fields.append((of_hash, sum(numbers[start:end]), b"".join(words[start:end])))
        start = end
    return Asked(wanted, segments, shapes, b"".join(map(_required, wordings)), fields)


def read_parts(asked: Asked, replies: Sequence[Sequence[bytes | None]], manifests: list[bytes | None]) -> DayParts:
    """The parts of those of the days that still have the parts that were asked for, and not only other counts in the
    same ones. `manifests`: those that the days that were asked for have now. Raises KeysLost.
    """
    # Days ascend, so the hashes do too, and the values come in the order of the days.
    values = list(chain.from_iterable(replies))
    kept = days = list(asked.wanted)
    now = _segments_of(manifests)
    if now != asked.segments:
        kept = list(compress(days, map(eq, now, asked.segments)))
    parts = DayParts(days, asked.shapes, values, kept)
    if not all(compress(values, asked.required)):
        for of_day in parts.values():
            _require_parts(of_day)
    return parts


def _require_parts(of_day: Sequence[PartitionDay]) -> None:
    """A delta may be absent beside a base, and nothing else. Raises KeysLost."""
    for part in of_day:
        bases = [*part.summaries, *part.heads, *part.cells]
        if None in bases or (not bases and part.delta is None):
            raise KeysLost("part of a day")


def _segments_of(manifests: list[bytes | None]) -> list[bytes]:
    """Manifests without their versions."""
    if None in manifests:
        manifests = [manifest or _GONE for manifest in manifests]
    return list(map(_SEGMENTS, map(bytes.partition, manifests, repeat(b" "))))  # type: ignore[arg-type]


_SEGMENTS: Final = itemgetter(2)


class _Wording(NamedTuple):
    """What is asked of a day."""

    fields: Sequence[bytes]
    """Packed as the words of a command: what lies around the day's number."""
    number: int
    shape: Shape
    required: bytes


_around, _number, _shape, _required = map(attrgetter, _Wording._fields)


@lru_cache(maxsize=128)
def _wording(segments: bytes, parts: Parts, day_digits: int) -> _Wording:
    """What is asked of a day whose number has so many digits; most days of most workspaces look alike."""
    fields: list[str] = []
    shape = []
    required = bytearray()
    for partition, bases in (parse_manifest(b"- " + segments).bases if segments else {}).items():
        of_partition = [bases if parts & part else 0 for part, _ in _FIELDS]
        for number, (_, field_of) in zip(of_partition, _FIELDS, strict=True):
            fields.extend(Keys.without_day(field_of(0, partition, base)) for base in range(number))
        fields.append(Keys.without_day(Keys.delta_field(0, partition)))
        summaries, heads, cells = of_partition
        shape.append((summaries, heads, cells))
        required += bytes([1] * sum(of_partition)) + (b"\0" if any(of_partition) else b"\1")
    before = [b"$%d\r\n" % (day_digits + 1 + len(rest)) for rest in fields]
    behind = [b".%s\r\n" % rest.encode() for rest in fields]
    around = [end + start for end, start in zip([b"", *behind], [*before, b""], strict=True)]
    return _Wording(around, len(fields), tuple(shape), bytes(required))


_FIELDS: Final = ((SUMMARIES, Keys.summary_field), (HEADS, Keys.head_field), (CELLS, Keys.cells_field))
"""In the order of a shape."""

_GONE: Final = b"- gone"
"""In place of the manifest of a day that is there no more."""
