"""Two workers on a real Kafka and a real Redis, through crashes and losses: the API tells what was published."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition

from tests.support.comparison import find_differences
from tests.support.deployment import PARTITIONS, SESSION_SECONDS, Deployment, InBackground, dead_letters
from tests.support.kafka import KafkaCluster
from tests.support.publisher import Workload, publish
from tests.support.stack import eventually

EVENTS = int(os.environ.get("TEST_EVENTS", "100000"))


@pytest.fixture
def deployment(tmp_path: Path, kafka_cluster: Callable[..., KafkaCluster]) -> Iterator[Deployment]:
    with closing(Deployment(tmp_path, kafka_cluster())) as made:
        yield made


@pytest.mark.timeout(900)
def test_every_cell_and_row_equals_a_recount_whatever_is_killed_paused_or_lost(deployment: Deployment) -> None:
    now = datetime.now(UTC)
    workload = Workload(7, now)
    one, two = deployment.workers
    share = EVENTS // 6

    # Given events under way, when a worker is killed, twice,
    publisher = InBackground(deployment, workload, share)
    time.sleep(1.0)
    one.kill()
    deployment.revive()
    publisher.end()
    publisher = InBackground(deployment, workload, share)
    time.sleep(1.0)
    two.kill()
    deployment.revive()
    publisher.end()
    deployment.wait_until_caught_up()
    kept = deployment.redis.snapshot()

    # and one is paused beyond its session and woken, when another has its partitions,
    publisher = InBackground(deployment, workload, share)
    eventually("two workers", lambda: all(w.ready() for w in deployment.workers))
    one.pause()
    time.sleep(SESSION_SECONDS + 4)
    one.wake()
    publisher.end()

    # and Redis is emptied,
    publisher = InBackground(deployment, workload, share)
    time.sleep(0.5)
    deployment.redis.client.flushall()
    publisher.end()
    deployment.wait_until_caught_up()

    # and is stopped, and started from an older snapshot,
    publisher = InBackground(deployment, workload, share)
    time.sleep(0.5)
    deployment.redis.kill()
    time.sleep(2.0)
    deployment.redis.go_back(kept)
    publisher.end()

    # and Kafka is restarted with events waiting,
    asyncio.run(publish(deployment.kafka.bootstrap, deployment.topic, workload, EVENTS - 5 * share))
    deployment.kafka.nodes[0].restart()
    deployment.wait_until_caught_up()

    # Then nothing is missing and nothing extra, in any cell or row,
    assert len(workload.expected.rows) > EVENTS * 0.9
    first, last = (now - timedelta(days=32)).date(), (now + timedelta(days=1)).date()
    assert find_differences(deployment.api, workload.expected.rows, first, last) == []
    # and each rejected event is one dead letter with its reason,
    assert asyncio.run(dead_letters(deployment)) == workload.expected.dead
    # and monitors see how far the group is.
    eventually("the group's offsets at the ends", lambda: asyncio.run(group_offsets_are_at_the_ends(deployment)))


async def group_offsets_are_at_the_ends(deployment: Deployment) -> bool:
    partitions = [TopicPartition(deployment.topic, p) for p in range(PARTITIONS)]
    consumer = AIOKafkaConsumer(
        bootstrap_servers=deployment.kafka.bootstrap, group_id=deployment.group, enable_auto_commit=False
    )
    await consumer.start()
    try:
        consumer.assign(partitions)
        ends = await consumer.end_offsets(partitions)
        # A marker of a transaction at the end of a partition is no event, and needs no commit.
        return all([ends[p] - (await consumer.committed(p) or 0) <= 2 for p in partitions])
    finally:
        await consumer.stop()
