"""Reads the status of a deployment: Kafka's part, which needs no Redis, and Redis' part, which needs no Kafka.

Kafka   the topics, the members of the group, and of each partition its end and the committed position, which is
        the changelog's last record
Redis   what readers see of each partition, and what each worker tells of itself
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from stream.audit.membership import REASONS, Silent, find_silent
from stream.causes import Cause, Trouble, rank
from stream.ingest.rejects import WINDOW_SECONDS, Recent, total
from stream.kafka.groups import Member, group_members
from stream.kafka.reading import TopicReader, open_reader
from stream.kafka.topics import PARTITIONS, TopicsError, count_partitions, find_differences, open_topics, wanted_topics
from stream.model.words import name_partitions
from stream.ports import KafkaAway
from stream.projection.shown import RedisPart, ShownPartition
from stream.projection.worker_status import EXPIRES_SECONDS
from stream.settings.worker import WorkerConfig
from stream.storage.formats import FormatError
from stream.tables.position import KEY, Fingerprint, Position, decode_position

LAST_OFFSETS: Final = (16, 4_096)
"""How far before a changelog's end its last position is looked for: right before the end, but for what was aborted."""


class KafkaPart(msgspec.Struct):
    """What Kafka says; `failure` where it could not be asked."""

    failure: str | None = None
    members: list[Member] = []
    topic: str = ""
    differences: list[str] = []
    ends: dict[int, int] = {}
    positions: dict[int, int | None] = {}
    """The next offset that is not committed; None where nothing is."""
    others: dict[int, int] = {}
    """Of partitions that have another record where one was counted: its offset."""


async def ask_kafka(config: WorkerConfig) -> KafkaPart:
    """Never raises: what fails is said."""
    part = KafkaPart(topic=config.topic)
    try:
        await _ask_topics(config, part)
        part.members = await group_members(config.access, config.group)
        async with (
            open_reader(config.access, config.topic) as source,
            open_reader(config.access, config.changelog_topic) as changelog,
        ):
            partitions = range(await source.partitions())
            there = await changelog.partitions()
            prints: dict[int, Fingerprint] = {}
            for partition in partitions:
                position = await last_position(changelog, partition) if partition < there else None
                part.positions[partition] = None if position is None else position.next_offset
                if position is not None and position.fingerprint is not None:
                    prints[partition] = position.fingerprint
            bounds = await source.bounds(partitions)  # after the positions, which go on meanwhile
            part.ends = {partition: end for partition, (_, end) in bounds.items()}
            there_still = {p: one for p, one in prints.items() if bounds[p][0] <= one.offset < bounds[p][1]}
            part.others = await _find_others(source, there_still)
    except (KafkaAway, TopicsError, FormatError) as error:
        part.failure = str(error)
    return part


async def _find_others(source: TopicReader, prints: Mapping[int, Fingerprint]) -> dict[int, int]:
    """The partitions that have another record where one was counted, and its offset. Raises KafkaAway."""
    spans: dict[int, tuple[int, int | None]] = {p: (one.offset, one.offset + 1) for p, one in prints.items()}
    found: dict[int, int] = {}
    async for partition, batch in source.read(spans):
        for record in batch.records:
            if Fingerprint.of(record) != prints[partition]:
                found[partition] = record.offset
    return found


async def last_position(changelog: TopicReader, partition: int) -> Position | None:
    """The committed position of a partition, out of the end of its changelog. Raises KafkaAway and FormatError."""
    first, end = (await changelog.bounds([partition]))[partition]
    for offsets in (*LAST_OFFSETS, end - first):
        found = None
        async for _, batch in changelog.read({partition: (max(first, end - offsets), end)}):
            found = next((record.value for record in reversed(batch.records) if record.key == KEY), found)
        if found is not None:
            return decode_position(found)
    return None


def _owners(workers: Sequence[Mapping[str, Any]]) -> dict[int, tuple[str, Mapping[str, Any]]]:
    return {int(p): (str(one["worker"]), of) for one in workers for p, of in one.get("partitions", {}).items()}


class Line(msgspec.Struct):
    """All that is known of one partition."""

    partition: int
    phase: str | None
    position: int | None
    end: int | None
    lag: int | None
    as_of_ms: int | None
    events_per_second: float | None
    owner: str | None
    committed_ms: int | None
    projected_ms: int | None
    failure: str | None


