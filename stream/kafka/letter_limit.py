"""Finds how large a dead letter may be: what its topic takes, within what the brokers take as one request."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

MEBIBYTE: Final = 1024 * 1024
MESSAGE_BYTES: Final = MEBIBYTE + 12
"""What a topic takes where nothing is set (`max.message.bytes`): all that may be relied on where it is not told."""
REQUEST_BYTES: Final = 100 * MEBIBYTE
"""What a broker takes where nothing is set (`socket.request.max.bytes`). It closes the connection of a larger one."""
BESIDE_BYTES: Final = 2 * MEBIBYTE
"""What goes in one request with a large dead letter: a batch of the changelog, names and numbers."""


def letter_limit(topic: Mapping[str, str], request_bytes: int | None) -> int:
    """Bytes of a batch with one dead letter, by the settings of its topic and the smallest limit of a broker, as far as
    they are told.
    """
    of_topic = int(topic.get("max.message.bytes", MESSAGE_BYTES))
    of_request = REQUEST_BYTES if request_bytes is None else request_bytes
    return min(of_topic, max(of_request - BESIDE_BYTES, of_request // 2))
