"""What the product sees of the model servers: its producer, aiokafka's consumer, the source topic, a client of Redis.

Every request leaves a worker, travels, arrives, and its answer travels back. A worker may be paused or dead at any of
these moments; what it has sent goes on
without it.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Self

from aiokafka import TopicPartition
from aiokafka.errors import (
    KafkaConnectionError,
    KafkaTimeoutError,
    MessageSizeTooLargeError,
    ProducerFenced,
)
from aiokafka.protocol.metadata import MetadataRequest
from aiokafka.record.default_records import DefaultRecordBatch, DefaultRecordBatchBuilder
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from stream.kafka.record_batch import PackedBatch
from stream.kafka.source import SourcePartition
from stream.ports import KafkaAway, ReadTooLarge
from stream.projection.partitions import _LOWER as LOWER
from stream.projection.partitions import _RAISE as RAISE
from stream.settings.redis import PackedWords
from tests.simulation.kafka import Log, SimRecord, Txn
from tests.simulation.redis import as_bytes

if TYPE_CHECKING:
    from tests.simulation.worker import World

REDIS_TIMEOUT_SECONDS = 5.0
SOURCE_ANSWER_SECONDS = 10.0
BATCH_OVERHEAD = 61
LETTER_BYTES_LIMIT = 800
"""Of a batch on the dead-letter topic, where a run has letters that are too large; more than our own headers have."""


class Link:
    """A worker's end of all its connections. Pauses and the worker's death are felt here."""

    def __init__(self, world: "World", name: str) -> None:
        self.world, self.name = world, name
        self.dead = False
        self.paused_until = 0.0

    async def ready(self) -> None:
        if self.dead:
            raise asyncio.CancelledError
        while self.paused_until > self.world.loop.now:
            await asyncio.sleep(self.paused_until - self.world.loop.now)
            if self.dead:
                raise asyncio.CancelledError

    async def ask(self, act: Callable[[], Any]) -> Any:
        """Send a request to Kafka, and wait for what it did. Clients of Kafka try again until it is back."""
        return await self._ask(act, lambda: self.world.kafka_away_until)

    async def ask_redis(self, act: Callable[[], Any]) -> Any:
        return await self._ask(act, lambda: 0.0)

    async def _ask(self, act: Callable[[], Any], away_until: Callable[[], float]) -> Any:
        await self.ready()
        world = self.world
        answer: asyncio.Future[Any] = world.loop.create_future()

        def arrive() -> None:
            if away_until() > world.loop.now:
                world.loop.call_at(away_until() + world.delay(), arrive)
                return
            try:
                result = act()
            except Exception as error:  # noqa: BLE001 - handed to the one who asked
                world.loop.call_later(world.delay(), settle, answer, None, error)
            else:
                world.loop.call_later(world.delay(), settle, answer, result, None)

        world.loop.call_later(world.delay(), arrive)
        result = await answer
        await self.ready()
        return result


def settle(future: "asyncio.Future[Any]", result: Any, error: Exception | None) -> None:
    if future.done():
        return
    if error is not None:
        future.set_exception(error)
    else:
        future.set_result(result)


class Batch:
    """BuiltBatch, without bytes."""

    def __init__(self, limit: int) -> None:
        self._limit, self.size = limit, 0
        self.bytes = BATCH_OVERHEAD
        self.records: list[tuple[bytes | None, bytes | None, Any]] = []

    def append(self, key: bytes | None, value: bytes | None, headers: Any) -> bool:
        size = len(key or b"") + len(value or b"") + 20
        if self.records and self.size + size > self._limit:
            return False
        self.size += size
        self.bytes += DefaultRecordBatchBuilder.estimate_size_in_bytes(key, value, headers) - BATCH_OVERHEAD
        self.records.append((key, value, headers))
        return True


def as_batch(packed: PackedBatch) -> Batch:
    """What a broker reads of a batch that the core has packed."""
    batch = Batch(0)
    batch.records = [(r.key, r.value, list(r.headers)) for r in DefaultRecordBatch(packed.frame(-1, -1, 0))]
    assert len(batch.records) == packed.count, "the header tells how many there are"
    return batch


class SimProducer:
    """The producer of transactions."""

    def __init__(
        self, world: "World", *, bootstrap_servers: str, transactional_id: str, timeout_seconds: float, **_: Any
    ) -> None:
        self._world, self.client = world, SimpleNamespace()
        self._link = world.links[bootstrap_servers]
        self._id, self._timeout = transactional_id, timeout_seconds
        self._epoch = 0
        self._begun = False
        self._fatal: Exception | None = None
        self._arrives: dict[Log, float] = {}
        self._txn: Txn | None = None

    async def start(self) -> None:
        world, broker = self._world, self._world.broker
        if world.chance(world.profile.init_hangs):
            world.note(self._link.name, f"init_transactions of {self._id} hangs")
            if world.chance(0.5):  # it may have arrived all the same
                self._epoch = await self._link.ask(lambda: broker.begin(self._id))
            await world.loop.create_future()
        self._epoch = await self._link.ask(lambda: broker.begin(self._id))
        coordinator = broker.coordinator(self._id)
        while coordinator.txn is not None and not coordinator.txn.complete:
            await asyncio.sleep(0.01)
        await self._link.ready()
        world.note(self._link.name, f"begins as {self._id} epoch {self._epoch}")

    async def stop(self) -> None:
        world = self._world
        if world.chance(world.profile.slow_close):
            await asyncio.sleep(world.rng.random() * 6)

    def create_batch(self) -> Batch:
        return Batch(self._world.profile.batch_bytes)

    async def send(self, batches: Sequence[tuple[tuple[str, int], Any]]) -> list[Exception | None]:
        await self._begin()
        # All at once: of those of one partition the broker may have any number when the worker ends, as with answers
        # between them.
        sent = [self._send(batch, self._world.topic(topic)[partition]) for (topic, partition), batch in batches]
        return await asyncio.gather(*sent, return_exceptions=True)

    async def _begin(self) -> None:
        await self._link.ready()
        if self._fatal is not None:
            raise self._fatal
        if self._begun:
            return
        # While the markers of the transaction before are on their way, the first batch of this one is asked to wait.
        before = self._world.broker.coordinator(self._id)
        while before.epoch == self._epoch and before.txn is not None and before.txn.decided and not before.txn.complete:
            await asyncio.sleep(0.02)
            await self._link.ready()
        self._begun, self._txn = True, None

    def _send(self, batch: Any, log: Log) -> "asyncio.Future[Any]":
        world = self._world
        future: asyncio.Future[Any] = world.loop.create_future()
        # A connection keeps its order.
        at = max(world.loop.now + world.delay(), self._arrives.get(log, 0.0) + 1e-6, world.kafka_away_until)
        self._arrives[log] = at
        world.loop.call_at(at, self._arrive, batch, log, future)
        return future

    def _arrive(self, batch: Any, log: Log, future: "asyncio.Future[Any]") -> None:
        world = self._world
        error: Exception | None = None
        limited = world.letters_limited and log in world.broker.letters
        if limited and batch.bytes > LETTER_BYTES_LIMIT:
            error = MessageSizeTooLargeError()
            if not world.profile.limit_hidden:
                world.fail(AssertionError(f"{log.name}: {batch.bytes} bytes, and the limit was told"))
        if error is None and world.chance(world.profile.batch_fails):
            world.note(self._link.name, f"a batch to {log.name} fails")
            error = KafkaTimeoutError()
        if error is None:
            txn = world.broker.add(self._id, self._epoch, self._timeout)
            if isinstance(batch, PackedBatch):
                batch = as_batch(batch)
            if txn is None or txn.decided:
                error = self._fatal = ProducerFenced()
            else:
                self._txn = txn
                for key, value, headers in batch.records:
                    log.append(SimRecord(key, value, headers, 0), txn)
                if world.chance(world.profile.batch_fails / 2):
                    error = KafkaTimeoutError()  # it is there, but nobody is told
        world.loop.call_later(world.delay(), settle, future, None, error)

    async def commit(self) -> None:
        world, broker = self._world, self._world.broker
        await self._link.ready()
        if self._fatal is not None:
            raise self._fatal
        txn = self._txn

        def commit() -> bool:
            done = broker.commit(self._id, self._epoch, txn)
            world.note("kafka", f"{self._id} epoch {self._epoch}: {'committed' if done else 'refused'}")
            return done

        if world.chance(world.profile.kafka_fails):
            # Its answer is lost; it arrives now, much later, or never.
            fate = world.rng.random()
            if fate < 0.7:
                world.loop.call_later(world.delay() if fate < 0.4 else world.rng.random() * 20, commit)
            world.note(self._link.name, f"a commit of {self._id} is not answered")
            if world.chance(0.5):
                raise KafkaConnectionError("the connection broke")
            await world.loop.create_future()
        if not await self._link.ask(commit):
            self._fatal = ProducerFenced()
            raise self._fatal
        self._begun = False
        if world.chance(world.profile.answer_lost):
            world.note(self._link.name, f"the answer to a commit of {self._id} is lost")
            raise KafkaTimeoutError


class SimConsumer:
    """aiokafka's consumer of one assigned partition."""

    def __init__(self, world: "World", *, bootstrap_servers: str, isolation_level: str, **_: Any) -> None:
        self._world, self._link = world, world.links[bootstrap_servers]
        self._dirty = isolation_level != "read_committed"
        self._log: Log | None = None
        self._position = 0
        self._client = self

    async def start(self) -> None:
        await self._link.ask(lambda: None)

    @property
    def cluster(self) -> Any:
        return SimpleNamespace(brokers=lambda: [SimpleNamespace(nodeId=1)])

    async def send(self, node: int, request: MetadataRequest) -> Any:
        def told() -> dict[str, Any]:
            counts = {name: len(self._world.topic(name)) for name in request._topics or ()}
            return {"topics": [{"topic": t, "error_code": 0, "partitions": [{}] * n} for t, n in counts.items()]}

        topics = await self._link.ask(told)
        return SimpleNamespace(to_object=lambda: topics)

    async def stop(self) -> None:
        if self._log is not None:
            self._world.readers[self._log] -= 1
            self._log = None

    def assign(self, tps: Sequence[TopicPartition]) -> None:
        (tp,) = tps
        self._log = self._world.topic(tp.topic)[tp.partition]
        self._world.readers[self._log] += 1

    async def beginning_offsets(self, tps: Sequence[TopicPartition]) -> Mapping[TopicPartition, int]:
        return await self._link.ask(lambda: {tp: self._world.topic(tp.topic)[tp.partition].first for tp in tps})

    async def end_offsets(self, tps: Sequence[TopicPartition]) -> Mapping[TopicPartition, int]:
        def ends() -> dict[TopicPartition, int]:
            logs = {tp: self._world.topic(tp.topic)[tp.partition] for tp in tps}
            return {tp: log.end if self._dirty else log.stable for tp, log in logs.items()}

        return await self._link.ask(ends)

    def seek(self, tp: TopicPartition, offset: int) -> None:
        self._position = offset

    async def position(self, tp: TopicPartition) -> int:
        return self._position

    async def getmany(self, tp: TopicPartition, timeout_ms: int) -> Mapping[TopicPartition, list[SimRecord]]:
        world, log = self._world, self._log
        assert log is not None
        if world.chance(world.profile.kafka_fails / 3):
            raise KafkaConnectionError("the connection broke")
        start = self._position

        def fetch() -> tuple[list[SimRecord], int]:
            end = min(log.end if self._dirty else log.stable, start + world.rng.choice((3, 20, 1000)))
            return list(log.visible(start, end, dirty=self._dirty)), max(end, start)

        records, self._position = await self._link.ask(fetch)
        return {tp: records} if records else {}


