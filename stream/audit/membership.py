"""Compares the members of the consumer group with the workers that report to a Redis: a worker whose CONTACTS_REDIS is
another counts its partitions into that one, and readers of this one wait for them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from stream.kafka.groups import Member
from stream.model.words import name_partitions

REASONS: Final = (
    "CONTACTS_REDIS is another one there, does not let it in (its log says so), or lets its user not write `ops*`; who "
    "was killed stays a member until the session ends"
)


class Silent(msgspec.Struct, frozen=True):
    """Members of the group beyond the workers that report, and the partitions that such members may have."""

    number: int
    of: int
    partitions: tuple[int, ...]
    """Which the group has given to a member, and no worker reports."""
    members: tuple[str, ...]
    """That have those partitions."""

    @property
    def words(self) -> str:
        one = self.number == 1
        said = f"{self.number} of {self.of} members of the group report{'s' if one else ''} nothing to this Redis"
        if not self.partitions:
            return said
        return f"{said}, and {name_partitions(self.partitions)} went to {', '.join(self.members)}"


def find_silent(members: Sequence[Member], workers: Sequence[Mapping[str, Any]], topic: str) -> Silent | None:
    """None where as many workers report as the group has members: then what none reports is changing hands."""
    number = len(members) - len(workers)
    if number <= 0:
        return None
    reported = {int(partition) for worker in workers for partition in worker.get("partitions", {})}
    unreported = [(str(member), set(member.partitions.get(topic, ())) - reported) for member in members]
    return Silent(
        number,
        len(members),
        tuple(sorted(set[int]().union(*(partitions for _, partitions in unreported)))),
        tuple(dict.fromkeys(member for member, partitions in unreported if partitions)),
    )
