"""`contacts-report status` beside a real worker, Kafka and Redis; then without the one, and without the other."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cli.main import main
from stream.settings.worker import WorkerConfig
from tests.flow.test_worker_stops import Site
from tests.support.counting import published, send
from tests.support.kafka import RunningKafka
from tests.support.stack import RedisServer, eventually

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def site(tmp_path: Path, kafka: RunningKafka) -> Iterator[Site]:
    made = Site(tmp_path, kafka.bootstrap)
    yield made
    made.close()


def status(site: Site, capsys: Capture, **changed: str) -> tuple[int, dict[str, Any]]:
    environ = {
        "CONTACTS_KAFKA": site.bootstrap,
        "CONTACTS_REDIS": site.redis.url,
        "CONTACTS_TOPIC": site.topic,
        "CONTACTS_GROUP": site.group,
    }
    code = main(["status", "--json"], environ | changed)
    return code, json.loads(capsys.readouterr().out)


@pytest.mark.timeout(400)
def test_one_screen_says_how_the_deployment_is(site: Site, capsys: Capture) -> None:
    # Given a worker that counted, with a duplicate-free topic and one rejected event,
    worker = site.worker_that_counted(3)
    config = WorkerConfig(kafka=site.bootstrap, topic=site.topic, group=site.group)
    asyncio.run(send(config, [published(b"{")]))
    eventually("counted", lambda: site.projected() == 4)

    # then all is well, by what Kafka, Redis and the worker itself say.
    def well() -> dict[str, Any] | None:
        code, answer = status(site, capsys)
        told = [one for one in answer["workers"] if one["rejected"]]
        return answer if code == 0 and told else None

    answer = eventually("told to be well", well, every=1.0)
    assert answer["wrong"] == []
    first, second = answer["partitions"]
    assert (first["position"], first["end"], first["lag"], first["phase"]) == (4, 4, 0, "counting")
    assert (second["position"], second["end"], second["lag"]) == (0, 0, 0)
    [told] = answer["workers"]
    assert first["owner"] == second["owner"] == told["worker"]
    assert told["counted"] == 3
    assert told["rejected"] == {"not_json": {"count": 1, "partition": 0, "offset": 3}}
    assert len(answer["kafka"]["members"]) == 1
    environ = {"CONTACTS_KAFKA": site.bootstrap, "CONTACTS_REDIS": site.redis.url}
    names = {"CONTACTS_TOPIC": site.topic, "CONTACTS_GROUP": site.group}
    assert main(["status"], environ | names) == 0
    screen = capsys.readouterr().out
    assert "all is well" in screen
    assert "not_json 1 since the workers' start, as at partition 0, offset 3" in screen

    # Without Redis Kafka tells position and lag,
    code, answer = status(site, capsys, CONTACTS_REDIS="redis://127.0.0.1:1/0")
    assert (code, [one["lag"] for one in answer["partitions"]]) == (1, [0, 0])
    assert [text.partition(" (")[0] for text in answer["wrong"]] == ["Redis does not answer"]
    # and without Kafka the workers do.
    code, answer = status(site, capsys, CONTACTS_KAFKA="127.0.0.1:1")
    assert (code, [one["position"] for one in answer["partitions"]]) == (1, [4, 0])
    assert any("cannot reach Kafka at 127.0.0.1:1" in text for text in answer["wrong"])

    # One of two workers that is killed is told, and that the other counts what it had.
    other = site.worker()
    eventually("shared", lambda: other.ready() and len(worker.facts()["partitions"]) == 1)
    other.kill()

    def said_to_be_gone() -> bool:
        code, answer = status(site, capsys)
        others = "did not say that it stops; others count all partitions"
        return code == 1 and any(others in text for text in answer["wrong"]) and len(answer["workers_gone"]) == 1

    eventually("told to be gone", said_to_be_gone, every=1.0)

    # A worker that ends takes what it told with it; then nothing is counted, and that is said.
    assert worker.stop() == 0
    code, answer = status(site, capsys)
    assert (code, answer["workers"]) == (1, [])
    assert "no worker is in the group: nothing is counted" in answer["wrong"]
    assert list(site.redis.client.scan_iter(match="*:ops:*")) == []
    # Another group's keys are not there, which is said too.
    code, answer = status(site, capsys, CONTACTS_GROUP=f"{site.group}-mistyped")
    assert code == 1
    assert any("this Redis has nothing of the group" in text for text in answer["wrong"])


def test_a_topic_that_was_created_again_is_named_although_it_is_longer_than_what_was_counted(
    site: Site, capsys: Capture
) -> None:
    worker = site.worker_that_counted(3)
    assert worker.stop() == 0
    site.make_anew()
    site.publish(5)
    said = "partition 0 has another record at offset 2 than the one that was counted: the topic was deleted and created"
    eventually("named", lambda: any(one.startswith(said) for one in status(site, capsys)[1]["wrong"]), every=1.0)


@pytest.mark.timeout(400)
def test_a_worker_of_the_group_that_reports_to_another_redis_is_named(
    site: Site, tmp_path: Path, capsys: Capture
) -> None:
    # Given two workers of one group, the second with a Redis of its own
    site.topics()
    site.worker()
    eventually("well", lambda: status(site, capsys)[0] == 0, every=1.0)
    other = RedisServer(tmp_path / "other")
    other.start()
    try:
        stray = site.worker(CONTACTS_REDIS=other.url)

        # then, wherever somebody looks, the one that is not seen there is named, with what it took.
        def named(redis: str) -> list[str]:
            _, answer = status(site, capsys, CONTACTS_REDIS=redis)
            return [text for text in answer["wrong"] if "1 of 2 members of the group reports nothing" in text]

        for redis in (site.redis.url, other.url):
            [text] = eventually("named", lambda redis=redis: [t for t in named(redis) if " went to " in t], every=1.0)
            assert "another" in text
        environ = {"CONTACTS_KAFKA": site.bootstrap, "CONTACTS_REDIS": site.redis.url}
        assert main(["doctor", "--json"], environ | {"CONTACTS_TOPIC": site.topic, "CONTACTS_GROUP": site.group}) == 1
        findings = {one["subject"]: one for one in json.loads(capsys.readouterr().out)["findings"]}
        assert findings["members of the group"]["found"].startswith("1 of 2 members of the group reports nothing")

        # When it goes, the other takes all.
        assert stray.stop() == 0
        eventually("well again", lambda: status(site, capsys)[0] == 0, every=1.0)
    finally:
        other.kill()
