"""Traces what became of the records of one event or one contact.

    read     the topic, from a time on to its present end: the records that match
    recall   what is committed of their partitions: how far they are counted, and which offsets did not count
    explain  the dead letters: why a record was rejected; else the records before it: of which one it is a duplicate

Verdicts are those that were committed. Only where none was kept (a dead letter that is gone) a record is read again,
by the rules of today.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from enum import StrEnum
from typing import Final

import msgspec

from stream.audit.rules import BELIEVING
from stream.audit.search import Named, Search
from stream.ingest.event import LeftOut, Record, Rejected, parse
from stream.kafka.committed import CommittedState
from stream.kafka.letters import Letter, read_letter
from stream.kafka.reading import Progress, TopicReader, open_reader
from stream.kafka.unpacking import unpacked_limit
from stream.model.activity import ACTIVITIES, ContactActivity
from stream.model.time import HOUR_MILLISECONDS, QUARTERS_A_DAY, hour_of, quarter_of
from stream.settings.worker import WorkerConfig
from stream.storage.formats import FormatError
from stream.tables import uncounted
from stream.tables.position import Position
from stream.tables.rules import counting_rules
from stream.tables.uncounted import Uncounted

RECORDS_LIMIT: Final = 10_000
"""More matches are counted, and not explained."""


ELSEWHERE_LIMIT: Final = 10


class TraceFailed(Exception):
    """What is stored could not be read; the text is for the person who asked."""


class Verdict(StrEnum):
    COUNTED = "counted"
    DUPLICATE = "duplicate"
    REJECTED = "rejected"
    NOT_REACHED = "not_reached"
    """The worker has not come so far yet."""
    BEFORE = "before_known"
    """Counting began behind it."""
    EXPIRED = "expired"
    """Counted, but retention has dropped its day."""
    NOT_COUNTED = "not_counted"
    """It did not count, and why was not kept: passed over by hand (`skip`), or the event that it duplicates is gone."""


GOOD: Final = frozenset({Verdict.COUNTED, Verdict.DUPLICATE, Verdict.EXPIRED})


class Found(msgspec.Struct):
    """One record that matches, and what became of it."""

    partition: int
    offset: int
    broker_ms: int
    named: Named
    activity: str | None
    quarter: int | None
    """Of `occurred_at`, since 1970; None where the record has no time that can be read."""
    verdict: Verdict
    duplicate_of: int | None = None
    """Offset, in the same partition."""
    reason: str | None = None
    message: str | None = None
    letter: tuple[int, int] | None = None
    """Partition and offset of the dead letter."""
    gone: bool = False
    """The record itself is not in what was read of the topic; its dead letter is."""


class Traced(msgspec.Struct, frozen=True):
    """All that was found, in the order of broker time."""

    records: Sequence[Found]
    left_out: int
    """Further matches, beyond RECORDS_LIMIT."""
    read: int
    """How many offsets of the topic were read."""
    elsewhere: Sequence[Named] = ()
    """Where nothing was found: of whom there are records by the event's id alone, else of the contact in other
    workspaces; ELSEWHERE_LIMIT of them at most.
    """


class _Seen(msgspec.Struct):
    """What is kept of a record that matches, until it is explained."""

    partition: int
    offset: int
    broker_ms: int
    named: Named
    event: ContactActivity | None
    """What it counts as, whatever the settings were; None where it can never count."""
    today: Rejected | None
    """Why it would not count by the rules of today."""


async def trace(
    config: WorkerConfig, search: Search, from_ms: int | None, progress: Progress = lambda _p, _done, _all: None
) -> Traced:
    """Find and explain. Raises KafkaAway and TraceFailed."""
    limit = unpacked_limit(config.max_event_bytes)
    async with (
        open_reader(config.access, config.topic, limit) as source,
        open_reader(config.access, config.changelog_topic) as changelog,
        open_reader(config.access, config.dead_letter_topic, limit) as dead,
    ):
        return await _Trace(config, search, from_ms, source, changelog, dead).run(progress)


class _Trace:
    def __init__(
        self,
        config: WorkerConfig,
        search: Search,
        from_ms: int | None,
        source: TopicReader,
        changelog: TopicReader,
        dead: TopicReader,
    ) -> None:
        self._config, self._search, self._from_ms = config, search, from_ms
        self._source, self._changelog, self._dead = source, changelog, dead
        self._rules = counting_rules(config).event
        self._seen: dict[tuple[int, int], _Seen] = {}
        self._left_out = self._read = 0
        self._loose = search.loosened()
        self._elsewhere: set[Named] = set()

    async def run(self, progress: Progress) -> Traced:
        partitions = await self._source.partitions()
        if not partitions:
            raise TraceFailed(f"there is no topic {self._config.topic}")
        spans = await self._source.spans(range(partitions), self._from_ms)
        for partition, span in spans.items():
            await self._find(partition, span, progress)
        # Asked after the topic: what has counted meanwhile is not said to wait.
        recalled = {partition: await self._recall(partition) for partition in {at[0] for at in self._seen}}
        letters, others = await self._letters()
        found = [self._judge(seen, *recalled[at[0]], letters.get(at)) for at, seen in self._seen.items()]
        await self._explain_duplicates(found)
        found += [_of_letter(letter) for letter in others]
        found.sort(key=lambda one: (one.broker_ms, one.partition, one.offset))
        return Traced(found, self._left_out, self._read, () if found else sorted(self._elsewhere, key=str))

    async def _find(self, partition: int, span: tuple[int, int], progress: Progress) -> None:
        start, end = span
        async for _, batch in self._source.read({partition: span}):
            for record in batch.records:
                named = self._search.find(record)
                if named is not None:
                    self._keep(partition, record, named)
                else:
                    self._look_elsewhere(record)
            progress(partition, batch.end - start, end - start)
        self._read += max(end - start, 0)

    def _look_elsewhere(self, record: Record) -> None:
        """Where nothing is found, the workspace or the contact that was asked for may be a wrong one."""
        if self._loose is not None and not self._seen and len(self._elsewhere) < ELSEWHERE_LIMIT:
            named = self._loose.find(record)
            if named is not None and named.workspace_id is not None:
                contact_id = None if self._search.event_id is None else named.contact_id
                self._elsewhere.add(Named(None, contact_id, named.workspace_id))

    def _keep(self, partition: int, record: Record, named: Named) -> None:
        if len(self._seen) >= RECORDS_LIMIT:
            self._left_out += 1
            return
        event, today = parse(record, BELIEVING), parse(record, self._rules)
        self._seen[partition, record.offset] = _Seen(
            partition,
            record.offset,
            record.timestamp,
            named,
            event if isinstance(event, ContactActivity) else None,
            today if isinstance(today, Rejected) else None,
        )

    async def _recall(self, partition: int) -> tuple[Position | None, Uncounted]:
        """What is committed; nothing where the partition, or its changelog, is not there yet."""
        if partition >= await self._changelog.partitions():
            return None, Uncounted()
        state = CommittedState(self._changelog, partition, {uncounted.KIND})
        try:
            await state.advance()
            not_counted = Uncounted()
            for key, value in sorted(state.records.items()):
                if key[:1] == uncounted.KIND:
                    not_counted.adopt(key, value)
            return state.position, not_counted
        except FormatError as error:
            raise TraceFailed(f"{self._config.changelog_topic}, partition {partition}: {error}") from error

    async def _letters(self) -> tuple[dict[tuple[int, int], Letter], list[Letter]]:
        """The dead letters of the records that were found, and others that match."""
        letters: dict[tuple[int, int], Letter] = {}
        others: dict[tuple[int, int], Letter] = {}
        spans = await self._dead.spans(range(await self._dead.partitions()), self._from_ms)
        async for partition, batch in self._dead.read(spans):
            for record in batch.records:
                letter = read_letter(partition, record)
                if letter is None or letter.source_topic != self._config.topic:
                    continue
                at = letter.source_partition, letter.source_offset
                if at in self._seen:
                    letters[at] = letter
                elif len(others) < RECORDS_LIMIT and self._search.find(letter.record()) is not None:
                    others[at] = letter
                else:
                    self._look_elsewhere(letter.record())
        return letters, list(others.values())

    def _judge(self, seen: _Seen, position: Position | None, not_counted: Uncounted, letter: Letter | None) -> Found:
        event = seen.event
        found = Found(
            seen.partition,
            seen.offset,
            seen.broker_ms,
            seen.named,
            None if event is None else ACTIVITIES[event.activity],
            None if event is None else quarter_of(event.occurred_at),
            Verdict.COUNTED,
        )
        if letter is not None:
            found.letter = letter.partition, letter.offset
        if position is None or seen.offset >= position.next_offset:
            found.verdict = Verdict.NOT_REACHED
        elif seen.offset < position.first_offset:
            found.verdict = Verdict.BEFORE
        elif seen.offset in not_counted:
            self._explain_uncounted(found, seen, letter)
        elif found.quarter is not None and found.quarter < (position.counts_from or 0) * QUARTERS_A_DAY:
            found.verdict = Verdict.EXPIRED
        return found

    def _explain_uncounted(self, found: Found, seen: _Seen, letter: Letter | None) -> None:
        if letter is not None:
            found.verdict, found.reason, found.message = Verdict.REJECTED, letter.reason, letter.message
        elif seen.today is not None:
            found.verdict, found.reason, found.message = Verdict.REJECTED, seen.today.reason.value, seen.today.message
        else:
            found.verdict = Verdict.DUPLICATE

    async def _explain_duplicates(self, found: Sequence[Found]) -> None:
        """Of which offset each duplicate is one: the last one before it that counted. Those that the search has left
        out (another contact, or before its beginning) are read once more.
        """
        originals: dict[tuple[int, Named], list[tuple[int, int]]] = defaultdict(list)
        for one in found:
            event = self._seen[one.partition, one.offset].event
            if event is not None and one.verdict in (Verdict.COUNTED, Verdict.EXPIRED):
                originals[one.partition, _identity(event)].append((one.offset, one.broker_ms))
        duplicates = [one for one in found if one.verdict is Verdict.DUPLICATE]
        missing: dict[int, list[Found]] = defaultdict(list)
        for one in duplicates:
            event = self._seen[one.partition, one.offset].event
            assert event is not None, "what can be read as no event was rejected"
            one.duplicate_of = self._original(one, originals[one.partition, _identity(event)])
            if one.duplicate_of is None:
                missing[one.partition].append(one)
        for partition, ones in missing.items():
            await self._look_behind(partition, ones)

    async def _look_behind(self, partition: int, duplicates: Sequence[Found]) -> None:
        """Read the dedupe window before the duplicates for the records that they may be of."""
        _, not_counted = await self._recall(partition)
        wanted = {
            _identity(event) for one in duplicates if (event := self._seen[partition, one.offset].event) is not None
        }
        earliest = min(one.broker_ms for one in duplicates) - (self._config.dedupe_window_hours + 1) * HOUR_MILLISECONDS
        begin = (await self._source.spans([partition], earliest))[partition][0]
        originals: dict[Named, list[tuple[int, int]]] = defaultdict(list)
        async for _, batch in self._source.read({partition: (begin, max(one.offset for one in duplicates))}):
            for record in batch.records:
                if record.value is None or isinstance(record.value, LeftOut) or record.offset in not_counted:
                    continue
                read = parse(record, BELIEVING)
                if isinstance(read, ContactActivity) and _identity(read) in wanted:
                    originals[_identity(read)].append((record.offset, record.timestamp))
        for one in duplicates:
            event = self._seen[partition, one.offset].event
            assert event is not None, "what can be read as no event was rejected"
            one.duplicate_of = self._original(one, originals[_identity(event)])
            if one.duplicate_of is None:
                one.verdict = Verdict.NOT_COUNTED

    def _original(self, duplicate: Found, counted: Sequence[tuple[int, int]]) -> int | None:
        window = self._config.dedupe_window_hours
        near = [
            offset
            for offset, broker_ms in counted
            if offset < duplicate.offset and hour_of(duplicate.broker_ms) - hour_of(broker_ms) <= window
        ]
        return max(near, default=None)


def _identity(event: ContactActivity) -> Named:
    """What makes two events duplicates of each other."""
    return Named(event.event_id, None, event.workspace_id)


def _of_letter(letter: Letter) -> Found:
    """What a dead letter says of a record that was not read."""
    event = parse(letter.record(), BELIEVING)
    known = event if isinstance(event, ContactActivity) else None
    return Found(
        letter.source_partition,
        letter.source_offset,
        letter.arrived_ms,
        Search(None, None, None).find(letter.record()) or Named(None, None, None),
        None if known is None else ACTIVITIES[known.activity],
        None if known is None else quarter_of(known.occurred_at),
        Verdict.REJECTED,
        reason=letter.reason,
        message=letter.message,
        letter=(letter.partition, letter.offset),
        gone=True,
    )
