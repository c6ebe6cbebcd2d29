"""One offset passed over by hand, for the day when nothing else helps. Only while the group has no members.

    look    what lies at the offset, and what is committed: told before anything is done
    skip    own the partition as a worker does: fence, recover, check that this is the topic that was counted; count up
            to the offset, note the offset as one that does not count, commit

The workers that start afterwards go on behind it. What they lack in Redis they send by themselves, as after a crash.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

import msgspec

from stream.ingest.event import Record, Rejected, parse
from stream.ingest.record_time import broker_ahead
from stream.kafka.committed import CommittedState
from stream.kafka.groups import group_members
from stream.kafka.letter_limit import letter_limit
from stream.kafka.reading import PartitionReader, TopicReader, Unreadable, open_reader
from stream.kafka.topics import open_topics
from stream.kafka.transaction import TransactionalStore
from stream.kafka.unpacking import unpacked_limit
from stream.model.activity import ContactActivity
from stream.ports import ChangelogStore, WorkerMustStop
from stream.settings.worker import WorkerConfig
from stream.storage.formats import FormatError
from stream.tables.partition import PartitionState
from stream.tables.position import Position
from stream.tables.rules import CountingRules, counting_rules
from stream.worker.attempts import Attempts
from stream.worker.recovery import check_position

log = logging.getLogger(__name__)


class SkipRefused(Exception):
    """Nothing was passed over; the text is for the person who asked."""


class Seen(msgspec.Struct, frozen=True):
    """What a skip would do."""

    partition: int
    offset: int
    next_offset: int
    """The first one that is not counted: those from it on and below `offset` are counted by the skip."""
    record: Record | None
    """What would be lost; None where it cannot be read."""
    read: ContactActivity | Rejected | None
    """As today's rules read it."""
    unreadable: str | None


class Skip:
    """Looks, then skips. Both raise SkipRefused, KafkaAway, WorkerMustStop and TopicsError."""

    def __init__(self, config: WorkerConfig, partition: int, offset: int) -> None:
        self._config, self._partition, self._offset = config, partition, offset
        self._rules: CountingRules = counting_rules(config)

    async def look(self) -> Seen:
        """Whether it may be done, and what would be lost."""
        config, partition, offset = self._config, self._partition, self._offset
        await self._require_no_members()
        async with (
            open_reader(config.access, config.topic, unpacked_limit(config.max_event_bytes)) as source,
            open_reader(config.access, config.changelog_topic) as changelog,
        ):
            if partition >= min(await source.partitions(), await changelog.partitions()):
                raise SkipRefused(f"{config.topic} and {config.changelog_topic} have no partition {partition}")
            first, end = (await source.bounds([partition]))[partition]
            committed = CommittedState(changelog, partition, ())
            await committed.advance()
            next_offset = first if committed.position is None else max(first, committed.position.next_offset)
            if offset < next_offset:
                raise SkipRefused(f"offset {offset} is behind partition {partition}: it goes on at {next_offset}")
            if offset >= end:
                raise SkipRefused(f"partition {partition} ends at {end}: there is no offset {offset} yet")
            try:
                found = await PartitionReader(source, partition).read(offset, offset + 1)
                record, unreadable = next(iter(found), None), None
            except Unreadable as error:
                record, unreadable = None, str(error)
        if record is None and unreadable is None:
            raise SkipRefused(f"there is no record at offset {offset}: nothing stands in the way there")
        read = None if record is None else parse(record, self._rules.event)
        return Seen(partition, offset, next_offset, record, read, unreadable)

    async def skip(self, told: Callable[[str], None]) -> Position:
        """Do it; `told` hears what is done. Returns the position behind the offset."""
        await self._require_no_members()
        store = await self._store()
        try:
            await store.fence()
            records = await store.read(lambda _done, _all: None)
            try:
                state = PartitionState.recover(self._partition, self._rules, records)
            except FormatError as error:
                raise SkipRefused(str(error)) from error
            if not records:
                raise SkipRefused("nothing of the partition is committed: a worker must have begun it")
            async with open_reader(
                self._config.access, self._config.topic, unpacked_limit(self._config.max_event_bytes)
            ) as source:
                await self._check_topic(source, state.position)
                await self._count(source, state, store, told)
            state.pass_over(self._offset)
            await self._commit(state, store)
        finally:
            await store.close()
        log.warning(
            "partition %d: offset %d was passed over by hand: it is not counted, and the partition goes on at %d",
            self._partition,
            self._offset,
            state.position.next_offset,
        )
        return state.position

    async def _count(
        self, source: TopicReader, state: PartitionState, store: ChangelogStore, told: Callable[[str], None]
    ) -> None:
        """Count what lies before the offset, as a worker would."""
        start = state.position.next_offset
        if self._offset < start:
            raise SkipRefused(f"the partition has gone on to {start} meanwhile")
        async for _, batch in source.read({self._partition: (start, self._offset)}):
            why = broker_ahead(batch.records, batch.fetched_at_ms, self._rules.event)
            if why is not None:
                raise SkipRefused(why)
            state.apply(batch)
            if state.pending_weight >= self._config.commit_max_events:
                await self._commit(state, store)
                told(f"counted up to offset {state.position.next_offset}")

    async def _commit(self, state: PartitionState, store: ChangelogStore) -> None:
        await store.commit(state.encode(), Attempts())

    async def _check_topic(self, source: TopicReader, position: Position) -> None:
        """Whether this is the topic that was counted."""
        place = PartitionReader(source, self._partition)
        first, end = await place.bounds()
        try:
            first = await check_position(self._partition, position, place, first, end, await place.partitions())
        except WorkerMustStop as error:
            raise SkipRefused(f"this is not the topic that was counted: {error}") from error
        if first > position.next_offset:
            raise SkipRefused(f"the topic has lost offsets {position.next_offset} to {first - 1}: start a worker first")

    async def _require_no_members(self) -> None:
        members = await group_members(self._config.access, self._config.group)
        if members:
            names = ", ".join(map(str, members))
            raise SkipRefused(
                f"the group {self._config.group} has {len(members)} members ({names}): stop its workers, "
                "all of them; one that was killed is a member until its session ends"
            )

    async def _store(self) -> ChangelogStore:
        config = self._config
        async with open_topics(config.access) as topics:
            letters = (await topics.describe([config.dead_letter_topic])).get(config.dead_letter_topic)
            if letters is None:
                raise SkipRefused(f"there is no topic {config.dead_letter_topic}")
            letter_bytes = letter_limit(letters.settings, await topics.request_bytes())
        return TransactionalStore.of(config, self._partition, letter_bytes)
