"""Asks Kafka over and over where this worker's partitions end: `as_of` may be the time of such a question.

Broker times of records and the high watermarks of fetches are no evidence: they come late, and a batch has one time.
Each broker is asked about the partitions that it leads, and waited for by nothing else: one that does not answer, and a
partition without a leader, hold up neither `as_of` nor the lag of the others.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Callable

from stream.kafka.source import SourceTopic
from stream.model.words import name_partitions
from stream.ports import KafkaAway
from stream.projection.replica import steady_ms
from stream.worker.assignment import OwnedPartitions

log = logging.getLogger(__name__)

ASK_SECONDS = 0.25
COUNT_PARTITIONS_SECONDS = 2.0
ASK_FIRST_SECONDS = 600.0
WARN_SECONDS = 10.0


async def ask_for_ends(
    owned: OwnedPartitions,
    source: SourceTopic,
    note: Callable[[int, int], None],
    note_kafka: Callable[[int | KafkaAway], None] | None = None,
) -> None:
    """Tell each owned partition where it ends, and how many there are; `note` is called with partition and end.

    `note_kafka` hears every two seconds how many partitions the topic has, or why Kafka does not tell. Where it is
    None, only an owner asks.
    """
    asker = _Asker(owned, source, note, note_kafka)
    async with asyncio.TaskGroup() as questions:
        questions.create_task(asker.count_partitions())
        questions.create_task(asker.ask_for_first())
        while True:
            waiting = [one.partition for one in owned if one.partition not in asker.asking]
            for group in source.groups(waiting):
                asker.asking.update(group)
                questions.create_task(asker.ask(group))
            await asyncio.sleep(ASK_SECONDS)


class _Asker:
    def __init__(
        self,
        owned: OwnedPartitions,
        source: SourceTopic,
        note: Callable[[int, int], None],
        note_kafka: Callable[[int | KafkaAway], None] | None = None,
    ) -> None:
        self._owned, self._source, self._note, self._note_kafka = owned, source, note, note_kafka
        self._warned_at = -math.inf
        self.asking: set[int] = set()
        """The partitions of which an answer is awaited."""

    async def ask(self, partitions: list[int]) -> None:
        """One question; who owns a partition when the answer comes is told."""
        try:
            asked_ms = steady_ms()
            asked = {one.partition: one for one in self._owned if one.partition in partitions}
            ends = await self._source.ends(partitions)
            for partition, end in ends.items():
                self._note(partition, end)
                if partition in asked:
                    asked[partition].note_end(end, asked_ms)
            self._warn(sorted(set(partitions) - set(ends)), "its leader does not tell")
        except KafkaAway as error:
            self._warn(partitions, str(error))
        finally:
            self.asking.difference_update(partitions)

    async def count_partitions(self) -> None:
        while True:
            owned = list(self._owned)
            if owned or self._note_kafka is not None:
                told: int | KafkaAway
                try:
                    told = await self._source.partitions()
                    for one in owned:
                        one.note_partitions(told)
                except KafkaAway as error:
                    told = error
                    self._warn([one.partition for one in owned], str(error))
                if self._note_kafka is not None:
                    self._note_kafka(told)
            await asyncio.sleep(COUNT_PARTITIONS_SECONDS)

    async def ask_for_first(self) -> None:
        """What each partition knows of offsets that the topic has lost is not needed any more."""
        while True:
            await asyncio.sleep(ASK_FIRST_SECONDS)
            for one in self._owned:
                try:
                    first, _ = await self._source.bounds(one.partition)
                    one.note_first(first)
                except KafkaAway as error:
                    log.debug("partition %d: where it begins is not known: %s", one.partition, error)

    def _warn(self, partitions: list[int], why: str) -> None:
        """At most every ten seconds: all of them fail together, mostly."""
        now = asyncio.get_running_loop().time()
        if partitions and now - self._warned_at > WARN_SECONDS:
            self._warned_at = now
            named = name_partitions(partitions)
            log.warning("cannot read the end offsets of %s, so `as_of` does not advance: %s", named, why)
