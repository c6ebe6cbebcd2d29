"""What a partition knows about names, all at once."""

from __future__ import annotations

from stream.model.steps import Steps, finish
from stream.tables.commit import NameChanges, NamesAfter


def changes(steps: Steps[NamesAfter]) -> NameChanges:
    return listed(finish(steps))


def listed(found: NamesAfter) -> NameChanges:
    """Users in the order of the offsets that moved them, and sources."""
    users = list(found.users)
    assert [offset for offset, _ in users] == sorted(user.offset for _, user in users)
    return NameChanges([user for _, user in users], found.sources)
