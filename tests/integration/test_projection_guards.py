"""The seven guards between a worker and Redis, each alone, on a real Redis. The simulation takes each away and must see
it.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any

import pytest
from redis.asyncio import Redis

from stream.ingest.event import Record
from stream.ports import Call, CommitFailed, Earlier, Fenced, KafkaAway, WorkerMustStop
from stream.projection.backfill import RowBackfill
from stream.projection.projector import Projector
from stream.projection.replica import RedisReplica, steady_ms
from stream.retry import BackOff
from stream.storage.keys import MISSING_ROWS_SLACK_MS, Keys, parse_missing_rows
from stream.tables.batch import Batch
from stream.tables.commit import Commit
from stream.tables.partition import PartitionState
from stream.tables.rules import CountingRules
from stream.tracing import NO_TRACER, Tracer
from stream.worker import backfill_task as backfill
from stream.worker import partition_task as ownership
from stream.worker.assignment import OwnedPartitions
from stream.worker.attempts import STUCK_AFTER
from stream.worker.commit_policy import CommitPolicy
from stream.worker.in_flight import InFlightLimit
from stream.worker.listener import Listener, Phase
from stream.worker.partition_task import OwnedPartition
from tests.support.kafka import unique_name
from tests.support.records import Received, milliseconds
from tests.support.redis_server import RunningRedis

NOW = milliseconds("2026-11-23T12:00:00Z")
RULES = CountingRules()


class FixedClock:
    def now_ms(self) -> int:
        return NOW


class Topic:
    """A source of one partition, all of it in memory."""

    def __init__(self) -> None:
        self.records: list[Received] = []
        self.first = 0
        self.counted_partitions = [1]
        """How many partitions it says it has, each time it is asked; the last one stays."""
        self.unreadable = False
        self.hangs = False
        self.slow = False

    def publish(self, count: int) -> None:
        for _ in range(count):
            offset = len(self.records)
            event = {
                "id": f"e{offset}",
                "type": "contact.added",
                "workspace_id": "w",
                "contact_id": "c",
                "occurred_at": "2026-11-23T10:00:00Z",
            }
            self.records.append(Received(json.dumps(event).encode(), timestamp=NOW, offset=offset))

    async def bounds(self) -> tuple[int, int]:
        return self.first, len(self.records)

    async def partitions(self) -> int:
        return self.counted_partitions.pop(0) if len(self.counted_partitions) > 1 else self.counted_partitions[0]

    async def read(self, start: int, end: int) -> Sequence[Record]:
        if self.hangs:
            await asyncio.sleep(3600)
        while self.slow:
            await asyncio.sleep(0.01)
        if self.unreadable:
            raise KafkaAway("an old segment is damaged")
        return self.records[start:end]


class Stores:
    """Committed records of one partition, and who may commit: the changelog store that was fenced last."""

    def __init__(self) -> None:
        self.table: dict[bytes, bytes] = {}
        self.owner: object = None
        self.replaced = False
        """Whether another owner begins while one reads."""
        self.fences = 0
        self.failures = 0
        """How many commits fail from now on."""
        self.closing_seconds = self.fencing_seconds = 0.0
        self.made: list[_Store] = []

    def new(self) -> _Store:
        self.made.append(_Store(self))
        return self.made[-1]


class _Store:
    def __init__(self, of: Stores) -> None:
        self._of = of

    async def fence(self) -> None:
        await asyncio.sleep(self._of.fencing_seconds)
        self._of.owner = self
        self._of.fences += 1

    async def read(self, progress: Callable[[int, int], None]) -> Mapping[bytes, bytes]:
        if self._of.replaced:
            self._of.owner = None
        return dict(self._of.table)

    async def commit(self, commit: Commit, earlier: Earlier) -> None:
        if self._of.owner is not self:
            raise Fenced("another producer has begun")
        if self._of.failures:
            self._of.failures -= 1
            raise CommitFailed("no answer")
        for key, value in commit.table:
            if value is None:
                self._of.table.pop(key, None)
            else:
                self._of.table[key] = value

    async def close(self) -> None:
        await asyncio.sleep(self._of.closing_seconds)


class NoFetchControl:
    def seek(self, partition: int, offset: int) -> None: ...

    def pause(self, partition: int) -> None: ...

    def resume(self, partition: int) -> None: ...


class Site:
    """A topic, its changelog stores, a Redis; owners and projectors as a test needs them."""

    def __init__(self, client: Redis) -> None:
        self.client, self.keys = client, Keys(unique_name("group"))
        self.replica = RedisReplica(client, self.keys)
        self.topic, self.stores = Topic(), Stores()
        self.reasons: list[Exception] = []

    def projector(self, *, keeps_rows: bool = True, future_tolerance_seconds: int = 300) -> Projector:
        return Projector(
            0,
            keys=self.keys,
            replica=self.replica,
            rows=RowBackfill(self.topic, 0, 300) if keeps_rows else None,
            clock=FixedClock(),
            worker="test",
            future_tolerance_seconds=future_tolerance_seconds,
        )

    def owner(self, tracer: Tracer = NO_TRACER, listener: Listener | None = None) -> OwnedPartition:
        return OwnedPartition(
            0,
            rules=RULES,
            commit_policy=CommitPolicy(interval_seconds=0.0),
            heartbeat_seconds=3600,
            in_flight=InFlightLimit(1000),
            new_store=self.stores.new,
            source=self.topic,
            projector=self.projector(),
            fetch_control=NoFetchControl(),
            listener=listener or Listener(),
            stop_worker=self.reasons.append,
            tracer=tracer,
        )

    def state(self, upto: int) -> PartitionState:
        """What is known after the first `upto` records, clean."""
        state = PartitionState(0, RULES)
        state.begin(incarnation=bytes(16), first_offset=0, partitions=1)
        state.apply(Batch(records=self.topic.records[:upto], start=0, end=upto))
        state.encode()
        return state

    def feed(self, owner: OwnedPartition, start: int) -> None:
        records = self.topic.records[start:]
        owner.accept(Batch(records=records, start=start, end=start + len(records)))

    async def content(self) -> dict[str, object]:
        """Everything in Redis, but for what changes with each call."""
        found: dict[str, object] = {}
        for key in sorted(await self.client.keys("*")):
            kind = await self.client.type(key)
            found[key.decode()] = await (
                self.client.hgetall(key) if kind == b"hash" else self.client.zrange(key, 0, -1)
            )
        return found

    async def field(self, name: str) -> str:
        return (await self.client.hget(self.keys.positions, f"0.{name}") or b"").decode()

    async def rows(self) -> int:
        return int(await self.client.zcard(self.keys.rows("w", 20_780)))


@pytest.fixture
async def site(own_redis: RunningRedis) -> AsyncIterator[Site]:
    client = Redis.from_url(own_redis.url)
    yield Site(client)
    await client.aclose()


async def until(what: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not what():
            await asyncio.sleep(0.01)


def plain(**fields: str) -> Call:
    return Call(keys=[], operations=[], workspaces=[], fields=fields)


async def test_guard_1_who_is_fenced_commits_nothing_and_projects_nothing(site: Site) -> None:
    site.topic.publish(2)
    zombie = site.owner()
    zombie.start()
    await until(lambda: zombie.counting)
    # When another begins, and the zombie goes on counting,
    await site.stores.new().fence()
    before = await site.content()
    site.feed(zombie, 0)
    await until(lambda: bool(site.reasons))
    # then nothing of it is seen, and the zombie ends.
    assert isinstance(site.reasons[0], Fenced)
    assert await site.content() == before
    await zombie.close()


async def test_guard_2_what_an_older_claim_sends_is_refused(site: Site) -> None:
    await site.replica.claim(0, bytes(16), "old")
    await site.replica.claim(0, bytes(16), "new")
    before = await site.content()
    assert not await site.replica.project(0, "old", 1, plain(**{"0.position": "9"}))
    assert await site.content() == before


async def test_guard_3_a_call_is_taken_only_on_top_of_the_one_before_and_once(site: Site) -> None:
    await site.replica.claim(0, bytes(16), "t")
    assert await site.replica.project(0, "t", 1, plain(**{"0.position": "1"}))
    before = await site.content()
    # A call is missing,
    assert not await site.replica.project(0, "t", 3, plain(**{"0.position": "3"}))
    # or comes again, late.
    assert not await site.replica.project(0, "t", 1, plain(**{"0.position": "9"}))
    assert await site.content() == before


async def test_guard_3_calls_that_are_sent_at_once_are_taken_up_to_the_first_that_is_refused(site: Site) -> None:
    def calls(*positions: int) -> list[Call]:
        return [plain(**{"0.position": str(position)}) for position in positions]

    async def position() -> bytes | None:
        return await site.client.hget(site.keys.positions, "0.position")  # type: ignore[misc]

    await site.replica.claim(0, bytes(16), "t")
    assert await site.replica.project_all(0, "t", 1, calls(1, 2, 3))
    # On a Redis that has lost its scripts,
    await site.client.script_flush()
    assert await site.replica.project_all(0, "t", 4, calls(4, 5, 6))
    assert await position() == b"6"
    # where some come again, as after an answer that was lost,
    assert not await site.replica.project_all(0, "t", 5, calls(98, 99))
    # one is missing,
    assert not await site.replica.project_all(0, "t", 8, calls(8, 9))
    # or another has claimed in between,
    await site.replica.claim(0, bytes(16), "other")
    assert not await site.replica.project_all(0, "t", 7, calls(7, 8))
    # nothing of it is taken.
    assert await position() == b"6"


async def test_guard_4_who_cannot_commit_never_claims(site: Site) -> None:
    site.topic.publish(1)
    owner = site.owner()
    owner.start()
    await until(lambda: owner.counting)
    token = await site.field("token")
    # Given an owner that is fenced, and whom Redis refuses, so that it must claim again,
    await site.stores.new().fence()
    await site.client.hset(site.keys.positions, "0.number", "77")
    site.feed(owner, 0)
    await until(lambda: bool(site.reasons))
    # then the claim is still the one before.
    assert await site.field("token") == token
    assert owner.phase is Phase.ENDED
    await owner.close()


async def test_guard_5_redis_ahead_of_what_is_committed_proves_that_i_was_replaced(site: Site) -> None:
    site.topic.publish(3)
    await site.projector().resync(site.state(3), 3)
    with pytest.raises(WorkerMustStop, match="Redis is at offset 3 of partition 0, where 2 is committed"):
        await site.projector().resync(site.state(2), 2)


async def test_guard_6_after_a_claim_aggregates_are_sent_whole(site: Site) -> None:
    # Given Redis at 2, whose delta is of another commit than anyone remembers,
    site.topic.publish(5)
    await site.projector().resync(site.state(2), 2)
    cells = site.keys.cells("w", 20_780)
    await site.client.hset(cells, "20780.0.t", b"of another commit")
    # when it is brought up to 5,
    assert await site.projector().resync(site.state(5), 5)
    after = await site.client.hgetall(cells)
    # then it holds what an empty one would hold.
    await site.client.flushall()
    await site.projector().resync(site.state(5), 5)
    assert after == await site.client.hgetall(cells)


async def test_guard_7_rows_are_missing_before_their_counts_are_shown_and_narrowed_by_what_was_written(
    site: Site,
) -> None:
    site.topic.publish(6)
    projector = site.projector()
    calls: list[Call] = []
    project = site.replica.project

    async def noted(partition: int, token: str, number: int, call: Call) -> bool:
        calls.append(call)
        return await project(partition, token, number, call)

    site.replica.project = noted  # type: ignore[method-assign]
    # The first call names the range, and only the last the position.
    assert await projector.resync(site.state(6), 6)
    assert parse_missing_rows(calls[0].fields["0.owed"]) == ((-1, 5, NOW),)
    assert [("0.position" in call.fields) for call in calls] == [False] * (len(calls) - 1) + [True]
    assert await site.rows() == 0
    # A range that was missing before is kept beside the new one.
    site.topic.publish(2)
    again = site.projector()
    assert await again.resync(site.state(8), 8)
    assert parse_missing_rows(await site.field("owed")) == ((-1, 7, NOW),)
    # Written, no row is missing any more.
    while again.lacks_rows:
        assert await again.write_rows(await again.find_rows(), site.state(8), 8)
    assert (parse_missing_rows(await site.field("owed")), await site.rows()) == ((), 8)


async def test_rows_that_were_not_kept_for_a_while_are_missing_and_written_by_who_keeps_them_again(site: Site) -> None:
    # Given a worker that keeps no rows, and counts
    site.topic.publish(8)
    state = PartitionState(0, CountingRules(keep_rows=False))
    state.begin(incarnation=bytes(16), first_offset=0, partitions=1)
    projector = site.projector(keeps_rows=False)
    for start, end in ((0, 3), (3, 6)):
        state.apply(Batch(records=site.topic.records[start:end], start=start, end=end))
        commit = state.encode()
        sent = await (projector.project(commit) if start else projector.resync(state, end))
        assert sent
    # Then readers are told what has no rows, and nobody is to write them.
    assert parse_missing_rows(await site.field("owed")) == ((-1, 5, NOW),)
    assert not projector.lacks_rows
    assert projector.offsets_to_backfill == 0
    # If another one keeps rows again, then it notes them as missing, and writes them.
    again = site.projector()
    assert await again.resync(site.state(8), 8)
    while again.lacks_rows:
        assert await again.write_rows(await again.find_rows(), site.state(8), 8)
    assert (parse_missing_rows(await site.field("owed")), await site.rows()) == ((), 8)


async def test_missing_rows_may_be_as_late_as_events_may_be_ahead(site: Site) -> None:
    site.topic.publish(2)
    projector = site.projector(future_tolerance_seconds=3600)
    assert await projector.resync(site.state(2), 2)
    ((_, _, latest),) = parse_missing_rows(await site.field("owed"))
    assert latest + MISSING_ROWS_SLACK_MS == NOW + 3_600_000


async def test_a_partition_that_ended_while_it_was_being_revoked_is_not_kept(site: Site) -> None:
    # Given an owner that is fenced while its partition is being revoked, and whose store takes long to close,
    let_go = asyncio.Event()
    close = _Store.close

    async def slow(self: _Store) -> None:
        await let_go.wait()
        await close(self)

    site.topic.publish(1)
    owner = site.owner()
    _Store.close = slow  # type: ignore[method-assign]
    try:
        owner.start()
        await until(lambda: owner.counting)
        await site.stores.new().fence()
        owner.revoke()
        site.feed(owner, 0)
        await until(lambda: owner.phase is Phase.ENDED)
        # then nobody waits for it to count again, and the worker goes on.
        assert not owner.keep()
        assert site.reasons == []
    finally:
        _Store.close = close  # type: ignore[method-assign]
        let_go.set()
        await owner.close()


async def test_who_was_closed_while_its_store_lets_go_fences_nobody(site: Site) -> None:
    # Given an owner whose first commit fails, and whose store takes long to let go,
    site.topic.publish(1)
    site.stores.failures, site.stores.closing_seconds = 1, 0.3
    owner = site.owner()
    owner.start()
    await until(lambda: site.stores.failures == 0)
    # when the partition goes to another worker meanwhile, which begins,
    owner.revoke()
    await owner.settle(1.0)
    closing = asyncio.create_task(owner.close())
    successor = site.stores.new()
    await successor.fence()
    await closing
    await asyncio.sleep(0.5)
    # then that one stays the owner, and the worker that lost the partition goes on.
    assert site.stores.owner is successor
    assert (site.reasons, owner.phase) == ([], Phase.ENDED)


async def test_nobody_fences_a_partition_that_is_being_revoked(site: Site) -> None:
    # Given an owner whose commit fails, and who recovers after its back-off,
    site.topic.publish(1)
    site.stores.failures = 1
    owner = site.owner()
    owner.start()
    await until(lambda: site.stores.failures == 0)
    # when the partition is being revoked, then it waits with that,
    owner.revoke()
    await asyncio.sleep(0.5)
    assert site.stores.fences == 1
    # and goes on once it is told that the partition stays.
    assert owner.keep()
    await until(lambda: owner.counting)
    assert site.stores.fences == 2
    await owner.close()


async def test_a_fence_that_is_under_way_ends_before_the_partition_is_given_away(site: Site) -> None:
    site.stores.fencing_seconds = 0.2
    owner = site.owner()
    owner.start()
    await until(lambda: bool(site.stores.made))
    await asyncio.sleep(0.05)
    owner.revoke()
    await owner.settle(5.0)
    assert site.stores.fences == 1
    await owner.close()


async def test_who_fails_at_one_offset_again_and_again_does_not_look_as_if_it_advanced(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[bool] = []
    monkeypatch.setattr(
        Listener, "note_attempts", lambda self, partition, failures: told.append(failures >= STUCK_AFTER)
    )
    monkeypatch.setattr(_Store, "commit", failing_with_events(_Store.commit))
    # Given an owner whose commits of events all fail, while those of the position alone do not,
    site.topic.publish(1)
    owner = site.owner()
    owner._back_off = BackOff(0.01, 0.01)
    owner.start()
    await until(lambda: owner.counting)
    moved = await site.field("moved")
    await site.client.hset(site.keys.positions, "0.moved", "1")
    # when it has been recovered a few times,
    async with asyncio.timeout(20):
        while not any(told):
            if owner.counting:
                site.feed(owner, 0)
            await asyncio.sleep(0.01)
    # then readers have not heard that it moved, and somebody is called.
    assert len(site.stores.made) > 4
    assert moved == str(NOW)
    assert await site.field("moved") == "1"
    await owner.close()


def failing_with_events(commit: Any) -> Any:
    async def fail(self: _Store, given: Commit, earlier: Earlier) -> None:
        if given.aggregates:
            raise CommitFailed("refused")
        await commit(self, given, earlier)

    return fail


async def test_a_batch_that_is_left_half_applied_is_never_committed(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given an owner that has a good batch to commit when the next one fails in the middle,
    site.topic.publish(2)
    owner = site.owner()
    owner.start()
    await until(lambda: owner.counting)
    before = dict(site.stores.table)
    site.feed(owner, 0)

    def fail(self: PartitionState, *_: object) -> None:
        raise ZeroDivisionError("in the middle")

    monkeypatch.setattr(PartitionState, "_count", fail)
    site.topic.publish(1)
    site.feed(owner, 2)
    # then neither is committed, and the worker ends with what happened.
    await until(lambda: bool(site.reasons))
    await until(lambda: owner.phase is Phase.ENDED)
    assert isinstance(site.reasons[0], ZeroDivisionError)
    assert site.stores.table == before
    await owner.close()


@pytest.mark.parametrize("how", ["unreadable", "hangs", "slow"])
async def test_counting_goes_on_while_missing_rows_cannot_be_read_again(
    site: Site, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backfill, "READING_SECONDS", 60.0 if how == "slow" else 0.05)
    # Given an owner whose Redis was emptied, and a topic that does not give its old records any more
    site.topic.publish(5)
    owner = site.owner()
    owner.start()
    await until(lambda: owner.counting)
    site.feed(owner, 0)
    await until(lambda: owner.covered_offset == 5)
    await site.client.flushall()
    setattr(site.topic, how, True)
    site.topic.publish(1)
    site.feed(owner, 5)
    await until(lambda: owner.covered_offset == 6)
    # When more comes, then it is counted and shown; no state is dropped for the rows' sake, which wait.
    async with asyncio.timeout(20):
        while await site.field("position") != "6":
            await asyncio.sleep(0.01)
    site.topic.publish(3)
    site.feed(owner, 6)
    async with asyncio.timeout(20):
        while await site.field("position") != "9":
            await asyncio.sleep(0.01)
    assert len(site.stores.made) == 1
    assert await site.rows() == 3
    # When the topic is readable again, then they come.
    setattr(site.topic, how, False)
    async with asyncio.timeout(20):
        while parse_missing_rows(await site.field("owed")):
            await asyncio.sleep(0.01)
    assert await site.rows() == 9
    await owner.close()


async def test_rows_that_were_read_for_other_missing_rows_write_nothing(site: Site) -> None:
    # Given rows of the newest offset alone, which is all that was missing when they were read,
    site.topic.publish(3)
    projector = site.projector()
    assert await projector.resync(site.state(2), 2)
    while projector.lacks_rows:
        assert await projector.write_rows(await projector.find_rows(), site.state(2), 2)
    assert await projector.resync(site.state(3), 3)
    found = await projector.find_rows()
    assert [record.offset for record in found.records] == [2]
    # when Redis is emptied before they are written,
    await site.client.flushall()
    assert await projector.resync(site.state(3), 3)
    assert await projector.write_rows(found, site.state(3), 3)
    # then all of them are still missing.
    assert parse_missing_rows(await site.field("owed")) == ((-1, 2, NOW),)
    assert projector.lacks_rows
    while projector.lacks_rows:
        assert await projector.write_rows(await projector.find_rows(), site.state(3), 3)
    assert await site.rows() == 3


async def test_a_broker_that_knows_of_new_partitions_late_is_asked_again(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stream.worker.recovery.ASKED_AGAIN_SECONDS", 0.01)
    site.topic.counted_partitions = [2]
    site.topic.publish(1)
    owner = site.owner()
    owner.start()
    await until(lambda: owner.counting)
    site.feed(owner, 0)
    await until(lambda: owner.covered_offset == 1)
    await owner.close()
    # If the topic seems to have fewer for a moment, then it is the same topic;
    site.topic.counted_partitions = [1, 2]
    again = site.owner()
    again.start()
    await until(lambda: again.counting)
    await again.close()
    # if it stays so, then it is not.
    site.topic.counted_partitions = [1]
    site.owner().start()
    await until(lambda: bool(site.reasons))
    assert "1 partitions where 2 were counted" in str(site.reasons[0])


# ---- tasks, and cancels that libraries lose or make up -------------------------------------------------------------


async def test_a_closed_partition_ends_though_a_cancel_was_lost(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    owner = site.owner()
    owner.start()
    await until(lambda: owner.counting)
    heartbeat, lost = owner._projector.heartbeat, asyncio.Event()
    owner._heartbeat_seconds = 0.0

    async def losing(covered: int) -> bool:
        if not lost.is_set():
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                lost.set()
        return await heartbeat(covered)

    monkeypatch.setattr(owner._projector, "heartbeat", losing)
    monkeypatch.setattr(ownership, "CANCELLED_AGAIN_SECONDS", 0.05)
    owner._wake.set()
    await asyncio.sleep(0.05)
    await owner.close()
    assert lost.is_set()
    assert owner.phase is Phase.ENDED


async def test_a_cancel_that_nobody_asked_for_ends_the_worker_with_a_word(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def gone(self: object, progress: object) -> None:
        raise asyncio.CancelledError  # as a consumer does that is stopped in the middle of a back-off

    monkeypatch.setattr(_Store, "read", gone)
    owner = site.owner()
    owner.start()
    await until(lambda: bool(site.reasons))
    assert isinstance(site.reasons[0], WorkerMustStop)
    assert owner.phase is Phase.ENDED


async def test_one_that_is_closed_says_nothing(site: Site) -> None:
    owner = site.owner()
    owner.start()
    await until(lambda: owner.counting)
    await owner.close()
    assert site.reasons == []


async def test_an_end_before_an_earlier_one_does_not_stop_as_of(site: Site) -> None:
    """A broker that lost records tells so, and what it told before is never reached."""
    projector = site.projector()
    assert await projector.resync(site.state(0), 0)
    now = steady_ms()
    for end, age in ((5, 2_000), (3, 1_000)):
        projector.note_end(end, now - age)
    assert await projector.heartbeat(3)
    seconds, _ = await site.client.time()
    assert 900 <= min(NOW, seconds * 1000) - int(await site.field("as_of")) < 2_000


async def test_as_of_lies_as_far_behind_the_time_of_redis_as_its_question_whatever_the_workers_clock_says(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a worker whose clock is an hour ahead
    seconds, _ = await site.client.time()
    monkeypatch.setattr(FixedClock, "now_ms", lambda _: (seconds + 3_600) * 1000)
    projector = site.projector()
    projector.note_end(0, steady_ms() - 60_000)
    # When it tells how fresh its numbers are, of a question that it asked a minute ago
    assert await projector.resync(site.state(0), 0)
    # Then that is a minute ago by the clock of Redis, and nothing moved later than now
    assert 55_000 <= seconds * 1000 - int(await site.field("as_of")) <= 61_000
    assert int(await site.field("moved")) < (seconds + 60) * 1000


async def test_an_as_of_that_is_ahead_gives_way(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given one that a worker with a wrong clock left there, of an hour to come
    seconds, _ = await site.client.time()
    monkeypatch.setattr(FixedClock, "now_ms", lambda _: seconds * 1000)
    projector = site.projector()
    assert await projector.resync(site.state(0), 0)
    await site.client.hset(site.keys.positions, "0.as_of", (seconds + 3_600) * 1000)
    # When numbers are told to be as fresh as now
    projector.note_end(0, steady_ms())
    assert await projector.heartbeat(0)
    # Then that is what stands there, and one that is not ahead does not go back
    told = int(await site.field("as_of"))
    assert abs(told - seconds * 1000) < 60_000
    projector.note_end(0, steady_ms() - 30_000)
    assert await projector.heartbeat(0)
    assert int(await site.field("as_of")) == told


async def test_a_worker_that_ends_begins_nothing_more(site: Site) -> None:
    partitions = OwnedPartitions("topic", lambda partition: site.owner(), revoke_seconds=1.0)
    await partitions.own({0})
    assert [owner.partition for owner in partitions] == [0]
    await partitions.close()
    # A rebalance that comes now finds nobody.
    await partitions.own({0})
    assert list(partitions) == []


async def test_states_are_unpacked_one_after_another_with_a_turn_for_others_between(site: Site) -> None:
    events: list[str] = []
    unpack = PartitionState.unpack

    def unpacked(*given: object) -> Any:
        events.append("unpacked")
        return unpack(*given)  # type: ignore[arg-type]

    async def others() -> None:
        while events.count("unpacked") < 3:
            events.append("others")
            await asyncio.sleep(0)

    in_flight, owners = InFlightLimit(1000), [site.owner() for _ in range(3)]
    for owner in owners:
        owner._in_flight, owner._unpack = in_flight, unpacked
        owner.start()
    await others()
    assert "unpacked unpacked" not in " ".join(events)
    for owner in owners:
        await owner.close()


class Losses(Listener):
    def __init__(self) -> None:
        self.offsets: list[int] = []

    def note_lost(self, partition: int, offsets: int) -> None:
        self.offsets.append(offsets)


async def test_what_the_topic_lost_is_told_by_the_owner_alone(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    """One that was replaced while it read may have read a changelog in which these offsets were not counted yet."""
    first, losses = site.owner(), Losses()
    first.start()
    await until(lambda: first.counting)
    await first.close()
    # Given a topic that has lost its head
    site.topic.publish(8)
    site.topic.first = 5
    # When one recovers the partition and is replaced meanwhile, then it tells nothing,
    site.stores.replaced = True
    replaced = site.owner(listener=losses)
    replaced.start()
    await until(lambda: bool(site.reasons))
    assert (losses.offsets, "the topic deleted" in caplog.text) == ([], False)
    await replaced.close()
    # and its owner does, once.
    site.stores.replaced = False
    owner = site.owner(listener=losses)
    owner.start()
    await until(lambda: owner.counting)
    assert (losses.offsets, owner.next_needed) == ([5], 5)
    assert "the topic deleted offsets 0 to 4 before they were counted" in caplog.text
    await owner.close()
