"""The packed parts of a workspace's days, as they are read from Redis."""

from collections.abc import Sequence
from typing import Final, NamedTuple

Parts = int
"""What is wanted of a day, as bits; its delta comes with any of them. Plain numbers: `|` and `&` of an IntFlag take a
microsecond each, and a read asks some of each day."""

NOTHING: Final[Parts] = 0
SUMMARIES: Final[Parts] = 1
HEADS: Final[Parts] = 2
CELLS: Final[Parts] = 4


class PartitionDay(NamedTuple):
    """The packed parts of one day of one source partition, as far as they were asked for.

    One item a base in each; `delta` is None where it is empty.
    """

    summaries: Sequence[bytes] = ()
    heads: Sequence[bytes] = ()
    cells: Sequence[bytes] = ()
    delta: bytes | None = None
