"""The counts, three ways: recounted from the topic, as a recovery of the changelog gives them, and as Redis shows them.

One partition after another:

    recover   read the changelog beside its owner, and unpack it as a worker would: the tables, and the position P
    recount   read the topic up to P, by the verdicts that were kept; compare each workspace-day with the tables
    compare   each workspace-day of the tables with Redis, byte by byte; what moved meanwhile is read again

Of a partition the packed tables are in memory, as in a worker, and the recounted cells of one share of its workspaces:
large tables are recounted share by share, with the topic read once for each.
"""

from __future__ import annotations

from typing import Final

import msgspec

from stream.audit.cells import Difference, SeriesNumbers, compare
from stream.audit.projected import Mismatch, ProjectedCounts
from stream.audit.recount import Judge, Otherwise, Recount
from stream.ingest.event import LOG_APPEND_TIME, parse
from stream.kafka.committed import CommittedState
from stream.kafka.reading import Progress, TopicReader
from stream.model.steps import finish
from stream.model.time import DAY_SECONDS, HOUR_MILLISECONDS
from stream.settings.worker import WorkerConfig
from stream.storage.formats import FormatError, LostKeysError
from stream.tables import counts
from stream.tables.partition import PartitionState
from stream.tables.rules import counting_rules

SHARE_BYTES: Final = 16 << 20
"""Of packed counts, recounted at once: some two million cells, 300 MB."""
DIFFERENCES_LIMIT: Final = 1_000
"""More are summed, and not listed."""
LOST_AGAIN: Final = 3
"""Keys may seem lost while a changelog is compacted under its reader."""
EVERY_DAY: Final = -(1 << 31)


class Place(msgspec.Struct, frozen=True, order=True):
    """Where counts are not as they should be."""

    where: str
    """`tables` (beside the topic) or `redis` (beside the tables)."""
    workspace_id: str
    day: int


class Wrong(msgspec.Struct):
    """What is wrong there, in events."""

    missing: int = 0
    extra: int = 0
    unverifiable: int = 0
    """Counted from events that the topic does not hold any more."""
    damaged: bool = False
    """The same counts, in bytes that are not those that were committed."""


class PartitionReport(msgspec.Struct):
    """What was done for one partition."""

    partition: int
    position: int | None
    """The next offset that was not counted when it was read; None: nothing is committed."""
    read: int = 0
    counted: int = 0
    compared: int = 0
    """Workspace-days held against Redis."""
    in_motion: int = 0
    """Workspace-days that changed too often to be held against Redis."""
    otherwise: Otherwise = msgspec.field(default_factory=Otherwise)


class Verified(msgspec.Struct):
    """All that was found."""

    partitions: list[PartitionReport] = []
    differences: dict[Place, Wrong] = {}
    total: Wrong = msgspec.field(default_factory=Wrong)
    left_out: int = 0
    """Workspace-days that differ, beyond DIFFERENCES_LIMIT."""
    problems: list[str] = []

    @property
    def right(self) -> bool:
        return not (self.total.missing or self.total.extra or self.total.damaged or self.problems)

    def note(self, place: Place, wrong: Wrong) -> None:
        """Adds what is wrong at a place."""
        known = self.differences.get(place)
        if known is None:
            if len(self.differences) >= DIFFERENCES_LIMIT:
                self.left_out += 1
                known = Wrong()
            else:
                known = self.differences[place] = Wrong()
        for sums in (known, self.total):
            sums.missing += wrong.missing
            sums.extra += wrong.extra
            sums.unverifiable += wrong.unverifiable
            sums.damaged |= wrong.damaged


