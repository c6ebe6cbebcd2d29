"""A worker as the product builds it, fed as by its consumer; and the world that it lives in."""

import asyncio
import collections
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import replace
from random import Random
from typing import Any

from stream.kafka.transaction import TransactionalStore
from stream.ports import WorkerMustStop
from stream.projection.sampled import SampledCounts
from stream.settings.worker import WorkerConfig
from stream.storage.keys import Keys
from stream.tables.batch import Batch
from stream.tables.partition import PartitionState
from stream.tables.rules import CountingRules, counting_rules
from stream.worker.assignment import OwnedPartitions
from stream.worker.ends import ask_for_ends
from stream.worker.listener import Listener, Phase
from stream.worker.partition_task import OwnedPartition
from stream.worker.sampling import Sampler
from stream.worker.wiring import Wiring
from tests.simulation import cores
from tests.simulation.chance import Profile
from tests.simulation.clients import LETTER_BYTES_LIMIT, Link, SimRedis, SimSource
from tests.simulation.kafka import Broker, Log
from tests.simulation.loop import VirtualLoop
from tests.simulation.redis import ModelRedis
from tests.simulation.sampling import SAMPLES_AN_HOUR, Reads, Samples
from tests.simulation.workload import MAX_EVENT_BYTES, START_MS

GROUP = "sim"
SOURCE = "source"


class World:
    """Everything of one run."""

    def __init__(self, loop: VirtualLoop, rng: Random, profile: Profile, trace: Callable[[str], None] | None) -> None:
        self.loop, self.rng, self.profile, self._trace = loop, rng, profile, trace
        self._names = self.config()
        self.calm = False
        self.kafka_away_until = 0.0
        self.letters_limited = profile.too_large_letter > 0
        self.links: dict[str, Link] = {}
        self.broker = Broker(loop, self.delay, profile.partitions)
        self.redis = ModelRedis()
        self.redis.clock_ms = lambda: START_MS + int(loop.now * 1000)  # right, as the brokers' is
        self.readers: collections.Counter[Log] = collections.Counter()
        self.keys = Keys(GROUP)
        self.failure: BaseException | None = None
        self.stops: list[str] = []
        self.claims = 0
        self.samples = Samples(self)
        self.true_ms: Callable[[], int] = lambda: START_MS
        """What all clocks would say that are right."""
        self.redis_clock_off_ms = 0
        self.clocks_were_off_by: dict[bool, set[int]] = {True: set(), False: set()}
        """By how much a worker's clock (True) was wrong, and Redis' (False)."""
        self.raising, self.commands = 0, 0
        """To how many partitions somebody raises the topics, and how many commands were given."""
        self.raised_by_hand = False
        """Partitions were added by Kafka's own tools, and nobody told readers."""

    def chance(self, probability: float, *, calm_too: bool = False) -> bool:
        return (not self.calm or calm_too) and self.rng.random() < probability

    def delay(self) -> float:
        """Seconds that a message takes."""
        if not self.calm and self.rng.random() < self.profile.slow:
            return self.rng.random() ** 3 * 8
        return self.rng.random() * 0.004

    def topic(self, name: str) -> list[Log]:
        return {
            self._names.topic: self.broker.source,
            self._names.changelog_topic: self.broker.changelog,
            self._names.dead_letter_topic: self.broker.letters,
        }[name]

    def recover(self, partition: int, table: Mapping[bytes, bytes]) -> PartitionState:
        """The product's own state of a changelog's content."""
        return PartitionState.recover(partition, self.rules, table)

    @property
    def rules(self) -> CountingRules:
        profile = self.profile
        return replace(
            counting_rules(self.config()), delta_floor=profile.delta_floor, base_bytes_limit=profile.base_bytes_limit
        )

    def config(self, **given: Any) -> WorkerConfig:
        """A worker's settings. What the run does not draw is as the product has it."""
        profile = self.profile
        return WorkerConfig(
            topic=SOURCE,
            group=GROUP,
            max_event_bytes=MAX_EVENT_BYTES,
            retention_days=profile.retention_days,
            dedupe_window_hours=profile.window_hours,
            dedupe_max_ids=profile.max_ids,
            name_limit=profile.name_limit,
            commit_interval_seconds=profile.commit_interval,
            commit_max_events=profile.commit_max_events,
            **given,
        )

    def note(self, who: str, what: str | Callable[[], str]) -> None:
        if self._trace is not None:
            self._trace(f"{self.loop.now:9.4f} {who:>8}  {what if isinstance(what, str) else what()}")

    def fail(self, error: BaseException) -> None:
        if self.failure is None:
            self.failure = error
            self.note("CHECK", str(error))


class SimClock:
    """A worker's, which may be wrong, and set anew."""

    def __init__(self, loop: VirtualLoop) -> None:
        self._loop = loop
        self.ahead_ms = 0

    def now_ms(self) -> int:
        return START_MS + int(self._loop.now * 1000) + self.ahead_ms


