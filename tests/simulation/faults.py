"""What goes wrong, and when: crashes, pauses, rebalances, losses in Redis, brokers that are away, compaction,
retention.
"""

import asyncio
from typing import Any

from tests.simulation import reader
from tests.simulation.checks import Checks
from tests.simulation.kafka import Log, Txn
from tests.simulation.topics import Command
from tests.simulation.worker import Worker, World
from tests.simulation.workload import DAY_MS, HOUR_MS, Publishers

TICK_SECONDS = 0.1
SESSION_SECONDS = 3.0
BROKERS_AHEAD_MS = 4 * HOUR_MS
WRONG_BY_MS = (6 * 60_000, 3 * HOUR_MS, 40 * DAY_MS, 60 * 365 * DAY_MS)


class Cluster:
    """The workers, and who the group says owns what."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.workers: list[Worker] = []
        self.assigned: dict[int, Worker] = {}
        self._tasks: set[asyncio.Task[Any]] = set()
        self._names = 0
        self._due: float | None = None
        self._known: list[Worker] = []
        self.started = 0

    @property
    def members(self) -> list[Worker]:
        """Those that the group counts on: not those that are gone, or thought to be."""
        return [w for w in self.workers if not w.stopped and not w.zombie]

    def begin(self, task: Any) -> None:
        created = self._world.loop.create_task(task)
        self._tasks.add(created)
        created.add_done_callback(self._tasks.discard)

    def add(self) -> Worker:
        self._names += 1
        self.started += 1
        worker = Worker(self._world, f"w{self._names}")
        self.workers.append(worker)
        worker.start()
        return worker

    def rebalance(self, zombie: Worker | None = None) -> None:
        """Deal the partitions anew. A zombie is not told, and goes on."""
        world = self._world
        if zombie is not None:
            zombie.zombie = True
            world.note(zombie.name, "is thought to be gone")
        members = self.members
        if not members:
            return
        self._known = members
        count = len(world.broker.source)
        same = all(self.assigned.get(p) in members for p in range(count))
        if not (same and world.chance(0.3)):
            self.assigned = {p: world.rng.choice(members) for p in range(count)}
        self.begin(self._tell(members))

    async def _tell(self, members: list[Worker]) -> None:
        """All let go of what they had before any of them begins; a member that sleeps is waited for, for so long."""
        await asyncio.gather(*(self._awake(w) for w in members))
        await asyncio.gather(*(w.revoke(set(w.told)) for w in members if not w.link.dead))
        for worker in members:
            if not worker.stopped and not worker.zombie:
                self.begin(worker.own(lambda w=worker: {p for p, owner in self.assigned.items() if owner is w}))

    async def _awake(self, worker: Worker) -> None:
        try:
            async with asyncio.timeout(SESSION_SECONDS):
                await worker.link.ready()
        except (TimeoutError, asyncio.CancelledError):
            if not worker.stopped:
                worker.zombie = True
                self._world.note(worker.name, "does not answer the group")

    def look_after(self) -> None:
        """What the group and a supervisor do: those who are gone lose their partitions, and others take their place."""
        world = self._world
        gone = any(owner.stopped or owner.zombie for owner in self.assigned.values())
        for worker in self.workers:
            if worker.zombie and not worker.stopped and world.chance(world.profile.zombie_returns * TICK_SECONDS):
                worker.zombie = False
                world.note(worker.name, "comes back to the group")
                gone = True
        new = any(w not in self._known for w in self.members)
        while len(self.members) < world.profile.workers:
            self.add()
            new = True
        unowned = len(self.assigned) < len(world.broker.source)
        if self._due is None and (gone or unowned or (new and world.rng.random() < 0.1)):
            self._due = world.loop.now + (
                0.1 if world.calm or world.rng.random() < 0.5 else world.rng.random() * SESSION_SECONDS
            )
        if self._due is not None and world.loop.now >= self._due:
            self._due = None
            self.rebalance()


async def publish(world: World, publishers: Publishers) -> None:
    """Publishers of single records, of batches, and of transactions that stay open for a while and may end in
    nothing.
    """
    rng, profile, loop = world.rng, world.profile, world.loop
    left = profile.events
    gap = profile.seconds / profile.events
    while left > 0:
        await asyncio.sleep(rng.expovariate(1 / gap) * 2)
        partition = rng.randrange(len(world.broker.source))
        if rng.random() < profile.transactions:
            left -= _transaction(world, publishers)
            continue
        for _ in range(min(left, rng.choice((1, 1, 1, 2, 6)))):
            record = publishers.publish(world.broker.source[partition], partition, None)
            world.note("publish", lambda p=partition, r=record: f"p{p} offset {r.offset} at {r.timestamp} {r.truth}")
            left -= 1
    del loop


def _transaction(world: World, publishers: Publishers) -> int:
    rng, txn = world.rng, Txn()
    size = rng.choice((1, 2, 4))
    for _ in range(size):
        partition = rng.randrange(len(world.broker.source))
        record = publishers.publish(world.broker.source[partition], partition, txn)
        world.note(
            "publish",
            lambda p=partition, r=record: f"p{p} offset {r.offset} at {r.timestamp} in a transaction {r.truth}",
        )
    committed = rng.random() >= world.profile.aborted
    world.loop.call_later(rng.random() * rng.choice((0.01, 0.5, 3)), _decide, world, txn, committed)
    return size


def _decide(world: World, txn: Txn, committed: bool) -> None:
    world.note("publish", f"a transaction ends: {'committed' if committed else 'aborted'}")
    world.broker.decide(txn, committed=committed)


async def go_wrong(world: World, cluster: Cluster, checks: Checks, publishers: Publishers) -> None:
    """Until the run's seconds are over: each tick, each fault by its rate."""
    rng, profile = world.rng, world.profile

    def now(rate: float) -> bool:
        return rng.random() < rate * TICK_SECONDS

    while world.loop.now < profile.seconds:
        await asyncio.sleep(TICK_SECONDS)
        cluster.look_after()
        _workers_go_wrong(world, cluster, now)
        _redis_goes_wrong(world, now)
        if now(profile.kafka_away):
            world.kafka_away_until = world.loop.now + rng.random() * rng.choice((1, 15))
            world.note("kafka", f"away until {world.kafka_away_until:.1f}")
        _clocks_go_wrong(world, cluster, publishers, now)
        if now(profile.compaction):
            compact_some(world)
        if now(profile.head_retention):
            lose_head(world, checks)
        if now(profile.topics_command) and len(world.broker.source) < 4:
            for _ in range(world.rng.choice((1, 1, 2))):
                cluster.begin(Command(world).run(len(world.broker.source) + world.rng.choice((1, 1, 2))))
        if now(profile.raise_partitions) and len(world.broker.source) < 4:
            world.note("kafka", "more partitions")
            world.raised_by_hand = True
            world.broker.raise_to(len(world.broker.source) + 1)


