"""Nobody listens, and somebody who does not let us in, are told apart."""

from __future__ import annotations

import asyncio

import pytest

from stream.kafka import reach
from stream.kafka.reach import why_unreachable
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
