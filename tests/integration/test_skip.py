"""`contacts-report skip` on a real Kafka: one offset is passed over, all before it counts, and workers go on behind."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
from aiokafka import AIOKafkaConsumer

from cli.main import main
from stream.kafka.groups import group_members
from stream.ports import ChangelogStore, CommitFailed
from stream.settings.worker import WorkerConfig
from stream.tables.partition import PartitionState
from stream.worker.skip import Skip
from tests.integration.test_trace import config, environ, one, traced, verdicts  # noqa: F401  a fixture
from tests.support.counting import count, published, send, settle
from tests.support.kafka import unique_name

Capture = pytest.CaptureFixture[str]


def publish_some(config: WorkerConfig) -> None:  # noqa: F811
    """Five records; the first is counted."""

    async def publish() -> None:
        await send(config, [published(one(name)) for name in "ab"])
        await send(config, [published(b"{"), published(one("poison")), published(one("e"))])
        await count(config, upto=1)

    asyncio.run(publish())


def skip(config: WorkerConfig, offset: int, *words: str) -> int:  # noqa: F811
    return main(["skip", "--partition", "0", "--offset", str(offset), *words], environ(config))


def test_one_offset_is_lost_and_nothing_else(config: WorkerConfig, capsys: Capture) -> None:  # noqa: F811
    publish_some(config)
    # When an offset is passed over, what is lost is said first,
    assert skip(config, 3, "--yes") == 0
    said = capsys.readouterr()
    assert "event_id: poison" in said.out
    assert "offsets 1 to 2 lie before it, and are counted" in said.out
    assert "goes on at offset 4" in said.out
    assert "offset 3 was passed over by hand" in said.err
    # then a worker goes on behind it,
    asyncio.run(settle(config, 0))
    commit = asyncio.run(count(config))
    assert (commit.position.next_offset, commit.position.skipped, commit.outcomes.counted) == (5, 1, 1)
    # what became of it is known,
    assert verdicts(traced(config, capsys, "--id", "poison")[1]) == [(0, 3, "not_counted", None, None)]
    assert verdicts(traced(config, capsys, "--id", "b")[1]) == [(0, 1, "counted", None, None)]
    # the rejected one before it has its dead letter, and a recount finds nothing wrong.
    assert main(["dlq", "ls", "--counts", "--json"], environ(config)) == 0
    assert json.loads(capsys.readouterr().out)["by_reason"] == {"not_json": 1}
    assert main(["verify", "--no-redis", "--json"], environ(config)) == 0
    [partition, _] = json.loads(capsys.readouterr().out)["partitions"]
    assert (partition["counted"], partition["judged_otherwise_today"]["now_counted"]) == (3, 1)


def test_what_is_lost_is_told_as_json(config: WorkerConfig, capsys: Capture) -> None:  # noqa: F811
    publish_some(config)
    assert skip(config, 2, "--yes", "--json") == 0
    answer = json.loads(capsys.readouterr().out)
    assert (answer["next_offset"], answer["skipped"], answer["lost"]["would_be_rejected"]) == (3, 1, "not_json")


def test_without_a_word_of_consent_nothing_is_passed_over(config: WorkerConfig, capsys: Capture) -> None:  # noqa: F811
    publish_some(config)
    assert skip(config, 3) == 2
    assert "--yes" in capsys.readouterr().err
    assert asyncio.run(count(config)).outcomes.counted == 3


@pytest.mark.parametrize(
    ("offset", "why"),
    [(0, "it goes on at 1"), (5, "there is no offset 5 yet")],
    ids=["behind", "beyond the end"],
)
def test_an_offset_that_is_not_next_to_come_is_refused(
    config: WorkerConfig,  # noqa: F811
    capsys: Capture,
    offset: int,
    why: str,
) -> None:
    publish_some(config)
    assert skip(config, offset, "--yes") == 2
    said = capsys.readouterr().err
    assert "nothing was passed over" in said
    assert why in said


def test_a_partition_that_is_not_there_or_not_begun_is_refused(config: WorkerConfig, capsys: Capture) -> None:  # noqa: F811
    asyncio.run(send(config, [published(one("a"))]))
    assert skip(config, 0, "--yes") == 2
    assert "a worker must have begun it" in capsys.readouterr().err
    assert main(["skip", "--partition", "9", "--offset", "0", "--yes"], environ(config)) == 2
    assert "have no partition 9" in capsys.readouterr().err


def test_another_topic_of_the_same_name_is_refused(config: WorkerConfig, capsys: Capture) -> None:  # noqa: F811
    publish_some(config)

    async def publish_elsewhere() -> WorkerConfig:
        from tests.support.counting import make_topics

        other = replace(config, topic=unique_name("activity"))
        await make_topics(other)
        await send(other, [published(one(name)) for name in "xyz"])
        return other

    other = asyncio.run(publish_elsewhere())
    assert skip(other, 1, "--yes") == 2
    assert "this is not the topic that was counted" in capsys.readouterr().err


@asynccontextmanager
async def member(config: WorkerConfig) -> AsyncIterator[None]:  # noqa: F811
    consumer = AIOKafkaConsumer(
        config.topic, bootstrap_servers=config.kafka, group_id=config.group, enable_auto_commit=False
    )
    await consumer.start()
    try:
        async with asyncio.timeout(60):
            while not await group_members(config.access, config.group):
                await asyncio.sleep(0.1)
        yield
    finally:
        await consumer.stop()


async def test_while_a_worker_runs_nothing_is_passed_over(config: WorkerConfig, capsys: Capture) -> None:  # noqa: F811
    await asyncio.to_thread(publish_some, config)
    async with member(config):
        assert await asyncio.to_thread(skip, config, 3, "--yes") == 2
    assert "has 1 members" in capsys.readouterr().err
    assert await asyncio.to_thread(skip, config, 3, "--yes") == 0


def test_where_kafka_does_not_say_whether_it_took_the_commit_nothing_is_claimed(
    config: WorkerConfig,  # noqa: F811
    capsys: Capture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    publish_some(config)
    commit = Skip._commit

    async def lose_the_answer(of: Skip, state: PartitionState, store: ChangelogStore) -> None:
        await commit(of, state, store)
        raise CommitFailed("no answer")

    monkeypatch.setattr(Skip, "_commit", lose_the_answer)
    assert skip(config, 1, "--yes") == 2
    said = capsys.readouterr().err
    assert "is not known (no answer): give the same command again" in said
    assert "nothing was passed over" not in said
    # It was; and the same command says so.
    monkeypatch.undo()
    assert skip(config, 1, "--yes") == 2
    assert "goes on at 2" in capsys.readouterr().err
