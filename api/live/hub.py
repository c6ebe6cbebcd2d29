"""Live reports as server-sent events: whoever looks at the same report shares one computation.

    a call changes a workspace ─> Redis publishes its id ─> the groups of that workspace are due
    a second passes            ─> groups whose revision would be another one are due: midnight, a bucket that closes
    a group is due             ─> its report is computed, at most once a second; a new revision goes to all listeners
    15 seconds pass            ─> each group tells its listeners how fresh it is

Where Redis is away the streams stay open, and go on when it is back.
"""

import asyncio
import logging
import random
import time
from collections.abc import Iterable
from contextlib import suppress

import msgspec

from api.errors import Faults, Unavailable
from api.http.auth import Principal
from api.http.request import Receive, Send, until_gone
from api.live.access import Access, StreamLimits, streams_full
from api.metrics import Metrics
from api.query.periods import Period, now_mark
from api.query.question import Query
from api.read.redis import State
from api.report.service import Reports, Stamp

log = logging.getLogger(__name__)

RETRY_MS = 2_000
INTERVAL_SECONDS = 1.0
"""A group computes its report at most so often."""

FRESHNESS_SECONDS = 15.0
SEND_SECONDS = 10.0
"""A listener whose connection takes no more for so long is dropped."""

RENEW_SECONDS = 60.0
"""A stream's token is looked at again so often: it may have been taken out of the file, or its key withdrawn."""

GROUP_BYTES = 4_000
"""What a group takes beside its report."""

LEAST_HELD_BYTES = 8 * 1024 * 1024
"""So much reports of live streams may take, however little a process may remember."""

SHARD_LISTENERS = 200
"""So many listeners of a group are woken at once; then others may go on."""

SPREAD_SECONDS = 60.0
SPREAD_SECONDS_A_GROUP = 0.02
"""What changes for all groups at once (a quarter-hour, a midnight) is computed over so long for each of them, over
SPREAD_SECONDS at most."""

GROUPS_A_SLICE = 100


