"""One workspace-day as Redis holds it, beside what is committed: equal, different, or moving just now."""

from __future__ import annotations

from enum import Enum, auto

from redis.asyncio import Redis
from redis.exceptions import RedisError

from stream.projection.stored import StoredAggregate, StoredCounts
from stream.storage import day_parts as packed
from stream.storage.formats import FormatError
from stream.storage.keys import Keys
from stream.tables.commit import AggregateChange


class Comparison(Enum):
    EQUAL = auto()
    DIFFERENT = auto()
    MOVING = auto()
    """Nothing can be said: Redis has not reached the day aggregate, is ahead of what was compared, or does not
    answer.
    """


class SampledCounts:
    """Compares with one deployment's Redis. Reads alone."""

    def __init__(self, client: Redis, keys: Keys) -> None:
        self._stored = StoredCounts(client, keys)

    async def compare(self, partition: int, aggregate: AggregateChange, changed_at: int, committed: int) -> Comparison:
        """`aggregate`: all of it, as committed; `changed_at`: the offset of its last event; `committed`: the next
        offset that was not committed then. Never raises for what Redis does.

        Equal offsets mean equal bytes: a day aggregate is written again only with another event. So once Redis has
        reached the day aggregate's last event, and shows no event behind `committed`, it holds the same bytes.
        """
        try:
            stored = await self._stored.read_day(partition, aggregate.workspace_id, aggregate.day)
        except (RedisError, OSError):
            return Comparison.MOVING
        if stored.position is None or stored.position <= changed_at:
            return Comparison.MOVING
        shown = stored.aggregates.get(aggregate.day)
        if shown is not None and _last_event(shown) >= committed:
            return Comparison.MOVING
        if shown is None and aggregate.day < stored.counts_from:
            return Comparison.MOVING  # dropped by a later commit, perhaps of a newer owner
        bases = tuple((head, cells, summary) for _, head, cells, summary in aggregate.bases)
        if shown is not None and (shown.bases, shown.delta) == (bases, aggregate.delta):
            return Comparison.EQUAL
        return Comparison.DIFFERENT


def _last_event(shown: StoredAggregate) -> int:
    """The offset of the last event that Redis shows of a day, as far as it can be read; -1: nothing can."""
    parts = [head for head, _, _ in shown.bases] + [shown.delta]
    try:
        return max((packed.read_written_at(part) for part in parts if part is not None), default=-1)
    except FormatError:
        return -1
