"""What a commit costs, by the client that writes it: one Kafka transaction of a partition, with N records of the
changelog, and a dead letter in each tenth.

Three clients do the same, in turns within one run: the product's own producer (as of `transaction.version` 2, and
before it), aiokafka's, and librdkafka (confluent-kafka) in a thread for each partition. The first two take records that
the compiled core has packed, librdkafka one by one.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import statistics
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import uvloop
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError
from aiokafka.producer.message_accumulator import BatchBuilder
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from confluent_kafka import KafkaException, Producer

from benchmarks.machine import Bench, cpu_seconds, machine, say
from stream.kafka.producer import TransactionalProducer
from stream.kafka.record_batch import PackedBatch
from stream.kafka.transaction import BATCH_BYTES
from tests.support.kafka import create_topic, unique_name

ROUNDS = 3
TIMEOUT_SECONDS = 15.0
STOPPED_SECONDS = 3.0
HEADER_BYTES = 61
Records = list[tuple[bytes, bytes]]


@dataclass(frozen=True)
class Load:
    """`commits` a partition, one an interval."""

    records: int
    partitions: int
    commits: int
    interval_seconds: float


LOADS = (
    Load(20, 1, 60, 0.05),
    Load(20, 4, 60, 0.05),
    Load(20, 64, 6, 1.0),
    Load(2_000, 4, 20, 0.2),
    Load(50_000, 1, 3, 0.5),
)


class Payload:
    """The records of a commit, one by one and packed."""

    def __init__(self, number: int) -> None:
        self.records: Records = [(b"c" + uuid.uuid4().bytes, os.urandom(150)) for _ in range(number)]
        self.bodies: list[tuple[bytes, int]] = []
        builder, count = self._builder(), 0
        for key, value in self.records:
            if builder.append(count, None, key, value, []) is None:
                self._take(builder, count)
                builder, count = self._builder(), 0
                builder.append(count, None, key, value, [])
            count += 1
        self._take(builder, count)
        self.letter = (b"key", b"{" * 200)

    def _builder(self) -> Any:
        return DefaultRecordBatchBuilder(2, 0, 1, -1, -1, 0, BATCH_BYTES)

    def _take(self, builder: Any, count: int) -> None:
        self.bodies.append((bytes(builder.build())[HEADER_BYTES:], count))


class Client(Protocol):
    async def fence(self) -> None: ...

    async def commit(self, payload: Payload, *, letter: bool) -> None: ...

    async def close(self) -> None: ...


class Own:
    """The product's."""

    def __init__(self, bootstrap: str, topics: tuple[str, str], name: str, partition: int, *, whole: bool) -> None:
        self._places, self._partition = [(topic, partition) for topic in topics], partition
        self._producer = TransactionalProducer(
            bootstrap_servers=bootstrap,
            transactional_id=name,
            timeout_seconds=TIMEOUT_SECONDS,
            topics=topics,
            batch_bytes=BATCH_BYTES,
            whole=whole,
        )

    async def fence(self) -> None:
        await self._producer.start()

    async def commit(self, payload: Payload, *, letter: bool) -> None:
        async with asyncio.timeout(TIMEOUT_SECONDS):
            batches: list[Any] = [(self._places[0], PackedBatch(*body)) for body in payload.bodies]
            if letter:
                batch = self._producer.create_batch()
                batch.append(*payload.letter, [])
                batches.append((self._places[1], batch))
            for answer in await self._producer.send(batches):
                if answer is not None:
                    raise answer
            await self._producer.commit()

    async def close(self) -> None:
        await self._producer.stop()


class FramedBatch(BatchBuilder):  # type: ignore[misc]
    """A packed batch, as aiokafka's producer takes one."""

    def __init__(self, records: bytes, count: int) -> None:
        self._packed, self._count = PackedBatch(records, count), count
        self._state, self._framed = (-1, -1, 0), b""

    def append(self, **_given: Any) -> None: ...

    def close(self) -> None: ...

    def closed(self) -> bool:
        return True

    def record_count(self) -> int:
        return self._count

    def size(self) -> int:
        return HEADER_BYTES

    def _set_producer_state(self, producer_id: int, producer_epoch: int, base_sequence: int) -> None:
        self._state = (producer_id, producer_epoch, base_sequence)

    def _build(self) -> bytes:
        self._framed = self._framed or self._packed.frame(*self._state)
        return self._framed


