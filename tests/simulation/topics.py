"""`contacts-report topics --partitions N`, given while workers run: the product's own, over the models."""

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from stream.kafka.topics import ActualTopic, Role, TopicsError, TopicsRefused, WantedTopic, ensure_topics
from stream.projection.partitions import Announcements
from stream.projection.replica import RedisReplica
from stream.worker.new_partitions import NewPartitions
from tests.simulation.clients import Link, SimRedis

if TYPE_CHECKING:
    from tests.simulation.worker import World


class SimTopics:
    """stream.kafka.topics.Topics, as far as partitions are added."""

    def __init__(self, link: Link, source: str) -> None:
        self._link, self._world, self._source = link, link.world, source

    async def partitions(self, names: Sequence[str]) -> dict[str, int]:
        return dict(await self._link.ask(lambda: {name: len(self._world.topic(name)) for name in names}))

    async def describe(self, _names: Sequence[str]) -> dict[str, ActualTopic]:
        return {}

    async def add_partitions(self, name: str, partitions: int, *, validate_only: bool = False) -> None:
        world, broker = self._world, self._world.broker

        def act() -> None:
            if partitions <= len(world.topic(name)):
                raise TopicsRefused(f"{name} has so many")
            if validate_only:
                return
            if name != self._source:
                broker.raise_others_to(partitions)
            elif world.chance(world.profile.topics_fail):
                raise TopicsRefused("no more")
            else:
                broker.raise_to(partitions)
                world.note("kafka", f"{partitions} partitions")

        await self._link.ask(act)
        if world.chance(world.profile.topics_fail / 2):
            raise TopicsError("no answer")


class Command:
    def __init__(self, world: "World") -> None:
        self._world = world
        world.commands += 1
        self._name = f"topics{world.commands}"
        self._link = world.links[self._name] = Link(world, self._name)

    async def run(self, partitions: int) -> bool:
        """Whether it succeeded."""
        world, link = self._world, self._link
        if world.chance(world.profile.topics_fail):
            world.loop.call_later(world.rng.random() * world.rng.choice((0.05, 2)), self._end)
        config = world.config(kafka=self._name)
        redis: Any = SimRedis(link)
        topics: Any = SimTopics(link, config.topic)

        async def count() -> int:
            return int((await topics.partitions([config.topic]))[config.topic])

        names = ((config.changelog_topic, Role.CHANGELOG), (config.dead_letter_topic, Role.DEAD_LETTERS))
        wanted = [WantedTopic(name, role, 1, {}) for name, role in (*names, (config.topic, Role.ACTIVITY))]
        growth = NewPartitions(config, RedisReplica(redis, world.keys), Announcements(redis, world.keys), count)
        world.raising = max(world.raising, partitions)
        world.note(self._name, f"--partitions {partitions}")
        try:
            await ensure_topics(topics, wanted, partitions_if_new=1, raise_to=partitions, growth=growth)
        except TopicsError as error:
            world.note(self._name, str(error))
            return False
        except asyncio.CancelledError:
            if not link.dead:
                raise
            return False
        world.note(self._name, "done")
        return True

    def _end(self) -> None:
        self._link.dead = True
        self._world.note(self._name, "ends")


async def finish(world: "World") -> None:
    """What was begun is asked for again, until it succeeds."""
    while world.raising > len(world.broker.source):
        await Command(world).run(world.raising)
        await asyncio.sleep(0.5)