class Hub:
    """The live streams of one process."""

    def __init__(self, reports: Reports, metrics: Metrics, limits: StreamLimits) -> None:
        self.reports = reports
        self.metrics = metrics
        self._limits = limits
        self._groups: dict[tuple[str, Query], Group] = {}
        self._by_workspace: dict[str, set[Group]] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._subscribed = False
        self._closing = False

    async def listen(self, workspace_id: str, query: Query, last_event_id: str | None, access: Access) -> "Listener":
        """A stream, whose first report is there already. Raises Unavailable and Faults, and ProblemError where too many
        are open.

        `last_event_id`: the revision that the listener has.
        """
        key = (workspace_id, query)
        memory = self.reports.memory
        if key not in self._groups and memory.held_bytes > max(memory.limit_bytes // 2, LEAST_HELD_BYTES):
            raise streams_full("The reports of live streams take all the memory they may")
        principal = access.principal
        self._limits.enter(principal)
        if not self._tasks:
            # asyncio itself holds tasks weakly.
            self._tasks = [asyncio.create_task(self._hear_changes()), asyncio.create_task(self._watch_the_clock())]
        group = self._groups.get(key)
        if group is None:
            group = self._groups[key] = Group(self, workspace_id, query)
            self._by_workspace.setdefault(workspace_id, set()).add(group)
        shard = group.join()
        self.metrics.live_listeners.inc()
        try:
            has_present = await group.have_report(last_event_id)
        except BaseException:
            self.leave(group, shard, principal)
            raise
        return Listener(self, group, shard, group.revision if has_present else None, access)

    def leave(self, group: "Group", shard: "Shard", principal: Principal) -> None:
        """A stream has ended, which began as this principal's."""
        self._limits.leave(principal)
        self.metrics.live_listeners.dec()
        if group.leave(shard):
            del self._groups[group.workspace_id, group.query]
            group.release()
            others = self._by_workspace[group.workspace_id]
            others.discard(group)
            if not others:
                del self._by_workspace[group.workspace_id]

    def close(self) -> None:
        """End all streams, and begin none any more."""
        self._closing = True
        for task in self._tasks:
            task.cancel()
        for group in list(self._groups.values()):
            group.end()

    @property
    def closing(self) -> bool:
        return self._closing

    async def _hear_changes(self) -> None:
        while True:
            try:
                async with self.reports.reader.changes() as messages:
                    # What was published before is not told.
                    self._make_due(self._groups.values())
                    self._subscribed = True
                    async for workspaces in messages:
                        for workspace_id in workspaces:
                            self._make_due(self._by_workspace.get(workspace_id, ()))
            except Unavailable:
                pass
            except Exception:
                # Nobody would see this task end: the streams would stay open, and never be told of a change.
                log.exception("Changes could not be heard; they are subscribed to again")
            self._subscribed = False
            await asyncio.sleep(INTERVAL_SECONDS)

    async def _watch_the_clock(self) -> None:
        while True:
            await asyncio.sleep(INTERVAL_SECONDS)
            try:
                await self._look_at_the_clock()
            except Unavailable:
                pass
            except Exception:  # as in _hear_changes
                log.exception("The clock of live reports stumbled; it goes on")

    async def _look_at_the_clock(self) -> None:
        """Make due whose report would be another one by now."""
        if not self._groups:
            return
        if not self._subscribed:
            self._make_due(self._groups.values())
            return
        positions = await self.reports.reader.ping()
        if positions.complete:
            due = []
            for number, group in enumerate(list(self._groups.values())):
                if number % GROUPS_A_SLICE == 0:
                    await asyncio.sleep(0)
                with suppress(Faults):  # its report cannot be made any more, which ends it
                    if not group.would_differ(positions_at=State(positions, b"")):
                        continue
                due.append(group)
            self._make_due(due, min(SPREAD_SECONDS, len(due) * SPREAD_SECONDS_A_GROUP))

    def _make_due(self, groups: Iterable["Group"], spread_seconds: float = 0.0) -> None:
        for group in list(groups):
            group.make_due(random.uniform(0.0, spread_seconds) if spread_seconds > INTERVAL_SECONDS else 0.0)


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

    def __init__(self, hub: Hub, workspace_id: str, query: Query) -> None:
        self.workspace_id = workspace_id
        self.query = query
        self.report: bytes | None = None
        """The event of the last report; None as long as all who listen had it before they came."""
        self.freshness: bytes | None = None
        self.ended = False
        self._hub = hub
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
        """Compute the report after so long, or sooner if it was due sooner."""
        at = time.monotonic() + after_seconds
        self._due_at = at if self._due_at is None else min(at, self._due_at)
        self._roused.set()

    def would_differ(self, positions_at: State) -> bool:
        """Whether the report would have another revision by now, though nothing changed in its workspace."""
        if self._stamp is None or self._due_at is not None:
            return False
        reports = self._hub.reports
        now = reports.clock()
        # Of `period=all` the dates are known by reading alone; each freshness event does so.
        of = self._stamp.view if self.query.period is Period.ALL else reports.view_at(self.query, now_mark(now))
        state = State(positions_at.positions, self._stamp.state.change)
        return reports.stamped(of, state, now).revision != self._stamp.revision

    async def have_report(self, revision: str | None) -> bool:
        """See to it that there is a report to send, unless who asks has the present one, which is told.

        By a state that is read now: of what changed before the group was there, nobody hears.
        """
        async with self._computing:
            stamp = await self._hub.reports.stamp(self.workspace_id, self.query, fresh=True)
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
        self._hub.metrics.live_computations.inc()
        self._stamp, report = await self._hub.reports.stamped_report(self.workspace_id, self.query)
        self.report = event("report", msgspec.json.encode(report), self._stamp.revision)
        self._hold(GROUP_BYTES + len(self.report))

    def release(self) -> None:
        """Hold nothing any more: nobody listens."""
        self._hold(0)

    def _hold(self, size_bytes: int) -> None:
        self._hub.reports.memory.hold(size_bytes - self._held_bytes)
        self._held_bytes = size_bytes

    async def _run(self) -> None:
        while True:
            try:
                await self._wait()
                await self._step()
            except Unavailable:
                await asyncio.sleep(INTERVAL_SECONDS)
            except Exception:
                # Faults or FormatError, or a bug: whoever listens comes again, and is told by the first answer.
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
        stamp = await self._hub.reports.stamp(self.workspace_id, self.query)
        if stamp.revision != self.revision:
            self.make_due()
        self.freshness = event("freshness", msgspec.json.encode(stamp.freshness))
        await self._wake()

    async def _wake(self) -> None:
        for shard in list(self._shards):
            shard.wake()
            await asyncio.sleep(0)


class Listener:
    """One stream: the body of an answer."""

    def __init__(self, hub: Hub, group: Group, shard: Shard, revision: str | None, access: Access) -> None:
        self._hub = hub
        self._group = group
        self._shard = shard
        self._revision = revision
        self._freshness = group.freshness
        self._access = access
        self._entered_as = access.principal
        self._renew_at = time.monotonic() + RENEW_SECONDS

    async def run(self, receive: Receive, send: Send) -> None:
        gone = asyncio.ensure_future(until_gone(receive))
        try:
            await self._send(send, b"retry: %d\n\n" % RETRY_MS)
            while not (gone.done() or self._group.ended or self._hub.closing) and await self._may_go_on():
                changed = self._shard.changed
                await self._send_news(send)
                await asyncio.wait({changed, gone}, timeout=self._left(), return_when=asyncio.FIRST_COMPLETED)
            if not gone.done():
                await self._send(send, b"", last=True)
        except TimeoutError:
            self._hub.metrics.live_dropped.inc()
        finally:
            gone.cancel()
            self._hub.leave(self._group, self._shard, self._entered_as)

    async def _send_news(self, send: Send) -> None:
        group = self._group
        news = b""
        if group.report is not None and group.revision != self._revision:
            self._revision = group.revision
            news += group.report
        if group.freshness is not None and group.freshness is not self._freshness:
            self._freshness = group.freshness
            news += group.freshness
        if news:
            await self._send(send, news)

    async def _send(self, send: Send, piece: bytes, last: bool = False) -> None:
        async with asyncio.timeout(SEND_SECONDS):
            await send({"type": "http.response.body", "body": piece, "more_body": not last})

    async def _may_go_on(self) -> bool:
        """Whether the token is still good, as asked once a minute."""
        if time.monotonic() >= self._renew_at:
            self._renew_at = time.monotonic() + RENEW_SECONDS
            if not await self._access.renew():
                return False
        return self._left() > 0

    def _left(self) -> float:
        """Seconds until the token expires, or is to be looked at again."""
        left = max(0.001, self._renew_at - time.monotonic())
        ends_at = self._access.principal.expires_at
        return left if ends_at is None else min(ends_at - self._hub.reports.clock(), left)


def event(name: str, data: bytes, event_id: str | None = None) -> bytes:
    """One event; the data is one line, as JSON is."""
    first = b"" if event_id is None else b"id: %s\n" % event_id.encode()
    return first + b"event: %s\ndata: %s\n\n" % (name.encode(), data)
