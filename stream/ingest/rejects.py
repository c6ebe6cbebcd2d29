"""Judges whether publishers send too much that cannot be counted: the rule of the alert `ContactsRejected`, so that
`contacts-report status` and `/ops` say the same.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import msgspec

WINDOW_SECONDS: Final = 600
MANY: Final = 500
"""More rejected events than this within the window are too many, however many others there are."""
SHARE: Final = 0.05
"""A larger share of all events than this is too many, if they are more than FEW."""
FEW: Final = 10


class Recent(msgspec.Struct, frozen=True):
    """Events of the last WINDOW_SECONDS, and how many of them were rejected."""

    events: int = 0
    rejected: int = 0

    @property
    def too_many(self) -> bool:
        return self.rejected > MANY or self.rejected > max(SHARE * self.events, FEW)


def total(of: Iterable[Recent]) -> Recent:
    """Of several workers together."""
    found = list(of)
    return Recent(sum(one.events for one in found), sum(one.rejected for one in found))
