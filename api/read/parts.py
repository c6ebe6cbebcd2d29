"""The packed parts of a workspace's days, as they are read from Redis."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Final, NamedTuple

Parts = int
"""What is wanted of a day, as bits; its delta comes with any of them. Plain numbers: `|` and `&` of an IntFlag take a
microsecond each, and a read asks some of each day."""

NOTHING: Final[Parts] = 0
SUMMARIES: Final[Parts] = 1
HEADS: Final[Parts] = 2
CELLS: Final[Parts] = 4

Shape = tuple[tuple[int, int, int], ...]
"""Of each partition of a day, how many summaries, heads and cells were asked for. Their values follow each other in
this order, and the delta's comes after them."""


class PartitionDay(NamedTuple):
    """The packed parts of one day of one source partition, as far as they were asked for.

    One item a base in each; `delta` is None where it is empty.
    """

    summaries: Sequence[bytes] = ()
    heads: Sequence[bytes] = ()
    cells: Sequence[bytes] = ()
    delta: bytes | None = None


class DayParts(Mapping[int, Sequence[PartitionDay]]):
    """The parts of days, in the values as a read had them: a day is cut out of them where somebody looks at it. The
    compiled core takes the values as they are.
    """

    def __init__(
        self,
        asked: Sequence[int],
        shapes: Sequence[Shape],
        values: Sequence[bytes | None],
        days: Collection[int] | None = None,
    ) -> None:
        """`asked`: the days that the values are of, ascending, each with its shape; `days`: those of them that are
        meant, ascending too; None: all.
        """
        self.asked, self.shapes, self.found = asked, shapes, values
        self.days: Collection[int] = asked if days is None else days
        self._starts: dict[int, tuple[Shape, int]] = {}

    def of(self, days: Collection[int]) -> "DayParts":
        """Those of fewer days, or all, ascending."""
        return self if len(days) == len(self.days) else DayParts(self.asked, self.shapes, self.found, days)

    def __len__(self) -> int:
        return len(self.days)

    def __iter__(self) -> Iterator[int]:
        return iter(self.days)

    def __contains__(self, day: object) -> bool:
        return day in self.days

    def __getitem__(self, day: int) -> list[PartitionDay]:
        if not self._starts:
            days = set(self.days)
            of_asked = zip(self.asked, self._with_starts(), strict=True)
            self._starts = {day: places for day, places in of_asked if day in days}
        shape, start = self._starts[day]
        return list(_cut(self.found, shape, start))

    def _with_starts(self) -> Iterator[tuple[Shape, int]]:
        start = 0
        for shape in self.shapes:
            yield shape, start
            start += size_of_shape(shape)


NO_PARTS: Final = DayParts([], [], [])


def size_of_shape(shape: Shape) -> int:
    """How many values a day has."""
    return sum(map(sum, shape)) + len(shape)


def _cut(values: Sequence[bytes | None], shape: Shape, start: int) -> Iterator[PartitionDay]:
    for summaries, heads, cells in shape:
        of_heads = start + summaries
        of_cells = of_heads + heads
        delta = of_cells + cells
        yield PartitionDay(
            values[start:of_heads],  # type: ignore[arg-type]
            values[of_heads:of_cells],  # type: ignore[arg-type]
            values[of_cells:delta],  # type: ignore[arg-type]
            values[delta],
        )
        start = delta + 1
