"""Two workers, one with the compiled core where it is installed and one without, on a cluster of three brokers, each of
which is lost for a while: what was published is counted once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.support.comparison import find_differences
from tests.support.deployment import Deployment, dead_letters
from tests.support.kafka import KafkaCluster
from tests.support.publisher import Workload, publish

EVENTS = 3_000  # in each of four parts


@pytest.fixture
def deployment(tmp_path: Path, kafka_cluster: Callable[..., KafkaCluster]) -> Iterator[Deployment]:
    with closing(Deployment(tmp_path, kafka_cluster(nodes=3), ("auto", "python"))) as made:
        yield made


@pytest.mark.timeout(600)
def test_each_of_three_brokers_may_be_lost_and_nothing_is_missing_or_extra(deployment: Deployment) -> None:
    now = datetime.now(UTC)
    workload = Workload(11, now)

    def send() -> None:
        asyncio.run(publish(deployment.kafka.bootstrap, deployment.topic, workload, EVENTS))

    # Given events that are being counted, when each broker in turn, and with it leaders of partitions, coordinators of
    # transactions and of the group, is killed, and comes back later,
    send()
    for node in deployment.kafka.nodes:
        node.kill()
        deployment.wait_until_caught_up()
        node.launch()
        node.wait_started()
        send()
    deployment.wait_until_caught_up()

    # then every cell and row equals a recount, and each rejected event is one dead letter with its reason.
    assert len(workload.expected.rows) > EVENTS * 3
    first, last = (now - timedelta(days=32)).date(), (now + timedelta(days=1)).date()
    assert find_differences(deployment.api, workload.expected.rows, first, last) == []
    assert asyncio.run(dead_letters(deployment)) == workload.expected.dead
