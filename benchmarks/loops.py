"""References and load, each in a process of its own: `python -m benchmarks.loops KIND BOOTSTRAP TOPIC NUMBER`.

getmany, faust   take NUMBER events; print events, seconds and CPU seconds
publish          NUMBER events a second, until killed
import           contacts of one workspace into partition 0, NUMBER a second, until IMPORTED are published
gulps            fetch as the worker does, look at nothing, until killed
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import sys
import tempfile
import time
from datetime import UTC, datetime

import faust
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from benchmarks.datasets import Dataset
from benchmarks.datasets import records as events_of

IMPORTED = 200_000


async def getmany(bootstrap: str, topic: str, events: int) -> None:
    """aiokafka alone: fetch everything, look at nothing."""
    consumer = AIOKafkaConsumer(
        bootstrap_servers=bootstrap,
        auto_offset_reset="earliest",
        enable_auto_commit=False,
        max_partition_fetch_bytes=2 << 20,
    )
    await consumer.start()
    cluster = await consumer._client.fetch_all_metadata()
    partitions = [TopicPartition(topic, p) for p in cluster.partitions_for_topic(topic)]
    consumer.assign(partitions)
    for partition in partitions:
        consumer.seek(partition, 0)
    seen, started, cpu = 0, time.monotonic(), time.process_time()
    while seen < events:
        for records in (await consumer.getmany(timeout_ms=1000, max_records=5000)).values():
            seen += len(records)
    told(seen, started, cpu)


async def gulps(bootstrap: str, topic: str) -> None:
    """aiokafka alone at the worker's settings, for what comes from now on."""
    consumer = AIOKafkaConsumer(topic, bootstrap_servers=bootstrap, fetch_min_bytes=16_384, fetch_max_wait_ms=20)
    await consumer.start()
    while True:
        await consumer.getmany(timeout_ms=1000)


async def publish(bootstrap: str, topic: str, rate: int) -> None:
    """In slices of 10 ms."""
    stock = list(events_of(Dataset.REAL, rate * 60, end=datetime.now(UTC)))
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, linger_ms=0)
    await producer.start()
    begun, sent = time.monotonic(), 0
    while True:
        due = int((time.monotonic() - begun) * rate)
        for number in range(sent, due):
            key, value = stock[number % len(stock)]
            # The stock comes again and again: under other ids.
            await producer.send(
                topic, key=key, value=value.replace(b'"id":"', b'"id":"%d-' % (number // len(stock)), 1)
            )
        sent = due
        await asyncio.sleep(0.01)


async def import_contacts(bootstrap: str, topic: str, rate: int) -> None:
    """In batches of 10 ms, made before: the publisher takes little of a machine that is shared."""
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, max_batch_size=1 << 20)
    await producer.start()
    run, size, batches = time.time_ns(), rate // 100, []
    for first in range(0, IMPORTED, size):
        batch = producer.create_batch()
        for number in range(first, first + size):
            batch.append(key=b"import", value=imported_contact(f"{run}-{number}"), timestamp=None)
        batches.append(batch)
    os.write(1, b"begins\n")
    begun, sent = time.monotonic(), []
    for number, batch in enumerate(batches):
        await asyncio.sleep(begun + number / 100 - time.monotonic())
        sent.append(await producer.send_batch(batch, topic, partition=0))
    await asyncio.gather(*sent)
    await producer.stop()


def imported_contact(event_id: str) -> bytes:
    event = {
        "id": event_id,
        "type": "contact.added",
        "workspace_id": "import",
        "contact_id": event_id,
        "contact_name": f"Contact {event_id}",
        "source": "contact_import",
        "user_id": "u_1",
        "user_name": "Member 1",
        "batch_id": "import",
        "occurred_at": datetime.now(UTC).isoformat(),
    }
    return json.dumps(event).encode()


def plain_faust(bootstrap: str, topic_name: str, events: int) -> None:
    """The Faust app of its documentation: an agent that counts in a table, an event at a time."""
    app = faust.App(
        f"plain-{os.getpid()}",
        broker=f"kafka://{bootstrap}",
        store="memory://",
        datadir=tempfile.mkdtemp(),
        topic_partitions=4,
        topic_replication_factor=1,
        web_enabled=False,
        consumer_auto_offset_reset="earliest",
        stream_wait_empty=False,
    )
    topic = app.topic(topic_name, key_type=bytes, value_type=bytes, value_serializer="raw", key_serializer="raw")
    table = app.Table("counts", default=int, partitions=4)
    seen, started, cpu = 0, 0.0, 0.0

    @app.agent(topic)
    async def count(stream: faust.StreamT[bytes]) -> None:
        nonlocal seen, started, cpu
        async for value in stream:
            if not seen:
                started, cpu = time.monotonic(), time.process_time()
            event = json.loads(value)
            table[f"{event['workspace_id']}|{event['occurred_at'][:10]}|{event.get('source')}"] += 1
            seen += 1
            if seen == events:
                told(seen, started, cpu)

    logging.disable(logging.CRITICAL)
    faust.Worker(app, loglevel="error", quiet=True, redirect_stdouts=False).execute_from_commandline()


def told(events: int, started: float, cpu: float) -> None:
    os.write(1, json.dumps([events, time.monotonic() - started, time.process_time() - cpu]).encode() + b"\n")
    os._exit(0)


if __name__ == "__main__":
    kind, bootstrap, topic, events = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])
    if kind == "getmany":
        asyncio.run(getmany(bootstrap, topic, events))
    elif kind == "publish":
        asyncio.run(publish(bootstrap, topic, events))
    elif kind == "import":
        asyncio.run(import_contacts(bootstrap, topic, events))
    elif kind == "gulps":
        asyncio.run(gulps(bootstrap, topic))
    else:
        plain_faust(bootstrap, topic, events)
