"""What all our clients of Kafka share: what they raise where the broker is away, in words, and how they are closed."""

from __future__ import annotations

import asyncio
from typing import Any, Final

from aiokafka.errors import KafkaError

BROKER_AWAY: Final = (KafkaError, OSError, TimeoutError, RuntimeError)
"""What a call of aiokafka raises where the broker does not answer. RuntimeError is uvloop's word for writing on a
connection that was reset right before."""

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


def describe(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