class SimSource:
    """stream.kafka.source.SourceTopic."""

    def __init__(self, link: Link) -> None:
        self._link, self._world = link, link.world

    def partition(self, partition: int) -> SourcePartition:
        return SourcePartition(self, partition)  # type: ignore[arg-type]

    def groups(self, partitions: Sequence[int]) -> list[list[int]]:
        """Two brokers lead them."""
        groups = [[p for p in partitions if p % 2 == leader] for leader in (0, 1)]
        return [group for group in groups if group]

    async def ends(self, partitions: Sequence[int]) -> dict[int, int]:
        """Now and then a leader does not tell one of them."""
        logs, world = self._world.broker.source, self._world
        told = [p for p in partitions if not world.chance(world.profile.kafka_fails / 3)]
        return await self._ask(lambda: {p: logs[p].stable for p in told})

    async def bounds(self, partition: int) -> tuple[int, int]:
        log = self._world.broker.source[partition]
        first = await self._ask(lambda: log.first)
        return first, await self._ask(lambda: log.stable)

    async def partitions(self) -> int:
        return await self._ask(lambda: len(self._world.broker.source))

    async def read(self, partition: int, start: int, end: int) -> list[SimRecord]:
        log = self._world.broker.source[partition]
        if end - start > 1 and self._world.chance(0.1):
            raise ReadTooLarge

        def fetch() -> list[SimRecord] | None:
            if start < log.first:
                raise KafkaAway("the offset is out of range")
            return None if end > log.stable else list(log.visible(start, end))

        if self._world.chance(self._world.profile.slow_reads):
            await asyncio.sleep(self._world.rng.random() * 8)
        for _ in range(20):
            found = await self._ask(fetch)
            if found is not None:
                return found
            await asyncio.sleep(SOURCE_ANSWER_SECONDS / 20)
        raise KafkaAway("no answer")

    async def _ask(self, act: Callable[[], Any]) -> Any:
        if self._world.chance(self._world.profile.kafka_fails / 3):
            await asyncio.sleep(self._world.delay())
            raise KafkaAway("no answer")
        return await self._link.ask(act)


