"""`contacts-report doctor` on a real Kafka and Redis: what is set wrong is found, and what is right is left alone."""

from __future__ import annotations

import asyncio
import json
import re
from typing import Any

import pytest
import redis

from cli.main import main
from stream.projection.lost_keys import SCRIPT
from stream.projection.permissions import commands_of
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
        f"right to write {config.changelog_topic}",
        f"right to write {config.dead_letter_topic}",
        f"right to join {config.group}",
        f"right to transactions {config.group}-…",
        "rights in Redis",
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


def test_what_a_user_of_redis_may_not_do_is_named_and_nothing_is_changed(
    config: WorkerConfig, shared_redis: RunningRedis, capsys: Capture
) -> None:
    asyncio.run(make_topics(config, 1))
    allowed = [f"~cr1:{config.group}:*", f"&cr1:{config.group}:*", "+@all"]
    with redis.Redis.from_url(config.redis) as client:
        for user, rules in {
            "whole": allowed,
            "reads": [*allowed, "-@write"],
            "mute": [*allowed, "resetchannels"],
            "elsewhere": ["~other:*", "&*", "+@all"],
            "plain": [*allowed, "-eval"],
        }.items():
            client.execute_command("ACL", "SETUSER", user, "reset", "on", ">secret", *rules)
        said = {}
        for user in ("whole", "reads", "mute", "elsewhere", "plain"):
            url = config.redis.replace("://", f"://{user}:secret@")
            _, found = examine(config, capsys, CONTACTS_REDIS=url)
            said[user] = found["rights in Redis"]["found"]
        assert list(client.scan_iter(match=f"*{config.group}*")) == []
    assert said["whole"] == "every command of a worker is allowed"
    assert f"HSET cr1:{config.group}:{{0}}:" in said["reads"] or "HDEL" in said["reads"]
    assert said["mute"] == f"1 are missing: PUBLISH cr1:{config.group}:{{0}}:changes"
    assert "refuses our scripts" in said["elsewhere"]
    assert "refuses our scripts" in said["plain"]


def test_every_command_of_the_script_is_asked_for() -> None:
    used = set(re.findall(r"redis\.call\('(\w+)'", SCRIPT.read_text()))
    assert used <= {command[0] for command in commands_of(Keys("g"))}
