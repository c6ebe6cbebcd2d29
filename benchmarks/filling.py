"""Redis as workers fill it, without a broker: partitions that apply, commit and project events that are made here."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from itertools import islice
from random import Random
from typing import Any

from redis import Redis

from benchmarks.datasets import DAY_SECONDS, minute_text
from stream.projection.backfill import RowBackfill
from stream.projection.projector import Projector
from stream.projection.replica import RedisReplica
from stream.settings.redis import redis_client
from stream.storage.keys import Keys
from stream.tables.batch import Batch
from stream.tables.partition import PartitionState
from stream.tables.position import INCARNATION_BYTES
from stream.tables.rules import CountingRules

GROUP = "bench"
USERS = 40
COMMIT_EVENTS = 5_000
TIMEOUT_SECONDS = 30.0

SERIES: Mapping[tuple[str, str | None, str | None], float] = {
    ("contact.added", "incoming_message", None): 40,
    ("contact.added", "contact_import", None): 14,
    ("contact.added", "developer_api", None): 6,
    ("contact.deleted", "contact_import", None): 3,
    ("contact.added", None, None): 0.5,
    **{("contact.added", "user", f"u_{user}"): 30 / (user + 1.5) for user in range(USERS)},
    **{("contact.deleted", "user", f"u_{user}"): 10 / (user + 1.5) for user in range(USERS)},
    **{("contact.added", "echo_message", f"u_{user}"): 7.5 / (user + 1.5) for user in range(USERS // 4)},
}
"""What a busy workspace's events are, with weights: messages come first, users share the rest."""

QUARTER_WEIGHTS = tuple(1 + 6 * max(0.0, 1 - abs(quarter - 44) / 30) for quarter in range(96))


@dataclass(frozen=True, slots=True)
class Made:
    """An event as a record of a topic."""

    value: bytes
    timestamp: int
    offset: int = 0
    key: bytes | None = None
    timestamp_type: int = 1
    headers: Sequence[tuple[str, bytes]] = ()


class Clock:
    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000


class Partition:
    """One source partition; `take` ends when Redis shows what was taken."""

    def __init__(self, redis_url: str, number: int = 0, partitions: int = 1, *, rows: bool = True) -> None:
        self._client = redis_client(redis_url, timeout_seconds=TIMEOUT_SECONDS)
        keys, self._clock = Keys(GROUP), Clock()
        self._state = PartitionState(number, CountingRules(keep_rows=rows))
        self._state.begin(incarnation=secrets.token_bytes(INCARNATION_BYTES), first_offset=0, partitions=partitions)
        replica = RedisReplica(self._client, keys)
        topic: Any = None  # every row comes with its commit, so none is read again
        self._projector = Projector(
            number,
            keys=keys,
            replica=replica,
            rows=RowBackfill(topic, number, 300) if rows else None,
            clock=self._clock,
            worker="bench",
            future_tolerance_seconds=300,
        )
        self._projector.partitions = partitions

    async def take(self, events: Iterable[Made]) -> None:
        """Count events, which are given offsets here, in commits of COMMIT_EVENTS."""
        left = iter(events)
        while records := list(islice(left, COMMIT_EVENTS)):
            start = self._state.position.next_offset
            numbered = [Made(of.value, of.timestamp, start + i) for i, of in enumerate(records)]
            self._state.apply(Batch(numbered, start, start + len(numbered)))
            commit = self._state.encode()
            assert commit.outcomes.counted == len(numbered), commit.outcomes
            if not self._projector.in_sync:
                assert await self._projector.resync(self._state, start)
            self._projector.note_end(commit.position.next_offset, self._clock.now_ms())
            assert await self._projector.project(commit)

    async def close(self) -> None:
        await self._client.aclose()


def busy_days(rng: Random, workspace: str, first: date, days: int, cells: int) -> Iterator[Made]:
    """So many cells on each of so many days, most with one event; in order of time."""
    series, weights = list(SERIES), list(SERIES.values())
    for number in range(days):
        drawn: dict[tuple[int, int], None] = {}
        while len(drawn) < cells:
            more = cells - len(drawn)
            quarters = rng.choices(range(96), QUARTER_WEIGHTS, k=more)
            drawn.update(dict.fromkeys(zip(quarters, rng.choices(range(len(series)), weights, k=more), strict=True)))
        start = (day_number(first) + number) * DAY_SECONDS
        times = [
            (start + quarter * 900 + rng.randrange(900), one)
            for quarter, one in drawn
            for _ in range(rng.choice((1, 1, 1, 1, 2)))
        ]
        for at, one in sorted(times):
            yield event(rng, workspace, at, *series[one])


def event(rng: Random, workspace: str, at: int, kind: str, source: str | None, user: str | None) -> Made:
    """An event at a second since 1970."""
    bits = rng.getrandbits(128)
    of = f',"source":"{source}"' if source is not None else ""
    who = f',"user_id":"{user}","user_name":"Member {user}"' if user is not None else ""
    value = (
        f'{{"id":"{bits:032x}","type":"{kind}","workspace_id":"{workspace}","contact_id":"{bits % 10_000_000}",'
        f'"contact_name":"Contact {bits % 10_000_000}"{of}{who},"occurred_at":"{minute_text(at // 60)}{at % 60:02d}Z"}}'
    )
    return Made(value.encode(), at * 1000)


def repeat_days(client: Redis, workspace: str, first: date, days: int, times: int) -> None:
    """The days from `first` on once more, so many times before themselves: as if each had been filled, but at once."""
    keys = Keys(GROUP)
    for day in range(day_number(first), day_number(first) + days):
        manifest: bytes = client.hget(keys.days(workspace), str(day))  # type: ignore[assignment]
        parts: dict[bytes, bytes] = client.hgetall(keys.cells(workspace, day))  # type: ignore[assignment]
        mine = {name.partition(b".")[2]: part for name, part in parts.items() if name.startswith(b"%d." % day)}
        for earlier in range(day - days * times, day, days):
            fields = {b"%d.%s" % (earlier, name): part for name, part in mine.items()}
            client.hset(keys.cells(workspace, earlier), mapping=fields)  # type: ignore[arg-type]
            client.hset(keys.days(workspace), str(earlier), secrets.token_hex(8).encode() + manifest[16:])


def day_number(day: date) -> int:
    """Since 1970."""
    return (day - date(1970, 1, 1)).days


def renew(client: Redis, workspace: str) -> None:
    """Every day of a workspace changes, though its counts stay: nothing that is remembered of it is good any more."""
    key = Keys(GROUP).days(workspace)
    manifests: dict[bytes, bytes] = client.hgetall(key)  # type: ignore[assignment]
    renewed = {day: secrets.token_hex(8).encode() + manifest[16:] for day, manifest in manifests.items()}
    client.hset(key, mapping=renewed)  # type: ignore[arg-type]
