"""The simulation's model of Kafka answers as Apache Kafka does: the changelog store is run through one story on each,
and what it saw is compared.
"""

import asyncio
from collections.abc import Awaitable, Callable
from random import Random
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import stream.kafka.changelog
import stream.kafka.transaction
from stream.kafka.letter_limit import MESSAGE_BYTES
from stream.kafka.transaction import TransactionalStore
from stream.ports import Fenced, KafkaAway, TooLarge
from stream.settings.kafka import KafkaAccess
from stream.worker.attempts import Attempts
from tests.simulation import chance
from tests.simulation.clients import LETTER_BYTES_LIMIT, Link, SimConsumer, SimProducer
from tests.simulation.loop import VirtualLoop
from tests.simulation.loop import run as run_loop
from tests.simulation.worker import World
from tests.support.kafka import RunningKafka, create_topic, read_partition, unique_name

Seen = list[Any]
CALM = dict.fromkeys(("slow", "kafka_fails", "answer_lost", "batch_fails", "init_hangs"), 0.0)


def commit(table: dict[bytes, bytes | None], letters: list[bytes] = []) -> Any:  # noqa: B006
    """A commit of some records, the position last."""
    dead = [
        SimpleNamespace(
            record=SimpleNamespace(offset=o, key=b"k", value=v, headers=[("h", b"1")]),
            reason=SimpleNamespace(value="not_json"),
            message="why",
        )
        for o, v in enumerate(letters)
    ]
    return SimpleNamespace(
        table=[*table.items(), (b"p", b"at %d" % len(table))],
        dead_letters=dead,
        packed=None,
        position=SimpleNamespace(next_offset=len(table)),
    )


async def told(seen: Seen, name: str, work: Awaitable[Any]) -> None:
    try:
        answer = await work
    except KafkaAway as error:
        answer = type(error).__name__
    except Fenced:
        answer = "Fenced"
    seen.append((name, answer))


async def story(new_store: Callable[[float], TransactionalStore], letters: Callable[[], Awaitable[list[Any]]]) -> Seen:
    """What an owner and its successors see and do; the same on every broker.

    Who reads has fenced before: that waits for the markers of earlier transactions, which come when they come.
    """
    seen: Seen = []
    progress: Callable[[int, int], None] = lambda _done, _all: None  # noqa: E731

    first = new_store(10)
    await told(seen, "first fences", first.fence())
    await told(seen, "nothing is there", first.read(progress))
    await told(seen, "first commits", first.commit(commit({b"a": b"1", b"b": b"2"}, [b"dead", b"letter"]), Attempts()))
    await told(seen, "only a position", first.commit(commit({}), Attempts()))
    await told(seen, "a deletion", first.commit(commit({b"a": None, b"c": b"3"}), Attempts()))

    second = new_store(10)
    await told(seen, "second fences", second.fence())
    await told(seen, "second reads what first did", second.read(progress))
    await told(seen, "first commits no more", first.commit(commit({b"a": b"never"}, [b"never"]), Attempts()))
    await told(seen, "second commits", second.commit(commit({b"a": b"4"}), Attempts()))

    await told(
        seen,
        "a letter is too large",
        second.commit(commit({b"a": b"5"}, [b"x" * (LETTER_BYTES_LIMIT + 500)]), Attempts()),
    )
    third = new_store(10)
    await told(seen, "third fences", third.fence())
    await told(seen, "of the failed commit nothing is there", third.read(progress))
    refused = Attempts()
    for _ in range(2):
        refused.note_failure(0, TooLarge("refused", frozenset({0})))
    large = commit({b"a": b"6"}, [b"x" * (LETTER_BYTES_LIMIT + 500)])
    await told(
        seen,
        "third leaves the value out",
        third.commit(large, refused),
    )
    fourth = new_store(10)
    await told(seen, "fourth fences", fourth.fence())
    await told(seen, "and reads it", fourth.read(progress))
    seen.append([(r.key, r.value, [*r.headers]) for r in await letters()])
    for store in (first, second, third, fourth):
        await store.close()
    return seen


async def on_kafka(kafka: RunningKafka) -> Seen:
    group, changelog, dead = unique_name("group"), unique_name("changelog"), unique_name("letters")
    await create_topic(kafka.bootstrap, changelog)
    await create_topic(kafka.bootstrap, dead, settings={"max.message.bytes": str(LETTER_BYTES_LIMIT)})

    def new_store(seconds: float) -> TransactionalStore:
        return TransactionalStore(
            kafka=KafkaAccess(kafka.bootstrap),
            group=group,
            partition=0,
            changelog=changelog,
            dead_letters=dead,
            source="source",
            timeout_seconds=seconds,
            letter_bytes=MESSAGE_BYTES,
        )

    return await story(new_store, lambda: read_partition(kafka.bootstrap, dead))


def on_the_model(seed: int) -> Seen:
    loop = VirtualLoop()
    world = World(
        loop, Random(seed), chance.changed(chance.Profile(too_large_letter=1.0, limit_hidden=True), **CALM), None
    )
    world.links["w"] = Link(world, "w")
    names = world.config(kafka="w")

    def new_store(seconds: float) -> TransactionalStore:
        return TransactionalStore(
            kafka=names.access,
            group=names.group,
            partition=0,
            changelog=names.changelog_topic,
            dead_letters=names.dead_letter_topic,
            source=names.topic,
            timeout_seconds=seconds,
            letter_bytes=MESSAGE_BYTES,
        )

    async def letters() -> list[Any]:
        await asyncio.sleep(1)
        log = world.broker.letters[0]
        return list(log.visible(0, log.end))

    with (
        patch.object(
            stream.kafka.transaction, "TransactionalProducer", lambda **options: SimProducer(world, **options)
        ),
        patch.object(stream.kafka.changelog, "AIOKafkaConsumer", lambda **options: SimConsumer(world, **options)),
    ):
        return run_loop(loop, story(new_store, letters))


async def test_the_store_sees_the_same_on_kafka_and_on_the_model(kafka: RunningKafka) -> None:
    # Given one story of three owners
    # When it is told on Apache Kafka and, in several orders of arrival, on the model
    real = await on_kafka(kafka)
    models = await asyncio.to_thread(lambda: [on_the_model(seed) for seed in range(5)])
    # Then everyone saw the same
    for model in models:
        assert model == real
    assert dict(pair for pair in real if isinstance(pair, tuple))["and reads it"] == {
        b"a": b"6",
        b"b": b"2",
        b"c": b"3",
        b"p": b"at 1",
    }
    assert dict(pair for pair in real if isinstance(pair, tuple))["first commits no more"] == "Fenced"
    assert TooLarge.__name__ == dict(pair for pair in real if isinstance(pair, tuple))["a letter is too large"]
