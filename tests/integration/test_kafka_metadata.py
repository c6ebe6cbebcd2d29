"""What Kafka is asked about topics: ours alone, of each broker what it leads, and nothing is made by asking."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.client import AIOKafkaClient
from aiokafka.errors import LeaderNotAvailableError, NotLeaderForPartitionError
from aiokafka.protocol.api import Request
from aiokafka.protocol.metadata import MetadataRequest

from stream.kafka.metadata import fetch_ends
from stream.kafka.source import SourceTopic
from stream.kafka.topics import ensure_topics, open_topics, wanted_topics
from stream.kafka.transaction import TransactionalStore
from stream.ports import KafkaAway, WorkerMustStop
from stream.settings.kafka import KafkaAccess
from stream.settings.worker import WorkerConfig
from stream.worker.ends import ask_for_ends
from tests.contract.test_faust_logs import running
from tests.support.kafka import KafkaCluster, RunningKafka, create_topic, unique_name


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[list[str] | None]:
    """The topics of every request for metadata that a client sends from now on; None stands for all of them."""
    topics: list[list[str] | None] = []
    send, update = AIOKafkaClient.send, AIOKafkaClient._metadata_update

    async def note(self: AIOKafkaClient, node: int, request: Request[object], **more: object) -> object:
        if isinstance(request, MetadataRequest):
            topics.append(request._topics)
        return await send(self, node, request, **more)

    async def note_update(self: AIOKafkaClient, cluster: object, wanted: set[str] | None) -> bool:
        topics.append(sorted(wanted) if wanted else None)
        return await update(self, cluster, wanted)  # type: ignore[no-any-return]

    monkeypatch.setattr(AIOKafkaClient, "send", note)
    monkeypatch.setattr(AIOKafkaClient, "_metadata_update", note_update)
    return topics


async def refresh(client: AIOKafkaClient) -> None:
    """What a client does every five minutes by itself, and after an error."""
    await client.force_metadata_update()


async def test_no_client_of_the_worker_asks_for_all_topics(
    kafka: RunningKafka, tmp_path: Path, asked: list[list[str] | None]
) -> None:
    config = WorkerConfig(kafka=kafka.bootstrap, topic=unique_name("activity"), group=unique_name("group"))
    async with open_topics(config.access) as topics:
        await ensure_topics(topics, wanted_topics(config), partitions_if_new=2)
    source = SourceTopic(config.access, config.topic)
    await source.start()
    assert await source.partitions() == 2
    assert await source.ends([0, 1]) == {0: 0, 1: 0}
    assert await source.bounds(0) == (0, 0)
    assert source._consumer is not None
    await refresh(source._consumer._client)
    store = TransactionalStore(
        kafka=config.access,
        group=config.group,
        partition=0,
        changelog=config.changelog_topic,
        dead_letters=config.dead_letter_topic,
        source=config.topic,
        timeout_seconds=10,
    )
    await store.fence()
    assert await store.read(lambda done, total: None) == {}
    await refresh(store._producer.client)
    async with running(kafka, tmp_path) as app:
        await refresh(app.producer._producer.client)
        thread = app.batches._thread
        assert thread._consumer is not None
        again = asyncio.run_coroutine_threadsafe(refresh(thread._consumer._client), thread.thread_loop)
        await asyncio.wrap_future(again)
    await store.close()
    await source.stop()
    assert asked
    assert None not in asked


async def test_a_topic_that_is_missing_is_not_made_by_asking(embedded_kafka: RunningKafka) -> None:
    # Given a broker that makes a topic for whoever asks for it
    config = WorkerConfig(kafka=embedded_kafka.bootstrap, topic=unique_name("t"), group=unique_name("g"))
    async with open_topics(config.access) as topics:
        assert await topics.describe([config.topic]) == {}
        assert await topics.partitions([config.topic]) == {}
    admin = AIOKafkaAdminClient(bootstrap_servers=embedded_kafka.bootstrap)
    await admin.start()
    assert config.topic not in await admin.list_topics()
    await admin.close()


async def test_a_changelog_that_lacks_the_partition_is_named(kafka: RunningKafka) -> None:
    config = WorkerConfig(kafka=kafka.bootstrap, topic=unique_name("activity"), group=unique_name("group"))
    await create_topic(kafka.bootstrap, config.changelog_topic, 1)
    await create_topic(kafka.bootstrap, config.dead_letter_topic, 2)
    store = TransactionalStore(
        kafka=config.access,
        group=config.group,
        partition=1,
        changelog=config.changelog_topic,
        dead_letters=config.dead_letter_topic,
        source=config.topic,
        timeout_seconds=10,
    )
    await store.fence()
    with pytest.raises(WorkerMustStop, match=f"{config.changelog_topic} has 1 partitions"):
        await store.read(lambda done, total: None)
    await store.close()


async def test_of_each_partition_its_leader_tells_the_end_or_why_not(kafka: RunningKafka) -> None:
    topic = unique_name("ends")
    await create_topic(kafka.bootstrap, topic, 2)
    consumer = AIOKafkaConsumer(bootstrap_servers=kafka.bootstrap)
    await consumer.start()
    (node,) = [broker.nodeId for broker in consumer._client.cluster.brokers()]
    async with asyncio.timeout(10):  # a partition that was just made has no leader for a moment
        while True:
            ends = await fetch_ends(consumer._client, node, topic, [0, 1, 7])
            if not any(isinstance(ends[partition], NotLeaderForPartitionError) for partition in (0, 1)):
                break
            await asyncio.sleep(0.1)
    await consumer.stop()
    assert (ends[0], ends[1]) == (0, 0)
    assert isinstance(ends[7], Exception)


async def test_what_one_leader_does_not_tell_holds_up_no_other_partition(
    kafka: RunningKafka, monkeypatch: pytest.MonkeyPatch
) -> None:
    topic = unique_name("ends")
    await create_topic(kafka.bootstrap, topic, 2)
    source = SourceTopic(KafkaAccess(kafka.bootstrap), topic)
    await source.start()
    assert source._consumer is not None
    # Given a partition without a leader, or one whose leader has just changed,
    for failure in (LeaderNotAvailableError("0"), NotLeaderForPartitionError("0")):

        async def told(client: object, leader: int, topic: str, partitions: list[int], why: object = failure) -> object:
            return {p: why if p == 0 else 5 for p in partitions}

        monkeypatch.setattr("stream.kafka.source.fetch_ends", told)
        assert await source.ends([0, 1]) == {1: 5}
        with pytest.raises(KafkaAway):
            await source.ends([0])
    monkeypatch.undo()
    # then nothing else changes for who asks next.
    consumer = source._consumer
    assert await source.ends([0, 1]) == {0: 0, 1: 0}
    assert source._consumer is consumer
    await source.stop()


class Owned:
    """A partition that notes what it is told."""

    def __init__(self, partition: int) -> None:
        self.partition = partition
        self.told: list[int] = []

    def note_end(self, end: int, asked_ms: int) -> None:
        self.told.append(end)

    def note_partitions(self, partitions: int) -> None: ...


async def until(check: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not check():
            await asyncio.sleep(0.1)


@pytest.mark.timeout(300)
async def test_while_a_broker_is_away_the_ends_of_what_others_lead_go_on(
    kafka_cluster: Callable[..., KafkaCluster],
) -> None:
    # Given three brokers, and of a topic with one replica a partition on each
    cluster = kafka_cluster(nodes=3)
    topic = unique_name("ends")
    await create_topic(cluster.bootstrap, topic, 3)
    source = SourceTopic(KafkaAccess(cluster.bootstrap), topic)
    await source.start()
    owned = [Owned(partition) for partition in range(3)]
    asking = asyncio.create_task(ask_for_ends(owned, source, lambda partition, end: None))  # type: ignore[arg-type]
    await until(lambda: all(one.told for one in owned))
    # When one broker hangs, and when it is gone
    for end in (cluster.nodes[0].pause, cluster.nodes[0].kill):
        end()
        await asyncio.sleep(1)
        before = [len(one.told) for one in owned]
        # then the ends of the other two are told again and again.
        await until(lambda was=before: sum(len(o.told) > n + 8 for o, n in zip(owned, was, strict=True)) == 2)
    assert not asking.done()
    asking.cancel()
    await asyncio.wait([asking])
    await source.stop()
