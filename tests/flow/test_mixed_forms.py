"""A worker with the compiled core and one without it in one group: partitions move between them both ways, and what was
published is counted once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.support.comparison import find_differences
from tests.support.deployment import PARTITIONS, Deployment, InBackground, dead_letters
from tests.support.kafka import RunningKafka
from tests.support.publisher import Workload
from tests.support.stack import Worker, eventually

FORMS = ("python", "compiled")
EVENTS = 6_000  # in each of six parts


@pytest.fixture
def deployment(tmp_path: Path, kafka: RunningKafka) -> Iterator[Deployment]:
    with closing(Deployment(tmp_path, kafka, FORMS)) as made:
        yield made


def both_count(deployment: Deployment) -> bool:
    return all(worker.ready() for worker in deployment.workers)


def counts_everything(worker: Worker) -> bool:
    return len((worker.ready() or {"partitions": ()})["partitions"]) == PARTITIONS


@pytest.mark.timeout(600)
@pytest.mark.usefixtures("core")
def test_partitions_move_between_both_forms_and_nothing_is_missing_or_extra(deployment: Deployment) -> None:
    now = datetime.now(UTC)
    workload = Workload(13, now)
    python, compiled = deployment.workers

    # Given a worker of each form, both counting,
    eventually("two workers", lambda: both_count(deployment))
    for worker, form in zip(deployment.workers, FORMS, strict=True):
        assert f"counting in the {form} form" in worker.log.read_text()

    # when each in turn is killed with events under way, so that the other takes all partitions, and comes back, twice,
    for killed, left in [(python, compiled), (compiled, python)] * 2:
        publisher = InBackground(deployment, workload, EVENTS)
        eventually("two workers", lambda: both_count(deployment))
        killed.kill()
        eventually("one worker of everything", lambda left=left: counts_everything(left))
        killed.start()
        publisher.end()

    # and Redis is emptied, so that each sends whole what the other has counted,
    publisher = InBackground(deployment, workload, EVENTS)
    eventually("two workers", lambda: both_count(deployment))
    deployment.redis.client.flushall()
    publisher.end()
    deployment.wait_until_caught_up()

    # and each in turn stops in order,
    publisher = InBackground(deployment, workload, EVENTS)
    for stopped, left in ((python, compiled), (compiled, python)):
        eventually("two workers", lambda: both_count(deployment))
        assert stopped.stop() == 0
        eventually("one worker of everything", lambda left=left: counts_everything(left))
        stopped.start()
    publisher.end()
    deployment.wait_until_caught_up()

    # then every cell and row equals a recount, and each rejected event is one dead letter with its reason.
    assert len(workload.expected.rows) > EVENTS * 5
    first, last = (now - timedelta(days=32)).date(), (now + timedelta(days=1)).date()
    assert find_differences(deployment.api, workload.expected.rows, first, last) == []
    assert asyncio.run(dead_letters(deployment)) == workload.expected.dead