class OfAiokafka:
    def __init__(self, bootstrap: str, topics: tuple[str, str], name: str, partition: int) -> None:
        self._topics, self._partition = topics, partition
        self._producer = AIOKafkaProducer(
            bootstrap_servers=bootstrap,
            client_id=name,
            transactional_id=name,
            transaction_timeout_ms=int(TIMEOUT_SECONDS * 1000),
            request_timeout_ms=int(TIMEOUT_SECONDS * 1000),
            acks="all",
            max_request_size=8 << 20,
            max_batch_size=BATCH_BYTES,
        )

    async def fence(self) -> None:
        await self._producer.start()

    async def commit(self, payload: Payload, *, letter: bool) -> None:
        async with asyncio.timeout(TIMEOUT_SECONDS):
            await self._producer.begin_transaction()
            batches: list[Any] = [(self._topics[0], FramedBatch(*body)) for body in payload.bodies]
            if letter:
                batch = self._producer.create_batch()
                batch.append(timestamp=None, key=payload.letter[0], value=payload.letter[1])
                batches.append((self._topics[1], batch))
            sent = [await self._producer.send_batch(b, topic, partition=self._partition) for topic, b in batches]
            await asyncio.gather(*sent)
            await self._producer.commit_transaction()

    async def close(self) -> None:
        with contextlib.suppress(KafkaError):  # one that is fenced says it again
            await self._producer.stop()


class OfLibrdkafka:
    """It blocks: so each has a thread."""

    def __init__(self, bootstrap: str, topics: tuple[str, str], name: str, partition: int) -> None:
        self._topics, self._partition = topics, partition
        self._thread = ThreadPoolExecutor(1)
        self._producer = Producer(
            {
                "bootstrap.servers": bootstrap,
                "transactional.id": name,
                "transaction.timeout.ms": int(TIMEOUT_SECONDS * 1000),
                "linger.ms": 0,
                "acks": "all",
                "batch.size": BATCH_BYTES,
                "batch.num.messages": 100_000,
                "log_level": 0,
            }
        )

    async def _run(self, act: Callable[..., None], *given: Any) -> None:
        await asyncio.get_running_loop().run_in_executor(self._thread, act, *given)

    async def fence(self) -> None:
        await self._run(self._producer.init_transactions, TIMEOUT_SECONDS)

    async def commit(self, payload: Payload, *, letter: bool) -> None:
        await self._run(self._commit, payload, letter)

    def _commit(self, payload: Payload, letter: bool) -> None:
        producer, (changelog, letters), partition = self._producer, self._topics, self._partition
        producer.begin_transaction()
        for key, value in payload.records:
            producer.produce(changelog, value, key, partition)
        if letter:
            producer.produce(letters, payload.letter[1], payload.letter[0], partition)
        producer.commit_transaction(TIMEOUT_SECONDS)

    async def close(self) -> None:
        self._thread.shutdown(wait=False)


MakeClient = Callable[[str, tuple[str, str], str, int], Client]
CLIENTS: dict[str, MakeClient] = {
    "own": lambda *given: Own(*given, whole=True),
    "own before version 2": lambda *given: Own(*given, whole=False),
    "aiokafka": OfAiokafka,
    "librdkafka": OfLibrdkafka,
}


@dataclass
class Taken:
    """What a client took in all rounds."""

    milliseconds: list[float] = field(default_factory=list)
    cpu_ms: list[float] = field(default_factory=list)
    broker_ms: list[float] = field(default_factory=list)
    threads: int = 0


