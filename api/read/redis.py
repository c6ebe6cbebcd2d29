"""Reads what is in Redis (stream/storage/keys.py draws it).

Each read is one MULTI with the positions, so an answer never mixes two states and never claims more than it holds.
"""

import asyncio
import logging
import math
import time
from bisect import bisect_left
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, suppress
from types import MappingProxyType
from typing import Any, cast

from msgspec.structs import replace
from redis.exceptions import RedisError

from api.cache import Memory
from api.errors import CountsMissing, Unavailable, counts_lost
from api.read import subscription
from api.read.connection import Connection
from api.read.freshness import READ_FIELDS, Positions, read_positions
from api.read.manifests import Asked, Days, KeysLost, Known, Manifests, Prepared, Seen, ask, changes, learn, read_parts
from api.read.parts import NO_PARTS, Parts
from api.read.snapshot import Moved, RowRange, Snapshot, State, require_complete
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
        found = None if fresh else self.known_state(workspace_id)
        if found is not None:
            return found
        known: Known = self._memory.get(("known", workspace_id)) or Known()
        while True:
            commands = [self._ask_days(workspace_id, _NO_DAYS)]
            ask_listed = not known.manifests
            if ask_listed:
                commands.append(("ZSCORE", self.keys.workspaces, workspace_id))
            positions, [[of_all], *listed] = await self._transaction(commands)
            version = of_all or b""
            if version or ask_listed:
                break
            known.clear()  # then it must not be listed either
        if ask_listed:
            try:
                _require_days(version, listed[0], positions)
            except KeysLost as error:
                raise await self._report_lost(workspace_id, error) from None
        state = State(positions, version)
        self._manifests.note(workspace_id, known, state)
        return state

    def known_state(self, workspace_id: str) -> State | None:
        """The state of a workspace that was read up to `cache_ms` ago."""
        known: Known | None = self._memory.get(("known", workspace_id)) if self._cache_seconds else None
        return known.state if known is not None and time.monotonic() - known.read_at <= self._cache_seconds else None

    def seen(self, workspace_id: str, days: Days | None, before: Seen | None = None) -> Seen:
        """What was seen last of these days (None: of all that there are); a read goes by it. `before`: what the try
        before this one went by.
        """
        return self._manifests.seen(workspace_id, days, before)

    def prepare(
        self,
        workspace_id: str,
        seen: Seen,
        wanted: Mapping[int, Parts],
        names: Sequence[str] = (),
        ranges: Sequence[RowRange] = (),
    ) -> Prepared:
        """A read of the days of `seen`, with fields of `names`, the rows of some ranges, and of days that were seen
        what is `wanted` of them, days ascending.
        """
        asked = ask(seen, wanted) if wanted else None
        listed = not seen.known.manifests
        commands = [self._ask_days(workspace_id, seen.asked)]
        if asked is not None:
            commands += self._ask_parts(workspace_id, asked)
        if ranges:
            commands += [self._ask_rows(workspace_id, of) for of in ranges]
        if names:
            commands.append(b"".join(pack_around(["HMGET", self.keys.names(workspace_id), *names])))
        if listed:
            commands.append(self._ask_listed(workspace_id))
        return Prepared(seen.known.layout, asked, names, ranges, listed, commands)

    async def read(self, workspace_id: str, seen: Seen, prepared: Prepared) -> Snapshot:
        """One state of the days of `seen`. Of days that have other parts by now than were asked for there are none:
        what to ask instead is seen by the next try.
        """
        while True:
            positions, replies = await self._transaction(prepared.commands)
            try:
                found = self._take(workspace_id, seen, prepared, positions, replies)
            except KeysLost as error:
                raise await self._report_lost(workspace_id, error) from None
            if found is not None:
                return found
            seen.known.clear()  # then the workspace must not be listed either
            commands = [*prepared.commands, self._ask_listed(workspace_id)]
            prepared = replace(prepared, listed=True, commands=commands)

    def _take(
        self, workspace_id: str, seen: Seen, prepared: Prepared, positions: Positions, replies: list[Any]
    ) -> Snapshot | None:
        """What a read found. None: nothing is there of a workspace that was, and it is not known whether it is listed.
        Raises Unavailable, KeysLost.
        """
        known, asked, names, ranges = seen.known, prepared.asked, prepared.names, prepared.ranges
        of_days, *replies = replies
        version, days, manifests = _manifests(of_days, seen.asked)
        if not version and not prepared.listed:
            return None
        if positions.counts_from is not None:
            dropped = bisect_left(days, positions.counts_from)
            manifests[:dropped] = [None] * dropped
        changed = changes(days, manifests, seen.days, seen.manifests)
        learn(seen, changed)
        state = State(positions, version)
        require_complete(state)  # what is being put back, or taken away, has days without their parts
        if prepared.listed:
            _require_days(version, replies.pop(), positions)
        self._manifests.note(workspace_id, known, state)
        texts = replies.pop() if names else ()
        rows = dict(zip(ranges, [replies.pop() for _ in ranges][::-1], strict=True)) if ranges else _NO_ROWS
        if asked is None:
            return Snapshot(state, days, manifests, NO_PARTS, names, texts, _NOTHING_ASKED, rows)
        places = seen.places if days is seen.days else {day: place for place, day in enumerate(days)}
        now = [manifests[places[day]] if day in places else None for day in asked.wanted]
        parts = read_parts(asked, replies, now)
        wanted = asked.wanted
        if len(parts) < len(wanted):
            wanted = {day: wanted[day] for day in parts}
            known.lay_out_anew()
        return Snapshot(state, days, manifests, parts, names, texts, wanted, rows)

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
        asked = Days(days)
        commands = [self._ask_days(workspace_id, asked), *(self._ask_rows(workspace_id, of) for of in ranges)]
        positions, [of_days, *replies] = await self._transaction(commands)
        version, _, manifests = _manifests(of_days, asked)
        state = State(positions, version)
        if expected is not None:
            if not _same_kept(state, expected.state) or manifests != list(map(expected.manifests.get, days)):
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
                    self._ask_days(workspace_id, _NO_DAYS),
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
        return subscription.changes(self._connection, self.keys.changes)

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
        if positions.complete and self._missing.fault is not None:
            self._missing.clear()
        return positions

    def _ask_days(self, workspace_id: str, days: Days | None) -> Command:
        key = self.keys.days(workspace_id).encode()
        if days is None or len(days.days) > MANY_DAYS:
            return b"*2\r\n$7\r\nHGETALL\r\n$%d\r\n%b\r\n" % (len(key), key)
        return b"*%d\r\n$5\r\nHMGET\r\n$%d\r\n%b\r\n$3\r\nall\r\n%b" % (3 + len(days.days), len(key), key, days.words)

    def _ask_listed(self, workspace_id: str) -> Command:
        return "ZSCORE", self.keys.workspaces, workspace_id

    def _ask_rows(self, workspace_id: str, of: RowRange) -> tuple[Any, ...]:
        key, low, high = self.keys.rows(workspace_id, of.day), b"[" + of.low, b"(" + of.high
        bounds = ("ZREVRANGEBYLEX", key, high, low) if of.descending else ("ZRANGEBYLEX", key, low, high)
        return (*bounds, "LIMIT", 0, of.limit)

    def _ask_parts(self, workspace_id: str, asked: Asked) -> list[Command]:
        """One command a hash; the fields of a day follow each other, days in order."""
        commands: list[Command] = []
        for number, fields, words in asked.fields:
            key = self.keys.cells(workspace_id, number * DAYS_A_HASH).encode()
            commands.append(b"*%d\r\n$5\r\nHMGET\r\n$%d\r\n%b\r\n%b" % (2 + fields, len(key), key, words))
        return commands


_NO_DAYS = Days(())
_NOTHING_ASKED: Mapping[int, Parts] = MappingProxyType({})
_NO_ROWS: Mapping[RowRange, Sequence[bytes]] = MappingProxyType({})


def _require_days(version: bytes, listed: float | None, positions: Positions) -> None:
    """A workspace in the list has its days, with a version; `listed` is its score there."""
    if not version and listed is not None and positions.complete:
        raise KeysLost("the list of days")


def _manifests(reply: Any, asked: Days | None) -> tuple[bytes, Sequence[int], list[bytes | None]]:
    """The version of the workspace, the days asked for, or all that there are, ascending, and the manifest of each."""
    if asked is not None and len(asked.days) <= MANY_DAYS:
        return reply[0] or b"", asked.days, reply[1:]
    values = _pairs(reply)
    version = values.pop(ALL.encode(), b"")
    if asked is not None:
        return version, asked.days, list(map(values.get, asked.texts))
    found = dict(sorted((int(day), value) for day, value in values.items()))  # a hash has no order
    return version, list(found), list(found.values())


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
