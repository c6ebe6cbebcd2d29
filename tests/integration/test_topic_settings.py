"""A worker watches the settings of its topics, on a real Kafka: what is changed under it is seen, and its repair."""

from __future__ import annotations

import asyncio
import logging

import pytest
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from stream.kafka.topics import wanted_topics
from stream.settings.worker import WorkerConfig
from stream.worker import topic_check
from tests.support.counting import make_topics
from tests.support.kafka import RunningKafka, unique_name


async def set_timestamps(config: WorkerConfig, value: str) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=config.kafka)
    await admin.start()
    try:
        [wanted] = [topic for topic in wanted_topics(config) if topic.name == config.topic]
        settings = {**wanted.settings, "message.timestamp.type": value}
        await admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, config.topic, settings)])
    finally:
        await admin.close()


async def test_settings_that_differ_are_seen_while_the_worker_runs_and_when_they_are_mended(
    kafka: RunningKafka, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    config = WorkerConfig(kafka=kafka.bootstrap, topic=unique_name("activity"), group=unique_name("group"))
    await make_topics(config, 1)
    monkeypatch.setattr(topic_check, "LOOK_SECONDS", 0.05)
    caplog.set_level(logging.INFO, topic_check.__name__)
    seen: asyncio.Queue[tuple[str, ...]] = asyncio.Queue()
    watching = asyncio.create_task(topic_check.watch_settings(config, (), seen.put_nowait))
    timestamps = f"{config.topic}: message.timestamp.type is CreateTime, wanted is LogAppendTime"

    async def until(differs: bool) -> tuple[str, ...]:
        async with asyncio.timeout(30):
            while (timestamps in (found := await seen.get())) is not differs:
                pass
        return found

    try:
        assert await until(False) == ()
        # When somebody sets one otherwise,
        await set_timestamps(config, "CreateTime")
        await until(True)
        assert caplog.messages.count(timestamps) == 1
        # and back,
        await set_timestamps(config, "LogAppendTime")
        assert await until(False) == ()
        # then each is seen, and told once.
        assert caplog.messages == [timestamps, "the settings of the topics are as they should be again"]
    finally:
        watching.cancel()
        await asyncio.wait([watching])
