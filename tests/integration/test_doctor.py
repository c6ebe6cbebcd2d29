"""`contacts-report doctor` on a real Kafka and Redis: what is set wrong is found, and what is right is left alone."""

from __future__ import annotations

import asyncio
import json
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import redis
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient

from cli.main import main
from stream.audit import broker_clock
from stream.audit.status import ask_kafka
from stream.projection.lost_keys import SCRIPT
from stream.projection.permissions import commands_of
from stream.settings.worker import WorkerConfig
from stream.storage.keys import Keys
from tests.support.api import own_redis
from tests.support.authority import Authority
from tests.support.counting import make_topics, published, send
from tests.support.kafka import RunningKafka, create_topic, unique_name
from tests.support.redis_server import RunningRedis
from tests.support.tls_redis import TlsRedis

__all__ = ["own_redis"]

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
        "clocks of Kafka",
    }
    assert re.fullmatch(r"\d brokers run 4\.\d", found["Kafka versions"]["found"])
    assert "no event came in 3 s" in found["clocks of Kafka"]["found"]


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


def test_a_topic_of_activity_that_was_deleted_is_not_to_be_created_again(config: WorkerConfig, capsys: Capture) -> None:
    # Given a deployment of another number of partitions than a new one would get, whose topic of activity is gone,
    asyncio.run(make_topics(config, 2))

    async def delete() -> None:
        admin = AIOKafkaAdminClient(bootstrap_servers=config.kafka)
        await admin.start()
        await admin.delete_topics([config.topic])
        while config.topic in await admin.list_topics():
            await asyncio.sleep(0.05)
        await admin.close()

    asyncio.run(delete())
    _, found = examine(config, capsys)
    # then that alone is wrong with the topics, and nothing says that it should be made.
    gone = found[f"topic {config.topic}"]
    assert gone["found"] == "is not there, and its changelog is"
    assert "do not create it again" in gone["meaning"]
    assert "contacts-report topics" not in json.dumps(list(found.values()))
    assert found[f"topic {config.changelog_topic}"]["good"]
    assert asyncio.run(ask_kafka(config)).differences == [f"there is no topic {config.topic}"]


async def test_of_a_redis_that_is_full_nobody_says_that_workers_report_to_another_one(
    config: WorkerConfig, own_redis: RunningRedis, capsys: Capture
) -> None:
    # Given a member of the group that reports nothing, and a Redis that would take no report,
    await make_topics(config, 1)
    changed = {"CONTACTS_REDIS": own_redis.url}
    consumer = AIOKafkaConsumer(config.topic, bootstrap_servers=config.kafka, group_id=config.group)
    await consumer.start()
    try:
        _, found = await asyncio.to_thread(lambda: examine(config, capsys, **changed))
        assert "1 of 1 members of the group reports nothing" in found["members of the group"]["found"]
        with redis.Redis.from_url(own_redis.url) as client:
            client.config_set("maxmemory", "1")
        # then doctor says that it is full, and not that,
        _, found = await asyncio.to_thread(lambda: examine(config, capsys, **changed))
        assert ("members of the group" in found, found["Redis memory"]["good"]) == (False, False)
        # and status what readers see of it.
        words = {"CONTACTS_KAFKA": config.kafka, "CONTACTS_TOPIC": config.topic, "CONTACTS_GROUP": config.group}
        assert await asyncio.to_thread(main, ["status"], words | changed) == 1
        screen = capsys.readouterr().out
        assert "readers  get 503: Redis is full" in screen
        assert "reports nothing to this Redis" not in screen
    finally:
        await consumer.stop()


def test_every_command_of_the_script_is_asked_for() -> None:
    used = set(re.findall(r"redis\.call\('(\w+)'", SCRIPT.read_text()))
    assert used <= {command[0] for command in commands_of(Keys("g"))}


# ---- clocks --------------------------------------------------------------------------------------------------------