class SimRedis:
    """redis-py's client, as far as RedisReplica and Evictions use it."""

    def __init__(self, link: Link) -> None:
        self._link = link

    def register_script(self, text: str) -> Any:
        return Announcement(self._link, text == RAISE) if text in (RAISE, LOWER) else Script(self._link)

    async def info(self) -> dict[str, Any]:
        await self._link.ready()
        redis = self._link.world.redis
        if redis.away:
            raise RedisConnectionError("away")
        told = {"maxmemory_policy": redis.policy, "run_id": "one", "evicted_keys": redis.evicted_keys}
        await asyncio.sleep(self._link.world.delay())
        await self._link.ready()
        return told

    async def time(self) -> tuple[int, int]:
        world = self._link.world

        def tell() -> int:
            if world.redis.away:
                raise RedisConnectionError("away")
            return world.true_ms() + world.redis_clock_off_ms

        seconds, ms = divmod(await self._link.ask_redis(tell), 1000)
        return seconds, ms * 1000

    async def evalsha(self, sha: str, key_count: int, *words: Any) -> Any:
        return await Script(self._link)(*plain(key_count, words))

    def send_late(self, sha: str, key_count: int, *words: Any) -> None:
        """Without an answer; perhaps it never arrives."""
        Script(self._link).send_late(*plain(key_count, words))

    def pipeline(self, transaction: bool) -> "Pipeline":
        assert not transaction
        return Pipeline(self)


