"""Nobody listens, and somebody who does not let us in, are told apart."""

from __future__ import annotations

import asyncio

from stream.kafka.reach import why_unreachable
from tests.support.ports import free_port


async def test_nobody_listens_there() -> None:
    assert await why_unreachable(f"127.0.0.1:{free_port()},127.0.0.1:1") == "Connection refused"


async def test_somebody_listens_and_closes_the_connection() -> None:
    async def close(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    async with await asyncio.start_server(close, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        assert "CONTACTS_KAFKA_SECURITY" in await why_unreachable(f"127.0.0.1:{port}")


async def test_a_name_that_nobody_has_is_said_to_be_one() -> None:
    assert await why_unreachable("no-such-host.invalid:9092") != ""
