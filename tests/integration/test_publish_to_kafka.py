"""Files that become records, on Apache Kafka and on the embedded broker."""

import asyncio
import json
import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer

from cli.bulk import BATCH_BYTES, open_bulk
from cli.main import main
from stream.settings.kafka import KafkaAccess
from tests.integration.test_output import LOST, MAIN, run_losing
from tests.support.kafka import RunningKafka, create_topic, read_partition, unique_name

PARTITIONS = 3


@pytest.fixture(params=["kafka", "embedded_kafka"])
def broker(request: pytest.FixtureRequest) -> RunningKafka:
    found: RunningKafka = request.getfixturevalue(request.param)
    return found


@pytest.fixture
async def topic(broker: RunningKafka) -> str:
    name = unique_name("activity")
    await create_topic(broker.bootstrap, name, PARTITIONS)
    return name


async def content(broker: RunningKafka, topic: str) -> dict[int, list[tuple[bytes | None, bytes | None]]]:
    """Partition -> key and value of its records, in order."""
    found = {}
    for partition in range(PARTITIONS):
        records = await read_partition(broker.bootstrap, topic, partition)
        found[partition] = [(record.key, record.value) for record in records]
    return found


def event(number: int, **changed: Any) -> bytes:
    event = {
        "id": f"e{number}",
        "type": "contact.added",
        "workspace_id": f"w{number % 5}",
        "contact_id": str(number),
        "occurred_at": "2026-11-23T09:13:07Z",
    }
    return json.dumps(event | changed).encode()


def written(path: Path, lines: Iterable[bytes]) -> str:
    path.write_bytes(b"".join(line + b"\n" for line in lines))
    return str(path)


async def run(broker: RunningKafka, topic: str, *words: str) -> int:
    environ = {"CONTACTS_KAFKA": broker.bootstrap, "CONTACTS_TOPIC": topic}
    return await asyncio.to_thread(main, ["publish", *words], environ)


