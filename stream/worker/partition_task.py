"""One source partition while this worker owns it: recover, then apply, commit and project, over and over.

    recover   fence the last owner, read what is committed, check that this is the topic that was counted, seek
    resync    commit, claim Redis, send it whole what it lacks: after a start, and after any doubt about Redis;
              nothing is applied meanwhile
    count     apply what arrives; at most every interval commit it and project it; between commits write the
              missing rows, which are read in a task of their own

Two doubts, two answers. Whether a commit happened is not known: the state is dropped and recovered. Whether a call
reached Redis is not known: resync.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections import deque
from collections.abc import Callable

from stream.ports import ChangelogStore, FetchControl, KafkaAway, ReplicaAway, Source, WorkerMustStop
from stream.projection.projector import Projector
from stream.retry import BackOff
from stream.tables.batch import Batch
from stream.tables.changelog import Records
from stream.tables.commit import AggregateChange, Commit
from stream.tables.partition import PartitionState
from stream.tables.rules import CountingRules
from stream.tables.state import NewTable, State, Unpack
from stream.tracing import NO_TRACER, Tracer
from stream.worker.attempts import Attempts
from stream.worker.backfill_task import BackfillTask
from stream.worker.commit_policy import CommitPolicy, estimate_overhead
from stream.worker.gaps import Gaps
from stream.worker.in_flight import InFlightLimit
from stream.worker.listener import Listener, Phase, Resync, Stage
from stream.worker.recovery import begin_state, check_topic, log_lost, unpack_state
from stream.worker.sampling import Sample

log = logging.getLogger(__name__)


# A library may lose a cancel: `asyncio.wait_for` does before Python 3.12.
CANCELLED_AGAIN_SECONDS = 1.0
# A partition that commits nothing tells Redis this often how far it is, so that `as_of` advances.
HEARTBEAT_SECONDS = 1.0
# How often to log why a partition waits.
WAITING_LOG_SECONDS = 60.0
# A shorter rest may end where it began, by the rounding of the loop's clock.
LEAST_REST_SECONDS = 0.001


def apply_any(batch: Batch) -> str | None:
    """Nothing that is fetched must wait."""


class _NoFetchControl:
    """Of a partition that is closed."""

    def seek(self, partition: int, offset: int) -> None: ...

    def pause(self, partition: int) -> None: ...

    def resume(self, partition: int) -> None: ...


class OwnedPartition:
    """Everything a worker does for one partition, as one task."""

    def __init__(
        self,
        partition: int,
        *,
        rules: CountingRules,
        commit_policy: CommitPolicy,
        in_flight: InFlightLimit,
        new_store: Callable[[], ChangelogStore],
        source: Source,
        projector: Projector,
        fetch_control: FetchControl,
        listener: Listener,
        stop_worker: Callable[[Exception], None],
        why_not: Callable[[Batch], str | None] = apply_any,
        unpack: Unpack = PartitionState.unpack,
        new_table: NewTable | None = None,
        heartbeat_seconds: float = HEARTBEAT_SECONDS,
        tracer: Tracer = NO_TRACER,
    ) -> None:
        """`why_not`: why a batch that was just fetched must wait, in words; None where it may be applied. `unpack`: the
        form of the counting. `new_table`: for what is read of a changelog, where that form keeps it itself.
        """
        self._unpack: Unpack = unpack
        self._new_table: NewTable | None = new_table
        self._tracer: Tracer = tracer
        self.partition = partition
        self._why_not = why_not
        self._rules, self._commit_policy, self._in_flight = rules, commit_policy, in_flight
        self._heartbeat_seconds = heartbeat_seconds
        self._new_store, self._source, self._projector = new_store, source, projector
        self._fetch_control: FetchControl = fetch_control
        self._listener, self._stop_worker = listener, stop_worker
        self._phase = Phase.RECOVERING
        self._state: State | None = None
        self._committed_offset = 0  # the next offset that is not committed
        self._lost = range(0)  # what the topic had deleted before it was counted, and nobody was told
        self._inbox: deque[Batch] = deque()
        self._held = 0  # weight of what was applied and is not committed, a commit under way included
        self._applied_at: list[float] = []  # when each batch was applied of which no commit has begun
        self._wake = asyncio.Event()
        self._doubt: Exception | None = None  # why this state must not be committed any more
        self._gaps = Gaps()
        self._waits_since: float | None = None  # when it was last logged that batches must wait
        self._attempts = Attempts()
        self._back_off = BackOff.for_kafka()  # before the next recovery
        self._backfill = BackfillTask(projector.find_rows, self._wake.set, BackOff.for_kafka())
        self._asking: asyncio.Task[None] | None = None  # a fence or a commit, on its way to Kafka
        self._stays = asyncio.Event()  # not set while the partition is being revoked
        self._stays.set()
        self._closing = False
        self._leaving = False  # this task lets go of its changelog store
        self._task: asyncio.Task[None] | None = None

    # ---- from outside ----------------------------------------------------------------------------------------

    def start(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._run(), name=f"partition {self.partition}")

    @property
    def phase(self) -> Phase:
        return self._phase

    @property
    def counting(self) -> bool:
        return self._phase is Phase.COUNTING

    @property
    def next_needed(self) -> int | None:
        """The offset at which the next batch must begin; None while that is not known."""
        if self._state is None:
            return None
        return self._inbox[-1].end if self._inbox else self._state.position.next_offset

    @property
    def wants_more(self) -> bool:
        return self._phase is Phase.COUNTING and not self._inbox

    def accept(self, batch: Batch) -> None:
        """Take a fetched batch. What does not follow on what is here is dropped, and the stream asked for what does."""
        needed = self.next_needed
        if needed is None or batch.end <= needed:
            return
        if batch.start > needed:
            log.info(
                "partition %d: a batch begins at offset %d, expected %d: seeking back",
                self.partition,
                batch.start,
                needed,
            )
            self._fetch_control.seek(self.partition, needed)
            return
        why = self._why_not(batch)
        if why is not None:
            self._wait(why)
            return
        if self._waits_since is not None:
            self._waits_since = None
            self._listener.note_waiting(self.partition, None)
        self._inbox.append(batch)
        self._drain()

    def _wait(self, why: str) -> None:
        """Count nothing more of the stream for now. `note_end` asks for the batch again."""
        self._fetch_control.pause(self.partition)
        self._listener.note_waiting(self.partition, why)
        now = asyncio.get_running_loop().time()
        if self._waits_since is None or now - self._waits_since > WAITING_LOG_SECONDS:
            self._waits_since = now
            log.warning("partition %d waits: %s", self.partition, why)

    @property
    def covered_offset(self) -> int | None:
        """All before it is committed; what holds nothing to count needs no commit: markers, aborted records. None where
        nothing was recovered yet.
        """
        return None if self._state is None else self._find_covered()

    def draw(self, chance: float) -> Sample | None:
        """One of the committed day aggregates, which `chance` in [0, 1) says."""
        return self._sample(lambda state: state.draw(chance))

    def find(self, workspace_id: str, day: int) -> Sample | None:
        """The committed day aggregate of a workspace and UTC day."""
        return self._sample(lambda state: state.find(workspace_id, day))

    def _sample(self, take: Callable[[State], tuple[int, AggregateChange] | None]) -> Sample | None:
        """None: something was applied since the last commit was encoded, so that no day aggregate can be told as it is
        committed.
        """
        if self._phase is not Phase.COUNTING or self._state is None or self._state.pending_weight:
            return None
        found = take(self._state)
        if found is None or found[0] >= self._committed_offset:  # of a commit under way, which may yet fail
            return Sample(self._committed_offset)
        return Sample(self._committed_offset, *found)

    @property
    def told(self) -> float:
        """When Redis was told something last, in seconds of the loop's clock."""
        return self._projector.last_call

    def note_partitions(self, partitions: int) -> None:
        """Note how many partitions the topic has now."""
        self._projector.partitions = max(partitions, self._projector.partitions)

    def note_end(self, end: int, asked_ms: int) -> None:
        """The partition ended at `end` (read committed) when asked at `asked_ms` of the loop's clock."""
        self._projector.note_end(end, asked_ms)
        if self._state is not None and end <= self._find_covered():
            self._attempts.forget()
            self._listener.note_attempts(self.partition, 0)
        missed = self._gaps.note_end(self.next_needed if self.wants_more else None, end)
        if missed is not None:
            self._fetch_control.seek(self.partition, missed)
            self._fetch_control.resume(self.partition)

    def note_first(self, first: int) -> None:
        """The topic has lost what lies before this offset. While rows are missing some of it may just have been
        read.
        """
        if self._state is not None and not self._projector.offsets_to_backfill:
            self._state.forget_uncounted_before(first)

    def out_of_range(self) -> None:
        """The topic has not got the next offset: a failure like any other, and recovery sees who is right."""
        self._doubt = KafkaAway("the topic has not got the next offset")
        self._wake.set()

    def revoke(self) -> None:
        """The partition may go to another worker. It is not fenced until `keep`: that would end the commits of its next
        owner.
        """
        self._stays.clear()

    async def settle(self, seconds: float) -> None:
        """Give a commit or a fence that is under way this long to end."""
        if self._asking is not None and not self._asking.done():
            await asyncio.wait([self._asking], timeout=seconds)

    def keep(self) -> bool:
        """The partition stays here after all. False where it has ended meanwhile, even if its task still lets go of
        its changelog store: then it must begin again.
        """
        self._stays.set()
        return self._phase is not Phase.ENDED and self._task is not None and not self._task.done()

    async def close(self) -> None:
        """End the task. It reports nothing more of the partition, and its stream is left alone: a new owner of it may
        have begun here meanwhile.
        """
        self._listener.note_phase(self.partition, Phase.ENDED)
        self._listener, self._fetch_control = Listener(), _NoFetchControl()
        self._closing = True
        while self._task is not None and not self._task.done():
            if not self._leaving:
                self._task.cancel()
            await asyncio.wait([self._task], timeout=CANCELLED_AGAIN_SECONDS)

    # ---- the task --------------------------------------------------------------------------------------------

    async def _run(self) -> None:
        rest, why = 0.0, Resync.START
        while True:
            store, going_on = self._new_store(), False
            self._enter(Phase.RECOVERING)
            try:
                await self._wait_to_fence(rest)
                await self._recover(store)
                while True:
                    await self._resync(store, why)
                    if not self._attempts.failures:
                        self._back_off.reset()
                    why = await self._count(store)
            except KafkaAway as error:
                going_on, why = True, Resync.RECOVERY
                self._listener.note_failed(self.partition, str(error))
            except WorkerMustStop as error:
                self._must_stop(error)
                return
            except Exception as error:
                log.exception("partition %d failed in a way that nothing here foresees", self.partition)
                self._stop_worker(error)
                return
            except asyncio.CancelledError:
                if not self._closing:
                    self._stop_worker(
                        WorkerMustStop(f"partition {self.partition} stopped: its task was cancelled unexpectedly")
                    )
                raise
            finally:
                self._leaving = True
                self._drop()
                self._enter(Phase.RECOVERING if going_on and not self._closing else Phase.ENDED)
                await store.close()
            self._leaving = False
            if self._closing:
                break
            rest = self._back_off.take()
        self._enter(Phase.ENDED)

    def _must_stop(self, error: WorkerMustStop) -> None:
        """End the worker, unless the partition is another's already, or may be: then nothing is wrong here."""
        if self._closing or not self._stays.is_set():
            log.info("partition %d: %s", self.partition, error)
        else:
            self._stop_worker(error)

    async def _wait_to_fence(self, seconds: float) -> None:
        """Wait until the back-off is over and the partition is not being revoked. A closed partition fences no one: the
        partition has its next owner by now, and a library may have lost the cancel that `close` sent.
        """
        await asyncio.sleep(seconds)
        await self._stays.wait()
        if self._closing:
            raise asyncio.CancelledError

    def _drop(self) -> None:
        """Nothing of a partition outlives a doubt about its commits."""
        self._state, self._doubt = None, None
        self._lost = range(0)
        self._inbox.clear()
        self._applied_at.clear()
        self._projector.lose_sync()
        held, self._held = self._held, 0
        self._in_flight.give_back(held)

    def _enter(self, phase: Phase) -> None:
        self._phase = phase
        self._listener.note_phase(self.partition, phase)
        if phase in (Phase.RECOVERING, Phase.REPAIRING):
            self._fetch_control.pause(self.partition)

    def _require_state(self) -> State:
        assert self._state is not None, "a partition without a state was asked for it"
        return self._state

    # ---- recover ---------------------------------------------------------------------------------------------

    async def _recover(self, store: ChangelogStore) -> None:
        started = asyncio.get_running_loop().time()
        self._asking = asyncio.ensure_future(store.fence())
        await self._asking
        records = await self._read(store)
        async with self._in_flight.unpacking:
            state = await unpack_state(self.partition, self._rules, records, self._unpack)
        if records:
            self._lost = await check_topic(self.partition, state, self._source)
        else:
            await begin_state(state, self._source)
        self._state = state
        self._committed_offset = state.position.next_offset
        self._fetch_control.seek(self.partition, state.position.next_offset)
        self._listener.note_recovered(
            self.partition, len(records), self._committed_offset, asyncio.get_running_loop().time() - started
        )

    async def _read(self, store: ChangelogStore) -> Records:
        def progress(done: int, total: int) -> None:
            self._listener.note_reading(self.partition, done, total)

        if self._new_table is None:
            return await store.read(progress)
        table = self._new_table()
        await store.read_into(table, progress)
        return table

    # ---- resync ----------------------------------------------------------------------------------------------

    async def _resync(self, store: ChangelogStore, why: Resync) -> None:
        """Resync Redis with the committed state, retrying until it is in sync. Nothing is applied meanwhile, so what is
        sent is one committed state.
        """
        self._enter(Phase.REPAIRING)
        started = asyncio.get_running_loop().time()
        back_off = BackOff.for_redis()
        while True:
            await self._commit(store)  # a replaced owner learns it here, and disturbs no other
            self._tell_lost()
            try:
                self._listener.note_claim(why)
                if await self._projector.resync(self._require_state(), self._committed_offset):
                    break
                why = Resync.REDIS_LOST
            except ReplicaAway as error:
                why = Resync.REDIS_AWAY if why is Resync.REDIS_LOST else why
                self._listener.note_failed(self.partition, str(error))
            await asyncio.sleep(back_off.take())
            if self._doubt is not None:
                raise self._doubt
        seconds = asyncio.get_running_loop().time() - started
        self._listener.note_resynced(self.partition, why, self._committed_offset, seconds)
        self._listener.note_projected(self.partition, self._projector.offsets_to_backfill)
        self._enter(Phase.COUNTING)
        self._drain()

    def _tell_lost(self) -> None:
        """Once it is committed that these offsets are skipped: a replaced owner may have read a changelog in which they
        were not counted yet.
        """
        if self._lost:
            log_lost(self.partition, self._lost)
            self._listener.note_lost(self.partition, len(self._lost))
            self._lost = range(0)

    # ---- count -----------------------------------------------------------------------------------------------

    def _drain(self) -> None:
        """Apply what waits, as far as there is room; then let the stream know."""
        state = self._state
        if self._phase is not Phase.COUNTING or state is None:
            return
        while self._inbox and not self._in_flight.full and self._doubt is None:
            batch, before = self._inbox.popleft(), state.pending_weight
            try:
                state.apply(batch)
            except Exception as error:  # the batch is half applied
                log.exception(
                    "partition %d: offsets %d to %d cannot be applied", self.partition, batch.start, batch.end - 1
                )
                self._doubt = error
                break
            self._listener.note_applied(batch)
            if state.pending_weight > before:
                self._applied_at.append(asyncio.get_running_loop().time())
            self._held += state.pending_weight - before
            self._in_flight.take(state.pending_weight - before)
        if self._inbox:
            self._fetch_control.pause(self.partition)
            self._in_flight.wait(self._drain)
        else:
            self._fetch_control.resume(self.partition)
        self._wake.set()

    async def _count(self, store: ChangelogStore) -> Resync:
        """Until Redis falls out of sync; returns why."""
        why = Resync.REDIS_LOST
        time, state = asyncio.get_running_loop().time, self._require_state()
        next_commit, overhead_before = time(), math.inf
        while self._projector.in_sync:
            if self._doubt is not None:
                raise self._doubt
            now, pending = time(), state.pending_weight
            if self._projector.lacks_rows:
                self._backfill.begin(now)
            try:
                if pending and (
                    now >= next_commit or pending >= self._commit_policy.max_events or self._in_flight.full
                ):
                    await self._commit_and_project(store)
                    self._listener.note_projected(self.partition, self._projector.offsets_to_backfill)
                    ended = time()
                    overhead = estimate_overhead(ended - now, pending)
                    next_commit = self._commit_policy.next_commit(now, ended, min(overhead, overhead_before))
                    overhead_before = overhead
                elif self._backfill.ready:
                    await self._write_rows()
                elif (silent := self._silent_seconds()) >= self._heartbeat_seconds:
                    await self._projector.heartbeat(self._find_covered())
                    self._listener.note_projected(self.partition, self._projector.offsets_to_backfill)
                else:
                    rest = next_commit - now if pending else self._heartbeat_seconds - silent
                    await self._rest(min(rest, self._backfill.due() - now) if self._projector.lacks_rows else rest)
            except ReplicaAway as error:
                why = Resync.REDIS_AWAY
                self._listener.note_failed(self.partition, str(error))
        return why

    async def _commit_and_project(self, store: ChangelogStore) -> None:
        with self._tracer.span("count", partition=self.partition):
            commit = await self._commit(store)
            time, at = asyncio.get_running_loop().time, commit.position.next_offset
            committed = time()
            with self._tracer.span("project", partition=self.partition, position=at, events=commit.outcomes.counted):
                await self._projector.project(commit)
            self._listener.note_stage(Stage.PROJECTED, time() - committed)

    async def _write_rows(self) -> None:
        """Write some of the missing rows. Where the topic could not be read they wait, and counting goes on:
        nothing that is committed is in doubt.
        """
        try:
            found = self._backfill.take()
        except KafkaAway as error:
            self._listener.note_rows_failed(self.partition, str(error))
        else:
            await self._projector.write_rows(found, self._require_state(), self._find_covered())

    def _silent_seconds(self) -> float:
        """Since the last call to Redis."""
        return asyncio.get_running_loop().time() - self._projector.last_call

    async def _rest(self, seconds: float) -> None:
        self._wake.clear()
        try:
            async with asyncio.timeout(max(seconds, LEAST_REST_SECONDS)):
                await self._wake.wait()
        except TimeoutError:
            pass

    def _find_covered(self) -> int:
        """All before this offset is applied, committed and published. Markers of transactions need no commit."""
        return self._committed_offset if self._held else self._require_state().position.next_offset

    async def _commit(self, store: ChangelogStore) -> Commit:
        """Commit what was applied; the position alone where there is nothing."""
        if self._doubt is not None:
            raise self._doubt
        weight = self._require_state().pending_weight
        commit = self._require_state().encode()
        started = asyncio.get_running_loop().time()
        for applied_at in self._applied_at:
            self._listener.note_stage(Stage.WAITED, started - applied_at)
        self._applied_at.clear()
        self._asking = asyncio.ensure_future(store.commit(commit, self._attempts))
        try:
            at = commit.position.next_offset
            with self._tracer.span("commit", partition=self.partition, position=at, events=commit.outcomes.counted):
                await self._asking
        except KafkaAway as error:
            self._attempts.note_failure(self._committed_offset, error)
            self._listener.note_attempts(self.partition, self._attempts.failures)
            raise
        if commit.position.next_offset > self._committed_offset:
            self._back_off.reset()
        self._committed_offset = commit.position.next_offset
        self._attempts.note_position(self._committed_offset)
        self._listener.note_attempts(self.partition, self._attempts.failures)
        self._held -= weight
        self._in_flight.give_back(weight)
        self._listener.note_committed(self.partition, commit, asyncio.get_running_loop().time() - started)
        return commit
