"""Topics as they are made, compared and raised, on Apache Kafka and on the embedded broker."""

import asyncio
import json
from collections.abc import Mapping, Sequence

import pytest
from aiokafka import AIOKafkaProducer

from cli.main import main
from stream.kafka.topics import Difference, Outcome, Topics, TopicsError, ensure_topics, open_topics, wanted_topics
from stream.ports import ReplicaAway
from stream.projection.partitions import Announcements
from stream.settings.kafka import KafkaAccess
from stream.settings.redis import redis_client
from stream.settings.worker import WorkerConfig
from stream.storage.keys import Keys
from tests.support.kafka import RunningKafka, create_topic, unique_name
from tests.support.redis_server import RunningRedis


@pytest.fixture
def config(kafka: RunningKafka) -> WorkerConfig:
    return WorkerConfig(kafka=kafka.bootstrap, topic=unique_name("activity"), group=unique_name("group"), partitions=4)


def names(config: WorkerConfig) -> list[str]:
    return [topic.name for topic in wanted_topics(config)]


async def partitions(config: WorkerConfig) -> list[int]:
    """Of changelog, dead letters and activity topic; 0 where there is none."""
    async with open_topics(config.access) as topics:
        found = await topics.partitions(names(config))
    return [found.get(name, 0) for name in names(config)]


async def ensure(config: WorkerConfig, raise_to: int | None = None) -> Outcome:
    async with open_topics(config.access) as topics:
        return await ensure_topics(
            topics, wanted_topics(config), partitions_if_new=config.partitions, raise_to=raise_to
        )


async def test_missing_topics_are_made_as_wanted(config: WorkerConfig) -> None:
    assert await ensure(config) == Outcome(tuple(names(config)), (), 4, ())
    # What the broker says of them afterwards is all that was wanted, to the letter.
    async with open_topics(config.access) as topics:
        actual = await topics.describe(names(config))
    for wanted in wanted_topics(config):
        told = actual[wanted.name]
        assert (told.partitions, told.replicas) == (4, 1)
        assert {name: told.settings[name] for name in wanted.settings} == wanted.settings


async def test_a_second_time_does_nothing(config: WorkerConfig) -> None:
    await ensure(config)
    assert await ensure(config) == Outcome((), (), 4, ())


async def test_what_lacks_is_made_with_the_partitions_of_the_activity_topic(config: WorkerConfig) -> None:
    activity = wanted_topics(config)[2]
    await create_topic(config.kafka, config.topic, 7, activity.settings)
    outcome = await ensure(config)
    assert outcome == Outcome((config.changelog_topic, config.dead_letter_topic), (), 7, ())
    assert await partitions(config) == [7, 7, 7]


