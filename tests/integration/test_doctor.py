"""`contacts-report doctor` on a real Kafka and Redis: what is set wrong is found, and what is right is left alone."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
import redis

from cli.main import main
from stream.settings.worker import WorkerConfig
from stream.storage.keys import Keys
from tests.support.counting import make_topics
from tests.support.kafka import RunningKafka, create_topic, unique_name
from tests.support.redis_server import RunningRedis

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def config(kafka: RunningKafka, shared_redis: RunningRedis) -> WorkerConfig:
    return WorkerConfig(
        kafka=kafka.bootstrap, redis=shared_redis.url, topic=unique_name("activity"), group=unique_name("group")
    )


def examine(config: WorkerConfig, capsys: Capture, **changed: str) -> tuple[int, dict[str, dict[str, Any]]]:
    environ = {
        "CONTACTS_KAFKA": config.kafka,
        "CONTACTS_REDIS": config.redis,
        "CONTACTS_TOPIC": config.topic,
        "CONTACTS_GROUP": config.group,
    }
    code = main(["doctor", "--json"], environ | changed)
    found = json.loads(capsys.readouterr().out)["findings"]
    return code, {one["subject"]: one for one in found}


def test_what_is_right_is_good_and_what_is_not_there_is_said(config: WorkerConfig, capsys: Capture) -> None:
    asyncio.run(make_topics(config, 2))
    with redis.Redis.from_url(config.redis) as client:
        client.hset(Keys(config.group).positions, "partitions", "2")
        code, found = examine(config, capsys)
        assert len(list(client.scan_iter(match=f"*{config.group}*"))) == 1
    wrong = {subject: one["found"] for subject, one in found.items() if not one["good"]}
    # No worker runs here, and that is all.
    assert (code, wrong) == (1, {f"group {config.group}": "has no members"})
    assert set(found) >= {
        "settings",
        "Kafka",
        f"topic {config.topic}",
        f"right to read {config.changelog_topic}",
        f"right to read {config.dead_letter_topic}",
        "Redis",
        "Redis version",
        "Redis maxmemory-policy",
        "Redis persistence",
        "clocks",
    }


def test_topics_that_are_missing_or_set_otherwise_are_found(config: WorkerConfig, capsys: Capture) -> None:
    asyncio.run(create_topic(config.kafka, config.changelog_topic, 2, {"cleanup.policy": "delete"}))
    asyncio.run(create_topic(config.kafka, config.topic, 2, {"message.timestamp.type": "LogAppendTime"}))
    code, found = examine(config, capsys)
    assert code == 1
    assert found[f"topic {config.dead_letter_topic}"]["command"] == "contacts-report topics"
    assert not found[f"topic {config.changelog_topic}"]["good"]
    assert not found[f"keys of the group {config.group}"]["good"]


def test_servers_that_are_away_are_said_with_what_to_look_at(config: WorkerConfig, capsys: Capture) -> None:
    code, found = examine(config, capsys, CONTACTS_KAFKA="127.0.0.1:1", CONTACTS_REDIS="redis://127.0.0.1:1/0")
    assert (code, found["Kafka"]["good"], found["Redis"]["good"]) == (1, False, False)
    assert "CONTACTS_KAFKA" in found["Kafka"]["command"]
    assert "Readers get 503" in found["Redis"]["meaning"]


def test_settings_that_would_be_refused_are_told_and_nothing_is_asked(config: WorkerConfig, capsys: Capture) -> None:
    code, found = examine(config, capsys, CONTACTS_DEDUPE_MAX_IDS="none at all")
    assert code == 1
    assert set(found) == {"settings"}
    assert "CONTACTS_DEDUPE_MAX_IDS" in found["settings"]["found"]


def test_in_words_each_finding_has_its_meaning_and_its_command(config: WorkerConfig, capsys: Capture) -> None:
    words = ["--kafka", "127.0.0.1:1", "--redis", config.redis, "--group", config.group]
    assert main(["doctor", *words], {}) == 1
    said = capsys.readouterr().out
    assert "WRONG  Kafka: cannot reach Kafka at 127.0.0.1:1" in said
    assert "$ contacts-report config" in said
    assert "ok     Redis: answers" in said
