"""What is in Redis? The only file of the API that speaks to it (stream/storage/keys.py draws the layout).

Each read is one MULTI with the positions, so an answer never mixes two states and never claims more than it holds.
Which fields a day has is known from the last read; where that turns out to be out of date, the read is done again.
"""

import asyncio
import logging
import math
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Container, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import chain
from typing import Any, Literal, NamedTuple, TypeVar, cast

from redis.asyncio import Redis
from redis.exceptions import RedisError

from api.cache import Memory
from api.errors import Unavailable, counts_lost, no_position
from api.read.freshness import READ_FIELDS, Positions, read_positions
from api.read.parts import PartitionDay, Parts
from stream.projection.lost_keys import report_lost_keys
from stream.settings.redis import redis_client
from stream.storage.keys import ALL, DAYS_A_HASH, PARTITIONS, Keys, parse_manifest, rows_from_of

log = logging.getLogger(__name__)
T = TypeVar("T")
PartName = Literal["summaries", "heads", "cells"]

READS_AT_ONCE = 32
"""Connections to Redis a process; further reads wait for one, within the time that a read may take."""

KEEP_ALIVE_SECONDS = 10.0
"""A subscription of which nothing came for so long is pinged, and given up after as long again. A connection that was
forgotten on its way (a firewall, a machine that lost its power) looks like one on which nothing is published."""

TRIES = 12
"""A read is done again where the manifest moved between two of them, a matter of a millisecond or two."""

KNOWN_DAY_BYTES = 220
"""Of what is known of a workspace: a day's places, and its manifest beside its text."""

REPORT_SECONDS = 10.0

NAMES_A_READ = 2_000
"""A millisecond or two of Redis, and as much of ours."""

MANY_DAYS = 400
"""From here on the whole hash of a workspace's days is read: it has only the days that exist."""


class KeysLost(Exception):
    """Redis lacks what it must have, as after an eviction: a zero in its place would be wrong."""


class Moved(Exception):
    """The state is no longer that of an earlier read; begin again with that one."""


Wanted = Callable[[Mapping[int, bytes | None]], Mapping[int, Parts]]
"""Days with their values in `days` -> what is wanted of them, days ascending; those of which nothing is are left out.
None as a value: whatever the day's version is.
"""


