"""A sample of `contacts-report verify`, beside the counting: now and then one workspace-day of each partition is held
against Redis, byte by byte.

It reads and changes nothing. A sample costs a look at one day aggregate and two reads of Redis, however many there are.
What differs is looked at again every half minute, until it is right or gone, so that the alert ends within a minute of
the repair.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from random import Random
from typing import Final, NamedTuple, Protocol

from stream.model.time import date_of
from stream.projection.sampled import Comparison, SampledCounts
from stream.storage.formats import FormatError
from stream.tables.commit import AggregateChange

log = logging.getLogger(__name__)

LOOKS: Final = 3
LOOK_AGAIN_SECONDS: Final = 1.0
"""Redis follows a commit within milliseconds, and retention drops a day on both sides within one commit."""
DIFFERENT_AGAIN_SECONDS: Final = 30.0
CLEAN_TRIES: Final = 40
CLEAN_SECONDS: Final = 0.05
"""A partition that counts without a rest has a moment without pending events at each commit."""


class Sample(NamedTuple):
    """What a partition tells of one day aggregate. Clean: nothing was applied since the last commit was encoded."""

    committed: int
    """The next offset that is not committed."""
    changed_at: int = -1
    """The offset of the day aggregate's last event."""
    aggregate: AggregateChange | None = None
    """The whole day aggregate, as committed; None: there is none, or its last event is not committed yet."""


class Sampled(Protocol):
    """A partition that can be sampled."""

    @property
    def partition(self) -> int: ...
    @property
    def counting(self) -> bool: ...
    def draw(self, chance: float) -> Sample | None:
        """One of its day aggregates, which `chance` in [0, 1) says. None: nothing can be told just now."""
        ...

    def find(self, workspace_id: str, day: int) -> Sample | None:
        """That of a workspace and UTC day; None as in `draw`."""
        ...


class Sampler:
    """Samples all partitions of a worker, one after the other."""

    def __init__(
        self,
        counts: SampledCounts,
        chance: Random,
        samples_an_hour: int,
        note: Callable[[int, Comparison, int], None],
    ) -> None:
        """`note` is told of each sample: partition, outcome, and how many day aggregates of the partition differ
        now.
        """
        self._counts, self._chance, self._note = counts, chance, note
        self._samples_an_hour = samples_an_hour
        self._different: dict[int, dict[_Place, int]] = {}
        """By partition: day aggregates that differed at the last look, with the offset of their last event."""

    async def watch(self, partitions: Iterable[Sampled]) -> None:
        """Sample for ever."""
        if not self._samples_an_hour:
            await asyncio.Event().wait()
        time, interval = asyncio.get_running_loop().time, 3600 / self._samples_an_hour
        due = time() + interval * self._chance.random()
        while True:
            await asyncio.sleep(min(DIFFERENT_AGAIN_SECONDS, max(due - time(), 0.0)))
            try:
                if time() >= due:
                    due += interval
                    for one in partitions:
                        await self.sample(one)
                await self.look_again(partitions)
            except Exception:
                log.exception("a sample of the counts failed; counting goes on")

    async def sample(self, one: Sampled) -> Comparison:
        """Compare one day aggregate, drawn from all."""
        chance = self._chance.random()
        found = await _take(one, lambda: one.draw(chance))
        if found is None or found.aggregate is None:
            return Comparison.MOVING
        return await self._compare(one, _place(found.aggregate), found.changed_at, found)

    async def look_again(self, partitions: Iterable[Sampled]) -> None:
        """Compare again what differed. What this worker does not own any more is its next owner's to find."""
        owned = {one.partition: one for one in partitions}
        for partition in self._different.keys() - owned.keys():
            del self._different[partition]
        for partition, different in self._different.items():
            for place, changed_at in list(different.items()):
                await self._compare(owned[partition], place, changed_at)

    async def _compare(self, one: Sampled, place: _Place, changed_at: int, first: Sample | None = None) -> Comparison:
        """Compare one day aggregate. It differs when several looks have said so, each at both sides as they were then;
        `first` is what the first one has of it already.
        """
        outcome = Comparison.MOVING
        for look in range(LOOKS):
            if look:
                await asyncio.sleep(LOOK_AGAIN_SECONDS)
            found = first or await _take(one, lambda: one.find(*place))
            first = None
            if found is None:
                outcome = Comparison.MOVING
                continue
            if found.aggregate is None or found.changed_at != changed_at:
                return self._forget(one.partition, place)  # counted on, or dropped by retention
            outcome = await self._counts.compare(one.partition, found.aggregate, found.changed_at, found.committed)
            if outcome is Comparison.EQUAL:
                break
        if not one.counting:
            return Comparison.MOVING  # it is being given away, or Redis is out of sync and is sent all it lacks
        self._keep(one.partition, place, changed_at, outcome)
        return outcome

    def _forget(self, partition: int, place: _Place) -> Comparison:
        different = self._different.get(partition, {})
        different.pop(place, None)
        self._note(partition, Comparison.MOVING, len(different))
        return Comparison.MOVING

    def _keep(self, partition: int, place: _Place, changed_at: int, outcome: Comparison) -> None:
        different = self._different.setdefault(partition, {})
        known = place in different
        if outcome is Comparison.DIFFERENT:
            different[place] = changed_at
        elif outcome is Comparison.EQUAL:
            different.pop(place, None)
        self._note(partition, outcome, len(different))
        day = date_of(place[1])
        if outcome is Comparison.DIFFERENT and not known:
            log.error(
                "partition %d: Redis does not hold counts of %s (UTC) as they are committed: `contacts-report verify "
                "--from %s` says where, and `contacts-report rebuild-redis` sends them again",
                partition,
                day,
                day,
            )
        elif outcome is Comparison.EQUAL and known:
            log.info("partition %d: Redis holds the counts of %s (UTC) as they are committed again", partition, day)


_Place = tuple[str, int]
"""A workspace and a UTC day."""


def _place(aggregate: AggregateChange) -> _Place:
    return aggregate.workspace_id, aggregate.day


async def _take(one: Sampled, ask: Callable[[], Sample | None]) -> Sample | None:
    """What is asked for, once there is nothing that was applied and not encoded; None: there always is."""
    for _ in range(CLEAN_TRIES if one.counting else 0):
        try:
            found = ask()
        except FormatError as error:
            log.error("partition %d: counts of the tables cannot be read: %s", one.partition, error)
            return None
        if found is not None:
            return found
        await asyncio.sleep(CLEAN_SECONDS)
    return None