class SimWallClock:
    """A worker's clock, which may be wrong."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.off_ms = 0

    def now_ms(self) -> int:
        return self._world.true_ms() + self.off_ms


class SimFetchControl:
    """The consumer's side: where each partition is read next, and which are paused."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.at: dict[int, int] = {}
        self.paused: set[int] = set()

    def seek(self, partition: int, offset: int) -> None:
        # In the consumer's own thread: what it had fetched before is delivered first.
        self._world.loop.call_later(self._world.delay() / 4, self.at.__setitem__, partition, offset)

    def pause(self, partition: int) -> None:
        self.paused.add(partition)

    def resume(self, partition: int) -> None:
        self.paused.discard(partition)


class Ear(Listener):
    """Notes what a partition tells, and that no record was lost."""

    def __init__(self, world: World, name: str) -> None:
        self._world, self._name = world, name

    def note_phase(self, partition: int, phase: Phase) -> None:
        self._world.note(self._name, f"p{partition} {phase}")

    def note_recovered(self, partition: int, keys: int, position: int, seconds: float) -> None:
        self._world.note(self._name, f"p{partition} recovered at {position} from {keys} keys")

    def note_failed(self, partition: int, why: str) -> None:
        self._world.note(self._name, f"p{partition} failed: {why}")

    def note_waiting(self, partition: int, why: str | None) -> None:
        self._world.note(self._name, f"p{partition} waits: {why}")

    def note_lost(self, partition: int, offsets: int) -> None:
        self._world.fail(AssertionError(f"p{partition}: {offsets} offsets lost"))


class WatchedStore(TransactionalStore):
    """The product's; who is no longer the owner, or may soon not be, must not fence: another one may own by now."""

    def watch(self, owns: Callable[[], bool], world: World) -> None:
        self._owns, self._world = owns, world

    def fence(self) -> Coroutine[Any, Any, None]:
        """One that was begun before the revocation is waited for: so it is judged when it is asked for."""
        if not self._owns():
            self._world.fail(AssertionError(f"p{self._partition} is fenced by a worker that it was taken from"))
        return super().fence()


