"""Listens to the changes of workspaces that the worker publishes."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

from redis.exceptions import RedisError

from api.read.connection import Connection

KEEP_ALIVE_SECONDS = 10.0
"""Ping a subscription that was silent for this long, and give it up after as long again. A connection that was
forgotten on its way (a firewall, a machine that lost its power) looks like one on which nothing is published."""


@asynccontextmanager
async def changes(connection: Connection, channel: str) -> AsyncIterator[AsyncIterator[list[str]]]:
    """A subscription: the workspaces of each call that changed something, from the moment that it is entered.

    Raises Unavailable, also while it is read; what was missed then is not told.
    """
    client = connection.subscriber()
    try:
        async with client.pubsub(ignore_subscribe_messages=False) as subscription:
            await connection.subscribed_in_time(_subscribe(subscription, channel))
            yield _messages(connection, subscription)
    finally:
        with suppress(RedisError, OSError):
            await client.aclose()


async def _messages(connection: Connection, subscription: Any) -> AsyncIterator[list[str]]:
    silent = False
    while True:
        try:
            message = await subscription.get_message(timeout=KEEP_ALIVE_SECONDS)
            if message is None and silent:
                raise TimeoutError("nothing came of a subscription, not even the answer to a ping")
        except (RedisError, OSError) as error:
            raise connection.unheard(error) from error
        silent = message is None
        if message is None:
            await connection.subscribed_in_time(subscription.ping())
        elif message["type"] == "message":
            # Whoever may write to Redis may publish anything.
            yield message["data"].decode(errors="replace").split("\n")


async def _subscribe(subscription: Any, channel: str) -> None:
    """Until Redis has confirmed it."""
    await subscription.subscribe(channel)
    while (await subscription.get_message(timeout=None)) is None:
        pass
