"""The sample traffic on its way into a broker."""

import asyncio
import contextlib

import pytest

from examples.samples.feed import feed
from stream.settings.kafka import KafkaAccess
from tests.support.kafka import RunningKafka, create_topic, read_partition, unique_name


@pytest.fixture(params=["kafka", "embedded_kafka"])
def broker(request: pytest.FixtureRequest) -> RunningKafka:
    found: RunningKafka = request.getfixturevalue(request.param)
    return found


async def records(broker: RunningKafka, topic: str) -> int:
    # Read, not asked for: the embedded broker does not know its ends.
    return sum([len(await read_partition(broker.bootstrap, topic, partition)) for partition in range(4)])


async def fed(broker: RunningKafka, topic: str, at_least: int) -> list[str]:
    """What `feed` says until so many records are there."""
    said: list[str] = []
    feeding = asyncio.create_task(feed(KafkaAccess(broker.bootstrap), topic, days=2, say=said.append))
    try:
        async with asyncio.timeout(60):
            while await records(broker, topic) < at_least:
                await asyncio.sleep(0.1)
    finally:
        feeding.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await feeding
    return said


async def test_an_empty_topic_gets_a_history_and_then_live_events_another_only_these(broker: RunningKafka) -> None:
    topic = unique_name("activity")
    await create_topic(broker.bootstrap, topic, 4)
    (said,) = await fed(broker, topic, at_least=1_000)
    history = int(said.split()[0].replace(",", ""))
    assert said == f"{history:,} events of the last 2 days are published"
    there = await records(broker, topic)
    assert there >= history
    # When it is started again, the history is not published a second time.
    assert await fed(broker, topic, at_least=there + 2) == []
    assert await records(broker, topic) < there + history


async def test_it_waits_for_a_topic_that_is_not_there_yet(broker: RunningKafka) -> None:
    topic = unique_name("activity")
    said: list[str] = []
    feeding = asyncio.create_task(feed(KafkaAccess(broker.bootstrap), topic, days=1, say=said.append))
    try:
        async with asyncio.timeout(60):
            while not said:
                await asyncio.sleep(0.05)
            assert said == [f"there is no topic {topic}; `contacts-report topics` creates it; trying again"]
            await create_topic(broker.bootstrap, topic, 4)
            while len(said) < 2 or "published" not in said[-1]:
                await asyncio.sleep(0.05)
    finally:
        feeding.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await feeding