@contextmanager
def publishing(config: WorkerConfig) -> Iterator[None]:
    """Events come, several a second."""
    stop = threading.Event()

    async def publish() -> None:
        producer = AIOKafkaProducer(bootstrap_servers=config.kafka)
        await producer.start()
        while not stop.is_set():
            await producer.send_and_wait(config.topic, b"{}")
            await asyncio.sleep(0.1)
        await producer.stop()

    thread = threading.Thread(target=lambda: asyncio.run(publish()))
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def be_ahead(monkeypatch: pytest.MonkeyPatch, seconds: int) -> None:
    """Of this machine's clock: let it be ahead of the brokers'."""
    monkeypatch.setattr(broker_clock, "now_ms", lambda: int((time.time() + seconds) * 1000))


def test_the_brokers_clock_is_told_by_an_event_that_comes_meanwhile(
    config: WorkerConfig, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    asyncio.run(make_topics(config, 2))
    said = {}
    monkeypatch.setattr(broker_clock, "LOOK_SECONDS", 60.0)
    with publishing(config):
        for ahead in (0, 600, -600):
            be_ahead(monkeypatch, ahead)
            said[ahead] = examine(config, capsys)[1]["clocks of Kafka"]
    assert said[0]["good"]
    assert re.fullmatch(r"the brokers' clock and this machine's are at most \d+\.\d s apart", said[0]["found"])
    assert [said[ahead]["good"] for ahead in (600, -600)] == [False, False]
    assert re.fullmatch(r"the brokers' clock is (59|60)\d s behind this machine's", said[600]["found"])
    assert "time_in_future" in said[600]["meaning"]
    assert re.fullmatch(r"the brokers' clock is (59|60)\d s ahead of this machine's", said[-600]["found"])
    assert "a partition waits" in said[-600]["meaning"]


def test_an_event_that_is_there_already_tells_of_a_clock_that_is_ahead(
    config: WorkerConfig, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    asyncio.run(make_topics(config, 1))
    asyncio.run(send(config, [published(b"{}")]))
    be_ahead(monkeypatch, -600)
    assert "s ahead of this machine's" in examine(config, capsys)[1]["clocks of Kafka"]["found"]
    # Of one that is behind, or right, it tells nothing: it may be as old as it says.
    be_ahead(monkeypatch, 600)
    told = examine(config, capsys)[1]["clocks of Kafka"]
    assert told["good"]
    assert "no event came" in told["found"]


def test_where_publishers_set_the_times_they_say_nothing_of_the_brokers(config: WorkerConfig, capsys: Capture) -> None:
    asyncio.run(create_topic(config.kafka, config.topic, 1, {"message.timestamp.type": "CreateTime"}))
    asyncio.run(send(config, [published(b"{}")]))
    told = examine(config, capsys)[1]["clocks of Kafka"]
    assert (told["good"], "publishers set the times" in told["found"]) == (True, True)


# ---- certificates --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("days", "good", "found"),
    [(90, True, "is good for 90 days"), (12, False, "ends in 12 days, on ")],
)
def test_the_certificate_that_redis_shows_is_told_before_it_ends(
    config: WorkerConfig, capsys: Capture, tmp_path: Path, days: int, good: bool, found: str
) -> None:
    server = TlsRedis(tmp_path, Authority(tmp_path), days)
    try:
        server.wait()
        said = examine(config, capsys, CONTACTS_KAFKA="127.0.0.1:1", CONTACTS_REDIS=server.url)[1]
    finally:
        server.stop()
    assert said["Redis"]["good"]
    assert (said["certificate of Redis"]["good"], said["certificate of Redis"]["found"].startswith(found)) == (
        good,
        True,
    )
    assert said[f"ssl_ca_certs {tmp_path}/authority.pem"]["good"]


def test_a_redis_whose_certificate_has_ended_says_so(config: WorkerConfig, capsys: Capture, tmp_path: Path) -> None:
    server = TlsRedis(tmp_path, Authority(tmp_path), -2)
    try:
        server.wait()
        code, said = examine(config, capsys, CONTACTS_KAFKA="127.0.0.1:1", CONTACTS_REDIS=server.url)
    finally:
        server.stop()
    assert (code, said["Redis"]["good"]) == (1, False)
    assert "certificate has expired" in said["Redis"]["found"]


def test_without_tls_redis_has_no_certificate(config: WorkerConfig, capsys: Capture) -> None:
    said = examine(config, capsys, CONTACTS_KAFKA="127.0.0.1:1")[1]
    assert said["Redis"]["good"]
    assert [subject for subject in said if "certificate" in subject] == []
