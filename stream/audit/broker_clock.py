"""Compares the brokers' clock with this machine's, without writing anything.

No request tells a broker's time. But a record that the broker stamps while somebody looks was stamped between two
looks, and no record that is there already may be stamped ahead of now. So a clock that is behind is seen only while
events come.
"""

from __future__ import annotations

import asyncio
import time
from typing import Final

from stream.audit.finding import Finding, bad, good
from stream.ingest.event import LOG_APPEND_TIME, Record
from stream.kafka.reading import TopicReader, open_reader
from stream.ports import KafkaAway
from stream.settings.worker import WorkerConfig

SUBJECT: Final = "clocks of Kafka"
CLOCKS_DIFFER_MS: Final = 60_000
"""Much longer than a look takes, and than a transaction of a publisher usually is open."""
LOOK_SECONDS: Final = 3.0
LOOK_AGAIN_SECONDS: Final = 0.2
MARKERS: Final = 20
"""Offsets at the end of a partition of which one is a record, and not the end of a transaction."""


def now_ms() -> int:
    """Of this machine's clock."""
    return time.time_ns() // 1_000_000


async def check_broker_clock(config: WorkerConfig) -> Finding:
    """What the activity topic says of it."""
    try:
        async with open_reader(config.access, config.topic) as reader:
            return await _look(config, reader)
    except KafkaAway as error:
        return bad(SUBJECT, f"cannot be compared: {error}", "Whether they agree with this machine's is not known.")


async def _look(config: WorkerConfig, reader: TopicReader) -> Finding:
    partitions = range(await reader.partitions())
    loop = asyncio.get_running_loop()
    deadline, before = loop.time() + LOOK_SECONDS, now_ms()
    spans = await reader.bounds(partitions)
    newest = [await _last(reader, partition, *span) for partition, span in spans.items()]
    stamped = max((record.timestamp for record in newest if record is not None), default=0)
    if any(record is not None and record.timestamp_type != LOG_APPEND_TIME for record in newest):
        return good(SUBJECT, f"are not told: publishers set the times of {config.topic}")
    if stamped - now_ms() >= CLOCKS_DIFFER_MS:
        return _differ(config, stamped - now_ms())
    while loop.time() < deadline:
        await asyncio.sleep(LOOK_AGAIN_SECONDS)
        asked = now_ms()
        ends = {partition: end for partition, (_, end) in (await reader.bounds(partitions)).items()}
        answered = now_ms()
        for partition, (first, end) in spans.items():
            came = await _last(reader, partition, max(first, end), ends[partition])
            if came is not None:
                return _compared(config, came.timestamp, before, answered)
        spans = {partition: (first, ends[partition]) for partition, (first, _) in spans.items()}
        before = asked
    return good(
        SUBJECT,
        f"no record of {config.topic} is stamped ahead of this machine's clock; no event came in {LOOK_SECONDS:g} s, "
        "by which a clock that is behind would be seen",
    )


async def _last(reader: TopicReader, partition: int, first: int, end: int) -> Record | None:
    """The last record of a span, where its end has one."""
    found = None
    async for _, batch in reader.read({partition: (max(first, end - MARKERS), end)}):
        for record in batch.records:
            found = record
    return found


def _compared(config: WorkerConfig, stamped_ms: int, earliest_ms: int, latest_ms: int) -> Finding:
    """`stamped_ms` is what the broker's clock said between two readings of ours."""
    if stamped_ms - latest_ms >= CLOCKS_DIFFER_MS:
        return _differ(config, stamped_ms - latest_ms)
    if earliest_ms - stamped_ms >= CLOCKS_DIFFER_MS:
        return _differ(config, stamped_ms - earliest_ms)
    most = max(latest_ms - stamped_ms, stamped_ms - earliest_ms) / 1000
    return good(SUBJECT, f"the brokers' clock and this machine's are at most {most:.1f} s apart")


def _differ(config: WorkerConfig, ahead_ms: int) -> Finding:
    if ahead_ms > 0:
        which = "ahead of"
        meaning = (
            f"From {config.record_future_tolerance_seconds} s ahead of a worker's clock on, a partition waits until "
            "the clocks have gone on."
        )
    else:
        which = "behind"
        meaning = (
            f"From {config.future_tolerance_seconds} s behind a publisher's clock on, its events are rejected as "
            "time_in_future."
        )
    return bad(
        SUBJECT,
        f"the brokers' clock is {abs(ahead_ms) / 1000:.0f} s {which} this machine's",
        meaning,
        "timedatectl   # on the brokers and here",
    )