def run() -> Iterator[dict[str, Any]]:
    with machine() as bench:
        for load in LOADS:
            taken: dict[str, Taken] = {name: Taken() for name in CLIENTS}
            for number in range(ROUNDS):
                for name, make in CLIENTS.items():
                    say(f"commits: {load}, {name}, round {number + 1}")
                    run_loop(measure(bench, make, load, taken[name]))
            for name, of in taken.items():
                yield {
                    "client": name,
                    "records": load.records,
                    "partitions": load.partitions,
                    "p50_ms": round(statistics.median(of.milliseconds), 1),
                    "p99_ms": round(sorted(of.milliseconds)[int(len(of.milliseconds) * 0.99)], 1),
                    "cpu_ms": round(statistics.median(of.cpu_ms), 3),
                    "broker_cpu_ms": round(statistics.median(of.broker_ms), 2),
                    "threads": of.threads,
                }
        for name, make in CLIENTS.items():
            yield {
                "client": name,
                "fenced": run_loop(fence_a_zombie(bench, make)),
                "broker_away": run_loop(stop_the_broker(bench, make)),
            }


def run_loop(work: Any) -> Any:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(work)


async def make_topics(bench: Bench, partitions: int) -> tuple[str, str]:
    topics = unique_name("changelog"), unique_name("letters")
    for topic in topics:
        await create_topic(bench.kafka.bootstrap, topic, partitions)
    return topics


async def measure(bench: Bench, make: MakeClient, load: Load, taken: Taken) -> None:
    topics, payload = await make_topics(bench, load.partitions), Payload(load.records)
    clients = [make(bench.kafka.bootstrap, topics, unique_name("txn"), p) for p in range(load.partitions)]
    for client in clients:
        await client.fence()
    for client in clients:
        await client.commit(payload, letter=True)
    await asyncio.sleep(0.5)
    broker = bench.kafka.nodes[0].pid
    before, of_broker = time.process_time(), cpu_seconds(broker)
    await asyncio.gather(
        *(
            write(client, payload, load, load.interval_seconds * at / load.partitions, taken.milliseconds)
            for at, client in enumerate(clients)
        )
    )
    commits = load.commits * load.partitions
    taken.cpu_ms.append((time.process_time() - before) * 1000 / commits)
    taken.broker_ms.append((cpu_seconds(broker) - of_broker) * 1000 / commits)
    taken.threads = max(taken.threads, count_threads())
    for client in clients:
        await client.close()


def count_threads() -> int:
    return len(list(Path("/proc/self/task").iterdir()))


async def write(client: Client, payload: Payload, load: Load, first: float, milliseconds: list[float]) -> None:
    await asyncio.sleep(first)
    for number in range(load.commits):
        begun = time.monotonic()
        await client.commit(payload, letter=number % 10 == 9)
        ended = time.monotonic()
        milliseconds.append((ended - begun) * 1000)
        await asyncio.sleep(max(begun + load.interval_seconds - ended, 0))


async def fence_a_zombie(bench: Bench, make: MakeClient) -> str:
    """What an owner is told whose id another one has begun under."""
    topics, payload, name = await make_topics(bench, 1), Payload(20), unique_name("txn")
    zombie, owner = (make(bench.kafka.bootstrap, topics, name, 0) for _ in range(2))
    await zombie.fence()
    await zombie.commit(payload, letter=False)
    await owner.fence()
    told = await outcome(zombie, payload)
    await owner.commit(payload, letter=False)
    for client in (zombie, owner):
        await client.close()
    return told


async def stop_the_broker(bench: Bench, make: MakeClient) -> str:
    """What a commit is told that begins while the broker stands still for some seconds."""
    topics, payload, broker = await make_topics(bench, 1), Payload(20), bench.kafka.nodes[0].pid
    client = make(bench.kafka.bootstrap, topics, unique_name("txn"), 0)
    await client.fence()
    await client.commit(payload, letter=False)
    os.kill(broker, signal.SIGSTOP)
    asyncio.get_running_loop().call_later(STOPPED_SECONDS, os.kill, broker, signal.SIGCONT)
    told = await outcome(client, payload)
    await client.close()
    return told


async def outcome(client: Client, payload: Payload) -> str:
    begun = time.monotonic()
    try:
        await client.commit(payload, letter=False)
        told = "committed"
    except KafkaException as error:
        of = error.args[0]
        kind = "fatal" if of.fatal() else "abort" if of.txn_requires_abort() else "retry" if of.retriable() else "other"
        told = f"{of.name()} ({kind})"
    except Exception as error:  # noqa: BLE001 - whatever it is told is what is to be seen
        told = type(error).__name__
    return f"{told} after {time.monotonic() - begun:.1f} s"
