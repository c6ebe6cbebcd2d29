"""A worker that takes over what an earlier version left, in Kafka and in Redis, goes on counting from there."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path

import pytest
from aiokafka import AIOKafkaProducer

from stream.ingest.event import EventRules
from stream.settings.worker import WorkerConfig
from stream.tables.rules import CountingRules
from tests.support.kafka import RunningKafka, unique_name
from tests.support.partition_log import Recount
from tests.support.recorded import (
    RECORDED,
    RETENTION_DAYS,
    WORKSPACES,
    environ_of,
    make_topics,
    position_of,
    publish,
    recording,
    records,
)
from tests.support.stack import Api, RedisServer, Worker, eventually

MORE = 100


async def put_changelog(kafka: str, topic: str, table: dict[bytes, bytes]) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=kafka)
    await producer.start()
    for key, value in sorted(table.items(), key=lambda item: item[0] == b"p"):
        await producer.send(topic, value, key, partition=0)
    await producer.stop()


@pytest.mark.timeout(300)
@pytest.mark.parametrize("form", ["auto", "python"])
@pytest.mark.parametrize("version", ["40045b9"])
def test_a_worker_carries_on_what_was_recorded(kafka: RunningKafka, tmp_path: Path, version: str, form: str) -> None:
    # Given the topic, the changelog and the Redis that that version left,
    topic, group, recorded = unique_name("recorded"), unique_name("recorded"), recording(version)
    config = WorkerConfig(kafka=kafka.bootstrap, topic=topic, group=group, partitions=1)
    asyncio.run(make_topics(config))
    asyncio.run(publish(kafka.bootstrap, topic, records()))
    asyncio.run(put_changelog(kafka.bootstrap, config.changelog_topic, dict(recorded.changelog)))
    redis = RedisServer(tmp_path / "redis")
    redis.start()
    recorded.restore(redis.client, f"cr1:{group}:{{0}}:")
    environ = environ_of(kafka.bootstrap, redis.url, topic, group) | {"CONTACTS_CORE": form}
    worker, api = Worker(tmp_path, "worker", environ), Api(tmp_path, "api", environ)
    try:
        # when this version runs on them, and more records come, copies among them,
        worker.start()
        api.start()
        eventually("a worker that counts", worker.ready)
        assert position_of(redis.client, group) == RECORDED
        asyncio.run(publish(kafka.bootstrap, topic, records(RECORDED, RECORDED + MORE)))
        eventually("counted", lambda: position_of(redis.client, group) >= RECORDED + MORE)

        # then the report is a recount of all of them.
        recount = Recount(CountingRules(EventRules(retention_days=RETENTION_DAYS)))
        recount.take(records(0, RECORDED + MORE))
        expected: Counter[tuple[str, int]] = Counter()
        for (workspace, _, _, activity, _, _), number in recount.kept_cells().items():
            expected[workspace, activity] += number
        told: Counter[tuple[str, int]] = Counter()
        for workspace in WORKSPACES:
            address = f"/v1/workspaces/{workspace}/reports/contacts/summary?from=2026-11-01&to=2026-11-30&compare=none"
            status, answer = eventually("an answer", lambda address=address: _good(api, address))
            assert status == 200
            told[workspace, 0], told[workspace, 1] = answer["added"]["count"], answer["deleted"]["count"]
        assert told == expected
        # The first commit of this version says how many keys there are; a worker that follows finds as many.
        assert worker.stop() == 0
        worker.start()
        eventually("a worker that counts again", worker.ready)
    finally:
        worker.kill()
        api.kill()
        redis.kill()


def _good(api: Api, address: str) -> tuple[int, dict[str, dict[str, int]]] | None:
    status, answer = api.get(address)
    return (status, answer) if status == 200 else None
