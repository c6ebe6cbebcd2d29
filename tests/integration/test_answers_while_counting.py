"""Events come one after the other, through the worker's own counting and calls; between them people with different
filters ask one process, which remembers much of what it read. Every answer equals a recount.
"""

from __future__ import annotations

import asyncio
import json
import random
from datetime import UTC, datetime
from typing import Any

import pytest
from redis.asyncio import Redis

from stream.projection.backfill import RowBackfill
from stream.projection.projector import Projector
from stream.projection.replica import RedisReplica, steady_ms
from stream.storage.keys import Keys
from stream.tables.batch import Batch
from stream.tables.partition import PartitionState
from stream.tables.rules import CountingRules
from tests.integration.test_report_recount import check_sums, every_row, without_texts
from tests.support import recount
from tests.support.api import Api, api_over, each_sum_form, shared_redis
from tests.support.records import Received
from tests.support.recount import Asked
from tests.support.redis_data import Event

__all__ = ["each_sum_form", "shared_redis"]

pytestmark = pytest.mark.usefixtures("each_sum_form")

NOW = datetime(2024, 11, 23, 12, 7, tzinfo=UTC)
"""Before the time of the machine: `as_of` never lies ahead of Redis' own clock."""
SOURCES = [None, "user", "shopify"]
USERS = [None, "u_1", "u_2"]
RULES = CountingRules(delta_floor=3, base_bytes_limit=400)
"""So that deltas are merged and bases frozen all the time."""


class FixedClock:
    def now_ms(self) -> int:
        return round(NOW.timestamp() * 1000)


class Partition:
    """One partition of a worker."""

    def __init__(self, client: Redis, api: Api, number: int, partitions: int) -> None:
        keys = Keys(api.data.prefix.split(":")[1])
        topic: Any = None  # every row comes with its commit
        self._number, self._state = number, PartitionState(number, RULES)
        self._state.begin(incarnation=bytes(16), first_offset=0, partitions=partitions)
        self._projector = Projector(
            number,
            keys=keys,
            replica=RedisReplica(client, keys),
            rows=RowBackfill(topic, number, 300),
            clock=FixedClock(),
            worker="test",
            future_tolerance_seconds=300,
        )

    async def begin(self) -> None:
        self._state.encode()
        self._projector.note_end(0, steady_ms())
        assert await self._projector.resync(self._state, 0)

    async def take(self, rng: random.Random) -> Event:
        """Count an event, and publish it."""
        offset = self._state.position.next_offset
        seconds = int(NOW.timestamp()) - rng.choice([0, 0, 0, 1, 5, 40]) * 86_400 - rng.randrange(40_000)
        event = Event(
            at=seconds * 10**9,
            id=f"e{self._number}-{offset}",
            activity=rng.choice(["added", "added", "deleted"]),
            source=rng.choice(SOURCES),
            user=rng.choice(USERS),
            partition=self._number,
            offset=offset,
        )
        value = {
            "id": event.id,
            "type": f"contact.{event.activity}",
            "workspace_id": "w",
            "contact_id": event.contact,
            "source": event.source,
            "user_id": event.user,
            "occurred_at": datetime.fromtimestamp(seconds, UTC).isoformat(),
        }
        record = Received(json.dumps(value).encode(), timestamp=FixedClock().now_ms(), offset=offset)
        self._state.apply(Batch([record], offset, offset + 1))
        self._projector.note_end(offset + 1, steady_ms())
        assert await self._projector.project(self._state.encode())
        return event


async def two_partitions(client: Redis, api: Api) -> list[Partition]:
    """Of which nothing is counted yet."""
    partitions = [Partition(client, api, number, 2) for number in range(2)]
    for partition in partitions:
        await partition.begin()
    return partitions


def some_question(rng: random.Random) -> dict[str, Any]:
    """One of few, so that much is remembered."""
    asked: dict[str, Any] = {"period": rng.choice(["today", "last_7_days", "last_90_days", "all"])}
    if rng.random() < 0.5:
        asked["source"] = [rng.choice(["none", "user", "shopify"])]
    if rng.random() < 0.4:
        asked["user"] = [rng.choice(["none", "u_1", "u_2"])]
    if rng.random() < 0.3 and asked["period"] in ("today", "last_7_days"):
        asked["interval"] = "hour"
    return asked


@pytest.mark.parametrize("seed", range(4))
async def test_every_answer_is_right_whatever_was_asked_before(shared_redis: Any, seed: int) -> None:
    rng, now = random.Random(seed), NOW.timestamp()
    async with (
        Redis.from_url(shared_redis.url) as client,
        api_over(shared_redis, now, cache_bytes=rng.choice([6_000, 10**7])) as api,
    ):
        # Given two partitions that go on counting
        partitions = await two_partitions(client, api)
        events: list[Event] = []
        for _ in range(120):
            events += [await rng.choice(partitions).take(rng) for _ in range(rng.choice([1, 1, 2, 9]))]
            # When somebody asks
            question = some_question(rng)
            asked = Asked(question, now, now)
            answer = await api.json(**question)
            # Then it is what counting one by one gives, and its sums agree
            assert without_texts(answer) == recount.report(events, asked), question
            check_sums(answer)
        questions: list[dict[str, Any]] = [{"period": "last_90_days"}, {"period": "last_90_days", "user": ["u_1"]}]
        for question in questions:
            ids, _ = await every_row(api, question)
            assert ids == recount.activities(events, Asked(question, now, now))


@pytest.mark.parametrize("seed", range(2))
async def test_answers_that_are_made_while_others_are_and_while_events_come_are_right(
    shared_redis: Any, seed: int
) -> None:
    """What is kept between requests is shared by those that are under way. Each answer has the counts of one moment
    between question and answer, whatever the others have read meanwhile.
    """
    rng, now = random.Random(f"together {seed}"), NOW.timestamp()
    async with (
        Redis.from_url(shared_redis.url) as client,
        api_over(shared_redis, now, cache_bytes=rng.choice([6_000, 10**7])) as api,
    ):
        partitions = await two_partitions(client, api)
        events = [await rng.choice(partitions).take(rng) for _ in range(20)]
        for _ in range(25):
            # Given several who ask at once, some of them the same
            questions = [some_question(rng) for _ in range(3)]
            questions += [dict(question) for question in rng.choices(questions, k=3)]
            before = len(events)
            asking = [asyncio.create_task(api.json(**question)) for question in questions]
            # When events come meanwhile
            while not all(task.done() for task in asking):
                events.append(await rng.choice(partitions).take(rng))
            # Then each has an answer of a moment in between
            for question, task in zip(questions, asking, strict=True):
                answer = without_texts(task.result())
                moments = range(before, len(events) + 1)
                assert any(answer == recount.report(events[:number], Asked(question, now, now)) for number in moments)
                check_sums(task.result())
