"""A whole copy to Redis that is disturbed goes on where it was, whoever goes on with it. On a real Redis."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest
from redis.asyncio import Redis

from stream.ports import Call, ReplicaAway, WorkerMustStop
from stream.projection.evictions import Evictions
from stream.projection.projector import Projector
from stream.projection.replica import RedisReplica
from stream.storage.keys import Keys
from stream.tables.batch import Batch
from stream.tables.partition import PartitionState
from stream.tables.rules import CountingRules
from tests.support.kafka import unique_name
from tests.support.records import Received
from tests.support.redis_server import RunningRedis

pytestmark = pytest.mark.usefixtures("each_form")

FIRST = datetime(2024, 1, 1, tzinfo=UTC)
DAYS = 60


class Replica(RedisReplica):
    """One that breaks after so many calls; what it was sent."""

    def __init__(self, client: Redis, keys: Keys, breaks_after: int | None, evictions: Evictions | None = None) -> None:
        super().__init__(client, keys, evictions)
        self._left = breaks_after
        self.sent: list[Call] = []

    async def project(self, partition: int, token: str, number: int, call: Call) -> bool:
        if self._left is not None:
            if self._left == 0:
                raise ReplicaAway("the connection broke")
            self._left -= 1
        self.sent.append(call)
        return await super().project(partition, token, number, call)

    @property
    def aggregates(self) -> int:
        """How many days were sent: an operation `d` says how many it is of."""
        words = [zip(call.operations, call.operations[2:], strict=False) for call in self.sent]
        return sum(int(days) for call in words for name, days in call if name == "d")


class Deployment:
    def __init__(self, client: Redis) -> None:
        self.client, self.keys = client, Keys(unique_name("group"))
        self.state = PartitionState(0, CountingRules())
        self.state.begin(incarnation=bytes(16), first_offset=0, partitions=1)
        for day in range(DAYS):
            self.count(FIRST + timedelta(days=day * 7 % DAYS))  # so that days are not in the order of their offsets

    def count(self, at: datetime) -> None:
        offset = self.state.position.next_offset
        event = {
            "id": f"e{offset}", "type": "contact.added", "workspace_id": f"w{offset % 3}", "contact_id": "c",
            "user_id": f"u{offset % 7}", "user_name": f"U{offset}", "occurred_at": at.isoformat(),
        }  # fmt: skip
        record = Received(json.dumps(event).encode(), timestamp=int(at.timestamp() * 1000), offset=offset)
        self.state.apply(Batch([record], offset, offset + 1))
        self.state.encode()

    def projector(self, replica: Replica) -> Projector:
        return Projector(
            0,
            keys=self.keys,
            replica=replica,
            rows=None,
            clock=SystemClock(),
            worker="test",
            future_tolerance_seconds=300,
        )

    async def resync(self, breaks_after: int | None = None) -> Replica:
        """What an owner sends; a new one each time."""
        replica = Replica(self.client, self.keys, breaks_after)
        projector = self.projector(replica)
        if breaks_after is None:
            assert await projector.resync(self.state, self.state.position.next_offset)
        else:
            with pytest.raises(ReplicaAway):
                await projector.resync(self.state, self.state.position.next_offset)
        return replica

    async def content(self) -> dict[bytes, dict[bytes, bytes]]:
        """All counts and names, without the words of change."""
        found = {}
        for key in await self.client.keys(self.keys.prefix + "*"):
            if b":cells:" in key or b":names:" in key:
                found[key] = await self.client.hgetall(key)
            elif b":days:" in key:
                found[key] = {d: v.split(b" ")[1:] for d, v in (await self.client.hgetall(key)).items() if d != b"all"}
        return found


class SystemClock:
    def now_ms(self) -> int:
        return round(datetime.now(UTC).timestamp() * 1000)


@pytest.fixture
async def made(own_redis: RunningRedis, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Deployment]:
    monkeypatch.setattr("stream.projection.calls.CALL_BYTES", 2_000)
    client = Redis.from_url(own_redis.url)
    yield Deployment(client)
    await client.aclose()


async def test_a_copy_that_is_disturbed_again_and_again_sends_each_day_about_once(made: Deployment) -> None:
    # Given what a copy leaves that nobody disturbs
    whole = await made.resync()
    assert whole.aggregates == DAYS
    expected = await made.content()
    await made.client.flushall()
    # When one is disturbed every few calls, and each time another owner goes on
    owners = []
    while not owners or not await made.client.hexists(made.keys.positions, "0.position"):
        owners.append(await made.resync(None if len(owners) == 6 else len(whole.sent) // 8))
    # Then no owner began from zero, and the content is the same
    assert len(owners) == 7
    assert sum(owner.aggregates for owner in owners) <= DAYS + 3 * len(owners)
    assert await made.content() == expected


async def test_what_changes_between_two_owners_of_a_copy_is_sent_again(made: Deployment) -> None:
    # Given a copy that broke near its end
    whole = await made.resync()
    await made.client.flushall()
    await made.resync(len(whole.sent) - 3)
    # When days that it had sent change before another owner goes on
    for day in (0, 7, 14):
        made.count(FIRST + timedelta(days=day))
    after = await made.resync()
    # Then they are there as they are now, and no more than needed was sent
    found = await made.content()
    assert after.aggregates < DAYS // 2
    await made.client.flushall()
    await made.resync()
    assert await made.content() == found


async def test_a_copy_that_came_further_than_what_is_committed_was_another_owners(made: Deployment) -> None:
    whole = await made.resync()
    await made.client.flushall()
    await made.resync(len(whole.sent) - 3)
    replica = Replica(made.client, made.keys, None)
    projector = made.projector(replica)
    with pytest.raises(WorkerMustStop, match="another worker owns it"):
        await projector.resync(made.state, 5)


async def test_after_an_eviction_a_copy_begins_from_zero(made: Deployment) -> None:
    whole = await made.resync()
    await made.client.flushall()
    await made.resync(len(whole.sent) - 3)
    script = Evictions(made.client, made.keys)._script
    assert await script(keys=[made.keys.positions], args=["evicted", "run", 3, "noeviction"]) == 1
    assert (await made.resync()).aggregates == DAYS


async def test_a_copy_that_lost_days_while_it_was_under_way_gets_no_position(made: Deployment) -> None:
    # Given a copy that broke near its end, and keys that went since: no worker has looked yet
    whole = await made.resync()
    expected = await made.content()
    await made.client.flushall()
    await made.resync(len(whole.sent) - 3)
    await evict_another_key(made.client)
    await made.client.unlink(made.keys.days("w0"))
    # When an owner goes on, which makes the workspace's days again, without those that went
    replica = Replica(made.client, made.keys, None, Evictions(made.client, made.keys))
    projector = made.projector(replica)
    end = made.state.position.next_offset
    assert not await projector.resync(made.state, end)
    # Then no reader takes them for zero, and the next copy is whole
    assert not await made.client.hexists(made.keys.positions, "0.position")
    assert await projector.resync(made.state, end)
    assert await made.content() == expected


async def evict_another_key(client: Redis) -> None:
    """Have the server evict for real, by a policy that is not there any more."""
    await client.config_set("maxmemory-policy", "volatile-lru")
    await client.config_set("maxmemory", (await client.info("memory"))["used_memory"] + 300_000)
    n = 0
    while not (await client.info("stats"))["evicted_keys"]:
        await client.set(f"other:{n}", "x" * 50_000, ex=10_000)
        n += 1
    await client.config_set("maxmemory", 0)
    await client.config_set("maxmemory-policy", "noeviction")
