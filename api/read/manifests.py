"""Remembers the manifests that the last reads showed, and chooses the fields that the next read asks for.

A day's value in `days:<workspace>`, its manifest, names the parts that the day has, and a transaction cannot use what
it reads. So a read goes by the manifests that were seen last, and shows which of them have moved.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import chain, compress, groupby, repeat
from operator import ne
from typing import Final, NamedTuple

from api.cache import Memory
from api.read.parts import CELLS, HEADS, SUMMARIES, DayParts, PartitionDay, Parts, Shape
from stream.settings.redis import PackedWords
from stream.storage.keys import DAYS_A_HASH, Keys, parse_manifest

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


class Asked(NamedTuple):
    """What a read asks of days, ascending, by the parts that they had when they were seen."""

    wanted: Mapping[int, Parts]
    segments: Sequence[bytes]
    """Of each day, those of the manifest that the read goes by."""
    shapes: Sequence[Shape]
    required: bytes
    """Of each value that is asked for, whether it must be there: 1 or 0."""
    fields: Sequence[tuple[int, Sequence[PackedWords]]]
    """The fields of each hash of cells, by its number, ascending."""


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

    def learn(self, workspace_id: str, seen: Seen, manifests: Mapping[int, bytes], moved: Collection[int]) -> None:
        """Remember what a read showed, where these days have `moved`: by what came first of reads that began
        together.
        """
        expected = seen.manifests
        held: Known | None = self._memory.get(("known", workspace_id))
        if held is not None and not moved and len(manifests) == len(expected):
            if held.restless and not seen.again:
                held.restless.difference_update(expected)
            return
        known = held or seen.known
        changed = set(moved)
        if not seen.again:
            known.restless -= {day for day in known.restless if day in expected and day not in changed}
        new = changed - expected.keys()
        known.restless |= changed - new
        if len(manifests) - len(new) < len(expected):
            for day in expected.keys() - manifests.keys():
                if known.manifests.pop(day, None) is not None:
                    known.restless.discard(day)
        # What did not move is there already, unless it was forgotten meanwhile.
        known.manifests.update({day: manifests[day] for day in moved} if known is seen.known else manifests)
        if held is not None or known.manifests:
            self._memory.put(("known", workspace_id), known, known.bytes)


def ask(seen: Seen, wanted: Mapping[int, Parts]) -> Asked:
    """What to ask of the days by the parts that they had when they were seen. Days of `wanted` are among them."""
    days, manifests = list(wanted), seen.manifests
    segments = [manifests[day].partition(b" ")[2] for day in days]
    texts = [b"%d" % day for day in days]
    numbers = [day // DAYS_A_HASH for day in days]
    shapes: list[Shape] = []
    required: list[bytes] = []
    fields: dict[int, list[PackedWords]] = {}
    # In runs of days that look alike: what is done for each of them is kept bare.
    for (of, parts, number, digits), run in groupby(
        zip(segments, wanted.values(), numbers, map(len, texts), strict=True)
    ):
        wording = _wording(of, parts, digits)
        start, length = len(shapes), len(list(run))
        words = [text.join(wording.fields) for text in texts[start : start + length]]
        shapes.extend(repeat(wording.shape, length))
        required.append(wording.required * length)
        fields.setdefault(number, []).append(PackedWords(b"".join(words), wording.number * length))
    return Asked(wanted, segments, shapes, b"".join(required), list(fields.items()))


def moved_days(manifests: Mapping[int, bytes], before: Mapping[int, bytes]) -> list[int]:
    """The days that are new or have changed since."""
    if manifests == before:
        return []
    if list(manifests) == list(before):  # as nearly always, and then it takes a third
        return list(compress(manifests, map(ne, manifests.values(), before.values())))
    return [day for day, manifest in manifests.items() if before.get(day) != manifest]


def read_parts(asked: Asked, replies: Sequence[Sequence[bytes | None]], manifests: Mapping[int, bytes]) -> DayParts:
    """The parts of those of the days that still have the parts that were asked for, and not only other counts in the
    same ones. Raises KeysLost.
    """
    # Days ascend, so the hashes do too, and the values come in the order of the days.
    values = list(chain.from_iterable(replies))
    days = list(asked.wanted)
    present = [manifests.get(day, _GONE).partition(b" ")[2] for day in days]
    kept = days
    if present != asked.segments:
        kept = [day for day, now, then in zip(days, present, asked.segments, strict=True) if now == then]
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


class _Wording(NamedTuple):
    """What is asked of a day."""

    fields: Sequence[bytes]
    """Packed as the words of a command: what lies around the day's number."""
    number: int
    shape: Shape
    required: bytes


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