def lines(kafka: KafkaPart, redis: RedisPart) -> list[Line]:
    """The partitions, each from what knows best: position and end are Kafka's, else the worker's."""
    owners = _owners(redis.workers)
    found = []
    for partition in sorted({*kafka.ends, *redis.shown, *owners}):
        owner, of = owners.get(partition, (None, {}))
        shown = redis.shown.get(partition, ShownPartition())
        position, end = kafka.positions.get(partition), kafka.ends.get(partition)
        if position is None and kafka.failure is not None:
            position = of.get("position", shown.position)
        lag = of.get("lag") if position is None or end is None else max(0, end - position)
        found.append(
            Line(
                partition,
                of.get("phase"),
                position,
                end,
                lag,
                shown.as_of_ms,
                of.get("events_per_second"),
                owner,
                of.get("committed_ms"),
                of.get("projected_ms"),
                of.get("waiting") or of.get("failure"),
            )
        )
    return found


def wrong(kafka: KafkaPart, redis: RedisPart, now_ms: int, stalled_after_ms: int) -> list[str]:
    """What is not as it should be, in words, causes before what follows from them."""
    recent = total(recent_of(redis.workers))
    return rank(
        [
            *_wrong_in_kafka(kafka, redis),
            *_wrong_in_redis(kafka, redis),
            *(Trouble(Cause.SETTINGS, difference) for difference in kafka.differences),
            *_wrong_partitions(kafka, redis, now_ms - stalled_after_ms),
            *_gone_workers(kafka, redis, now_ms),
            *(
                Trouble(Cause.WORKER, f"worker {one['worker']}: {one['reason']}")
                for one in redis.workers
                if one.get("reason")
            ),
            *([Trouble(Cause.PUBLISHERS, _too_many(recent))] if recent.too_many else []),
        ]
    )


def recent_of(workers: Sequence[Mapping[str, Any]]) -> list[Recent]:
    """What each worker counted and rejected recently; none of an older release, which does not tell it."""
    return [msgspec.convert(one["recent"], Recent) for one in workers if "recent" in one]


def _too_many(recent: Recent) -> str:
    return (
        f"publishers send what cannot be counted: {recent.rejected:,} of {recent.events:,} events of the last "
        f"{WINDOW_SECONDS // 60} minutes were rejected ({recent.rejected / max(recent.events, 1):.0%}); "
        "`contacts-report dlq ls --counts` says why, and of which keys"
    )


def _wrong_in_kafka(kafka: KafkaPart, redis: RedisPart) -> Iterator[Trouble]:
    counted = max((one.position or 0 for one in redis.shown.values()), default=0)
    if kafka.failure is not None:
        yield Trouble(Cause.KAFKA, f"Kafka: {kafka.failure}")
        return
    if not kafka.ends:
        yield Trouble(
            Cause.TOPIC,
            f"the topic of activity is gone, and {counted} of its offsets were counted: do not create it again, a new "
            "one ends every worker (docs/runbook.md, A topic that is gone)"
            if counted
            else "there is no topic of activity: `contacts-report topics` makes what is needed",
        )
        return
    cut = [
        partition
        for partition, position in sorted(kafka.positions.items())
        if position is not None and position > kafka.ends.get(partition, position)
    ]
    if cut:
        first, *others = cut
        likewise = f" (likewise {name_partitions(others)})" if others else ""
        yield Trouble(
            Cause.TOPIC,
            f"partition {first} was counted up to offset {kafka.positions[first]}, and ends at {kafka.ends[first]}"
            f"{likewise}: the topic was deleted and created again, or lost records (docs/runbook.md, A topic that was "
            "created again)",
        )
    elif kafka.others:
        (first, offset), *more = sorted(kafka.others.items())
        likewise = f" (likewise {name_partitions([partition for partition, _ in more])})" if more else ""
        yield Trouble(
            Cause.TOPIC,
            f"partition {first} has another record at offset {offset} than the one that was counted{likewise}: the "
            "topic was deleted and created again (docs/runbook.md, A topic that was created again)",
        )
    if not kafka.members:
        yield Trouble(Cause.WORKERS, "no worker is in the group: nothing is counted")


