"""Starts a partition from its committed state, after checking that state against the topic."""

from __future__ import annotations

import asyncio
import logging
import secrets
from typing import Final

from stream.ports import Source, WorkerMustStop
from stream.slices import run_in_slices
from stream.storage.formats import FormatError
from stream.tables.changelog import Records
from stream.tables.position import Fingerprint, Position
from stream.tables.rules import CountingRules
from stream.tables.state import State, Unpack

log = logging.getLogger(__name__)

# A broker that was told of new partitions late names fewer for a moment.
ASKED_AGAIN_SECONDS: Final = 2.0

ANEW: Final = (
    "the topic was deleted and created again, or lost records. A new CONTACTS_GROUP counts it from its beginning, "
    "without the earlier counts"
)


async def unpack_state(partition: int, rules: CountingRules, records: Records, unpack: Unpack) -> State:
    """The state of a changelog's records, in the form of `unpack`. Raises WorkerMustStop where it cannot be read."""
    await asyncio.sleep(0)
    try:
        return await run_in_slices(unpack(partition, rules, records))
    except FormatError as error:
        raise WorkerMustStop(f"partition {partition}: {error}") from error


async def begin_state(state: State, source: Source) -> None:
    """Of a partition of which nothing is committed: it begins where the topic does."""
    first, _ = await source.bounds()
    partitions = await source.partitions()
    state.begin(incarnation=secrets.token_bytes(16), first_offset=first, partitions=partitions)


async def check_topic(partition: int, state: State, source: Source) -> range:
    """Hold a state against the topic, and skip what that has lost before it was counted: these offsets are returned.
    Raises WorkerMustStop where it is not the topic that was counted.
    """
    first, end = await source.bounds()
    partitions = await source.partitions()
    if partitions < state.position.partitions:
        await asyncio.sleep(ASKED_AGAIN_SECONDS)
        partitions = await source.partitions()
    kept_from = await check_position(partition, state.position, source, first, end, partitions)
    lost = range(state.position.next_offset, kept_from)
    if lost:
        state.skip_to(kept_from)
    state.note_partitions(partitions)
    state.forget_uncounted_before(first)
    return lost


def log_lost(partition: int, lost: range) -> None:
    log.error(
        "partition %d: the topic deleted offsets %d to %d before they were counted: no report will have these events. "
        "A longer retention.ms, or more workers, keeps the next ones",
        partition,
        lost.start,
        lost.stop - 1,
    )


async def check_position(
    partition: int, position: Position, source: Source, first: int, end: int, partitions: int
) -> int:
    """Whether this is the topic that was counted. Returns its first offset, which may have moved meanwhile."""
    if partitions < position.partitions:
        raise WorkerMustStop(f"the topic has {partitions} partitions where {position.partitions} were counted: {ANEW}")
    if end < position.next_offset:
        raise WorkerMustStop(
            f"partition {partition} ends at {end}, and was counted up to {position.next_offset}: {ANEW}"
        )
    fingerprint = position.fingerprint
    if fingerprint is not None and fingerprint.offset >= first:
        found = await source.read(fingerprint.offset, fingerprint.offset + 1)
        if not found:  # retention may just have taken it; else a record that was counted does not vanish
            first, _ = await source.bounds()
        if fingerprint.offset >= first and [Fingerprint.of(record) for record in found] != [fingerprint]:
            raise WorkerMustStop(
                f"partition {partition} has {'another record' if found else 'no record'} at offset "
                f"{fingerprint.offset}, where one was counted: {ANEW}"
            )
    return first
