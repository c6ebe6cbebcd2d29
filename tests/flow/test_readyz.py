"""`/readyz` of a worker says whether a rolling restart may go on, and what it waits for."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from aiokafka.admin import AIOKafkaAdminClient

from tests.flow.test_worker_stops import Site, ends_saying
from tests.support.kafka import RunningKafka, create_topic
from tests.support.ports import free_port
from tests.support.stack import Worker, eventually, get_json


@pytest.fixture
def site(tmp_path: Path, kafka: RunningKafka) -> Iterator[Site]:
    made = Site(tmp_path, kafka.bootstrap)
    yield made
    made.close()


def readiness(worker: Worker) -> tuple[int, str | None]:
    status, facts = get_json(f"http://127.0.0.1:{worker.port}/readyz?verbose")
    return status, (facts or {}).get("reason")


def test_a_worker_is_ready_when_it_counts_and_a_spare_one_when_it_was_given_nothing(site: Site) -> None:
    site.topics(partitions=1)
    # Given a worker from its first answer on,
    worker = site.worker()
    seen: list[tuple[int, int]] = []

    def counting() -> bool:
        status, facts = get_json(f"http://127.0.0.1:{worker.port}/readyz?verbose")
        if status:
            seen.append((status, len(facts["partitions"])))
        return status == 200

    eventually("ready", counting, every=0.01)
    # then it was not ready before it owned something, and said why not.
    assert seen[0][0] == 503
    assert [owned for status, owned in seen if status == 200] == [1]
    # And one that is given nothing is ready.
    spare = site.worker()
    eventually("ready", lambda: readiness(spare) == (200, None))
    facts = (worker.facts()["partitions"], spare.facts()["partitions"])
    assert sorted(map(len, facts)) == [0, 1]


def test_a_worker_that_waits_says_for_what(site: Site) -> None:
    nobody = free_port()
    worker = site.worker(CONTACTS_KAFKA=f"127.0.0.1:{nobody}")
    eventually("said", lambda: f"cannot reach Kafka at 127.0.0.1:{nobody}" in (readiness(worker)[1] or ""))
    assert readiness(worker)[0] == 503


def test_a_worker_that_redis_does_not_let_in_takes_no_partition_from_one_that_counts(site: Site) -> None:
    site.topics(partitions=2)
    worker = site.worker()
    eventually("ready", lambda: readiness(worker) == (200, None))
    locked_out = site.worker(CONTACTS_REDIS=site.redis.url.replace("redis://", "redis://nobody:wrong@"))
    eventually(
        "said again and again", lambda: locked_out.tail(20_000).count("the worker joins its group after that") > 2
    )
    assert readiness(locked_out)[0] == 503
    assert "Redis refuses our name or password (CONTACTS_REDIS)" in (readiness(locked_out)[1] or "")
    assert (len(worker.facts()["partitions"]), locked_out.facts()["partitions"]) == (2, {})


async def test_a_worker_whose_topic_is_gone_is_not_ready_and_says_so(site: Site) -> None:
    worker = await asyncio.to_thread(site.worker_that_counted, 3)
    admin = AIOKafkaAdminClient(bootstrap_servers=site.bootstrap)
    await admin.start()
    try:
        await admin.delete_topics([site.topic])
    finally:
        await admin.close()
    gone = f"there is no topic {site.topic}, or Kafka does not show it to us"
    await asyncio.to_thread(eventually, "not ready", lambda: (readiness(worker)[1] or "").startswith(gone + " (since "))
    assert readiness(worker)[0] == 503
    fault = worker.facts()["faults"]["topic"]
    assert (fault["text"], fault["over"]) == (gone, None)
    # Kafka itself is not away.
    assert worker.facts()["faults"]["kafka"] is None


@pytest.mark.parametrize("policy", ["delete", "compact,delete"])
async def test_on_a_changelog_that_kafka_deletes_from_no_worker_starts(site: Site, policy: str) -> None:
    await create_topic(site.bootstrap, f"{site.group}-state-changelog", 1, {"cleanup.policy": policy})
    await create_topic(site.bootstrap, f"{site.topic}.dlq", 1)
    await create_topic(site.bootstrap, site.topic, 1)
    ends_saying(site.worker(), f"cleanup.policy={policy}", "--add-config cleanup.policy=compact")