class Pipeline:
    """Commands that are sent at once. Where one is not answered, those behind it may still arrive."""

    def __init__(self, redis: SimRedis) -> None:
        self._redis = redis
        self._commands: list[tuple[Any, ...]] = []

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *error: object) -> None:
        pass

    def execute_command(self, name: str, *words: Any) -> None:
        assert name == "EVALSHA"
        self._commands.append(words)

    async def execute(self, raise_on_error: bool) -> list[Any]:
        assert not raise_on_error
        answers = []
        for number, command in enumerate(self._commands):
            try:
                answers.append(await self._redis.evalsha(*command))
            except (RedisConnectionError, RedisTimeoutError):
                for later in self._commands[number + 1 :]:
                    self._redis.send_late(*later)
                raise
        return answers


def plain(key_count: int, words: Sequence[Any]) -> tuple[list[Any], list[Any]]:
    """Keys and arguments, of words of which some are packed."""
    found: list[Any] = []
    for word in words:
        found += unpacked(word) if isinstance(word, PackedWords) else [word]
    return found[:key_count], found[key_count:]


def unpacked(words: PackedWords) -> list[bytes]:
    """One after another, each behind its length."""
    found, at = list[bytes](), 0
    while at < len(words.content):
        length, _, _ = words.content[at + 1 :].partition(b"\r\n")
        at += len(length) + 3
        found.append(words.content[at : at + int(length)])
        at += int(length) + 2
    assert len(found) == words.number, f"{len(found)} words, {words.number} were told"
    return found


