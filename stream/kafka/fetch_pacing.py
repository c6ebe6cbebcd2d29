"""Paces the fetches of an aiokafka consumer: at once for the first event of a quiet moment, in larger batches while
events flow.

A broker that waits for enough bytes answers every few milliseconds, with nothing, while a topic is quiet; one that
answers at the first byte sends events one by one while it is busy. Here the broker answers at the first byte, and the
consumer rests before it asks again, unless much came.
"""

from __future__ import annotations

import asyncio
from typing import Any

from aiokafka import TopicPartition

QUIET_WAIT_SECONDS = 0.25
"""The longest time that a broker waits for the first event, where a fetch names all of our partitions that it leads. A
partition whose position is set meanwhile is fetched from there only after the answer.
"""


class PacedFetches:
    """Sends a fetcher's requests. An answer below `enough_bytes` is followed by a rest of `rest_seconds`."""

    def __init__(self, fetcher: Any, topic: str, *, enough_bytes: int, rest_seconds: float) -> None:
        self._fetcher, self._topic = fetcher, topic
        self._send = fetcher._proc_fetch_request
        self._enough_bytes, self._rest_seconds = enough_bytes, rest_seconds
        self._next: dict[int, float] = {}
        """Broker -> when it may be asked next, in seconds of the loop's clock."""

    @classmethod
    def install(cls, fetcher: Any, topic: str, *, enough_bytes: int, rest_seconds: float) -> None:
        """Pace a fetcher of aiokafka that has not been given partitions yet."""
        fetcher._proc_fetch_request = cls(fetcher, topic, enough_bytes=enough_bytes, rest_seconds=rest_seconds).fetch

    async def fetch(self, assignment: Any, node_id: int, request: Any) -> bool:
        """As the fetcher's own: whether anything came that is to be taken. A cancelled fetch brought nothing."""
        time = asyncio.get_running_loop().time
        try:
            await asyncio.sleep(self._next.pop(node_id, 0.0) - time())
        except asyncio.CancelledError:
            return False
        quiet = self._asks_about_all(assignment, node_id, request)
        request._min_bytes = 1
        request._max_wait_ms = round(
            1000 * (max(QUIET_WAIT_SECONDS, self._rest_seconds) if quiet else self._rest_seconds)
        )
        came: bool = await self._send(assignment, node_id, request)
        if 0 < self._bytes_of(request) < self._enough_bytes:
            self._next[node_id] = time() + self._rest_seconds
        return came

    def _asks_about_all(self, assignment: Any, node_id: int, request: Any) -> bool:
        """Whether the request names every partition of the topic that the broker leads. One is left out while it is
        paused or its last answer is not taken yet: once it may be fetched, it must not wait for events of the others.
        """
        ours = {tp for tp in assignment.tps if tp.topic == self._topic}
        return all(self._fetcher._select_read_replica(tp) != node_id for tp in ours - _partitions(request))

    def _bytes_of(self, request: Any) -> int:
        """How much came of what a request asked for and waits to be taken."""
        waiting = (self._fetcher._records.get(tp) for tp in _partitions(request))
        came = (getattr(result, "_partition_records", None) for result in waiting)
        return sum(records._records.size_in_bytes() for records in came if records is not None)


def _partitions(request: Any) -> set[TopicPartition]:
    return {TopicPartition(topic, partition) for topic, asked in request.topics for partition, *_ in asked}
