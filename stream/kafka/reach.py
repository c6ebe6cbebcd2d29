"""Why Kafka cannot be reached, where its client says no more than that: whether anybody listens there at all."""

from __future__ import annotations

import asyncio
import contextlib
import os

CONNECT_SECONDS = 3.0


async def why_unreachable(servers: str) -> str:
    """Of the first of these servers (host:port, several with commas), in words for the person on call."""
    host, _, port = servers.split(",")[0].strip().rpartition(":")
    try:
        async with asyncio.timeout(CONNECT_SECONDS):
            _, writer = await asyncio.open_connection(host.strip("[]"), int(port))
    except TimeoutError:
        return f"no connection within {CONNECT_SECONDS:.0f} s"
    except (OSError, ValueError) as error:
        # An error of several addresses has no number; of one, its number says it best.
        number = getattr(error, "errno", None)
        return os.strerror(number) if isinstance(number, int) and number > 0 else str(error)
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
    return "it takes connections, and does not answer us: is CONTACTS_KAFKA_SECURITY what the broker wants?"