class State(NamedTuple):
    """The positions, and a workspace's version (empty: never seen), read together."""

    positions: Positions
    version: bytes

    @property
    def rows_from(self) -> int | None:
        """First UTC day from which on the workspace's rows are complete; None: all are."""
        days = (self.positions.rows_from, rows_from_of(self.version))
        return max((day for day in days if day is not None), default=None)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One state of a workspace, as far as it was asked for."""

    state: State
    manifests: Mapping[int, bytes]
    """The value in `days` of each day that exists and is kept."""
    parts: Mapping[int, Sequence[PartitionDay]]
    """Of the days of which anything was wanted."""
    names: Mapping[str, bytes | None]
    """The asked fields of `names`."""


class _Asked(NamedTuple):
    """What a read asks of a day: these parts of each partition, which has so many bases."""

    parts: Parts
    bases: Mapping[int, int]


class RowRange(NamedTuple):
    """Rows of one day from `low` on and below `high` (bounds of stream/storage/row.py), in either order."""

    day: int
    low: bytes
    high: bytes
    limit: int
    descending: bool


@dataclass(slots=True)
class _Known:
    """What the last reads of a workspace showed."""

    manifests: dict[int, bytes] = field(default_factory=dict)
    restless: set[int] = field(default_factory=set)
    """Days that had changed since the read before: their parts are asked for at once."""

    @property
    def bytes(self) -> int:
        return 600 + KNOWN_DAY_BYTES * len(self.manifests) + sum(map(len, self.manifests.values()))


class Reader:
    """Reads of one deployment. Raises Unavailable where Redis does not answer within its time."""

    def __init__(self, redis_url: str, group: str, timeout_seconds: float, cache_ms: int, memory: Memory) -> None:
        self.keys = Keys(group)
        self.reads = 0
        self._url = redis_url
        self._timeout_seconds = timeout_seconds
        self._cache_seconds = cache_ms / 1000
        self._client: Redis | None = None
        self._away = False
        self._slots = asyncio.Semaphore(READS_AT_ONCE)
        self._partitions = 0
        self._positions: tuple[list[bytes | None], Positions] = ([], read_positions(0, []))
        self._memory = memory
        self.lost_reads = 0
        self._lost_at = -math.inf

    async def close(self) -> None:
        if self._client is not None:
            client, self._client = self._client, None
            with suppress(RedisError, OSError):
                await client.aclose()

    async def ping(self) -> Positions:
        """The positions, complete or not; raises Unavailable where Redis does not answer."""
        while True:
            [fields] = await self._transaction([self._ask_positions()])
            positions = self._take_positions(fields)
            if positions is not None:
                return positions

    async def state(self, workspace_id: str, *, fresh: bool = False) -> State:
        """The state of a workspace, one that was read up to `cache_ms` ago too, unless it is to be `fresh`."""
        known: tuple[float, State] | None = self._memory.get(("state", workspace_id))
        if known is not None and not fresh and time.monotonic() - known[0] <= self._cache_seconds:
            return known[1]
        return (await self.snapshot(workspace_id, (), _nothing, ())).state

    async def snapshot(
        self, workspace_id: str, days: Sequence[int] | None, wanted: Wanted, names: Sequence[str]
    ) -> Snapshot:
        """One state: these days (None: all that there are), what is `wanted` of them, and fields of `names`."""
        try:
            return await self._snapshot(workspace_id, days, wanted, names)
        except KeysLost as error:
            raise await self._report_lost(workspace_id, error) from None

    async def _snapshot(
        self, workspace_id: str, days: Sequence[int] | None, wanted: Wanted, names: Sequence[str]
    ) -> Snapshot:
        whole = days is None or len(days) > MANY_DAYS
        ask_days: tuple[Any, ...] = ("HGETALL", self.keys.days(workspace_id))
        if not whole:
            ask_days = ("HMGET", self.keys.days(workspace_id), ALL, *(days or ()))
        ask_names = [("HMGET", self.keys.names(workspace_id), *names)] if names else []
        ask_seen = self._memory.get(("known", workspace_id)) is None
        known = _Known()
        for _ in range(TRIES):
            known = self._memory.get(("known", workspace_id)) or known
            expected = _expected(known, days)
            asked = _asked(known, expected, wanted)
            ask_cells = self._ask_cells(workspace_id, asked)
            commands = [self._ask_positions(), ask_days, *ask_cells, *ask_names]
            if ask_seen:
                commands.append(("ZSCORE", self.keys.workspaces, workspace_id))
            replies = await self._transaction(commands)
            asked_at = time.monotonic()
            positions = self._take_positions(replies[0])
            if positions is None:
                continue
            version, manifests = _manifests(replies[1], days, whole)
            known = self._remember_manifests(workspace_id, known, expected, manifests)
            if asked and not positions.complete:
                raise no_position(
                    positions.missing, positions.number
                )  # what is being put back, or taken away, has days without their parts
            if not version and not ask_seen:
                ask_seen = True
                continue
            if ask_seen:
                _require_days(version, replies[-1], positions)
            if manifests != expected and not _suits(asked, expected, manifests, wanted):
                continue
            state = State(positions, version)
            self._remember_state(workspace_id, asked_at, state)
            kept = manifests
            if positions.counts_from is not None:
                kept = {day: value for day, value in manifests.items() if day >= positions.counts_from}
            parts = _parts(asked, replies[2 : 2 + len(ask_cells)], kept.keys())
            of_names = replies[2 + len(ask_cells)] if names else ()
            return Snapshot(state, kept, parts, dict(zip(names, of_names, strict=True)))
        raise Unavailable("busy", "The counts move faster than they can be read.")

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
        commands: list[tuple[Any, ...]] = [
            self._ask_positions(),
            ("HMGET", self.keys.days(workspace_id), ALL, *days),
        ]
        for wanted in ranges:
            key = self.keys.rows(workspace_id, wanted.day)
            low, high = b"[" + wanted.low, b"(" + wanted.high
            bounds = ("ZREVRANGEBYLEX", key, high, low) if wanted.descending else ("ZRANGEBYLEX", key, low, high)
            commands.append((*bounds, "LIMIT", 0, wanted.limit))
        replies = await self._transaction(commands)
        positions = self._take_positions(replies[0])
        state = None if positions is None else State(positions, replies[1][0] or b"")
        if expected is not None:
            if state is None or not _same_kept(state, expected.state):
                raise Moved
            moved = [
                day for day, value in zip(days, replies[1][1:], strict=True) if value != expected.manifests.get(day)
            ]
            if moved:
                raise Moved
        elif state is None or not _still_kept(state, since, first_day):
            raise Unavailable("busy", "Rows went while they were read.")
        return cast("list[list[bytes]]", replies[2:])

    async def name_pieces(self, workspace_id: str) -> AsyncIterator[tuple[State, dict[bytes, bytes]]]:
        """All users and sources that the workspace has had, in pieces, each with the state that it was read in. What is
        there from the first piece to the last is in one of them; a field may be in two.
        """
        cursor = b"0"
        while True:
            replies = await self._transaction(
                [
                    self._ask_positions(),
                    ("HMGET", self.keys.days(workspace_id), ALL),
                    ("ZSCORE", self.keys.workspaces, workspace_id),
                    ("HSCAN", self.keys.names(workspace_id), cursor, "COUNT", NAMES_A_READ),
                ]
            )
            positions = self._take_positions(replies[0])
            if positions is None:
                continue
            try:
                _require_days(replies[1][0] or b"", replies[2], positions)
            except KeysLost as error:
                raise await self._report_lost(workspace_id, error) from None
            following, piece = replies[3]
            yield State(positions, replies[1][0] or b""), _pairs(piece)
            if not int(following):
                return
            cursor = following

    async def some_names(self, workspace_id: str, fields: Sequence[str]) -> dict[str, bytes | None]:
        """The given fields of `names`, as they are now."""
        [values] = await self._transaction([("HMGET", self.keys.names(workspace_id), *fields)])
        return dict(zip(fields, values, strict=True))

    async def workspaces(self, after: str, limit: int) -> list[str]:
        """Ids of workspaces above `after`, in the order of their bytes."""
        low = b"(" + after.encode() if after else b"-"
        [found] = await self._transaction([("ZRANGEBYLEX", self.keys.workspaces, low, b"+", "LIMIT", 0, limit)])
        return [name.decode() for name in found]

    async def operations(self) -> tuple[Mapping[bytes, bytes], list[bytes], list[bytes]]:
        """All fields of the positions, and what each worker and each process of the API told of itself last."""
        keys = self.keys
        fields, workers, apis = await self._transaction(
            [("HGETALL", keys.positions), ("ZRANGE", keys.ops, 0, -1), ("ZRANGE", keys.apis, 0, -1)]
        )
        told_by = [*(keys.ops_of(name.decode()) for name in workers), *(keys.api_of(name.decode()) for name in apis)]
        [told] = await self._transaction([("MGET", *told_by)]) if told_by else [[]]
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
        [scores] = await self._transaction([("ZMSCORE", self.keys.workspaces, *names)])
        return [name for name, score in zip(names, scores, strict=True) if score is not None]

    @asynccontextmanager
    async def changes(self) -> AsyncIterator[AsyncIterator[list[str]]]:
        """A subscription: the workspaces of each call that changed something, from the moment that it is entered.

        Raises Unavailable, also while it is read; what was missed then is not told.
        """
        client = redis_client(self._url, timeout_seconds=None, retries=0)
        try:
            async with client.pubsub(ignore_subscribe_messages=False) as subscription:
                await self._in_time(subscription.subscribe(self.keys.changes))
                await self._in_time(_confirmed(subscription))
                yield self._messages(subscription)
        finally:
            with suppress(RedisError, OSError):
                await client.aclose()

    async def _messages(self, subscription: Any) -> AsyncIterator[list[str]]:
        silent = False
        while True:
            try:
                message = await subscription.get_message(timeout=KEEP_ALIVE_SECONDS)
                if message is None and silent:
                    raise TimeoutError("nothing came of a subscription, not even the answer to a ping")
            except (RedisError, OSError) as error:
                raise self._unavailable(error) from error
            silent = message is None
            if message is None:
                await self._in_time(subscription.ping())
            elif message["type"] == "message":
                # Whoever may write to Redis may publish anything.
                yield message["data"].decode(errors="replace").split("\n")

    async def _transaction(self, commands: Iterable[tuple[Any, ...]]) -> list[Any]:
        if self._client is None:
            # `_in_time` bounds the whole read. A bound of the client's own would be set again for every reply, four to
            # ten times a read: about a tenth of what the smallest read costs.
            self._client = redis_client(self._url, timeout_seconds=None, retries=1)
        client = self._client
        self.reads += 1

        async def execute() -> list[Any]:
            async with self._slots, client.pipeline(transaction=True) as pipeline:
                for command in commands:
                    pipeline.execute_command(*command)
                return await pipeline.execute()

        return await self._in_time(execute())

    async def _in_time(self, call: Awaitable[T]) -> T:
        """The answer, or Unavailable after the time that a read may take."""
        try:
            async with asyncio.timeout(self._timeout_seconds):
                answer = await call
        except (RedisError, OSError, TimeoutError) as error:
            raise self._unavailable(error) from error
        if self._away:
            self._away = False
            log.info("Redis answers again")
        return answer

    def _unavailable(self, error: Exception) -> Unavailable:
        if not self._away:
            self._away = True
            log.warning("Redis does not answer: %s", str(error) or type(error).__name__)
        return Unavailable("redis_unavailable", "Redis does not answer at present.")

    async def _report_lost(self, workspace_id: str, error: KeysLost) -> Unavailable:
        """Have the workers send everything again, asked for at most once in REPORT_SECONDS. Returns what to raise."""
        self.lost_reads += 1
        now = time.monotonic()
        if now - self._lost_at >= REPORT_SECONDS and self._client is not None:
            self._lost_at = now
            log.error(
                "Redis has no %s (%s), perhaps evicted: asking the workers to resend everything", error, workspace_id
            )
            try:
                async with asyncio.timeout(self._timeout_seconds):
                    await report_lost_keys(self._client, self.keys)
            except (RedisError, OSError, TimeoutError) as failure:
                log.error("could not ask the workers to resend; run `contacts-report rebuild-redis`: %s", failure)
        return counts_lost()

    def _ask_positions(self) -> tuple[Any, ...]:
        fields = (Keys.position_field(p, name) for p in range(self._partitions) for name in READ_FIELDS)
        return ("HMGET", self.keys.positions, PARTITIONS, *fields)

    def _take_positions(self, reply: list[bytes | None]) -> Positions | None:
        """None where there are more partitions than this reply was asked for (another request may know them by now)."""
        number = int(reply[0] or 0)
        if number > (len(reply) - 1) // len(READ_FIELDS):
            self._partitions = max(self._partitions, number)
            return None
        raw, positions = self._positions
        if raw != reply:
            positions = read_positions(number, reply[1:])
            self._positions = (reply, positions)
        return positions

    def _ask_cells(self, workspace_id: str, asked: Mapping[int, _Asked]) -> list[tuple[Any, ...]]:
        """One command a hash; the fields of a day follow each other, days in order."""
        by_hash: dict[int, list[str]] = {}
        for day, (parts, bases) in asked.items():
            fields = by_hash.setdefault(day // DAYS_A_HASH, [])
            for partition, number in bases.items():
                fields.extend(_part_fields(day, partition, number, parts))
        return [
            ("HMGET", self.keys.cells(workspace_id, number * DAYS_A_HASH), *fields)
            for number, fields in by_hash.items()
        ]

    def _remember_manifests(
        self, workspace_id: str, known: _Known, expected: Mapping[int, bytes], manifests: Mapping[int, bytes]
    ) -> _Known:
        """What is known now: by what came first of reads that began together."""
        held: _Known | None = self._memory.get(("known", workspace_id))
        if held is not None and manifests == expected:
            held.restless.difference_update(expected)
            return held
        known = held or known
        for day, manifest in expected.items():
            if manifests.get(day) == manifest:
                known.restless.discard(day)
            elif day in manifests:
                known.restless.add(day)
            elif known.manifests.pop(day, None) is not None:
                known.restless.discard(day)
        known.manifests.update(manifests)
        if held is not None or known.manifests:
            self._memory.put(("known", workspace_id), known, known.bytes)
        return known

    def _remember_state(self, workspace_id: str, asked_at: float, state: State) -> None:
        if self._cache_seconds:
            size, shared = 300 + len(state.version), [(state.positions, _size_of_positions)]
            self._memory.put(("state", workspace_id), (asked_at, state), size, shared=shared)


def _size_of_positions(positions: Positions) -> int:
    return 300 + 160 * len(positions.partitions)


def _require_days(version: bytes, listed: bytes | None, positions: Positions) -> None:
    """A workspace in the list has its days, with a version; `listed` is its score there."""
    if not version and listed is not None and positions.complete:
        raise KeysLost("the days of a workspace that is listed")


def _expected(known: _Known, days: Sequence[int] | None) -> dict[int, bytes]:
    """What is known of the manifests of these days (None: all that there are), days ascending."""
    manifests = known.manifests
    return {day: manifests[day] for day in (sorted(manifests) if days is None else days) if day in manifests}


def _asked(known: _Known, expected: Mapping[int, bytes], wanted: Wanted) -> dict[int, _Asked]:
    """What to ask of the days, as far as it is known which parts there are."""
    manifests: Mapping[int, bytes | None] = expected
    if known.restless:
        manifests = {day: None if day in known.restless else manifest for day, manifest in expected.items()}
    return {day: _Asked(parts, _bases(_segments(expected[day]))) for day, parts in wanted(manifests).items()}


def _suits(
    asked: Mapping[int, _Asked], expected: Mapping[int, bytes], manifests: Mapping[int, bytes], wanted: Wanted
) -> bool:
    """Whether all that is wanted of the days that have moved was asked of them, as it is. What was asked may be less:
    it was thought that one of an answer's parts was remembered.
    """
    needed = wanted({day: None for day, manifest in manifests.items() if expected.get(day) != manifest})
    return all(
        day in asked
        and not parts & ~asked[day].parts
        and day in expected
        and _segments(expected[day]) == _segments(manifests[day])
        for day, parts in needed.items()
    )


@lru_cache(maxsize=2_048)
def _part_fields(day: int, partition: int, bases: int, parts: Parts) -> tuple[str, ...]:
    """The fields of one day and partition, in the order in which `_partition_day` takes their values."""
    names: list[str] = []
    if parts & Parts.SUMMARIES:
        names.extend(Keys.summary_field(day, partition, base) for base in range(bases))
    if parts & Parts.HEADS:
        names.extend(Keys.head_field(day, partition, base) for base in range(bases))
    if parts & Parts.CELLS:
        names.extend(Keys.cells_field(day, partition, base) for base in range(bases))
    names.append(Keys.tail_field(day, partition))
    return tuple(names)


def _parts(
    asked: Mapping[int, _Asked], replies: Sequence[Sequence[bytes | None]], kept: Container[int]
) -> dict[int, list[PartitionDay]]:
    # Days ascend, so the hashes do too, and the values come in the order of the days.
    values = list(chain.from_iterable(replies))
    found: dict[int, list[PartitionDay]] = {}
    at = 0
    for day, (parts, bases) in asked.items():
        kinds = _kinds_of_parts(parts)
        of_day = []
        for number in bases.values():
            tail = at + number * len(kinds)
            if day in kept:
                of_day.append(_partition_day(values[at:tail], values[tail], kinds, number))
            at = tail + 1
        if day in kept:
            found[day] = of_day
    return found


def _partition_day(
    of_bases: Sequence[bytes | None], tail: bytes | None, kinds: Sequence[PartName], bases: int
) -> PartitionDay:
    if None in of_bases:
        raise KeysLost("a base that the manifest of its day names")
    if bases == 0 and tail is None:
        raise KeysLost("the tail of a day that has nothing else")
    present = cast("Sequence[bytes]", of_bases)
    return PartitionDay(
        **{kind: present[i * bases : (i + 1) * bases] for i, kind in enumerate(kinds)},
        tail=tail,
    )


@lru_cache(maxsize=8)
def _kinds_of_parts(parts: Parts) -> tuple[PartName, ...]:
    """The fields of PartitionDay that are asked for, in the order of `_part_fields`."""
    named: tuple[tuple[Parts, PartName], ...] = (
        (Parts.SUMMARIES, "summaries"),
        (Parts.HEADS, "heads"),
        (Parts.CELLS, "cells"),
    )
    return tuple(name for part, name in named if parts & part)


def _manifests(reply: Any, days: Sequence[int] | None, whole: bool) -> tuple[bytes, dict[int, bytes]]:
    """The version of the workspace, and the manifests of the days asked for."""
    if not whole:
        assert days is not None
        return reply[0] or b"", {day: v for day, v in zip(days, reply[1:], strict=True) if v is not None}
    values = _pairs(reply)
    version = values.pop(ALL.encode(), b"")
    manifests = {int(day): value for day, value in values.items()}
    if days is not None:
        asked = set(days)
        manifests = {day: value for day, value in manifests.items() if day in asked}
    return version, manifests


@lru_cache(maxsize=512)
def _bases(segments: bytes) -> Mapping[int, int]:
    """Number of bases by partition; most days of most workspaces look alike."""
    return parse_manifest(b"- " + segments).bases if segments else {}


def _segments(manifest: bytes) -> bytes:
    """Which parts there are, without the version."""
    return manifest.partition(b" ")[2]


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


def _nothing(_manifests: Mapping[int, bytes | None]) -> Mapping[int, Parts]:
    return {}


async def _confirmed(subscription: Any) -> None:
    while (await subscription.get_message(timeout=None)) is None:
        pass