def _workers_go_wrong(world: World, cluster: Cluster, now: Any) -> None:
    rng, profile = world.rng, world.profile
    alive = [w for w in cluster.workers if not w.stopped]
    if alive and now(profile.crash):
        rng.choice(alive).crash()
    if alive and now(profile.pause):
        worker = rng.choice(alive)
        worker.link.paused_until = world.loop.now + rng.random() * rng.choice((1, 5, 20))
        world.note(worker.name, f"sleeps until {worker.link.paused_until:.1f}")
        if rng.random() < profile.zombie:
            cluster.rebalance(zombie=worker)
    if alive and now(profile.clock_steps):
        worker = rng.choice(alive)
        worker.clock.ahead_ms = rng.choice((-3_600_000, -2_000, 0, 2_000, 10_000, 3_600_000))
        world.note(worker.name, f"has its clock set {worker.clock.ahead_ms} ms ahead")
    if alive and now(profile.stop):
        cluster.begin(rng.choice(alive).stop())
    if now(profile.rebalance):
        members = cluster.members
        zombie = rng.choice(members) if members and rng.random() < profile.zombie else None
        if zombie is not None and len([w for w in cluster.workers if w.zombie and not w.stopped]) > 2:
            zombie = None
        cluster.rebalance(zombie)
        cluster.look_after()


def _redis_goes_wrong(world: World, now: Any) -> None:
    rng, profile, redis = world.rng, world.profile, world.redis
    if now(profile.redis_empty):
        world.note("redis", "emptied")
        redis.restore({})
    if now(profile.redis_restore):
        at = rng.randrange(len(redis.states))
        world.note("redis", f"restored to state {at} of {len(redis.states)}")
        redis.restore(redis.states[at])
    if now(profile.redis_lose_delta):
        lost = min(rng.choice((1, 1, 1, 2, 3, 8)), len(redis.states) - 1)
        if lost == 0:
            return
        world.note("redis", f"loses its last {lost} calls")
        redis.restore(redis.states[-1 - lost])
    if now(profile.redis_evicts):
        evict_some(world)
    if now(profile.as_of_ahead):
        say_ahead(world)
    if now(profile.redis_away):
        redis.away = True
        seconds = rng.random() * rng.choice((0.3, 2, 10))
        world.note("redis", f"away for {seconds:.1f} s")
        world.loop.call_later(seconds, setattr, redis, "away", False)


