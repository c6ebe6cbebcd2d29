"""Nobody listens, and somebody who does not let us in, are told apart."""

from __future__ import annotations

import asyncio

import pytest
from aiokafka import AIOKafkaConsumer
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import (
    ClusterAuthorizationFailedError,
    KafkaConnectionError,
    RequestTimedOutError,
    UnrecognizedBrokerVersion,
)

from stream.kafka import reach
from stream.kafka.reach import why_unreachable
from stream.kafka.reading import open_reader
from stream.kafka.topics import TopicsError, open_topics
from stream.ports import KafkaAway
from stream.settings.kafka import KafkaAccess
from tests.support.ports import free_port


async def test_nobody_listens_there() -> None:
    assert await why_unreachable(KafkaAccess(f"127.0.0.1:{free_port()},127.0.0.1:1")) == "Connection refused"


async def test_somebody_listens_and_closes_the_connection() -> None:
    async def close(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    async with await asyncio.start_server(close, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        why = await why_unreachable(KafkaAccess(f"127.0.0.1:{port}"))
        assert (
            why == "it takes connections, and closes ours: is CONTACTS_KAFKA_SECURITY=plaintext what this port wants?"
        )


async def test_a_name_that_nobody_has_is_said_to_be_one() -> None:
    assert await why_unreachable(KafkaAccess("no-such-host.invalid:9092")) != ""


async def test_somebody_listens_and_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reach, "ANSWER_SECONDS", 0.2)

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    async with await asyncio.start_server(listen, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        assert (await why_unreachable(KafkaAccess(f"127.0.0.1:{port}"))).startswith(
            "it takes connections, and does not answer within 0 s: is CONTACTS_KAFKA_SECURITY=plaintext"
        )


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (ClusterAuthorizationFailedError(), "answers, and refuses us: Kafka does not allow it (ClusterAuthorization"),
        (UnrecognizedBrokerVersion("0.8"), "answers, and refuses us: UnrecognizedBrokerVersion: 0.8"),
        (KafkaConnectionError("Unable to bootstrap"), "cannot reach Kafka at 127.0.0.1:1: Connection refused"),
        (RequestTimedOutError(), "cannot reach Kafka at 127.0.0.1:1: Connection refused"),
        (TimeoutError(), "cannot reach Kafka at 127.0.0.1:1: Connection refused"),
    ],
)
async def test_what_kafka_answered_is_not_told_as_out_of_reach(
    monkeypatch: pytest.MonkeyPatch, error: Exception, says: str
) -> None:
    async def start(_client: object) -> None:
        raise error

    for client in (AIOKafkaConsumer, AIOKafkaAdminClient):
        monkeypatch.setattr(client, "start", start)
    access = KafkaAccess("127.0.0.1:1")
    with pytest.raises(KafkaAway) as of_reader:
        async with open_reader(access, "topic"):
            pass
    with pytest.raises(TopicsError) as of_topics:
        async with open_topics(access):
            pass
    assert [says in str(told.value) for told in (of_reader, of_topics)] == [True, True]
