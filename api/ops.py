"""Answers how the deployment is, for its operators: what each process reports of itself, and what readers see of each
partition.

Only the positions and the processes' own keys are read, so it costs a report nothing. No workspace, contact or user is
in it; a rejected record is told by its place.
"""

from collections.abc import Mapping
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from api.query.periods import utc_text
from api.read.freshness import Positions, as_of_text, lag_seconds, read_positions
from api.read.redis import Reader
from api.report.service import Reports
from api.wire import FreshnessState
from stream.ingest.rejects import Recent, total
from stream.storage.keys import Keys
from stream.version import VERSION

SHOWN_FIELDS = ("position", "end", "as_of")
Count = Annotated[int, Meta(ge=0)]


class OpsPartition(msgspec.Struct, frozen=True):
    """One partition, as readers see it and as its worker reports it. Null: unknown, no worker reports it."""

    partition: int
    position: Annotated[int | None, Meta(description="The next offset to count: readers see everything below it.")]
    end: int | None
    lag: Annotated[int | None, Meta(description="Offsets that wait to be counted, as its worker reports.")]
    as_of: str | None
    owner: str | None
    phase: str | None
    events_per_second: float | None
    committed_at: str | None
    projected_at: str | None
    failure: Annotated[str | None, Meta(description="What hinders it, in words; null while it counts.")]


class OpsRejected(msgspec.Struct, frozen=True):
    """Records that the worker rejected for one reason since it started, and where the latest is."""

    count: Count
    partition: int | None = None
    offset: int | None = None


class OpsWorker(msgspec.Struct, frozen=True):
    """A worker, as it reported itself within the last seconds."""

    worker: str
    version: str
    started_at: str
    told_at: str
    ready: bool
    reason: str | None
    counted: Count
    duplicates: Count
    rejected: dict[str, OpsRejected]


class OpsRecent(msgspec.Struct, frozen=True):
    """What came within the last ten minutes, as the workers report it."""

    events: Count
    rejected: Count
    too_many: Annotated[
        bool, Meta(description="Whether so many were rejected that somebody must look: the rule of `ContactsRejected`.")
    ]


class OpsApi(msgspec.Struct, frozen=True):
    """An API process, as it reported itself within the last seconds. One that may not write to Redis is missing."""

    process: str
    version: str
    started_at: str
    told_at: str
    answers: Annotated[int, Meta(ge=0, description="Answers since it started, without probes and metrics.")]
    failed: Annotated[int, Meta(ge=0, description="Of these, answers with status 500 and above.")]
    streams: Annotated[int, Meta(ge=0, description="Open live streams.")]


class OpsAnswer(msgspec.Struct, frozen=True):
    """Status of the deployment."""

    group: str
    version: Annotated[str, Meta(description="Version of this API process.")]
    at: str
    state: Annotated[FreshnessState | None, Meta(description="Null while a partition has no position.")]
    as_of: str | None
    lag_seconds: float | None
    partitions_expected: Count
    partitions_found: Count
    partitions: list[OpsPartition]
    workers: list[OpsWorker]
    recent: OpsRecent
    apis: list[OpsApi]
    redis_policy: Annotated[str | None, Meta(description="`maxmemory-policy`, as the workers saw it last.")]
    topics_differ: Annotated[list[str], Meta(description="Topic settings that differ from what the product needs.")]


class _Told(msgspec.Struct):
    """A worker's status, as it lies in Redis (stream/projection/worker_status.py); what it does not say is unknown."""

    worker: str
    told_ms: int
    version: str = ""
    started_ms: int = 0
    ready: bool = False
    reason: str | None = None
    counted: int = 0
    duplicates: int = 0
    rejected: dict[str, OpsRejected] = {}
    recent: Recent = Recent()
    partitions: dict[str, dict[str, Any]] = {}
    redis_policy: str | None = None
    topics_differ: list[str] = []


