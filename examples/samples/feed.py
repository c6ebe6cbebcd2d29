"""Makes believable traffic: events of several workspaces, the same for the same seed and time.

`history` is what happened before now, in the order in which it was published: office hours and evenings in the zones of
the workspaces, weekends, imports in bursts, deletions days after the additions, a few late, repeated and broken events.
`live` goes on from now, a few events a second. `feed` publishes both, and `python -m examples.samples.feed` runs it.
"""

import asyncio
import heapq
import itertools
import math
import os
import sys
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, tzinfo
from functools import lru_cache
from random import Random
from typing import Any

import msgspec
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from cli.bulk import BulkError, BulkProducer, open_bulk
from examples.samples.workspaces import WORKSPACES, Channel, Rhythm, Workspace
from stream.settings.declare import Sources, read
from stream.settings.kafka import KafkaAccess
from stream.settings.worker import WorkerConfig

DAYS = 60
SEED = 2026

LATE_SHARE = 0.004
DUPLICATE_SHARE = 0.005
BROKEN_SHARE = 0.0008
DELETED_SHARE = 0.08
"""Of the contacts that were added one by one; of imported ones a fifth of it."""
CAMPAIGN_SHARE = 0.02
"""Of the days: those on which customers write three times as much."""

IMPORT_ROWS = (400, 2_400)
IMPORT_ROWS_A_SECOND = 25.0

LIVE_EVENTS_A_SECOND = 3.0
LIVE_IMPORT_EVERY_SECONDS = 150.0
LIVE_IMPORT_ROWS = (80, 300)

SECOND = 1_000_000_000
RETRY_SECONDS = 2.0


class Sample(msgspec.Struct, frozen=True, gc=False):
    """A record to publish."""

    published_at: int
    """Nanoseconds since 1970; samples come in this order."""
    key: bytes
    value: bytes


@dataclass(frozen=True, slots=True)
class _Contact:
    contact_id: str | int
    name: str | None


class _Writer:
    """Makes events of one workspace; the order of the calls decides what is drawn."""

    def __init__(self, workspace: Workspace, rng: Random, first_contact: int) -> None:
        self.workspace = workspace
        self.key = workspace.workspace_id.encode()
        self._rng = rng
        self._numbers = itertools.count(first_contact)

    def contact(self) -> _Contact:
        rng, workspace = self._rng, self.workspace
        number = next(self._numbers)
        # int(random() * n) is a tenth of the cost of rng.choice, of which half of all time would go.
        given = workspace.given[int(rng.random() * len(workspace.given))]
        family = workspace.family[int(rng.random() * len(workspace.family))]
        name = f"{family} {given}" if workspace.family_first else f"{given} {family}"
        return _Contact(number if workspace.integer_ids else f"c_{number}", name if rng.random() < 0.93 else None)

    def added(self, contact: _Contact, at: int, channel: Channel, batch_id: str | None = None) -> bytes:
        user = self.workspace.users[0] if batch_id else self.user() if channel.by_user else None
        return self._event("contact.added", contact, at, channel.source, user, batch_id)

    def deleted(self, contact: _Contact, at: int) -> bytes:
        """Mostly by hand; now and then by a program, or by nobody knows whom."""
        source = self._rng.choices(("user", "developer_api", None), (80, 12, 8))[0]
        return self._event("contact.deleted", contact, at, source, self.user() if source == "user" else None, None)

    def user(self) -> tuple[str, str]:
        """The first of the users do most of the work."""
        users = self.workspace.users
        return users[min(int(self._rng.expovariate(0.7)), len(users) - 1)]

    def broken(self, at: int) -> bytes:
        """One event that cannot be counted, of any of the kinds that publishers get wrong."""
        contact = self.contact()
        event = msgspec.json.decode(self._event("contact.added", contact, at, "user", None, None))
        kind = self._rng.randrange(8)
        if kind == 0:
            return msgspec.json.encode(event)[:-7]
        changes: tuple[dict[str, Any], ...] = (
            {"contact_id": None},
            {"type": "contact.updated"},
            {"source": "user,echo_message"},
            {"occurred_at": event["occurred_at"][:19]},
            {"occurred_at": "1999-12-31T23:59:59Z"},
            {"occurred_at": _text(at + 400 * 86_400 * SECOND, self.workspace)},
            {"contact_name": "x" * 70_000},
        )
        return msgspec.json.encode(event | changes[kind - 1])

    def _event(
        self, kind: str, contact: _Contact, at: int, source: str | None, user: tuple[str, str] | None, batch: str | None
    ) -> bytes:
        event: dict[str, Any] = {
            "id": f"{self._rng.getrandbits(96):024x}",
            "type": kind,
            "workspace_id": self.workspace.workspace_id,
            "contact_id": contact.contact_id,
            "contact_name": contact.name,
            "source": source,
            "occurred_at": _text(at, self.workspace),
        }
        if user is not None:
            event["user_id"], event["user_name"] = user
        if batch is not None:
            event["batch_id"] = batch
        return msgspec.json.encode(event)