class Worker:
    def __init__(self, world: World, name: str) -> None:
        self._world, self.name = world, name
        profile = world.profile
        self.link = world.links[name] = Link(world, name)
        self.told: set[int] = set()
        """The partitions that it believes to own."""
        self._lost: set[int] = set()
        """Those that were revoked, until it hears which ones it owns."""
        self.stopped = False
        self.being_told = asyncio.Lock()
        self.zombie = False
        self.keeps_rows = not (profile.without_rows and world.chance(profile.without_rows))
        config = world.config(kafka=name, row_days=None if self.keeps_rows else 0)
        self.clock, self.wall_clock = SimClock(world.loop), SimWallClock(world)
        self._source: Any = SimSource(self.link)
        redis: Any = SimRedis(self.link)
        self._wiring = Wiring(
            config,
            rules=replace(world.rules, keep_rows=self.keeps_rows),
            worker=name,
            redis=redis,
            source=self._source,
            old_records=self._source,
            clock=self.wall_clock,
            projector_clock=self.clock,
            steady=lambda: world.true_ms() / 1000,
            listener=Ear(world, name),
            note_evictions=lambda may, did: None,
            stop_worker=self._must_stop,
        )
        if world.letters_limited and not profile.limit_hidden:
            self._wiring.letter_bytes = LETTER_BYTES_LIMIT
        self.fetch_control = SimFetchControl(world)
        self.partitions = OwnedPartitions(SOURCE, self._make, revoke_seconds=3.0)
        reads = Reads(self.link)
        self._sampler = Sampler(
            self.sampled(reads), reads.rng, SAMPLES_AN_HOUR, lambda p, outcome, _: world.samples.note(reads, p, outcome)
        )
        self._tasks: list[asyncio.Task[Any]] = []

    def start(self) -> None:
        asking = ask_for_ends(self.partitions, self._source, lambda p, end: None)
        for task in (
            self._wiring.clocks.watch(),
            self._feed(),
            asking,
            self._wiring.evictions.watch(),
            self._sampler.watch(self.partitions),
        ):
            created = self._world.loop.create_task(task)
            created.add_done_callback(self._ended)
            self._tasks.append(created)

    def sampled(self, reads: Any) -> SampledCounts:
        """What samples compare with; reads Redis by a client of their own."""
        return SampledCounts(reads, self._world.keys)

    def _ended(self, task: asyncio.Task[Any]) -> None:
        """No task of a worker ends by itself."""
        if not task.cancelled() and task.exception() is not None:
            self._world.fail(task.exception())  # type: ignore[arg-type]

    def crash(self) -> None:
        """Nothing more is sent; what was sent goes on."""
        self._world.note(self.name, "crashes")
        self.link.dead = self.stopped = True
        for task in self._tasks:
            task.cancel()
        for owned in self.partitions:
            if owned._task is not None:
                owned._task.cancel()

    async def stop(self) -> None:
        """Told to: it lets go of its partitions, commits in flight first."""
        self._world.note(self.name, "stops")
        self.stopped = True
        for task in self._tasks:
            task.cancel()
        try:
            async with asyncio.timeout(8):
                await self.partitions.close()
        except TimeoutError:
            pass
        self.link.dead = True
        for owned in self.partitions:
            if owned._task is not None:
                owned._task.cancel()

    def _must_stop(self, reason: Exception) -> None:
        world = self._world
        if self.link.dead or self.stopped:
            return
        world.note(self.name, f"must stop: {reason}")
        if isinstance(reason, WorkerMustStop):
            world.stops.append(f"{type(reason).__name__}: {reason}")
        else:
            world.fail(reason)
        self._stopping = world.loop.create_task(self.stop())

    def _make(self, partition: int) -> OwnedPartition:
        self._wiring.unpack = cores.unpack(self._world.profile, self._world.keys)

        def watched(config: WorkerConfig, partition: int, letter_bytes: int) -> WatchedStore:
            made = WatchedStore.of(config, partition, letter_bytes)
            made.watch(lambda: partition not in self._lost and owned in self.partitions, self._world)
            return made

        owned = self._wiring.partition(partition, self.fetch_control, transactional=watched)
        return owned

    # ---- the group and the consumer ----------------------------------------------------------------------------------

    async def revoke(self, lost: set[int]) -> None:
        async with self.being_told:
            if self.stopped or self.link.paused_until > self._world.loop.now:
                return
            self._world.note(self.name, f"revoked {sorted(lost)}")
            self._lost |= lost
            await self.partitions.revoke(lost)

    async def own(self, assigned: Callable[[], set[int]]) -> None:
        async with self.being_told:
            await self.link.ready()
            if self.stopped:
                return
            partitions = assigned()
            self._world.note(self.name, f"owns {sorted(partitions)}")
            self.told = set(partitions)
            self.fetch_control.at.clear()
            for partition in partitions:
                if self._world.chance(0.5):
                    self._stand_at_the_groups_offset(partition)
            self._lost.clear()
            await self.partitions.own(partitions)
            for partition in partitions:  # as the transport does after a rebalance
                needed = self.partitions.next_needed(partition)
                if needed is not None:
                    self.fetch_control.seek(partition, needed)
                if needed is None or not self.partitions.wants_more(partition):
                    self.fetch_control.pause(partition)

    def _stand_at_the_groups_offset(self, partition: int) -> None:
        """Until it is sought, a consumer reads from there; and the offset may be lost or set back, or be ahead."""
        log = self._world.broker.source[partition]
        self.fetch_control.at[partition] = self._world.rng.randint(log.first, log.stable)

    async def _feed(self) -> None:
        """What a consumer does: fetch where it stands, and deliver a little later; now and then something twice, or
        with a gap.
        """
        world, rng = self._world, self._world.rng
        while True:
            await self.link.ready()
            await asyncio.sleep(0.1 if world.calm else 0.01 + rng.random() * 0.3)
            if world.kafka_away_until > world.loop.now:
                continue
            for partition in sorted(self.told):
                if partition in self.fetch_control.paused and not world.chance(0.02):
                    continue
                at = self.fetch_control.at.get(partition)
                if at is None:
                    continue
                log = world.broker.source[partition]
                if at < log.first or at > log.end:
                    self.partitions.out_of_range(partition)
                    continue
                self._fetch(partition, log, at)

    def _fetch(self, partition: int, log: Log, at: int) -> None:
        world, rng = self._world, self._world.rng
        start = at
        if world.chance(0.05):
            start = max(log.first, at - rng.randrange(6))
        elif world.chance(0.02):
            start = min(at + rng.randrange(4), log.stable)
        end = min(log.stable, start + rng.choice((1, 2, 5, 20, 1000)))
        if end <= start:
            return
        batch = cores.fetched(list(log.visible(start, end)), start, end, self.wall_clock.now_ms())
        self.fetch_control.at[partition] = end
        if world.chance(0.02):
            world.note(self.name, lambda: f"p{partition} [{start}, {end}) is dropped on its way")
        elif world.chance(0.2):
            world.loop.call_later(world.delay() * 3, self._deliver, partition, batch)
        else:
            self._deliver(partition, batch)

    def _deliver(self, partition: int, batch: Batch) -> None:
        if not self.link.dead and self.link.paused_until <= self._world.loop.now:
            self._world.note(
                self.name,
                lambda: (
                    f"p{partition} fetched [{batch.start}, {batch.end}) next {self.partitions.next_needed(partition)}"
                ),
            )
            try:
                self.partitions.accept(partition, batch)
            except Exception as error:  # noqa: BLE001 - in the product the worker would end by it
                self._world.fail(error)
