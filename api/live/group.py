"""One report that is looked at live: computed where it may have changed, and said to all who listen."""

import asyncio
import logging
import time
from contextlib import suppress

import msgspec

from api.cache import Memory
from api.errors import Unavailable
from api.metrics import Metrics
from api.query.periods import Period, now_quarter
from api.query.question import Query
from api.read.snapshot import State
from api.report.service import Reports, Stamp

log = logging.getLogger(__name__)

INTERVAL_SECONDS = 1.0
"""A group computes its report at most so often."""

FRESHNESS_SECONDS = 15.0

GROUP_BYTES = 4_000
"""What a group takes beside its report."""

SHARD_LISTENERS = 200
"""Listeners of a group that are woken at once, before other work has its turn."""


class Shard:
    """Some of a group's listeners, woken together."""

    def __init__(self) -> None:
        self.listeners = 0
        self.changed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def wake(self) -> None:
        woken, self.changed = self.changed, asyncio.get_running_loop().create_future()
        if not woken.done():
            woken.set_result(None)


class Group:
    """Everyone who looks at one report."""

    def __init__(self, reports: Reports, memory: Memory, metrics: Metrics, workspace_id: str, query: Query) -> None:
        self.workspace_id = workspace_id
        self.query = query
        self.report: bytes | None = None
        """The event of the last report; None as long as all who listen had it before they came."""
        self.freshness: bytes | None = None
        self.ended = False
        self._reports = reports
        self._memory = memory
        self._metrics = metrics
        self._held_bytes = 0
        self._stamp: Stamp | None = None
        self._shards: list[Shard] = []
        self._computing = asyncio.Lock()
        self._computed_at = float("-inf")
        self._told_at = time.monotonic()
        self._due_at: float | None = None
        self._roused = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    @property
    def revision(self) -> str | None:
        """Of the report that listeners have or are sent."""
        return None if self._stamp is None else self._stamp.revision

    def join(self) -> Shard:
        shard = next((shard for shard in self._shards if shard.listeners < SHARD_LISTENERS), None)
        if shard is None:
            shard = Shard()
            self._shards.append(shard)
        shard.listeners += 1
        if self._task is None:
            self._task = asyncio.create_task(self._run())
        return shard

    def leave(self, shard: Shard) -> bool:
        """Whether it was the last listener."""
        shard.listeners -= 1
        if not shard.listeners:
            self._shards.remove(shard)
        if self._shards:
            return False
        if self._task is not None:
            self._task.cancel()
        return True

    def end(self) -> None:
        self.ended = True
        for shard in self._shards:
            shard.wake()

    def make_due(self, after_seconds: float = 0.0) -> None:
        """Compute the report after this delay, or earlier if it was due earlier."""
        at = time.monotonic() + after_seconds
        self._due_at = at if self._due_at is None else min(at, self._due_at)
        self._roused.set()

    def would_differ(self, positions_at: State) -> bool:
        """Whether the report would have another revision by now, though nothing changed in its workspace."""
        if self._stamp is None or self._due_at is not None:
            return False
        reports = self._reports
        now = reports.clock()
        # Of `period=all` the dates are known by reading alone; each freshness event does so.
        of = self._stamp.view if self.query.period is Period.ALL else reports.view_at(self.query, now_quarter(now))
        state = State(positions_at.positions, self._stamp.state.version)
        return reports.stamp_view(of, state, now).revision != self._stamp.revision

    async def have_report(self, revision: str | None) -> bool:
        """Ensure a report is ready. Returns True if the caller already has the current one.

        By a state that is read now: of what changed before the group was there, nobody hears.
        """
        async with self._computing:
            stamp = await self._reports.stamp(self.workspace_id, self.query, fresh=True)
            if self.report is not None:
                if stamp.revision != self.revision:
                    self.make_due()
            elif revision is not None and stamp.revision == revision and self.revision in (None, revision):
                self._stamp = stamp
            else:
                await self._compute()
                await self._wake()
            return revision in (stamp.revision, self.revision)

    async def _compute(self) -> None:
        self._computed_at = time.monotonic()
        self._metrics.live_computations.inc()
        self._stamp, report = await self._reports.stamp_report(self.workspace_id, self.query)
        self.report = event("report", msgspec.json.encode(report), self._stamp.revision)
        self._hold(GROUP_BYTES + len(self.report))

    def release(self) -> None:
        """Let everything go: no listener is left."""
        self._hold(0)

    def _hold(self, size_bytes: int) -> None:
        self._memory.hold(size_bytes - self._held_bytes)
        self._held_bytes = size_bytes

    async def _run(self) -> None:
        while True:
            try:
                await self._wait()
                await self._step()
            except Unavailable:
                await asyncio.sleep(INTERVAL_SECONDS)
            except Exception:
                # ValidationErrors or FormatError, or a bug: whoever listens comes again, and is told by the first
                # answer.
                log.exception("The live report of %s ends", self.workspace_id)
                self.end()
                return

    async def _wait(self) -> None:
        """Until something is to be done."""
        self._roused.clear()
        until = self._told_at + FRESHNESS_SECONDS
        if self._due_at is not None:
            until = min(until, max(self._due_at, self._computed_at + INTERVAL_SECONDS))
        with suppress(TimeoutError):
            async with asyncio.timeout(max(0.0, until - time.monotonic())):
                await self._roused.wait()

    async def _step(self) -> None:
        now = time.monotonic()
        if now >= self._told_at + FRESHNESS_SECONDS:
            self._told_at = now
            await self._tell_freshness()
        if self._due_at is not None and now >= max(self._due_at, self._computed_at + INTERVAL_SECONDS):
            async with self._computing:
                before, due_at = self.revision, self._due_at
                self._due_at = None
                try:
                    await self._compute()
                except Unavailable:
                    self._due_at = due_at
                    raise
            if self.revision != before:
                await self._wake()

    async def _tell_freshness(self) -> None:
        stamp = await self._reports.stamp(self.workspace_id, self.query)
        if stamp.revision != self.revision:
            self.make_due()
        self.freshness = event("freshness", msgspec.json.encode(stamp.freshness))
        await self._wake()

    async def _wake(self) -> None:
        for shard in list(self._shards):
            shard.wake()
            await asyncio.sleep(0)


def event(name: str, data: bytes, event_id: str | None = None) -> bytes:
    """One event; the data is one line, as JSON is."""
    first = b"" if event_id is None else b"id: %s\n" % event_id.encode()
    return first + b"event: %s\ndata: %s\n\n" % (name.encode(), data)
