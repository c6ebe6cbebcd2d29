"""What is a reply to what was asked, byte by byte; tests/integration/test_redis_client.py asks real servers."""

from __future__ import annotations

import asyncio
from typing import Any

import hiredis
import pytest
from redis._parsers.base import BaseParser
from redis._parsers.hiredis import NOT_ENOUGH_DATA
from redis.exceptions import BusyLoadingError, InvalidResponse, RedisError, ResponseError

from stream.settings.redis import Replies


class Wire:
    """A transport that takes everything and says nothing."""

    def get_protocol(self) -> None:
        return None

    def set_protocol(self, _protocol: asyncio.Protocol) -> None:
        pass

    def write(self, _data: bytes) -> None:
        pass


def asked(number: int) -> tuple[Replies, asyncio.Future[list[Any]]]:
    """A connection that was asked so many commands."""
    # As the client makes one for a connection.
    reader = hiredis.Reader(
        protocolError=InvalidResponse, replyError=BaseParser.parse_error, notEnoughData=NOT_ENOUGH_DATA
    )
    wire: Any = Wire()
    replies = Replies(wire, reader)
    return replies, replies.ask(b"", number)


PUSH = b">2\r\n+invalidate\r\n*0\r\n"


@pytest.mark.parametrize(
    ("chunks", "ready"),
    [
        ([b"+OK\r\n:7\r\n"], True),
        ([b"+O", b"K\r\n", b":7\r", b"\n"], True),
        # what the server says unasked is none of them
        ([PUSH + b"+OK\r\n" + PUSH + b":7\r\n"], True),
        ([PUSH, b"+OK\r\n:7\r\n"], True),
        ([PUSH + b"+OK\r\n", PUSH, b":7\r\n"], True),
        # what comes behind them belongs to nobody, whole or not
        ([b"+OK\r\n:7\r\n+more\r\n"], False),
        ([b"+OK\r\n:7\r\n+mo"], False),
        ([b"+OK\r\n:7\r\n*2\r\n:1\r\n"], False),
        ([b"+OK\r\n:7\r\n%1\r\n+a\r\n"], False),
        ([b"+OK\r\n:7\r\n" + PUSH], False),
    ],
)
async def test_replies_are_as_many_as_were_asked_for(chunks: list[bytes], ready: bool) -> None:
    replies, found = asked(2)
    for chunk in chunks:
        replies.data_received(chunk)
    assert found.done()
    assert found.result() == [b"OK", 7]
    assert replies.ready is ready


async def test_nothing_is_a_reply_that_comes_before_it_was_asked_for() -> None:
    replies, found = asked(1)
    replies.data_received(b"+OK\r\n")
    assert found.result() == [b"OK"]
    replies.data_received(b"+more\r\n")
    assert not replies.ready


@pytest.mark.parametrize(
    ("said", "error"), [(b"-LOADING Redis is loading the dataset in memory\r\n", BusyLoadingError), (b"?", RedisError)]
)
async def test_a_server_that_answers_nothing_at_present_ends_the_exchange(said: bytes, error: type[RedisError]) -> None:
    replies, found = asked(2)
    replies.data_received(b"+OK\r\n" + said)
    assert isinstance(found.exception(), error)
    assert not replies.ready


async def test_a_refused_command_is_one_of_the_replies() -> None:
    replies, found = asked(2)
    replies.data_received(b"-ERR unknown command\r\n+OK\r\n")
    refused, ok = found.result()
    assert (type(refused), ok, replies.ready) == (ResponseError, b"OK", True)
