"""Remembers the manifests that the last reads showed, and chooses the fields that the next read asks for.

A day's value in `days:<workspace>`, its manifest, names the parts that the day has, and a transaction cannot use what
it reads. So a read goes by the manifests that were seen last, and shows which of them have moved.
"""

from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import chain
from typing import Final, NamedTuple

from api.cache import Memory
from api.read.parts import CELLS, HEADS, SUMMARIES, PartitionDay, Parts
from stream.storage.keys import Keys, parse_manifest

KNOWN_DAY_BYTES = 220
"""Of what is known of a workspace: a day's places, and its manifest beside its text."""


class KeysLost(Exception):
    """Redis lacks what it must have, as after an eviction: a zero in its place would be wrong."""


@dataclass(slots=True)
class Known:
    """What the last reads of a workspace showed."""

    manifests: dict[int, bytes] = field(default_factory=dict)
    restless: set[int] = field(default_factory=set)
    """Days that had changed since the read before: their parts are asked for at once."""

    @property
    def bytes(self) -> int:
        return 600 + KNOWN_DAY_BYTES * len(self.manifests) + sum(map(len, self.manifests.values()))


class Seen(NamedTuple):
    """Days as they were seen last; a read goes by it."""

    days: Sequence[int] | None
    """None: all that there are."""
    known: Known
    manifests: Mapping[int, bytes]
    """Of these days, ascending, as far as they were seen."""
    again: bool
    """Whether a read that went by what was seen before is tried again: what has not changed since then may soon."""

    @property
    def now(self) -> Mapping[int, bytes | None]:
        """The manifests that the days are taken to have now; None: whatever the day's version is by now."""
        restless = self.known.restless
        return (
            {day: None if day in restless else manifest for day, manifest in self.manifests.items()}
            if restless
            else self.manifests
        )


class Places(NamedTuple):
    """Where in the values of a day those of one partition lie: its summaries, heads and cells, then its delta."""

    summaries: slice
    heads: slice
    cells: slice
    delta: int


class Asked(NamedTuple):
    """What a read asks of a day: its parts, their fields (without the day), and the places of their values."""

    segments: bytes
    """Of the manifest that the read goes by."""
    parts: Parts
    fields: tuple[str, ...]
    places: tuple[Places, ...]


class Manifests:
    """The manifests that this process has seen, in its memory."""

    def __init__(self, memory: Memory) -> None:
        self._memory = memory

    def knows(self, workspace_id: str) -> bool:
        return self._memory.get(("known", workspace_id)) is not None

    def seen(self, workspace_id: str, days: Sequence[int] | None, before: Seen | None) -> Seen:
        """What was seen last of these days. `before`: what an earlier try went by, in case it is remembered no more."""
        known: Known = self._memory.get(("known", workspace_id)) or (Known() if before is None else before.known)
        manifests = known.manifests
        return Seen(
            days,
            known,
            {day: manifests[day] for day in (sorted(manifests) if days is None else days) if day in manifests},
            before is not None,
        )

    def forget(self, workspace_id: str) -> None:
        self._memory.forget(("known", workspace_id))

    def learn(self, workspace_id: str, seen: Seen, manifests: Mapping[int, bytes]) -> None:
        """Remember what a read showed: by what came first of reads that began together."""
        expected = seen.manifests
        held: Known | None = self._memory.get(("known", workspace_id))
        if held is not None and manifests == expected:
            if held.restless and not seen.again:
                held.restless.difference_update(expected)
            return
        known = held or seen.known
        for day, manifest in expected.items():
            if manifests.get(day) == manifest:
                if not seen.again:
                    known.restless.discard(day)
            elif day in manifests:
                known.restless.add(day)
            elif known.manifests.pop(day, None) is not None:
                known.restless.discard(day)
        known.manifests.update(manifests)
        if held is not None or known.manifests:
            self._memory.put(("known", workspace_id), known, known.bytes)


def ask(seen: Seen, wanted: Mapping[int, Parts]) -> dict[int, Asked]:
    """What to ask of the days by the parts that they had when they were seen. Days of `wanted` are among them."""
    return {day: _asked(_segments(seen.manifests[day]), parts) for day, parts in wanted.items()}


def moved_days(seen: Seen, manifests: Mapping[int, bytes]) -> list[int]:
    """The days that are new or have changed since."""
    if manifests == seen.manifests:
        return []
    return [day for day, manifest in manifests.items() if seen.manifests.get(day) != manifest]


def others_than_seen(asked: Mapping[int, Asked], manifests: Mapping[int, bytes], days: Iterable[int]) -> set[int]:
    """Those of the days that have other parts by now than were asked for, not only other counts in the same ones."""
    return {day for day in days if asked[day].segments != manifests[day].partition(b" ")[2]}


def read_parts(
    asked: Mapping[int, Asked], replies: Sequence[Sequence[bytes | None]], kept: Container[int]
) -> dict[int, list[PartitionDay]]:
    """The parts of the `kept` ones of the days that were asked for. Raises KeysLost."""
    # Days ascend, so the hashes do too, and the values come in the order of the days.
    values = list(chain.from_iterable(replies))
    found: dict[int, list[PartitionDay]] = {}
    at = 0
    for day, of in asked.items():
        end = at + len(of.fields)
        if day in kept:
            of_day = values[at:end]
            if None in of_day:
                _require_parts(of_day, of.places)
            found[day] = [
                PartitionDay(of_day[summaries], of_day[heads], of_day[cells], of_day[delta])  # type: ignore[arg-type]
                for summaries, heads, cells, delta in of.places
            ]
        at = end
    return found


def _require_parts(values: Sequence[bytes | None], of_day: Iterable[Places]) -> None:
    """A delta may be absent beside a base, and nothing else. Raises KeysLost."""
    for places in of_day:
        bases = [*values[places.summaries], *values[places.heads], *values[places.cells]]
        if None in bases or (not bases and values[places.delta] is None):
            raise KeysLost("part of a day")


@lru_cache(maxsize=128)
def _asked(segments: bytes, parts: Parts) -> Asked:
    """What is asked of a day; most days of most workspaces look alike."""
    fields: list[str] = []
    places = []
    for partition, bases in (parse_manifest(b"- " + segments).bases if segments else {}).items():
        of_parts = []
        for part, field_of in _FIELDS:
            start = len(fields)
            if parts & part:
                fields.extend(Keys.without_day(field_of(0, partition, base)) for base in range(bases))
            of_parts.append(slice(start, len(fields)))
        summaries, heads, cells = of_parts
        places.append(Places(summaries, heads, cells, len(fields)))
        fields.append(Keys.without_day(Keys.delta_field(0, partition)))
    return Asked(segments, parts, tuple(fields), tuple(places))


_FIELDS: Final = ((SUMMARIES, Keys.summary_field), (HEADS, Keys.head_field), (CELLS, Keys.cells_field))
"""In the order of `Places`."""


def _segments(manifest: bytes) -> bytes:
    """Which parts there are, without the version."""
    return manifest.partition(b" ")[2]
