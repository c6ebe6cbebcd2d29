"""The packed parts of a workspace's days, as they are read from Redis."""

from collections.abc import Sequence
from enum import IntFlag
from typing import NamedTuple


class Parts(IntFlag):
    """What is wanted of a day; its delta comes with any of them."""

    NOTHING = 0
    SUMMARIES = 1
    HEADS = 2
    CELLS = 4


class PartitionDay(NamedTuple):
    """The packed parts of one day of one source partition, as far as they were asked for.

    One item a base in each; `delta` is None where it is empty.
    """

    summaries: Sequence[bytes] = ()
    heads: Sequence[bytes] = ()
    cells: Sequence[bytes] = ()
    delta: bytes | None = None