def say_ahead(world: World) -> None:
    positions = dict(world.redis.state.get(reader.POSITIONS, {}))
    told = [field for field in positions if field.endswith(b".as_of")]
    if told:
        field = world.rng.choice(told)
        positions[field] = b"%d" % (world.redis.clock_ms() + world.rng.choice((1_000, 3_600_000)))
        world.redis.said_ahead.add(int(positions[field]))
        world.note("redis", lambda: f"{field!r} is ahead")
        world.redis.restore({**world.redis.state, reader.POSITIONS: positions})


def evict_some(world: World) -> None:
    """By a policy that an administrator sets for a while. The list of workspaces and the days of one never go together:
    of that no reader can tell. Nor is a `volatile-…` policy there before and after, with no look between:
    docs/guarantees.md says so.
    """
    rng, redis = world.rng, world.redis
    if not reader.is_spoilt(redis.state, redis.evicted_keys) and rng.random() < 0.2:
        keys = [reader.WORKSPACES]
    elif reader.WORKSPACES in redis.state:
        others = sorted(redis.state.keys() - {reader.WORKSPACES})
        keys = rng.sample(others, min(rng.choice((1, 1, 2, 5)), len(others)))
    else:
        return
    redis.policy = "allkeys-lru"
    redis.evict([key for key in keys if key in redis.state])
    world.note("redis", lambda: f"evicts {keys}")
    after = rng.choice(("noeviction", "noeviction", "volatile-lru"))
    if redis.was_volatile:
        after = "noeviction"
    redis.was_volatile |= after == "volatile-lru"
    world.loop.call_later(rng.random() * world.profile.evicts_seconds, setattr, redis, "policy", after)


def _clocks_go_wrong(world: World, cluster: Cluster, publishers: Publishers, now: Any) -> None:
    rng, profile = world.rng, world.profile
    if profile.broker_ahead and now(profile.broker_ahead):
        publishers.brokers_ahead_ms = BROKERS_AHEAD_MS
        world.note("kafka", "the brokers' clock is ahead")
        world.loop.call_later(rng.random() * 3, setattr, publishers, "brokers_ahead_ms", 0)
    if not profile.clock_wrong or not now(profile.clock_wrong):
        return
    off = rng.choice((-1, 1)) * rng.choice(WRONG_BY_MS)
    alive = [w for w in cluster.workers if not w.stopped]
    of_worker = bool(alive) and rng.random() < 0.7
    if off in world.clocks_were_off_by[not of_worker]:
        return  # a worker's clock and Redis' that are wrong by the same agree: nobody can tell, and nothing is promised
    world.clocks_were_off_by[of_worker].add(off)
    if of_worker:
        worker = rng.choice(alive)
        worker.wall_clock.off_ms = off
        world.note(worker.name, f"has a clock that is off by {off} ms")
        world.loop.call_later(rng.random() * 8, setattr, worker.wall_clock, "off_ms", 0)
    else:
        world.redis_clock_off_ms = off
        world.note("redis", f"has a clock that is off by {off} ms")
        world.loop.call_later(rng.random() * 8, setattr, world, "redis_clock_off_ms", 0)


def compact_some(world: World) -> None:
    log: Log = world.rng.choice(world.broker.changelog)
    upto = world.rng.randrange(log.end + 1)
    # Tombstones are kept for delete.retention.ms, a day by default: longer than any reading of the log.
    keep = world.readers[log] > 0 or world.rng.random() < 0.5
    world.note("kafka", f"{log.name} is compacted up to {upto}")
    log.compact(upto, keep_tombstones=keep)


def lose_head(world: World, checks: Checks) -> None:
    checks.advance()  # the oracle reads what will be gone
    partition = world.rng.randrange(len(world.broker.source))
    log = world.broker.source[partition]
    upto = min(checks.committed_upto(partition), log.stable)
    if upto > log.first:
        log.first += world.rng.randrange(upto - log.first + 1)
        world.note("kafka", f"{log.name} begins at {log.first} now")
