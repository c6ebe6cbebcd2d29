"""Reads what is in Redis (stream/storage/keys.py draws it).

Each read is one MULTI with the positions, so an answer never mixes two states and never claims more than it holds.
"""

import asyncio
import logging
import math
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, suppress
from dataclasses import dataclass
from typing import Any, cast

from redis.exceptions import RedisError

from api.cache import Memory
from api.errors import CountsMissing, Unavailable, counts_lost
from api.read.connection import Connection
from api.read.freshness import READ_FIELDS, Positions, read_positions
from api.read.manifests import (
    Asked,
    KeysLost,
    Manifests,
    Seen,
    ask,
    moved_days,
    read_parts,
)
from api.read.parts import Parts
from api.read.snapshot import Moved, RowRange, Snapshot, State, require_complete
from api.read.subscription import changes
from stream.faults import FaultWatch
from stream.projection.lost_keys import report_lost_keys
from stream.settings.redis import Command, pack_around
from stream.settings.redis_url import without_password
from stream.storage.keys import ALL, DAYS_A_HASH, PARTITIONS, Keys

log = logging.getLogger(__name__)

REPORT_SECONDS = 10.0

WORKERS_SECONDS = 1.0
"""How long it is remembered how many workers report themselves."""

NAMES_A_READ = 2_000
"""A millisecond or two of Redis, and as much of ours."""

MANY_DAYS = 400
"""From here on the whole hash of a workspace's days is read: it has only the days that exist."""


