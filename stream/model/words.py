"""Words for numbers, where a line names them."""

from collections.abc import Collection
from itertools import islice


def name_partitions(numbers: Collection[int], most: int | None = None) -> str:
    """`partition 3`, `partitions 0, 1`: in the order in which they are given, `most` of them."""
    named = ", ".join(map(str, islice(numbers, most)))
    more = ", …" if most is not None and len(numbers) > most else ""
    return f"partition{'s' if len(numbers) > 1 else ''} {named}{more}"
