"""What a form of the sums writes of a whole report, and the labels that it takes for it."""

from collections.abc import Mapping
from typing import Any, NamedTuple


class Labels:
    """The latest labels of some users."""

    __slots__ = ("by_user", "written")

    def __init__(self, by_user: Mapping[str | None, str | None]) -> None:
        self.by_user = by_user
        self.written: Any = None
        """What the compiled core made of them for the table of users that it was asked about last."""


class Written(NamedTuple):
    """The parts of a whole report as JSON, in the order of `Report` in `api/wire.py`."""

    added: bytes
    deleted: bytes
    timeline: bytes
    sources: bytes
    users: bytes
    users_omitted: bytes