class _ToldByApi(msgspec.Struct):
    process: str
    told_ms: int
    version: str = ""
    started_ms: int = 0
    answers: int = 0
    failed: int = 0
    streams: int = 0


class Deployment(msgspec.Struct, frozen=True):
    """What Redis holds of the deployment as a whole."""

    number: int
    """How many partitions readers need."""
    fields: Mapping[bytes, bytes]
    """Of the positions."""
    positions: Positions
    workers: list[_Told]
    apis: list[_ToldByApi]

    @property
    def unowned(self) -> list[int]:
        """The partitions that no worker reports."""
        owned = {name for worker in self.workers for name in worker.partitions}
        return [partition for partition in range(self.number) if str(partition) not in owned]


async def read_deployment(reader: Reader) -> Deployment:
    """Raises Unavailable where Redis does not answer."""
    fields, statuses, of_apis = await reader.operations()
    apis = sorted((msgspec.json.decode(status, type=_ToldByApi) for status in of_apis), key=lambda one: one.process)
    workers = sorted((msgspec.json.decode(status, type=_Told) for status in statuses), key=lambda one: one.worker)
    number = int(fields.get(b"partitions", b"0"))
    positions = read_positions(number, reader.position_values(fields, number))
    return Deployment(number, fields, positions, workers, apis)


async def operations(reports: Reports, reader: Reader) -> OpsAnswer:
    """Raises Unavailable where Redis does not answer."""
    deployment = await read_deployment(reader)
    number, positions, workers = deployment.number, deployment.positions, deployment.workers
    recent = total(one.recent for one in workers)
    now = reports.clock()
    whole = positions.complete
    return OpsAnswer(
        group=reader.keys.group,
        version=VERSION,
        at=utc_text(now),
        state=reports.word(positions, now) if whole else None,
        as_of=as_of_text(positions, now) if whole else None,
        lag_seconds=lag_seconds(positions, now) if whole else None,
        partitions_expected=number,
        partitions_found=len(positions.partitions),
        partitions=[_partition(partition, deployment.fields, workers) for partition in range(number)],
        workers=[_worker(one) for one in workers],
        recent=OpsRecent(recent.events, recent.rejected, recent.too_many),
        apis=[_api(one) for one in deployment.apis],
        redis_policy=next((one.redis_policy for one in workers if one.redis_policy is not None), None),
        topics_differ=sorted({difference for one in workers for difference in one.topics_differ}),
    )


def _partition(partition: int, fields: Mapping[bytes, bytes], workers: list[_Told]) -> OpsPartition:
    position, end, as_of = (fields.get(Keys.position_field(partition, name).encode()) for name in SHOWN_FIELDS)
    owner = next((one for one in workers if str(partition) in one.partitions), None)
    of = {} if owner is None else owner.partitions[str(partition)]
    return OpsPartition(
        partition=partition,
        position=int(position) if position else None,
        end=int(end) if end else None,
        lag=of.get("lag"),
        as_of=_time(int(as_of)) if as_of else None,
        owner=None if owner is None else owner.worker,
        phase=of.get("phase"),
        events_per_second=of.get("events_per_second"),
        committed_at=_time(of.get("committed_ms")),
        projected_at=_time(of.get("projected_ms")),
        failure=of.get("waiting") or of.get("failure"),
    )


def _worker(one: _Told) -> OpsWorker:
    return OpsWorker(
        one.worker,
        one.version,
        utc_text(one.started_ms / 1000),
        utc_text(one.told_ms / 1000),
        one.ready,
        one.reason,
        one.counted,
        one.duplicates,
        one.rejected,
    )


def _api(one: _ToldByApi) -> OpsApi:
    started, told = utc_text(one.started_ms / 1000), utc_text(one.told_ms / 1000)
    return OpsApi(one.process, one.version, started, told, one.answers, one.failed, one.streams)


def _time(milliseconds: int | None) -> str | None:
    return None if milliseconds is None else utc_text(milliseconds / 1000)