def history(seed: int, now: datetime, days: int = DAYS) -> Iterator[Sample]:
    """What was published in the `days` before `now` (with a zone), oldest first: some 80,000 samples in 60 days."""
    end = _nanoseconds(now)
    samples: list[Sample] = []
    for workspace in WORKSPACES:
        rng = Random(f"{seed} {workspace.workspace_id}")
        samples += _history_of(_Writer(workspace, rng, 10_000), rng, now, days)
    samples.sort(key=lambda sample: sample.published_at)
    start = end - days * 86_400 * SECOND
    return (sample for sample in samples if start <= sample.published_at <= end)


def live(seed: int, now: datetime) -> Iterator[Sample]:
    """What is published from `now` on, without an end; each sample is to be sent at its `published_at`."""
    rng = Random(f"{seed} live {now.isoformat()}")
    start = _nanoseconds(now)
    writers = [_Writer(workspace, rng, 10_000_000 + start // SECOND % 10_000_000) for workspace in WORKSPACES]
    recent: dict[str, deque[_Contact]] = {each.workspace_id: deque(maxlen=200) for each in WORKSPACES}
    waiting: list[tuple[int, int, Sample]] = []
    order = itertools.count()
    clock, next_import = start, start + int(rng.uniform(0.3, 1.0) * LIVE_IMPORT_EVERY_SECONDS * SECOND)
    while True:
        # The rate swells and ebbs over a minute or two.
        swell = 1.0 + 0.6 * math.sin((clock - start) / SECOND / 17.0)
        clock += int(rng.expovariate(LIVE_EVENTS_A_SECOND * swell) * SECOND)
        hour = {writer.workspace.workspace_id: _local_hour(clock, writer.workspace) for writer in writers}
        writer = rng.choices(
            writers,
            [
                each.workspace.daily * (0.5 + Rhythm.CUSTOMERS.value[hour[each.workspace.workspace_id]])
                for each in writers
            ],
        )[0]
        workspace = writer.workspace
        made: list[Sample]
        if clock >= next_import:
            next_import = clock + int(rng.uniform(0.6, 1.4) * LIVE_IMPORT_EVERY_SECONDS * SECOND)
            made = _import(writer, rng, clock, rng.randint(*LIVE_IMPORT_ROWS))
        elif recent[workspace.workspace_id] and rng.random() < DELETED_SHARE:
            contact = recent[workspace.workspace_id].popleft()
            made = [Sample(clock, writer.key, writer.deleted(contact, clock))]
        else:
            contact = writer.contact()
            recent[workspace.workspace_id].append(contact)
            weights = [
                channel.share * (0.2 + channel.rhythm.value[hour[workspace.workspace_id]])
                for channel in workspace.channels
            ]
            channel = rng.choices(workspace.channels, weights)[0]
            at = clock - int(rng.uniform(120, 2_400) * SECOND) if rng.random() < LATE_SHARE else clock
            made = _with_mishaps(writer, rng, Sample(clock, writer.key, writer.added(contact, at, channel)))
        for sample in made:
            heapq.heappush(waiting, (sample.published_at, next(order), sample))
        while waiting and waiting[0][0] <= clock:
            yield heapq.heappop(waiting)[2]


def _history_of(writer: _Writer, rng: Random, now: datetime, days: int) -> Iterator[Sample]:
    workspace = writer.workspace
    end = _nanoseconds(now)
    # A day more at the beginning: the local day may have begun before the first instant.
    dates = [now.astimezone(workspace.zone).date() - timedelta(days=days - number) for number in range(days + 1)]
    imports = _import_days(workspace, rng, dates)
    for number, day in enumerate(dates):
        midnight = _nanoseconds(datetime(day.year, day.month, day.day, tzinfo=workspace.zone))
        growth = 0.85 + 0.3 * number / max(1, days)
        campaign = 3.0 if rng.random() < CAMPAIGN_SHARE else 1.0
        for channel in workspace.channels:
            busy = _busy(workspace, channel, day) * (campaign if channel.rhythm is Rhythm.CUSTOMERS else 1.0)
            mean = workspace.daily * channel.share * growth * busy * rng.lognormvariate(0.0, 0.18)
            for at in _times(rng, midnight, channel.rhythm, mean):
                if at > end:
                    continue
                contact = writer.contact()
                late = int(rng.uniform(300, 2 * 86_400) * SECOND) if rng.random() < LATE_SHARE else 0
                sample = Sample(at + late, writer.key, writer.added(contact, at, channel))
                yield from _with_mishaps(writer, rng, sample)
                if rng.random() < DELETED_SHARE:
                    yield _later_deletion(writer, rng, contact, at)
        for _ in range(imports.count(day)):
            started = next(_times(rng, midnight, Rhythm.OFFICE, 1.0, exactly=1))
            if started <= end:
                yield from _import(writer, rng, started, rng.randint(*IMPORT_ROWS), deletions=True)


def _import_days(workspace: Workspace, rng: Random, dates: Sequence[date]) -> list[date]:
    """The days on which somebody imports a file; only working days, and today none: it would hide all else."""
    working = [day for day in dates[1:-1] if day.weekday() not in workspace.weekend]
    count = round(workspace.imports * len(dates) / DAYS)
    return [rng.choice(working) for _ in range(count)] if working else []


def _import(writer: _Writer, rng: Random, at: int, rows: int, *, deletions: bool = False) -> list[Sample]:
    batch_id = f"import-{rng.getrandbits(32):08x}"
    channel = Channel("contact_import", 1.0, Rhythm.OFFICE, by_user=True)
    samples: list[Sample] = []
    for _ in range(rows):
        at += int(rng.expovariate(IMPORT_ROWS_A_SECOND) * SECOND)
        contact = writer.contact()
        samples.append(Sample(at, writer.key, writer.added(contact, at, channel, batch_id)))
        if deletions and rng.random() < DELETED_SHARE / 5:
            samples.append(_later_deletion(writer, rng, contact, at))
    return samples


def _later_deletion(writer: _Writer, rng: Random, contact: _Contact, added_at: int) -> Sample:
    """Days after the addition, in office hours."""
    zone = writer.workspace.zone
    day = datetime.fromtimestamp(added_at / SECOND, zone).date() + timedelta(days=1 + int(rng.expovariate(1 / 6)))
    midnight = _nanoseconds(datetime(day.year, day.month, day.day, tzinfo=zone))
    at = next(_times(rng, midnight, Rhythm.OFFICE, 1.0, exactly=1))
    return Sample(at, writer.key, writer.deleted(contact, at))


def _with_mishaps(writer: _Writer, rng: Random, sample: Sample) -> list[Sample]:
    """The sample; at times also a copy of it, or a broken event beside it."""
    samples = [sample]
    if rng.random() < DUPLICATE_SHARE:
        samples.append(Sample(sample.published_at + int(rng.uniform(0.5, 90) * SECOND), sample.key, sample.value))
    if rng.random() < BROKEN_SHARE:
        samples.append(Sample(sample.published_at, sample.key, writer.broken(sample.published_at)))
    return samples


def _busy(workspace: Workspace, channel: Channel, day: date) -> float:
    if day.weekday() not in workspace.weekend:
        return 1.0
    return {Rhythm.OFFICE: 0.06, Rhythm.CUSTOMERS: 0.55, Rhythm.MACHINES: 0.8}[channel.rhythm]


def _times(rng: Random, midnight: int, rhythm: Rhythm, mean: float, exactly: int | None = None) -> Iterator[int]:
    """Instants of a local day; about `mean` of them, or `exactly` so many."""
    count = exactly if exactly is not None else max(0, round(rng.gauss(mean, math.sqrt(mean))))
    hours = rng.choices(range(24), rhythm.value, k=count)
    return (midnight + int((hour + rng.random()) * 3600 * SECOND) for hour in hours)


def _local_hour(at: int, workspace: Workspace) -> int:
    return datetime.fromtimestamp(at // SECOND, workspace.zone).hour


def _nanoseconds(moment: datetime) -> int:
    return int(moment.timestamp()) * SECOND + moment.microsecond * 1000


def _text(at: int, workspace: Workspace) -> str:
    """RFC 3339, as the workspace's publisher writes it."""
    hour, minute, offset = _quarter_text(at // (900 * SECOND), workspace.zone if workspace.local_offset else UTC)
    second = at // SECOND % 900
    fraction = f".{at % SECOND:09d}"[: workspace.fraction_digits + 1] if workspace.fraction_digits else ""
    return f"{hour}:{minute + second // 60:02d}:{second % 60:02d}{fraction}{offset}"


@lru_cache(maxsize=4_096)
def _quarter_text(quarter: int, zone: tzinfo) -> tuple[str, int, str]:
    """Date and hour, minute, and offset of a quarter-hour: offsets change only where one begins."""
    text = datetime.fromtimestamp(quarter * 900, zone).isoformat(timespec="minutes")
    offset = text[16:]
    return text[:13], int(text[14:16]), "Z" if offset == "+00:00" else offset


# ---- publishing ----------------------------------------------------------------------------------------------------


async def feed(
    kafka: KafkaAccess,
    topic: str,
    *,
    seed: int = SEED,
    days: int = DAYS,
    say: Callable[[str], None] = print,
) -> None:
    """Publish the history, where the topic is empty, and then live events until cancelled.

    While Kafka is away it tries again; what was to be sent in that time is left out.
    """
    began = datetime.now(UTC)
    past_is_there = False
    while True:
        try:
            async with open_bulk(kafka, topic) as bulk:
                if not past_is_there and await _is_empty(kafka, bulk):
                    await bulk.put_all((sample.key, sample.value) for sample in history(seed, began, days))
                    await bulk.flush()
                    say(f"{bulk.acknowledged:,} events of the last {days} days are published")
                past_is_there = True
                await _feed_live(bulk, seed)
        except (BulkError, KafkaError) as error:
            say(f"{error}; trying again")
            await asyncio.sleep(RETRY_SECONDS)


async def _feed_live(bulk: BulkProducer, seed: int) -> None:
    loop = asyncio.get_running_loop()
    now = datetime.now(UTC)
    ahead = _nanoseconds(now) - int(loop.time() * SECOND)
    for sample in live(seed, now):
        wait = (sample.published_at - ahead) / SECOND - loop.time()
        if wait > 0:
            await bulk.flush()
            await asyncio.sleep(wait)
        await bulk.put_all([(sample.key, sample.value)])


async def _is_empty(kafka: KafkaAccess, bulk: BulkProducer) -> bool:
    consumer = AIOKafkaConsumer(**kafka.options(), enable_auto_commit=False)
    await consumer.start()
    try:
        ends = await consumer.end_offsets([TopicPartition(bulk.topic, number) for number in range(bulk.partitions)])
        return not any(ends.values())
    finally:
        await consumer.stop()


def main() -> None:
    config = read(WorkerConfig, Sources({}, os.environ, {})).config()
    asyncio.run(feed(config.access, config.topic, say=lambda text: print(text, file=sys.stderr, flush=True)))


if __name__ == "__main__":
    main()