class Reader:
    """Reads of one deployment. Raises Unavailable where Redis does not answer within its time."""

    def __init__(self, redis_url: str, group: str, timeout_seconds: float, cache_ms: int, memory: Memory) -> None:
        self.keys = Keys(group)
        self._connection = Connection(redis_url, timeout_seconds)
        self._timeout_seconds = timeout_seconds
        self._cache_seconds = cache_ms / 1000
        self._partitions = 0
        self._ask_positions: Command = ("HMGET", self.keys.positions, PARTITIONS)
        self._positions: tuple[list[bytes | None], Positions] = ([], read_positions(0, []))
        self._memory = memory
        self._manifests = Manifests(memory)
        self.lost_reads = 0
        self._lost_at = -math.inf
        self._workers, self._workers_at = 0, -math.inf
        self._missing = FaultWatch(
            subject=f"group {group} in {without_password(redis_url)}: ",
            meanwhile="readers get 503",
            over="readers get the counts again",
        )

    @property
    def reads(self) -> int:
        return self._connection.transactions

    @property
    def refuses(self) -> bool:
        """Whether Redis answered the last read that failed, and would not do it."""
        return self._connection.refuses

    async def close(self) -> None:
        await self._connection.close()

    async def ping(self) -> Positions:
        """The positions, complete or not; raises Unavailable where Redis does not answer."""
        positions, _ = await self._transaction([])
        return positions

    async def explain(self, missing: CountsMissing) -> CountsMissing:
        """The same, which says whether there is a worker to send the counts. The log says it too."""
        with suppress(Unavailable):  # then it only says what is missing
            missing.explain(await self._count_workers())
        if not self._positions[1].complete:
            self._missing.note(missing.detail.removesuffix("."))
        return missing

    async def _count_workers(self) -> int:
        """How many have reported themselves within the last seconds."""
        if time.monotonic() - self._workers_at > WORKERS_SECONDS:
            [names] = await self._connection.transaction([("ZRANGE", self.keys.ops, 0, -1)])
            statuses = [self.keys.ops_of(name.decode(errors="replace")) for name in names]
            [told] = await self._connection.transaction([("MGET", *statuses)]) if statuses else [[]]
            self._workers = sum(status is not None for status in told)
            self._workers_at = time.monotonic()
        return self._workers

    async def state(self, workspace_id: str, *, fresh: bool = False) -> State:
        """The state of a workspace, one that was read up to `cache_ms` ago too, unless it is to be `fresh`."""
        known = None if fresh else self.known_state(workspace_id)
        if known is not None:
            return known
        try:
            return await self._read_state(workspace_id)
        except KeysLost as error:
            raise await self._report_lost(workspace_id, error) from None

    def known_state(self, workspace_id: str) -> State | None:
        """The state of a workspace that was read up to `cache_ms` ago."""
        known: _Known | None = self._memory.get(("state", workspace_id))
        return known.state if known is not None and time.monotonic() - known.asked_at <= self._cache_seconds else None

    async def _read_state(self, workspace_id: str) -> State:
        commands = [self._ask_days(workspace_id, ())]
        ask_listed = not self._manifests.knows(workspace_id)
        if ask_listed:
            commands.append(("ZSCORE", self.keys.workspaces, workspace_id))
        positions, [[of_all], *listed] = await self._transaction(commands)
        asked_at, version = time.monotonic(), of_all or b""
        if not version and not ask_listed:
            self._manifests.forget(workspace_id)
            return await self._read_state(workspace_id)  # then it must not be listed either
        if ask_listed:
            _require_days(version, listed[0], positions)
        state = State(positions, version)
        self._remember_state(workspace_id, asked_at, state)
        return state

    def seen(self, workspace_id: str, days: Sequence[int] | None, before: Seen | None = None) -> Seen:
        """What was seen last of these days (None: of all that there are); a read goes by it. `before`: what the try
        before this one went by.
        """
        return self._manifests.seen(workspace_id, days, before)

    async def read(
        self,
        workspace_id: str,
        seen: Seen,
        wanted: Mapping[int, Parts],
        names: Sequence[str] = (),
        ranges: Sequence[RowRange] = (),
    ) -> Snapshot:
        """One state of the days of `seen`, with fields of `names`, the rows of some ranges, and of days that were seen
        what is `wanted` of them, days ascending. Of days that have other parts by now there are none: `holds` says
        whether that matters, and what to ask instead is seen by the next try.
        """
        try:
            return await self._read(workspace_id, seen, wanted, names, ranges)
        except KeysLost as error:
            raise await self._report_lost(workspace_id, error) from None

    async def _read(
        self,
        workspace_id: str,
        seen: Seen,
        wanted: Mapping[int, Parts],
        names: Sequence[str],
        ranges: Sequence[RowRange],
    ) -> Snapshot:
        asked = ask(seen, wanted)
        commands: list[Command] = [self._ask_days(workspace_id, seen.days), *self._ask_parts(workspace_id, asked)]
        of_parts = slice(1, len(commands))
        commands += [self._ask_rows(workspace_id, of) for of in ranges]
        of_rows = slice(of_parts.stop, len(commands))
        if names:
            commands.append(("HMGET", self.keys.names(workspace_id), *names))
        ask_listed = not self._manifests.knows(workspace_id)
        if ask_listed:
            commands.append(("ZSCORE", self.keys.workspaces, workspace_id))
        positions, replies = await self._transaction(commands)
        asked_at = time.monotonic()
        version, manifests = _manifests(replies[0], seen.days)
        if not version and not ask_listed:
            self._manifests.forget(workspace_id)
            return await self._read(workspace_id, seen, wanted, names, ranges)  # then it must not be listed either
        kept = manifests
        if positions.counts_from is not None:
            kept = {day: value for day, value in manifests.items() if day >= positions.counts_from}
        moved = moved_days(kept, seen.manifests)
        self._manifests.learn(workspace_id, seen, kept, moved)
        state = State(positions, version)
        if wanted:
            require_complete(state)  # what is being put back, or taken away, has days without their parts
        if ask_listed:
            _require_days(version, replies[-1], positions)
        self._remember_state(workspace_id, asked_at, state)
        parts = read_parts(asked, replies[of_parts], kept)
        rows = dict(zip(ranges, replies[of_rows], strict=True))
        of_names = replies[of_rows.stop] if names else ()
        parts_of = wanted if len(parts) == len(wanted) else {day: wanted[day] for day in parts}
        return Snapshot(state, kept, parts, dict(zip(names, of_names, strict=True)), parts_of, moved, rows)

    async def rows(
        self,
        workspace_id: str,
        ranges: Sequence[RowRange],
        since: State,
        expected: Snapshot | None = None,
        days: Sequence[int] = (),
        first_day: int = 0,
    ) -> list[list[bytes]]:
        """Packed rows of each range; raises Moved where the positions or those days are not as they were `expected`,
        and Unavailable where rows of days from `first_day` on have gone `since`.
        """
        commands = [self._ask_days(workspace_id, days), *(self._ask_rows(workspace_id, of) for of in ranges)]
        positions, [of_days, *replies] = await self._transaction(commands)
        version, manifests = _manifests(of_days, days)
        state = State(positions, version)
        if expected is not None:
            if not _same_kept(state, expected.state) or any(
                manifests.get(day) != expected.manifests.get(day) for day in days
            ):
                raise Moved
        elif not _still_kept(state, since, first_day):
            raise Unavailable("busy", "Rows were deleted while the API read them.")
        return cast("list[list[bytes]]", replies)

    async def name_pieces(self, workspace_id: str) -> AsyncIterator[tuple[State, dict[bytes, bytes]]]:
        """All users and sources that the workspace has had, in pieces, each with the state that it was read in. What is
        there from the first piece to the last is in one of them; a field may be in two.
        """
        cursor = b"0"
        while True:
            positions, [[version], listed, [following, piece]] = await self._transaction(
                [
                    self._ask_days(workspace_id, ()),
                    ("ZSCORE", self.keys.workspaces, workspace_id),
                    ("HSCAN", self.keys.names(workspace_id), cursor, "COUNT", NAMES_A_READ),
                ]
            )
            try:
                _require_days(version or b"", listed, positions)
            except KeysLost as error:
                raise await self._report_lost(workspace_id, error) from None
            yield State(positions, version or b""), _pairs(piece)
            if not int(following):
                return
            cursor = following

    async def some_names(self, workspace_id: str, fields: Sequence[str]) -> list[bytes | None]:
        """The values of these fields of `names`, as they are now."""
        [values] = await self._connection.transaction([("HMGET", self.keys.names(workspace_id), *fields)])
        return cast("list[bytes | None]", values)

    async def workspaces(self, after: str, limit: int) -> list[str]:
        """Ids of workspaces above `after`, in the order of their bytes."""
        low = b"(" + after.encode() if after else b"-"
        [found] = await self._connection.transaction(
            [("ZRANGEBYLEX", self.keys.workspaces, low, b"+", "LIMIT", 0, limit)]
        )
        return [name.decode() for name in found]

    async def operations(self) -> tuple[Mapping[bytes, bytes], list[bytes], list[bytes]]:
        """All fields of the positions, and what each worker and each process of the API told of itself last."""
        keys = self.keys
        fields, workers, apis = await self._connection.transaction(
            [("HGETALL", keys.positions), ("ZRANGE", keys.ops, 0, -1), ("ZRANGE", keys.apis, 0, -1)]
        )
        told_by = [
            *(keys.ops_of(name.decode(errors="replace")) for name in workers),
            *(keys.api_of(name.decode(errors="replace")) for name in apis),
        ]
        [told] = await self._connection.transaction([("MGET", *told_by)]) if told_by else [[]]
        workers_told, apis_told = told[: len(workers)], told[len(workers) :]
        return (
            _pairs(fields),
            [one for one in workers_told if one is not None],
            [one for one in apis_told if one is not None],
        )

    @staticmethod
    def position_values(fields: Mapping[bytes, bytes], partitions: int) -> list[bytes | None]:
        """What `read_positions` takes, out of all fields of the positions."""
        names = (Keys.position_field(p, name) for p in range(partitions) for name in READ_FIELDS)
        return [fields.get(name.encode()) for name in names]

    async def known_workspaces(self, names: Sequence[str]) -> list[str]:
        """Those of the given ids that have events."""
        if not names:
            return []
        [scores] = await self._connection.transaction([("ZMSCORE", self.keys.workspaces, *names)])
        return [name for name, score in zip(names, scores, strict=True) if score is not None]

    def changes(self) -> AbstractAsyncContextManager[AsyncIterator[list[str]]]:
        """As in `subscription`."""
        return changes(self._connection, self.keys.changes)

    async def _report_lost(self, workspace_id: str, error: KeysLost) -> Unavailable:
        """Have the workers send everything again, asked for at most once in REPORT_SECONDS. Returns what to raise."""
        self.lost_reads += 1
        now = time.monotonic()
        if now - self._lost_at >= REPORT_SECONDS:
            self._lost_at = now
            log.error(
                "Redis has lost %s of workspace %s, perhaps by eviction: asking the workers to send everything again",
                error,
                workspace_id,
            )
            try:
                async with asyncio.timeout(self._timeout_seconds):
                    await report_lost_keys(self._connection.client, self.keys)
            except (RedisError, OSError, TimeoutError) as failure:
                log.error("could not ask the workers to resend; run `contacts-report rebuild-redis`: %s", failure)
        return counts_lost()

    async def _transaction(self, commands: Sequence[Command]) -> tuple[Positions, list[Any]]:
        """The replies to commands, with the positions of the same moment."""
        while True:
            asked = self._partitions
            [reply, *replies] = await self._connection.transaction([self._ask_positions, *commands])
            number = int(reply[0] or 0)
            if asked >= number:
                return self._positions_of(number, reply), replies
            if number > self._partitions:  # there are more than were known
                self._partitions = number
                fields = [Keys.position_field(p, name) for p in range(number) for name in READ_FIELDS]
                # Packed once: it is part of every read.
                self._ask_positions = b"".join(pack_around(["HMGET", self.keys.positions, PARTITIONS, *fields]))

    def _positions_of(self, number: int, reply: list[bytes | None]) -> Positions:
        raw, positions = self._positions
        if raw != reply:
            positions = read_positions(number, reply[1:])
            self._positions = (reply, positions)
        if positions.complete:
            self._missing.clear()
        return positions

    def _ask_days(self, workspace_id: str, days: Sequence[int] | None) -> tuple[Any, ...]:
        if _are_whole(days):
            return ("HGETALL", self.keys.days(workspace_id))
        return ("HMGET", self.keys.days(workspace_id), ALL, *(days or ()))

    def _ask_rows(self, workspace_id: str, of: RowRange) -> tuple[Any, ...]:
        key, low, high = self.keys.rows(workspace_id, of.day), b"[" + of.low, b"(" + of.high
        bounds = ("ZREVRANGEBYLEX", key, high, low) if of.descending else ("ZRANGEBYLEX", key, low, high)
        return (*bounds, "LIMIT", 0, of.limit)

    def _ask_parts(self, workspace_id: str, asked: Asked) -> list[bytes]:
        """One command a hash; the fields of a day follow each other, days in order."""
        return [
            b"".join(pack_around(("HMGET", self.keys.cells(workspace_id, number * DAYS_A_HASH), *fields)))
            for number, fields in asked.fields
        ]

    def _remember_state(self, workspace_id: str, asked_at: float, state: State) -> None:
        if not self._cache_seconds:
            return
        known: _Known | None = self._memory.get(("state", workspace_id))
        if known is not None and known.state.positions is state.positions and known.state.version == state.version:
            known.asked_at = asked_at  # what it takes, and shares, is the same
            return
        size, shared = 300 + len(state.version), [(state.positions, _size_of_positions)]
        self._memory.put(("state", workspace_id), _Known(asked_at, state), size, shared=shared)


