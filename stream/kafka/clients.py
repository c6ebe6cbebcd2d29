"""Shared by all our Kafka clients: the errors of a broker that is away, in words, and closing in bounded time."""

from __future__ import annotations

import asyncio
import logging
import re
from typing import Any, Final

from aiokafka.errors import (
    ClusterAuthorizationFailedError,
    GroupAuthorizationFailedError,
    KafkaError,
    TopicAuthorizationFailedError,
    TransactionalIdAuthorizationFailed,
)

log = logging.getLogger(__name__)

BROKER_AWAY: Final = (KafkaError, OSError, TimeoutError, RuntimeError)
"""What a call of aiokafka raises where the broker does not answer. RuntimeError is uvloop's word for writing on a
connection that was reset right before."""

NOT_ALLOWED: Final = (
    TopicAuthorizationFailedError,
    GroupAuthorizationFailedError,
    ClusterAuthorizationFailedError,
    TransactionalIdAuthorizationFailed,
)
"""Kafka's access lists."""

CLOSE_SECONDS: Final = 5.0

_STOPPING: Final[set[asyncio.Future[Any]]] = set()
"""What outlives the time that it was given: asyncio keeps tasks weakly."""


async def close_in_bounded_time(service: Any) -> None:
    """Stop an aiokafka client, whatever state it and its broker are in."""
    stopping = asyncio.ensure_future(service.stop())
    _STOPPING.add(stopping)
    stopping.add_done_callback(_STOPPING.discard)
    # It may end with a CancelledError that nobody asked for, which must not become ours.
    stopping.add_done_callback(lambda done: done.cancelled() or done.exception())
    await asyncio.wait([stopping], timeout=CLOSE_SECONDS)


def mute_unread_failures(loop: asyncio.AbstractEventLoop) -> None:
    """Let asyncio say nothing of Kafka's errors in futures that nobody awaits.

    aiokafka leaves such an error in the futures of its own bookkeeping, and in those of requests that were given up,
    beside the one that it answers with. Whoever asked has that answer and says what it means.
    """
    loop.set_exception_handler(_handle_unread)


def _handle_unread(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    future, error = context.get("future"), context.get("exception")
    if isinstance(error, KafkaError) and future is not None and not isinstance(future, asyncio.Task):
        log.debug("%s: %s", context.get("message"), describe(error))
    else:
        loop.default_exception_handler(context)


def describe(error: BaseException) -> str:
    """What a client says, in words for the person on call."""
    name, text = type(error).__name__, str(error)
    if isinstance(error, NOT_ALLOWED):
        return f"Kafka does not allow it ({name}): `contacts-report doctor` names the right that is missing"
    if "Unable to bootstrap" in text:
        return "cannot connect to " + ", ".join(f"{host}:{port}" for host, port in _SERVERS.findall(text))
    # aiokafka's own errors begin with their name.
    return text if name in text else f"{name}: {text}" if text else name


_SERVERS: Final = re.compile(r"\('([^']*)', (\d+)")
