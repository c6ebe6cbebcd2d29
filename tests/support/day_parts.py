"""Parts of days as a read gives them."""

from collections.abc import Mapping, Sequence

from api.read.parts import DayParts, PartitionDay


def day_parts(days: Mapping[int, Sequence[PartitionDay]]) -> DayParts:
    """Those of days that are there whole, ascending."""
    shapes = []
    values: list[bytes | None] = []
    for _, parts in sorted(days.items()):
        shapes.append(tuple((len(part.summaries), len(part.heads), len(part.cells)) for part in parts))
        for part in parts:
            values += [*part.summaries, *part.heads, *part.cells, part.delta]
    return DayParts(sorted(days), shapes, values)
