"""The sample of `verify` in the background: on a real Redis it finds what differs, and nothing else."""

from __future__ import annotations

import asyncio
import json
import logging
from collections import Counter
from collections.abc import AsyncIterator
from random import Random

import pytest
from redis.asyncio import Redis

from stream.projection.sampled import Comparison, SampledCounts
from stream.worker import sampling
from stream.worker.metrics import Metrics
from stream.worker.partition_task import OwnedPartition
from stream.worker.sampling import Sample, Sampler
from tests.integration.test_projection_guards import NOW, Site, until
from tests.support.records import Received
from tests.support.redis_server import RunningRedis

DAYS = 3
WORKSPACES = 2
PARTITION = 0


class EachInTurn(Random):
    """Draws one day aggregate after the other."""

    def __init__(self) -> None:
        super().__init__()
        self._drawn = 0

    def random(self) -> float:
        self._drawn += 1
        return (self._drawn % (DAYS * WORKSPACES)) / (DAYS * WORKSPACES)


class Sampling(Site):
    """An owner that counts events of several workspaces and days, and what samples it."""

    def __init__(self, client: Redis) -> None:
        super().__init__(client)
        self.chance = Random(7)
        self.metrics = Metrics()
        self.outcomes: Counter[Comparison] = Counter()
        self.differences = 0
        self.sampler = Sampler(SampledCounts(client, self.keys), EachInTurn(), 1, self.note)
        self.owned = self.owner()

    def note(self, partition: int, outcome: Comparison, differences: int) -> None:
        self.metrics.note_sample(partition, outcome, differences)
        self.outcomes[outcome] += 1
        self.differences = differences

    def count(self, number: int, days: range = range(DAYS)) -> None:
        """Publish events, and hand them to the owner."""
        start = len(self.topic.records)
        for offset in range(start, start + number):
            event = {
                "id": f"e{offset}",
                "type": "contact.added",
                "workspace_id": f"w{self.chance.randrange(WORKSPACES)}",
                "contact_id": "c",
                "user_id": f"u{self.chance.randrange(50)}",
                "occurred_at": f"2026-11-{self.chance.choice(days) + 1:02}T10:{self.chance.randrange(60):02}:00Z",
            }
            self.topic.records.append(Received(json.dumps(event).encode(), timestamp=NOW, offset=offset))
        self.feed(self.owned, start)

    async def rest(self) -> None:
        """All is committed, and Redis shows it."""
        async with asyncio.timeout(20):
            while await self.field("position") != str(len(self.topic.records)):
                await asyncio.sleep(0.01)

    async def fields(self) -> list[tuple[bytes, bytes]]:
        """Every packed part that Redis has of the days."""
        keys = await self.client.keys(f"{self.keys.prefix}cells:*")
        return sorted([(key, field) for key in keys for field in await self.client.hkeys(key)])


@pytest.fixture
async def site(own_redis: RunningRedis, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Sampling]:
    monkeypatch.setattr(sampling, "LOOK_AGAIN_SECONDS", 0.02)
    monkeypatch.setattr(sampling, "CLEAN_SECONDS", 0.001)
    client = Redis.from_url(own_redis.url)
    site = Sampling(client)
    site.owned.start()
    await until(lambda: site.owned.counting)
    yield site
    await site.owned.close()
    await client.aclose()