class Verifier:
    """Verifies partition by partition. Raises KafkaAway, and RedisError where Redis is asked."""

    def __init__(
        self,
        config: WorkerConfig,
        source: TopicReader,
        changelog: TopicReader,
        projected: ProjectedCounts | None,
        from_day: int | None,
        progress: Progress,
    ) -> None:
        """`projected`: None leaves Redis alone."""
        self.found = Verified()
        self._config, self._source, self._changelog, self._projected = config, source, changelog, projected
        self._from_day, self._progress = from_day, progress
        self._rules = counting_rules(config)

    async def verify(self, partition: int) -> None:
        """Compare all of one partition; adds to `found`."""
        committed = CommittedState(self._changelog, partition)
        state = await self._recover(committed)
        report = PartitionReport(partition, None if committed.position is None else committed.position.next_offset)
        self.found.partitions.append(report)
        if state is None:
            return
        first_day = max(self._first_day(), state.position.counts_from or EVERY_DAY)
        await self._recount(state, report, first_day, _shares(committed))
        if self._projected is not None:
            await self._compare(self._projected, committed, report, first_day)

    async def _recover(self, committed: CommittedState) -> PartitionState | None:
        """The tables; None where there are none, or where they cannot be recovered, which is a problem."""
        problem = ""
        for _ in range(LOST_AGAIN):
            try:
                await committed.advance()
                state = PartitionState.recover(committed.partition, self._rules, committed.records)
            except LostKeysError as error:
                problem = str(error)
            except FormatError as error:
                problem = str(error)
                break
            else:
                return state if committed.position is not None else None
        self.found.problems.append(f"partition {committed.partition} cannot be recovered: {problem}")
        return None

    # ---- the topic -------------------------------------------------------------------------------------------

    async def _recount(self, state: PartitionState, report: PartitionReport, first_day: int, shares: int) -> None:
        span, judge_from_ms = await self._span(state)
        certain_from = await self._certain_from(state)
        for share in range(shares):
            numbers = SeriesNumbers()
            recount = Recount(numbers, first_day, share, shares)
            judge = None
            if share == 0:
                window, max_ids = self._config.dedupe_window_hours, self._config.dedupe_max_ids
                judge = Judge(window, max_ids, judge_from_ms)
            await self._read(state, span, recount, judge)
            self._hold_against(state, recount, numbers, certain_from)
            report.counted += recount.counted
            if judge is not None:
                report.otherwise = judge.otherwise
            if recount.unreadable and share == 0:
                self.found.problems.append(
                    f"partition {state.partition}: {recount.unreadable} records counted, and cannot be read as events"
                )
        report.read = max(span[1] - span[0], 0)

    async def _read(self, state: PartitionState, span: tuple[int, int], recount: Recount, judge: Judge | None) -> None:
        start, end = span
        async for _, batch in self._source.read({state.partition: span}):
            read = [parse(record, self._rules.event) for record in batch.records]
            recount.take(batch.records, read, state.was_counted)
            if judge is not None:
                judge.take(batch.records, read, state.was_counted)
            self._progress(state.partition, batch.end - start, end - start)

    async def _span(self, state: PartitionState) -> tuple[tuple[int, int], int]:
        """What is read of the topic; and from when on today's rules know all that they need."""
        position, window_ms = state.position, (self._config.dedupe_window_hours + 1) * HOUR_MILLISECONDS
        from_ms = None if self._from_day is None else self._from_day * DAY_SECONDS * 1000
        spans = await self._source.spans([state.partition], None if from_ms is None else from_ms - window_ms)
        first = spans[state.partition][0]
        start = max(first, position.first_offset)
        judge_from = EVERY_DAY if from_ms is None else from_ms
        if from_ms is None and first > position.first_offset:
            judge_from = await self._time_of(state.partition, first) + window_ms
        return (min(start, position.next_offset), position.next_offset), judge_from

    async def _certain_from(self, state: PartitionState) -> int:
        """The first UTC day of which the topic holds every event that counted: all, while it has lost nothing. After
        that the later ones, by the broker's time of the first record; none, where publishers set the time.
        """
        first, end = (await self._source.bounds([state.partition]))[state.partition]
        if first <= state.position.first_offset:
            return EVERY_DAY
        if first >= min(end, state.position.next_offset):
            return -EVERY_DAY
        latest_ms = await self._time_of(state.partition, first, of_broker=True)
        return (latest_ms // 1000 + self._config.future_tolerance_seconds) // DAY_SECONDS + 1

    async def _time_of(self, partition: int, offset: int, *, of_broker: bool = False) -> int:
        """The time of the first record from an offset on; `of_broker`: beyond all times, where a publisher set it."""
        end = (await self._source.bounds([partition]))[partition][1]
        async for _, batch in self._source.read({partition: (offset, end)}):
            for record in batch.records:
                if of_broker and record.timestamp_type != LOG_APPEND_TIME:
                    return 1 << 62
                return record.timestamp
        return 1 << 62

    def _hold_against(self, state: PartitionState, recount: Recount, numbers: SeriesNumbers, certain_from: int) -> None:
        for _, aggregate in finish(state.whole_in_order(-1)):
            if not recount.has(aggregate.workspace_id, aggregate.day):
                continue
            right = recount.aggregates.pop((aggregate.workspace_id, aggregate.day), {})
            found = numbers.unpack(((head, cells) for _, head, cells, _ in aggregate.bases), aggregate.delta)
            self._note("tables", aggregate.workspace_id, aggregate.day, compare(right, found), certain_from)
        for (workspace_id, day), right in recount.aggregates.items():
            self._note("tables", workspace_id, day, compare(right, {}), certain_from)

    def _note(self, where: str, workspace_id: str, day: int, difference: Difference, certain_from: int) -> None:
        if difference:
            extra, unverifiable = difference.extra, 0
            if day < certain_from:
                extra, unverifiable = 0, extra
            self.found.note(Place(where, workspace_id, day), Wrong(difference.missing, extra, unverifiable))

    def _first_day(self) -> int:
        return EVERY_DAY if self._from_day is None else self._from_day

    # ---- Redis -----------------------------------------------------------------------------------------------

    async def _compare(
        self, projected: ProjectedCounts, committed: CommittedState, report: PartitionReport, first_day: int
    ) -> None:
        def note(mismatch: Mismatch) -> None:
            wrong = Wrong(mismatch.difference.missing, mismatch.difference.extra, damaged=mismatch.damaged)
            self.found.note(Place("redis", mismatch.workspace_id, mismatch.day), wrong)

        outcome = await projected.compare(committed, first_day, note)
        report.compared, report.in_motion = outcome.compared, outcome.in_motion
        if outcome.problem is not None:
            self.found.problems.append(outcome.problem)


def _shares(committed: CommittedState) -> int:
    size = sum(len(value) for key, value in committed.records.items() if key[:1] == counts.KIND)
    return size // SHARE_BYTES + 1
