"""What a server writes to its connections, write by write."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

from cli.connections import GuardedProtocol


class NotedTransport:
    """A transport whose writes are noted."""

    def __init__(self, transport: Any, written: list[bytes]) -> None:
        self._transport = transport
        self._written = written

    def write(self, data: bytes) -> None:
        self._written.append(data)
        self._transport.write(data)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)


@contextmanager
def noted_writes() -> Iterator[list[bytes]]:
    """The writes to connections that are made within."""
    written: list[bytes] = []
    made = GuardedProtocol.connection_made

    def make(protocol: GuardedProtocol, transport: Any) -> None:
        made(protocol, NotedTransport(transport, written))

    with patch.object(GuardedProtocol, "connection_made", make):
        yield written