@dataclass(slots=True)
class _Known:
    """A state of a workspace, and when it was asked for last."""

    asked_at: float
    state: State


def _size_of_positions(positions: Positions) -> int:
    return 300 + 160 * len(positions.partitions)


def _require_days(version: bytes, listed: bytes | None, positions: Positions) -> None:
    """A workspace in the list has its days, with a version; `listed` is its score there."""
    if not version and listed is not None and positions.complete:
        raise KeysLost("the list of days")


def _are_whole(days: Sequence[int] | None) -> bool:
    return days is None or len(days) > MANY_DAYS


def _manifests(reply: Any, days: Sequence[int] | None) -> tuple[bytes, dict[int, bytes]]:
    """The version of the workspace, and the manifests of the days asked for, ascending."""
    if days is not None and not _are_whole(days):
        manifests = dict(zip(days, reply[1:], strict=True))
        if not all(reply[1:]):
            manifests = {day: value for day, value in manifests.items() if value is not None}
        return reply[0] or b"", manifests
    values = _pairs(reply)
    version = values.pop(ALL.encode(), b"")
    if days is None:
        return version, dict(sorted((int(day), value) for day, value in values.items()))  # a hash has no order
    found = [(day, values.get(b"%d" % day)) for day in days]
    return version, {day: value for day, value in found if value is not None}


def _pairs(reply: Any) -> dict[bytes, bytes]:
    return reply if isinstance(reply, dict) else dict(zip(reply[::2], reply[1::2], strict=True))


def _same_kept(one: State, other: State) -> bool:
    """Whether the same days and rows are kept; that `as_of` advances takes nothing away."""
    before, after = one.positions, other.positions
    kept = (before.complete, before.counts_from, one.rows_from)
    return kept == (after.complete, after.counts_from, other.rows_from)


def _still_kept(now: State, then: State, first_day: int) -> bool:
    """Whether nothing of days from this one on that was kept is gone."""
    return now.positions.complete and all(
        after is None or after <= max(before or 0, first_day)
        for before, after in (
            (then.rows_from, now.rows_from),
            (then.positions.counts_from, now.positions.counts_from),
        )
    )
