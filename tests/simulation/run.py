"""One run: things go wrong for a while, then all is quiet; what was counted must equal a recount, then, and again
after a new beginning.
"""

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from random import Random
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import stream.kafka.changelog
import stream.kafka.transaction
import stream.projection.backfill
import stream.projection.calls
import stream.projection.evictions
import stream.projection.projector
import stream.projection.replica
import stream.slices
import stream.tables.compiled
import stream.tables.recent_ids
import stream.tables.uncounted
import stream.worker.ends
import stream.worker.new_partitions
import stream.worker.recovery
import stream.worker.sampling
from tests.simulation import chance, faults, topics
from tests.simulation.checks import Broken, Checks, live
from tests.simulation.clients import SimConsumer, SimProducer
from tests.simulation.kafka import SimRecord
from tests.simulation.loop import DeadlockError, VirtualLoop
from tests.simulation.loop import run as run_loop
from tests.simulation.reader import POSITIONS, Place, answers, is_spoilt, partitions
from tests.simulation.sampling import check_samples
from tests.simulation.worker import SimClock, World
from tests.simulation.workload import START_MS, Publishers

DRAIN_SECONDS = 120.0
QUIET_SECONDS = 15.0
CLAIMS_WHEN_QUIET = 60


@dataclass(frozen=True, slots=True)
class Result:
    seed: int
    failure: str | None
    calls: int
    commits: int
    events: int
    seconds: float
    """Of real time."""
    stops: tuple[str, ...] = ()
    samples: int = 0
    """Day aggregates that were held against Redis, and were equal."""


def run_seed(seed: int, *, profile: chance.Profile | None = None, trace: Callable[[str], None] | None = None) -> Result:
    """Run one seed. The same seed and profile give the same run, to the letter."""
    started = time.process_time()
    rng = Random(seed)
    drawn = profile if profile is not None else chance.draw(seed)
    loop = VirtualLoop()
    world = World(loop, rng, drawn, trace)
    run = Run(world)
    with _product_in(world):
        failure = run_loop(loop, run.whole())
    return Result(
        seed,
        failure,
        len(world.redis.states),
        sum(map(len, run.checks.committed.values())),
        sum(len(r.verdicts) for r in run.checks.recounts),
        time.process_time() - started,
        tuple(world.stops),
        world.samples.equal,
    )


@contextmanager
def _product_in(world: World) -> Iterator[None]:
    """The product's limits, its randomness and its Kafka clients are the run's."""
    rng, profile = world.rng, world.profile
    drawn = SimpleNamespace(token_hex=lambda n: rng.randbytes(n).hex(), token_bytes=rng.randbytes)
    with ExitStack() as stack:

        def put(module: Any, name: str, value: Any) -> None:
            stack.enter_context(patch.object(module, name, value))

        for module in (stream.worker.recovery, stream.projection.projector, stream.projection.replica):
            put(module, "secrets", drawn)
        put(stream.kafka.transaction, "TransactionalProducer", lambda **options: SimProducer(world, **options))
        put(stream.kafka.changelog, "AIOKafkaConsumer", lambda **options: SimConsumer(world, **options))
        put(stream.worker.new_partitions, "secrets", drawn)
        put(stream.worker.new_partitions, "SystemClock", lambda: SimClock(world.loop))
        put(stream.projection.evictions, "LOOK_SECONDS", 2.0)
        put(stream.worker.ends, "ASK_SECONDS", 0.5)
        put(stream.slices, "SLICE_SECONDS", 0.0)
        put(stream.worker.ends, "ASK_FIRST_SECONDS", 0.7)
        put(stream.projection.calls, "CALL_BYTES", profile.call_bytes)
        put(stream.projection.calls, "OPERATION_LIMIT", profile.operation_limit)
        put(stream.projection.backfill, "STEP_OFFSETS", profile.step_offsets)
        put(stream.tables.uncounted, "BLOCK_BYTES", profile.uncounted_block_bytes)
        put(stream.tables.recent_ids, "BLOCK_IDS", profile.block_ids)
        put(stream.tables.compiled, "UNKEPT_LIMIT", 2)
        put(stream.worker.sampling, "DIFFERENT_AGAIN_SECONDS", 2.0)
        put(stream.worker.sampling.log, "exception", world.samples.fail)
        yield