class Announcement:
    """The scripts of stream/projection/partitions.py."""

    def __init__(self, link: Link, raises: bool) -> None:
        self._link, self._raises = link, raises

    async def __call__(self, keys: Sequence[Any], args: Sequence[Any]) -> int:
        redis, key, numbers = self._link.world.redis, as_bytes(keys[0]), [int(number) for number in args[1:]]

        def act() -> int:
            if redis.away:
                raise RedisConnectionError("away")
            return redis.announce(key, numbers[0], numbers[1:]) if self._raises else redis.withdraw(key, *numbers)

        answer = await self._link.ask_redis(act)
        if self._link.world.chance(self._link.world.profile.call_answer_lost):
            raise RedisConnectionError("the connection broke")
        return int(answer)


class Script:
    sha = "sha"

    def __init__(self, link: Link) -> None:
        self._link = link

    def send_late(self, keys: Sequence[Any], args: Sequence[Any]) -> None:
        world, redis = self._link.world, self._link.world.redis
        sent = [as_bytes(key) for key in keys], [as_bytes(arg) for arg in args]
        generation = redis.generation

        def arrive() -> None:
            if not redis.away and generation == redis.generation:
                result = redis.run(*sent)
                world.note(self._link.name, lambda: f"redis, late: {describe(sent[1])} -> {result}")

        if world.chance(0.7):
            world.loop.call_later(world.rng.random() * (0.1 if world.chance(0.5) else 15), arrive)

    async def __call__(self, keys: Sequence[Any], args: Sequence[Any]) -> Any:
        link, world = self._link, self._link.world
        await link.ready()
        profile, redis, rng = world.profile, world.redis, world.rng
        sent = [as_bytes(key) for key in keys], [as_bytes(arg) for arg in args]
        world.claims += args[0] == "claim"  # where it is made: one that was late for long makes no quarrel
        generation = redis.generation
        answer: asyncio.Future[Any] = world.loop.create_future()

        def arrive(answered: bool = True) -> None:
            if redis.away:
                settle(answer, None, RedisConnectionError("away"))
                return
            if generation != redis.generation and not world.chance(profile.wire_survives, calm_too=True):
                settle(answer, None, RedisConnectionError("the connection broke"))
                return
            result = redis.run(*sent)
            world.note(
                link.name, lambda: f"redis: {describe(sent[1])} -> {'claimed' if isinstance(result, list) else result}"
            )
            if answered:
                world.loop.call_later(world.delay(), settle, answer, result, None)

        if profile.copies and world.chance(0.3):
            world.loop.call_later(rng.random() * 3, arrive, False)
        fate = rng.random() if not world.calm else 1.0
        if fate < profile.call_lost:
            world.note(link.name, lambda: f"lost: {describe(sent[1])}")
        elif fate < profile.call_lost + profile.call_late:
            world.loop.call_later(rng.random() * 15, arrive, False)
            world.note(link.name, lambda: f"late: {describe(sent[1])}")
        else:
            lost = fate < profile.call_lost + profile.call_late + profile.call_answer_lost
            world.loop.call_later(world.delay(), arrive, not lost)
        broken = fate < profile.call_lost + profile.call_late + profile.call_answer_lost and world.chance(0.5)
        try:
            async with asyncio.timeout(rng.random() * 0.05 if broken else REDIS_TIMEOUT_SECONDS):
                result = await answer
        except TimeoutError:
            await link.ready()
            raise (RedisConnectionError("the connection broke") if broken else RedisTimeoutError("no answer")) from None
        await link.ready()
        return result


def describe(argv: Sequence[bytes]) -> str:
    if argv[0] == b"evicted":
        return b" ".join(argv).decode()
    if argv[0] == b"claim":
        return f"claim p{argv[1].decode()} {argv[3][:6].decode()}"
    n = 2 * int(argv[9])
    fields = dict(zip(argv[10 : 10 + n : 2], argv[11 : 10 + n : 2], strict=True))
    told = " ".join(
        f"{name.decode()}={value.decode()}"
        for name, value in fields.items()
        if not name.endswith((b".when", b".worker", b".moved"))
    )
    operations = b" ".join(a if len(a) < 24 else a[:12] + b"~" for a in argv[10 + n :]).decode(errors="replace")
    call = f"project p{argv[1].decode()} {argv[2][:6].decode()} #{argv[3].decode()}"
    return f"{call} as_of={argv[7].decode()} {told} | {operations}"
