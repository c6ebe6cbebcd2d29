"""A contact activity, and the facts of the domain that worker, API and page share."""

from typing import Final

import msgspec

ADDED: Final = 0


DELETED: Final = 1


ACTIVITIES: Final = ("added", "deleted")
"""Names of the activities, by their number."""


KNOWN_SOURCES: Final = ("incoming_message", "developer_api", "contact_import", "user", "echo_message")
"""In the report's order. Others are counted under their own name."""


NONE: Final = "none"
"""How publishers and readers write "without a source" and "without a user"; inside it is None."""


class ContactActivity(msgspec.Struct, frozen=True, gc=False):
    """One contact added or deleted, as it is counted and shown."""

    event_id: str
    activity: int
    """ADDED or DELETED."""
    workspace_id: str
    contact_id: str
    """An integer of the publisher as its decimal string."""
    contact_name: str | None
    source: str | None
    """Lower-case; None for events without a source."""
    user_id: str | None
    user_name: str | None
    occurred_at: int
    """Nanoseconds since 1970-01-01T00:00:00Z."""
    fraction_digits: int
    """Digits of the second that the publisher wrote, 0 to 9; the row shows as many."""
    batch_id: str | None
