"""A contact activity, and the facts of the domain that worker, API and page share."""

from enum import StrEnum
from typing import Final, Literal, get_args

import msgspec


class Activity(StrEnum):
    """What happened to a contact."""

    ADDED = "added"
    DELETED = "deleted"


ACTIVITIES: Final = tuple(Activity)
"""The activities by their number, which is what is counted and stored."""

ADDED: Final = 0
DELETED: Final = 1
assert (ACTIVITIES[ADDED], ACTIVITIES[DELETED]) == (Activity.ADDED, Activity.DELETED)

EventType = Literal["contact.added", "contact.deleted"]
"""How publishers write an activity."""

EVENT_TYPES: Final = get_args(EventType)
assert tuple(f"contact.{activity}" for activity in ACTIVITIES) == EVENT_TYPES

ACTIVITY_OF_TYPE: Final[dict[str, int]] = {name: number for number, name in enumerate(EVENT_TYPES)}


SOURCE_LABELS: Final = {
    "incoming_message": "Incoming Message",
    "developer_api": "Developer API",
    "contact_import": "Contact Import",
    "user": "User",
    "echo_message": "Echo Message",
}
"""The known sources in the report's order, and what readers call them. Others are counted under their own name."""

KNOWN_SOURCES: Final = tuple(SOURCE_LABELS)

NO_SOURCE_LABEL: Final = "No source"


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