class Run:
    def __init__(self, world: World) -> None:
        self.world = world
        self.checks = Checks(world)
        self.cluster = faults.Cluster(world)
        self.publishers = Publishers(world.rng, world.profile)
        world.true_ms = lambda: self.publishers.broker_ms

    async def whole(self) -> str | None:
        try:
            await self._parts()
        except Broken as error:
            return f"{type(error).__name__}: {error}"
        except DeadlockError:
            return "everything waits for ever"
        failure = self.world.failure
        return None if failure is None else f"{type(failure).__name__}: {failure}"

    async def _parts(self) -> None:
        world, cluster = self.world, self.cluster
        publishing = asyncio.ensure_future(faults.publish(world, self.publishers))
        await self._watched(faults.go_wrong(world, cluster, self.checks, self.publishers))
        self._calm()
        world.note("run", "quiet")
        await self._watched(topics.finish(world))
        await self._watched(publishing)
        await self._drain()
        self.checks.check_end()
        await self._new_life()
        await self._watched(check_samples(world, cluster, self.checks))
        if world.rng.random() < world.profile.changelog_lost:
            await self._refuses(self._lose_changelog, "AnotherIncarnation")
        elif world.rng.random() < world.profile.keys_lost:
            await self._refuses(self._lose_keys, "it lost records")
        elif world.rng.random() < world.profile.topic_anew:
            await self._refuses(self._make_topic_anew, "created again")

    def _calm(self) -> None:
        world, cluster = self.world, self.cluster
        world.calm = True
        world.redis.away = False
        world.redis.policy = "noeviction"
        world.kafka_away_until = 0.0
        world.redis_clock_off_ms = self.publishers.brokers_ahead_ms = 0
        self.publishers.broker_ms += faults.BROKERS_AHEAD_MS  # what the brokers stamped ahead is no longer
        for worker in cluster.workers:
            worker.link.paused_until = 0.0
            worker.wall_clock.off_ms = 0
            worker.clock.ahead_ms = 0
            gone = worker.zombie and not world.profile.zombies_stay
            if not worker.stopped and (gone or not worker.keeps_rows):
                worker.crash()
        world.stops.clear()
        world.claims = 0
        cluster.started = 0

    async def _new_life(self) -> None:
        """Compact, kill, perhaps empty Redis, publish a little more, recover: and compare again."""
        world, cluster, rng = self.world, self.cluster, self.world.rng
        for log in world.broker.changelog:
            log.compact(log.end, keep_tombstones=False)
        for worker in cluster.workers:
            if not worker.stopped:
                worker.crash()
        world.note("run", "a new life")
        for _ in range(rng.choice((0, 3))):
            partition = rng.randrange(len(world.broker.source))
            self.publishers.publish(world.broker.source[partition], partition, None)
        if rng.random() < 0.3:
            world.redis.restore(rng.choice(world.redis.states) if rng.random() < 0.5 else {})
        await self._drain()
        self.checks.check_end()

    async def _refuses(self, act: Callable[[], None], why: str) -> None:
        """Kafka is not the one that was counted: the workers stop, say why, and Redis keeps what it has."""
        world, cluster = self.world, self.cluster
        for worker in cluster.workers:
            if not worker.stopped:
                worker.crash()
        await asyncio.sleep(1)
        world.redis.on_write = world.broker.on_commit = None
        before = {key: value for key, value in world.redis.state.items() if key != POSITIONS}
        world.stops.clear()
        act()
        world.note("run", f"must be refused: {why}")
        until = world.loop.now + 10
        while world.loop.now < until:
            await asyncio.sleep(0.2)
            cluster.look_after()
        after = {key: value for key, value in world.redis.state.items() if key != POSITIONS}
        if after != before:
            raise Broken(f"Redis was changed, and the worker should have stopped: {why}")
        if not world.stops or not all(why in stop for stop in world.stops):
            raise Broken(f"the workers should have stopped: {why}; {world.stops}")

    def _lose_changelog(self) -> None:
        broker = self.world.broker
        number = len(broker.source)
        broker.changelog, broker.coordinators = [], {}
        broker.raise_to(number)

    def _lose_keys(self) -> None:
        """Retention takes the head of each changelog, up to some record that nothing has replaced; or a tombstone is
        missed, and what it deleted comes back."""
        broker, rng = self.world.broker, self.world.rng
        for log in broker.changelog:
            alive = sorted(record.offset for record in live(log).values())
            if len(alive) == 1:
                log.append(SimRecord(b"c" + bytes(6) + b"w", b"of another day", [], 0))
            else:
                log.first = rng.choice(alive[:-1]) + 1

    def _make_topic_anew(self) -> None:
        """Other records where the old ones were, in every partition of which any was counted."""
        broker, rng = self.world.broker, self.world.rng
        old, broker.source = broker.source, []
        broker.raise_to(len(old))
        for partition, log in enumerate(old):
            if not log.first and next(log.visible(0, log.end), None) is None:
                continue  # of this partition nothing is known that another topic could contradict
            fewer = rng.randrange(2) if rng.random() < 0.3 else 0
            for _ in range(max(log.end - fewer, 0)):
                self.publishers.publish(broker.source[partition], partition, None)

    async def _watched(self, work: Any) -> None:
        """Do something, but no further than the first failure."""
        task = asyncio.ensure_future(work)
        while not task.done():
            await asyncio.wait([task], timeout=0.5)
            self._raise_failure()
        task.result()

    def _raise_failure(self) -> None:
        if self.world.failure is not None:
            raise Broken(f"{type(self.world.failure).__name__}: {self.world.failure}")

    async def _drain(self) -> None:
        """Until all is counted, shown and written, by owners that are there; then nothing may stir any more."""
        world, cluster = self.world, self.cluster
        await self._wait_until_drained()
        claims, started = world.claims, cluster.started
        zombies = any(w.zombie and not w.stopped for w in cluster.workers)
        await asyncio.sleep(QUIET_SECONDS if zombies else 2.5)
        self._raise_failure()
        if world.claims - claims > 4 or cluster.started > started + 1 or world.claims > CLAIMS_WHEN_QUIET:
            raise Broken(f"no quiet: {world.claims} claims, {cluster.started} workers started, {world.stops[-3:]}")
        await self._wait_until_drained()

    async def _wait_until_drained(self) -> None:
        world, since = self.world, self.world.loop.now
        while not self._drained(since):
            await asyncio.sleep(0.2)
            self._raise_failure()
            self.cluster.look_after()
            if world.loop.now > since + DRAIN_SECONDS:
                raise Broken(f"no end: {self._state()}; stops {world.stops[-3:]}; {world.claims} claims")

    def _drained(self, since: float) -> bool:
        world, state = self.world, self.world.redis.state
        if not answers(state) or partitions(state) < len(world.broker.source):
            return False
        if is_spoilt(state, world.redis.evicted_keys):
            return False
        if any(log.stable != log.end for log in (*world.broker.changelog, *world.broker.letters)):
            return False  # markers of the last commits are on their way, and who reads the tables waits for them
        for partition, log in enumerate(world.broker.source):
            last = max((record.offset for record in log.visible(log.end - 20, log.end)), default=-1)
            place = Place(state, partition)
            if place.position is None or place.position <= last or place.missing_rows or log.stable != log.end:
                return False
            if not since * 1000 <= (place.as_of or 0) - START_MS <= world.loop.now * 1000:
                return False
        return True

    def _state(self) -> str:
        told = []
        for partition, log in enumerate(self.world.broker.source):
            place = Place(self.world.redis.state, partition)
            told.append(
                f"p{partition} log [{log.first}, {log.stable} of {log.end}] "
                f"committed {self.checks.committed_upto(partition)} "
                f"redis {place.position} missing rows {place.missing_rows} as_of {(place.as_of or 0) - START_MS}"
            )
        return "; ".join(told)
