"""The background sample of `verify`, beside all faults: what it says differs does, and what is made wrong it finds."""

import asyncio
from collections.abc import Sequence
from random import Random
from typing import TYPE_CHECKING, Any

from redis.exceptions import ConnectionError as RedisConnectionError

from stream.projection.sampled import Comparison
from stream.worker.sampling import Sampler
from tests.simulation import reader
from tests.simulation.checks import Broken, Checks
from tests.simulation.redis import ModelRedis, as_bytes

if TYPE_CHECKING:
    from tests.simulation.clients import Link
    from tests.simulation.faults import Cluster
    from tests.simulation.worker import World

SAMPLES_AN_HOUR = 3 * 3_600


class Reads:
    """redis-py's client, as far as samples use it. Its delays are drawn apart: a sample moves nothing of a run."""

    def __init__(self, link: "Link") -> None:
        self.link = link
        self.rng = Random(f"samples of {link.name}, {link.world.profile}")
        self.spoilt = False
        """Keys had been evicted in what was read last, and no worker had noticed."""

    def pipeline(self, *, transaction: bool) -> "Pipeline":
        assert transaction, "a sample is of one state"
        return Pipeline(self)


class Pipeline:
    def __init__(self, reads: Reads) -> None:
        self._reads = reads
        self._asked: list[tuple[bytes, list[bytes], bool]] = []

    async def __aenter__(self) -> "Pipeline":
        return self

    async def __aexit__(self, *_: object) -> None: ...

    def hget(self, key: Any, field: Any) -> None:
        self._asked.append((as_bytes(key), [as_bytes(field)], False))

    def hmget(self, key: Any, fields: Sequence[Any]) -> None:
        self._asked.append((as_bytes(key), [as_bytes(field) for field in fields], True))

    async def execute(self) -> list[Any]:
        reads, world = self._reads, self._reads.link.world
        await self._travel()
        if world.redis.away:
            raise RedisConnectionError("away")
        state = world.redis.state
        reads.spoilt = reader.is_spoilt(state, world.redis.evicted_keys)
        found = [[state.get(key, {}).get(field) for field in fields] for key, fields, _ in self._asked]
        await self._travel()
        return [values if many else values[0] for values, (_, _, many) in zip(found, self._asked, strict=True)]

    async def _travel(self) -> None:
        reads = self._reads
        await reads.link.ready()
        slow = not reads.link.world.calm and reads.rng.random() < reads.link.world.profile.slow
        await asyncio.sleep(reads.rng.random() * (3.0 if slow else 0.004))
        await reads.link.ready()


class Samples:
    """What the samples of all workers say."""

    def __init__(self, world: "World") -> None:
        self._world = world
        self.equal = 0
        self.planted = False
        """Something is made wrong, on purpose."""

    def note(self, reads: Reads, partition: int, outcome: Comparison) -> None:
        self.equal += outcome is Comparison.EQUAL
        if outcome is Comparison.DIFFERENT and not (self.planted or reads.spoilt):
            self._world.fail(Broken(f"p{partition}: a sample of {reads.link.name} says that Redis differs"))

    def fail(self, *_: object) -> None:
        self._world.fail(Broken("a sample failed"))


class InTurn(Random):
    """Draws one day aggregate after the other, of so many."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self._number, self._drawn = number, 0

    def random(self) -> float:
        self._drawn += 1
        return (self._drawn % self._number + 0.5) / self._number


async def check_samples(world: "World", cluster: "Cluster", checks: Checks) -> None:
    """All is counted and shown: now every day aggregate is equal, and one that is made wrong is found."""
    rng = Random(f"planted {world.loop.now}")
    for recount in checks.recounts[: len(world.broker.source)]:
        gone = max(reader.Place(world.redis.state, r.partition).counts_from or 0 for r in checks.recounts)
        there = sorted(place for place in recount.aggregates if place[1] >= gone)
        if not there:
            continue
        said = await _say(world, cluster, recount.partition, len(recount.aggregates))
        if said is not None and said != {Comparison.EQUAL}:
            raise Broken(f"p{recount.partition}: samples of what is right say {said}")
        workspace, day = rng.choice(there)
        key, field, value = _wrong(world.redis, rng, recount.partition, workspace, day)
        number, right = len(world.redis.states), world.redis.state.get(key, {})
        world.samples.planted = True
        _put(world.redis, key, {**right, field: value} if value is not None else _without(right, field))
        planted = world.redis.state[key]
        world.note("redis", lambda key=key, field=field: f"{key!r} {field!r} is made wrong")
        said = await _say(world, cluster, recount.partition, len(recount.aggregates))
        healed = world.redis.state.get(key) is not planted  # it was sent again meanwhile
        if not healed:
            _put(world.redis, key, right)
        await asyncio.sleep(0.1)  # an answer may be on its way
        world.redis.states[number:] = [world.redis.state]
        world.samples.planted = False
        if said is not None and Comparison.DIFFERENT not in said and not healed:
            raise Broken(f"p{recount.partition} {key!r} {field!r} is made wrong, and samples say {said}")


async def _say(world: "World", cluster: "Cluster", partition: int, number: int) -> set[Comparison] | None:
    """What samples of all day aggregates of a partition say, up to one that differs; None where its owner has just
    gone.
    """
    owner = cluster.assigned[partition]
    reads = Reads(owner.link)
    sampler = Sampler(
        owner.sampled(reads), InTurn(number), 1, lambda p, outcome, _: world.samples.note(reads, p, outcome)
    )
    said: set[Comparison] = set()
    for _ in range(number):
        owned = next((one for one in owner.partitions if one.partition == partition), None)
        if owned is None or not owned.counting or owner.stopped:
            return None
        said.add(await sampler.sample(owned))
        if Comparison.DIFFERENT in said:
            break
    return said


def _wrong(
    redis: ModelRedis, rng: Random, partition: int, workspace: str, day: int
) -> tuple[bytes, bytes, bytes | None]:
    """Something of a day aggregate that is made wrong: key, field, and what it is then; None: it is gone."""
    cells, days = (f"{reader.PREFIX}{key}".encode() for key in (f"cells:{workspace}:{day // 32}", f"days:{workspace}"))
    start = f"{day}.{partition}.".encode()
    fields = sorted(field for field in redis.state[cells] if field.startswith(start))
    if rng.random() < 0.2 and len(reader.manifest(redis.state, workspace, day)) == 1:
        return days, b"%d" % day, None
    field = rng.choice(fields)
    whole = redis.state[cells][field]
    older = {state.get(cells, {}).get(field, whole) for state in redis.states} - {whole}
    return cells, field, rng.choice([None, whole[:-1] + bytes([whole[-1] ^ 1]), *sorted(older)[:3]])


def _put(redis: ModelRedis, key: bytes, fields: dict[bytes, bytes] | Any) -> None:
    redis.state = {**redis.state, key: fields}


def _without(fields: Any, field: bytes) -> dict[bytes, bytes]:
    return {name: value for name, value in fields.items() if name != field}