async def test_good_lines_are_published_in_order_under_their_workspace(
    broker: RunningKafka, topic: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # Given more lines than fit one batch of a partition, and bad ones between them:
    good = [event(number, contact_name="x" * 300) for number in range(5_000)]
    assert sum(map(len, good)) > 2 * BATCH_BYTES
    file = written(tmp_path / "events", [*good[:100], b"{", *good[100:], event(0, type="other")])
    assert await run(broker, topic, file) == 1
    said = capsys.readouterr()
    assert said.out.startswith(f"5,000 events published to {topic} in ")
    assert [line.split(": ")[:2] for line in said.err.splitlines()] == [
        ["line 101", "not_json"],
        ["line 5002", "unknown_type"],
    ]
    # then each workspace's events are in one partition, in the order of the file.
    found = await content(broker, topic)
    by_key: dict[bytes | None, list[bytes | None]] = {}
    for records in found.values():
        keys = {key for key, _ in records}
        assert keys.isdisjoint(by_key)
        for key, value in records:
            by_key.setdefault(key, []).append(value)
    assert by_key == {b"w%d" % which: good[which::5] for which in range(5)}


async def test_keys_are_spread_as_every_kafka_client_does(broker: RunningKafka, topic: str, tmp_path: Path) -> None:
    events = [event(number) for number in range(20)]
    assert await run(broker, topic, written(tmp_path / "events", events), "--key", "workspace/contact") == 0
    ours = await content(broker, topic)
    other = unique_name("other")
    await create_topic(broker.bootstrap, other, PARTITIONS)
    async with AIOKafkaProducer(bootstrap_servers=broker.bootstrap) as producer:
        for number, value in enumerate(events):
            await producer.send_and_wait(other, value, key=f"w{number % 5}/{number}".encode())
    assert ours == await content(broker, other)
    assert all(ours.values())


async def test_without_lint_broken_lines_are_published_as_they_are(
    broker: RunningKafka, topic: str, tmp_path: Path
) -> None:
    lines = [event(1), b"{", b"\xff\xfe", event(2, type="other"), b"x" * 100_000]
    assert await run(broker, topic, written(tmp_path / "events", lines), "--no-lint") == 0
    found = await content(broker, topic)
    assert sorted(value or b"" for records in found.values() for _, value in records) == sorted(lines)


@pytest.mark.parametrize("compression", ["gzip", "snappy", "lz4", "zstd"])
async def test_compressed_batches_hold_the_same(kafka: RunningKafka, tmp_path: Path, compression: str) -> None:
    name = unique_name("activity")
    await create_topic(kafka.bootstrap, name, PARTITIONS)
    events = [event(number) for number in range(1_000)]
    file = written(tmp_path / "events", events)
    assert await run(kafka, name, file, "--compression", compression) == 0
    found = await content(kafka, name)
    assert sorted(value or b"" for records in found.values() for _, value in records) == sorted(events)


async def test_a_line_that_the_topic_does_not_take_is_named(
    kafka: RunningKafka, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name = unique_name("activity")
    await create_topic(kafka.bootstrap, name, PARTITIONS, {"max.message.bytes": "1000"})
    file = written(tmp_path / "events", [event(1), event(2, contact_name="x" * 1_000), event(3)])
    for lint in ((), ("--no-lint",)):
        assert await run(kafka, name, file, *lint) == 1
        assert capsys.readouterr().err.startswith("line 2: too_large: ")


async def test_a_batch_that_is_too_large_for_the_topic_is_made_smaller(kafka: RunningKafka, tmp_path: Path) -> None:
    """Batches are cut to what the topic takes, not only to our own size."""
    name = unique_name("activity")
    await create_topic(kafka.bootstrap, name, PARTITIONS, {"max.message.bytes": "20000"})
    assert await run(kafka, name, written(tmp_path / "events", [event(number) for number in range(1_000)])) == 0


async def test_a_pipe_that_pauses_has_its_lines_sent_meanwhile(broker: RunningKafka, topic: str) -> None:
    environ = {**os.environ, "CONTACTS_KAFKA": broker.bootstrap, "CONTACTS_TOPIC": topic}
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "cli.main", "publish", "-", env=environ, stdin=pipe, stdout=pipe, stderr=pipe
    )
    assert process.stdin is not None
    process.stdin.write(event(1) + b"\n" + event(2) + b"\n" + event(3)[:20])
    async with asyncio.timeout(60):
        while sum(map(len, (await content(broker, topic)).values())) < 2:
            await asyncio.sleep(0.05)
    out, err = await process.communicate(event(3)[20:])
    assert (process.returncode, err) == (0, b"")
    assert out.startswith(b"3 events published")
    assert sum(map(len, (await content(broker, topic)).values())) == 3


async def test_a_topic_that_is_not_there_is_said_and_not_made(
    broker: RunningKafka, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name = unique_name("nowhere")
    for _ in range(2):
        assert await run(broker, name, written(tmp_path / "events", [event(1)])) == 2
        assert f"there is no topic {name}" in capsys.readouterr().err


async def test_kafka_that_is_away_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    away = RunningKafka("127.0.0.1:1")
    assert await run(away, "t", written(tmp_path / "events", [event(1)])) == 2
    assert capsys.readouterr().err == "contacts-report publish: cannot reach Kafka at 127.0.0.1:1: Connection refused\n"


async def test_the_block_ends_in_time_where_kafka_hangs(kafka_cluster: Any) -> None:
    cluster = await asyncio.to_thread(kafka_cluster)
    await create_topic(cluster.bootstrap, "t")
    async with asyncio.timeout(20):
        async with open_bulk(KafkaAccess(cluster.bootstrap), "t") as bulk:
            await bulk.put_all([(b"k", b"v")])
            cluster.nodes[0].pause()
    cluster.nodes[0].resume()


@pytest.mark.parametrize("stream", [1, 2])
@pytest.mark.parametrize("how", LOST)
async def test_all_of_a_file_is_published_though_nobody_reads_what_is_said(
    embedded_kafka: RunningKafka, tmp_path: Path, stream: int, how: str
) -> None:
    topic = unique_name("activity")
    await create_topic(embedded_kafka.bootstrap, topic, PARTITIONS)
    good = [event(number) for number in range(50)]
    file = written(tmp_path / "events", [b"{", *good[:25], b"[]", *good[25:]])
    words = ["env", f"CONTACTS_KAFKA={embedded_kafka.bootstrap}", f"CONTACTS_TOPIC={topic}", *MAIN, "publish", file]

    code, _ = await asyncio.to_thread(run_losing, words, stream, how)

    assert code == 1  # for the bad lines
    found = await content(embedded_kafka, topic)
    assert sorted(value for records in found.values() for _, value in records) == sorted(good)