def _wrong_in_redis(kafka: KafkaPart, redis: RedisPart) -> Iterator[Trouble]:
    if redis.failure is not None:
        yield Trouble(Cause.REDIS, redis.failure)
        return
    if redis.evicts:
        yield Trouble(
            Cause.REDIS_WRITES,
            f"Redis evicts counts (maxmemory-policy {redis.policy}), so workers send it nothing: set noeviction",
        )
    elif redis.full:
        yield Trouble(Cause.REDIS_WRITES, "Redis is full and takes no writes: raise its maxmemory")
    expected = max(redis.partitions, len(kafka.ends))
    missing = [p for p in range(expected) if redis.shown.get(p, ShownPartition()).position is None]
    if not redis.partitions:
        yield Trouble(
            Cause.REDIS_EMPTY,
            "this Redis has nothing of the group, so readers get 503: no worker of it has written here, or it was just "
            "emptied",
        )
    elif missing:
        yield Trouble(Cause.READERS, f"readers get 503: Redis has no position of {name_partitions(missing)}")


def _wrong_partitions(kafka: KafkaPart, redis: RedisPart, stalled_ms: int) -> Iterator[Trouble]:
    """One for each thing that is wrong, with all partitions of which it is so."""
    if redis.failure is not None:
        return
    # A full Redis takes no reports either, and those that it has expire.
    silent = None if redis.full else find_silent(kafka.members, redis.workers, kafka.topic)
    named = () if silent is None else silent.partitions
    found: dict[str, list[int]] = {}
    stalled: dict[int, int] = {}
    for line in lines(kafka, redis):
        if line.partition in named:
            pass
        elif redis.workers and line.owner is None:
            found.setdefault("not owned by a worker that reports to this Redis", []).append(line.partition)
        elif line.failure is not None:
            phase = "" if line.phase == "counting" else f"{line.phase}: "
            found.setdefault(f"{phase}{line.failure}", []).append(line.partition)
        if line.as_of_ms is not None and line.as_of_ms < stalled_ms:
            stalled[line.partition] = line.as_of_ms
    if silent is not None:
        yield Trouble(Cause.WORKERS, _silent_members(silent))
    for text, of in found.items():
        yield Trouble(Cause.PARTITION, f"{name_partitions(of)}: {text}")
    if stalled:
        since = _utc(min(stalled.values()))
        yield Trouble(Cause.READERS, f"{name_partitions(stalled)}: readers' numbers stand still since {since}")


def _gone_workers(kafka: KafkaPart, redis: RedisPart, now_ms: int) -> Iterator[Trouble]:
    """Workers that fell silent within the last ten minutes and that no later one replaces, and how their partitions
    fare; none where Redis is full and takes no reports.
    """
    if redis.full:
        return
    begun = sorted(one.get("started_ms", 0) for one in redis.workers)
    uncounted = [line.partition for line in lines(kafka, redis) if line.phase != "counting"]
    fare = f"{name_partitions(uncounted)} not counted" if uncounted else "others count all partitions"
    for worker, told_ms in sorted(redis.gone.items(), key=lambda item: item[1], reverse=True):
        if begun and begun[-1] > told_ms:  # another was started in its place
            begun.pop()
            continue
        silent_ms = now_ms - told_ms
        if silent_ms > EXPIRES_SECONDS * 1000:  # else it may be about to stop
            yield Trouble(
                Cause.WORKERS,
                f"worker {worker} is gone: it reported last {silent_ms / 1000:.0f} s ago, and did not say that it "
                f"stops; {fare} (docs/runbook.md, A worker that was killed without a line)",
            )


def _silent_members(silent: Silent) -> str:
    return f"{silent.words}: {REASONS} (docs/runbook.md, A worker that reports to another Redis)"


def _utc(milliseconds: int) -> str:
    return datetime.fromtimestamp(milliseconds / 1000, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


async def _ask_topics(config: WorkerConfig, part: KafkaPart) -> None:
    wanted = wanted_topics(config)
    async with open_topics(config.access) as topics:
        actual = await topics.describe([topic.name for topic in wanted])
    partitions = count_partitions(config.topic, actual, config.partitions)
    part.differences = [f"there is no topic {topic.name}" for topic in wanted if topic.name not in actual]
    part.differences += [
        f"{difference}: `contacts-report topics --partitions {partitions}` raises it"
        if difference.what == PARTITIONS
        else str(difference)
        for difference in find_differences(wanted, actual, partitions)
    ]
