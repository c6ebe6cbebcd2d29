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
from collections.abc import Iterable
from contextlib import suppress
from functools import partial

from api.cache import Memory
from api.errors import Unavailable, ValidationErrors
from api.http.auth import Principal
from api.live.access import Access, StreamLimits, streams_full
from api.live.group import INTERVAL_SECONDS, Group, Shard
from api.live.listener import Listener
from api.metrics import Metrics
from api.query.question import Query
from api.read.redis import Reader
from api.read.snapshot import State
from api.report.service import Reports

log = logging.getLogger(__name__)

LEAST_HELD_BYTES = 8 * 1024 * 1024
"""So much reports of live streams may take, however little a process may remember."""

SPREAD_SECONDS = 60.0
SPREAD_SECONDS_A_GROUP = 0.02
"""What changes for all groups at once (a quarter-hour, a midnight) is computed over so long for each of them, over
SPREAD_SECONDS at most."""

GROUPS_A_SLICE = 100


class Hub:
    """The live streams of one process."""

    def __init__(
        self, reports: Reports, reader: Reader, memory: Memory, metrics: Metrics, limits: StreamLimits
    ) -> None:
        self._reports = reports
        self._reader = reader
        self._memory = memory
        self._metrics = metrics
        self._limits = limits
        self._groups: dict[tuple[str, Query], Group] = {}
        self._by_workspace: dict[str, set[Group]] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._subscribed = False
        self._closing = False

    async def listen(self, workspace_id: str, query: Query, last_event_id: str | None, access: Access) -> Listener:
        """A stream, whose first report is there already. Raises Unavailable and ValidationErrors, and ProblemError
        where too many are open.

        `last_event_id`: the revision that the listener has.
        """
        key = (workspace_id, query)
        memory = self._memory
        if key not in self._groups and memory.held_bytes > max(memory.limit_bytes // 2, LEAST_HELD_BYTES):
            raise streams_full("The reports of live streams take all the memory they may")
        principal = access.principal
        self._limits.enter(principal)
        if not self._tasks:
            # asyncio itself holds tasks weakly.
            self._tasks = [asyncio.create_task(self._hear_changes()), asyncio.create_task(self._watch_the_clock())]
        group = self._groups.get(key)
        if group is None:
            group = self._groups[key] = Group(self._reports, self._memory, self._metrics, workspace_id, query)
            self._by_workspace.setdefault(workspace_id, set()).add(group)
            if self._closing:
                group.end()
        shard = group.join()
        self._metrics.live_listeners.inc()
        try:
            has_present = await group.have_report(last_event_id)
        except BaseException:
            self._leave(group, shard, principal)
            raise
        leave = partial(self._leave, group, shard, principal)
        revision = group.revision if has_present else None
        return Listener(group, shard, revision, access, self._metrics, self._reports.clock, leave)

    def _leave(self, group: Group, shard: Shard, principal: Principal) -> None:
        """A stream has ended, which began as this principal's."""
        self._limits.leave(principal)
        self._metrics.live_listeners.dec()
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

    async def _hear_changes(self) -> None:
        while True:
            try:
                async with self._reader.changes() as messages:
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
        positions = await self._reader.ping()
        if positions.complete:
            due = []
            for number, group in enumerate(list(self._groups.values())):
                if number % GROUPS_A_SLICE == 0:
                    await asyncio.sleep(0)
                with suppress(ValidationErrors):  # its report cannot be made any more, which ends it
                    if not group.would_differ(positions_at=State(positions, b"")):
                        continue
                due.append(group)
            self._make_due(due, min(SPREAD_SECONDS, len(due) * SPREAD_SECONDS_A_GROUP))

    def _make_due(self, groups: Iterable[Group], spread_seconds: float = 0.0) -> None:
        for group in list(groups):
            group.make_due(random.uniform(0.0, spread_seconds) if spread_seconds > INTERVAL_SECONDS else 0.0)
