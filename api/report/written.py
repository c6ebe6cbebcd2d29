"""What a form of the sums writes of a whole report, and the labels that it takes for it."""

from collections.abc import Mapping
from typing import Any, NamedTuple


class Labels:
    """The latest labels of some users."""

    __slots__ = ("by_user", "written")

    def __init__(self, by_user: Mapping[str | None, str | None]) -> None:
        self.by_user = by_user
        self.written: Any = None
        """What the compiled core makes of them, once for its table of users."""


class Written(NamedTuple):
    """Parts of a whole report, those in bytes as JSON."""

    totals: tuple[int, int, int, int]
    """Added, deleted, and both of the earlier side."""
    timeline: bytes
    sources: bytes
    users: bytes
    omitted: tuple[int, int, int]
    """Of the users that are not listed: how many they are, added, deleted."""
