"""Of a worker with which nothing is wrong Faust says nothing: neither after minutes, nor at a stop."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from unittest.mock import MagicMock

import faust
import pytest
from faust.transport.consumer import Fetcher as FaustFetcher
from faust.transport.drivers.aiokafka import AIOKafkaConsumerThread
from faust.transport.drivers.aiokafka import Consumer as FaustConsumer

from stream.agents.app import ContactsApp, create_app
from stream.agents.transport import Consumer, ConsumerThread, Fetcher
from stream.kafka.topics import ensure_topics, open_topics, wanted_topics
from stream.settings.logs import is_told
from stream.settings.worker import WorkerConfig
from stream.worker.partition_task import OwnedPartition
from tests.support.kafka import RunningKafka, unique_name

PARTITIONS = 2
SIX_MINUTES = 360.0


def idle(partition: int) -> OwnedPartition:
    """A partition that waits for nothing."""
    owned = MagicMock(spec=OwnedPartition, partition=partition, next_needed=0, wants_more=True)
    owned.keep.return_value = True
    return owned  # type: ignore[no-any-return]


@asynccontextmanager
async def running(kafka: RunningKafka, folder: Path) -> AsyncIterator[ContactsApp]:
    """An application with its partitions, on a real broker."""
    config = WorkerConfig(
        kafka=kafka.bootstrap,
        topic=unique_name("activity"),
        group=unique_name("group"),
        data_dir=folder,
        session_timeout_seconds=6,
    )
    async with open_topics(config.access) as topics:
        await ensure_topics(topics, wanted_topics(config), partitions_if_new=PARTITIONS)
    app = create_app(config, PARTITIONS, idle)
    await app.start()
    try:
        async with asyncio.timeout(60):
            while app.rebalancing or len(app.batches.assignment()) < 2 * PARTITIONS:
                await asyncio.sleep(0.05)
        yield app
    finally:
        await app.stop()


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    told = [record for record in caplog.records if record.levelno >= logging.WARNING and is_told(record)]
    return [record.getMessage() for record in told]


async def test_in_the_sixth_minute_nothing_is_said_of_what_is_not_wrong(
    kafka: RunningKafka, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(kafka, tmp_path) as app:
        # Given a worker that owns partitions of the source and of the changelog, when six minutes have passed,
        then = time.monotonic() + SIX_MINUTES
        monkeypatch.setattr("faust.transport.consumer.monotonic", lambda: then)
        await app.batches.verify_all_partitions_active()
        # then Faust's watch has nothing to say;
        assert said(caplog) == []
        # the one that we replace would, of each partition that it looks at.
        monkeypatch.setattr(Consumer, "verify_event_path", FaustConsumer.verify_event_path)
        monkeypatch.setattr(ConsumerThread, "verify_event_path", AIOKafkaConsumerThread.verify_event_path)
        await app.batches.verify_all_partitions_active()
        assert any("has not sent fetch request" in line for line in said(caplog))
        monkeypatch.undo()


@pytest.mark.parametrize(("fetcher", "noisy"), [(Fetcher, False), (FaustFetcher, True)])
async def test_a_stop_in_the_middle_of_a_rebalance_is_no_crash(
    kafka: RunningKafka,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    fetcher: type[faust.Service],
    noisy: bool,
) -> None:
    monkeypatch.setattr("stream.agents.transport.Transport.Fetcher", fetcher)
    async with running(kafka, tmp_path) as app:
        assert app._fetcher.started
        app.rebalancing = True
        await app._fetcher.stop()
        assert bool(app.crashed) is noisy
        app.rebalancing = False
    assert any("Crashed reason" in line for line in said(caplog)) is noisy


async def test_a_fetcher_that_was_not_told_to_stop_ends_the_worker(kafka: RunningKafka, tmp_path: Path) -> None:
    async with running(kafka, tmp_path) as app:
        (task,) = app._fetcher._futures
        task.cancel()
        async with asyncio.timeout(10):
            while not app.crashed:
                await asyncio.sleep(0.01)
        assert "cancelled unexpectedly" in str(app.crash_reason)