async def test_an_activity_topic_that_the_broker_does_not_show_yet_decides_all_the_same(
    config: WorkerConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given an activity topic that was made a moment ago, so that the broker that is asked does not know it yet
    await create_topic(config.kafka, config.topic, 7, wanted_topics(config)[2].settings)
    shown, looks = Topics.partitions, 0

    async def partitions_later(topics: Topics, names: Sequence[str]) -> dict[str, int]:
        nonlocal looks
        found = await shown(topics, names)
        if config.topic in found:
            looks += 1
        return found if looks > 2 else {name: count for name, count in found.items() if name != config.topic}

    async with open_topics(config.access) as topics:
        await topics.wait_until_seen(config.topic)
    monkeypatch.setattr(Topics, "partitions", partitions_later)
    # When the others are made
    outcome = await ensure(config)
    # Then they have as many partitions
    assert outcome == Outcome((config.changelog_topic, config.dead_letter_topic), (), 7, ())
    assert await partitions(config) == [7, 7, 7]


async def test_what_differs_is_told_and_left_alone(config: WorkerConfig) -> None:
    # Given an activity topic that somebody made with other settings, and a changelog with fewer partitions,
    await create_topic(config.kafka, config.topic, 3, {"retention.ms": "60000", "max.message.bytes": "2000000"})
    await create_topic(config.kafka, config.changelog_topic, 2, wanted_topics(config)[0].settings)
    outcome = await ensure(config)
    # then only the dead letters are made, and the rest is told.
    assert outcome == Outcome(
        (config.dead_letter_topic,),
        (),
        3,
        (
            Difference(config.changelog_topic, "partitions", "3", "2"),
            Difference(config.topic, "message.timestamp.type", "LogAppendTime", "CreateTime"),
            Difference(config.topic, "retention.ms", "-1", "60000"),
        ),
    )
    assert await partitions(config) == [2, 3, 3]


class Growing:
    """Nothing to prepare; notes what is taken back."""

    def __init__(self) -> None:
        self.withdrawn: list[int] = []

    async def prepare(self, known: int, number: int) -> None: ...

    async def withdraw(self, number: int) -> None:
        self.withdrawn.append(number)


async def test_partitions_are_raised_with_the_activity_topic_last_after_readers_know(config: WorkerConfig) -> None:
    await ensure(config)
    at_the_call: list[tuple[int, int, list[int]]] = []

    class Noted(Growing):
        async def prepare(self, known: int, number: int) -> None:
            at_the_call.append((known, number, await partitions(config)))

    async with open_topics(config.access) as topics:
        outcome = await ensure_topics(topics, wanted_topics(config), partitions_if_new=4, raise_to=6, growth=Noted())
    assert at_the_call == [(4, 6, [6, 6, 4])]
    assert outcome == Outcome((), tuple(names(config)), 6, ())
    assert await partitions(config) == [6, 6, 6]


async def test_a_raise_that_was_interrupted_is_finished_by_the_next(config: WorkerConfig) -> None:
    await ensure(config)

    class Failing(Growing):
        async def prepare(self, known: int, number: int) -> None:
            raise TopicsError("Redis is away")

    async def raise_all(topics: Topics) -> Outcome:
        return await ensure_topics(topics, wanted_topics(config), partitions_if_new=4, raise_to=6, growth=Failing())

    async with open_topics(config.access) as topics:
        with pytest.raises(TopicsError, match="Redis is away"):
            await raise_all(topics)
    assert await partitions(config) == [6, 6, 4]
    # A look at them says so, and names both that are ahead;
    assert (await ensure(config)).differences == (
        Difference(config.changelog_topic, "partitions", "4", "6"),
        Difference(config.dead_letter_topic, "partitions", "4", "6"),
    )
    # the same raise again ends it.
    assert await ensure(config, raise_to=6) == Outcome((), (config.topic,), 6, ())


async def test_partitions_are_never_lowered(config: WorkerConfig) -> None:
    await ensure(config)
    with pytest.raises(TopicsError, match=r"cannot be lowered to 3: .* has 4"):
        await ensure(config, raise_to=3)
    assert await partitions(config) == [4, 4, 4]


async def test_a_raise_to_what_is_there_changes_nothing(config: WorkerConfig) -> None:
    await ensure(config)
    assert await ensure(config, raise_to=4) == Outcome((), (), 4, ())


async def test_a_refusal_says_why(config: WorkerConfig) -> None:
    three = WorkerConfig(kafka=config.kafka, topic=config.topic, group=config.group, replication_factor=3)
    with pytest.raises(TopicsError, match="replication factor of 3"):
        await ensure(three)


async def test_kafka_that_is_away_is_said() -> None:
    with pytest.raises(TopicsError, match=r"cannot reach Kafka at 127\.0\.0\.1:1"):
        async with open_topics(KafkaAccess("127.0.0.1:1")):
            pass


async def test_the_largest_event_fits_the_dead_letters_with_its_headers(config: WorkerConfig) -> None:
    await ensure(config)
    activity = wanted_topics(config)[2]
    largest = int(activity.settings["max.message.bytes"])
    async with AIOKafkaProducer(bootstrap_servers=config.kafka, max_request_size=8_000_000) as producer:
        headers = [("contacts.reason", b"too_large"), ("own", b"x" * 100_000)]
        await producer.send_and_wait(config.dead_letter_topic, b"x" * largest, partition=0, headers=headers)


async def test_the_embedded_broker_has_them_made_too(embedded_kafka: RunningKafka) -> None:
    config = WorkerConfig(kafka=embedded_kafka.bootstrap, topic=unique_name("t"), group=unique_name("g"), partitions=3)
    assert await ensure(config) == Outcome(tuple(names(config)), (), 3, ())
    assert await ensure(config) == Outcome((), (), 3, ())
    assert await partitions(config) == [3, 3, 3]
    # It cannot raise them.
    with pytest.raises(TopicsError, match="did not give"):
        await ensure(config, raise_to=4)


# ---- the command ---------------------------------------------------------------------------------------------------


def environ(config: WorkerConfig, redis: str = "redis://127.0.0.1:1/0") -> Mapping[str, str]:
    return {
        "CONTACTS_KAFKA": config.kafka,
        "CONTACTS_REDIS": redis,
        "CONTACTS_TOPIC": config.topic,
        "CONTACTS_GROUP": config.group,
    }


def test_the_command_makes_them_and_then_says_that_they_are_there(
    config: WorkerConfig, capsys: pytest.CaptureFixture[str]
) -> None:
    changelog, dead_letters, activity = names(config)
    assert main(["topics"], environ(config)) == 0
    assert capsys.readouterr().out.splitlines() == [
        f"{changelog}: created with 4 partitions",
        f"{dead_letters}: created with 4 partitions",
        f"{activity}: created with 4 partitions",
    ]
    assert main(["topics", "--json"], environ(config)) == 0
    assert json.loads(capsys.readouterr().out) == {
        "created": [],
        "raised": [],
        "partitions": 4,
        "differences": [],
        "hidden": [],
    }


def test_the_command_exits_with_one_where_something_differs(
    config: WorkerConfig, capsys: pytest.CaptureFixture[str]
) -> None:
    asyncio.run(create_topic(config.kafka, config.topic, 2))
    assert main(["topics"], environ(config)) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[2:] == [
        f"{config.topic}: is there",
        f"differs: {config.topic}: message.timestamp.type is CreateTime, wanted is LogAppendTime",
        f"differs: {config.topic}: retention.ms is 604800000, wanted is -1",
    ]


def test_the_command_raises_them_once_redis_knows(
    config: WorkerConfig, shared_redis: RunningRedis, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["topics"], environ(config)) == 0
    # Redis is away: the activity topic stays as it was, and the command says so.
    assert main(["topics", "--partitions", "6"], environ(config)) == 2
    assert f"{config.topic} was not raised" in capsys.readouterr().err
    assert main(["topics", "--partitions", "6", "--json"], environ(config, shared_redis.url)) == 0
    assert json.loads(capsys.readouterr().out)["raised"] == [config.topic]
    # A variable is for new topics only.
    assert main(["topics"], {**environ(config), "CONTACTS_PARTITIONS": "2"}) == 0


def test_the_command_refuses_to_lower_them(config: WorkerConfig, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["topics"], environ(config)) == 0
    assert main(["topics", "--partitions", "3"], environ(config)) == 2
    assert "cannot be lowered to 3" in capsys.readouterr().err


async def test_redis_keeps_the_largest_number_that_anyone_announced(shared_redis: RunningRedis) -> None:
    keys = Keys(unique_name("group"))
    async with redis_client(shared_redis.url, timeout_seconds=5) as redis:
        told = []
        announcements = Announcements(redis, keys)
        with pytest.raises(ReplicaAway):  # of a new partition without a position nobody is told
            await announcements.announce(4, [3])
        assert await redis.hgetall(keys.positions) == {}
        for number in (4, 6, 5, 6):
            before = await announcements.announce(number)
            told.append((before, await redis.hgetall(keys.positions)))
        four, six = {b"partitions": b"4"}, {b"partitions": b"6"}
        assert told == [(0, four), (4, six), (6, six), (6, six)]
        # What another has announced meanwhile stays.
        assert not await announcements.withdraw(5, 4)
        assert await redis.hgetall(keys.positions) == six
        assert await announcements.withdraw(6, 4)
        assert await redis.hgetall(keys.positions) == four
        assert await announcements.withdraw(4, 0)
        assert await redis.hgetall(keys.positions) == {}