async def test_all_that_is_right_is_equal_while_counting_goes_on(site: Sampling) -> None:
    async def go_on_counting() -> None:
        for number in range(300):
            fails = number % 60 == 17
            site.stores.failures = int(fails)  # a commit of which nothing stays
            site.count(1 + number % 7, range(number // 100, number // 100 + 1))  # the other days rest
            await asyncio.sleep(0.004)
            if fails:
                await until(lambda: site.owned.counting and not site.stores.failures)
                site.feed(site.owned, site.owned.next_needed or 0)

    site.count(100)
    counting = asyncio.create_task(go_on_counting())
    while not counting.done():
        await site.sampler.sample(site.owned)
        await asyncio.sleep(0)
    await counting
    await site.rest()
    for _ in range(DAYS * WORKSPACES):
        assert await site.sampler.sample(site.owned) is Comparison.EQUAL

    assert site.outcomes[Comparison.DIFFERENT] == site.differences == 0
    assert site.outcomes[Comparison.EQUAL] > DAYS * WORKSPACES
    assert site.reasons == []


async def test_whatever_part_of_a_day_is_gone_or_changed_is_found(site: Sampling) -> None:
    site.count(400)
    await site.rest()
    for key, field in await site.fields():
        whole = await site.client.hget(key, field)
        for damaged in (None, whole[:-1] + bytes([whole[-1] ^ 1])):
            await (site.client.hdel(key, field) if damaged is None else site.client.hset(key, field, damaged))
            found = {await site.sampler.sample(site.owned) for _ in range(DAYS * WORKSPACES)}
            assert Comparison.DIFFERENT in found, (key, field, damaged)
            assert site.differences == 1
            await site.client.hset(key, field, whole)
            # It is looked at again, whatever is drawn.
            await site.sampler.look_again([site.owned])
            assert site.differences == 0


async def test_a_day_that_redis_has_lost_whole_is_found_and_told_once(
    site: Sampling, caplog: pytest.LogCaptureFixture
) -> None:
    site.count(100)
    await site.rest()
    await site.client.hdel(site.keys.days("w1"), "20759")  # 2026-11-02
    caplog.set_level(logging.INFO)
    for _ in range(2 * DAYS * WORKSPACES):
        await site.sampler.sample(site.owned)
    told = [record.getMessage() for record in caplog.records if record.name == "stream.worker.sampling"]
    assert len(told) == 1
    assert "--from 2026-11-02" in told[0]
    assert "w1" not in told[0]

    # What was found is no business of this worker any more once the partition is not its.
    await site.sampler.look_again([])
    assert site.sampler._different == {}


async def test_nothing_is_said_of_a_redis_that_is_away_or_behind(site: Sampling) -> None:
    site.count(50)
    await site.rest()
    await site.client.hset(site.keys.positions, "0.position", "0")
    assert await site.sampler.sample(site.owned) is Comparison.MOVING
    await site.client.hdel(site.keys.positions, "0.position")
    assert await site.sampler.sample(site.owned) is Comparison.MOVING
    away = SampledCounts(Redis.from_url("redis://127.0.0.1:1"), site.keys)
    sampler = Sampler(away, site.chance, 1, site.note)
    assert await sampler.sample(site.owned) is Comparison.MOVING
    assert site.differences == 0


async def test_a_day_that_a_newer_owner_has_dropped_is_not_missed(site: Sampling) -> None:
    """An owner that was paused, and has not heard yet that it is none, still has the day."""
    site.count(50)
    await site.rest()
    day = 20_759  # 2026-11-02
    await site.client.hset(site.keys.positions, mapping={"0.position": "60", "0.counts_from": str(day + 1)})
    for workspace in ("w0", "w1"):
        await site.client.hdel(site.keys.days(workspace), str(day - 1), str(day))
    found = {await site.sampler.sample(site.owned) for _ in range(DAYS * WORKSPACES)}
    assert found == {Comparison.MOVING, Comparison.EQUAL}
    assert site.differences == 0


async def test_a_partition_is_sampled_only_where_all_is_encoded(site: Sampling) -> None:
    """What was applied since has no bytes that were committed."""
    site.count(20)
    await site.rest()
    assert isinstance(site.owned.find("w0", 20758), Sample)
    assert isinstance(site.owned.draw(0.5), Sample)
    site.count(1)
    assert (site.owned.find("w0", 20758), site.owned.draw(0.5)) == (None, None)


async def test_a_partition_that_is_not_counted_is_left_alone(site: Sampling) -> None:
    other = site.owner()
    assert isinstance(other, OwnedPartition)
    assert (other.find("w0", 20758), other.draw(0.5)) == (None, None)
    assert await site.sampler.sample(other) is Comparison.MOVING


async def test_a_sample_is_taken_now_and_then(site: Sampling, monkeypatch: pytest.MonkeyPatch) -> None:
    site.count(50)
    await site.rest()
    often = Sampler(SampledCounts(site.client, site.keys), site.chance, 3_600_000, site.note)
    task = asyncio.create_task(often.watch([site.owned]))
    await until(lambda: site.outcomes[Comparison.EQUAL] >= 3)
    # A failure of ours ends nothing.
    failures = []

    def fail(_chance: float) -> None:
        failures.append(1)
        raise RuntimeError("a bug")

    monkeypatch.setattr(site.owned, "draw", fail)
    await until(lambda: len(failures) >= 2)
    task.cancel()
    never = asyncio.create_task(Sampler(often._counts, site.chance, 0, site.note).watch([site.owned]))
    await asyncio.sleep(0.05)
    assert not never.done()
    never.cancel()
