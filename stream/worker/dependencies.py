"""Tracks whether Kafka and Redis answer this worker, for the metrics, the log and the probes."""

from __future__ import annotations

from typing import Any

from stream.causes import Cause, Trouble
from stream.faults import FaultWatch
from stream.ports import Clock, TopicGone
from stream.settings.redis_words import describe_redis, is_refusal, lacks_right
from stream.worker.metrics import Metrics


class Dependencies:
    def __init__(self, metrics: Metrics, clock: Clock) -> None:
        self._metrics = metrics
        # What is asked every two seconds may be late once, on a machine that is busy.
        self._kafka = FaultWatch(over="Kafka answers again", patience=2, now_ms=clock.now_ms)
        self._topic = FaultWatch(over="the topic is there again", patience=2, now_ms=clock.now_ms)
        self._redis = FaultWatch(over="Redis answers again", patience=2, now_ms=clock.now_ms)
        self._writes = FaultWatch(over="Redis takes writes again", patience=2, now_ms=clock.now_ms)

    def note_kafka(self, told: int | Exception) -> None:
        """Kafka told how many partitions the topic has, or why it does not."""
        away = isinstance(told, Exception) and not isinstance(told, TopicGone)
        self._metrics.dependency_up.labels("kafka").set(not away)
        if away:
            self._kafka.note(str(told))
            return
        self._kafka.clear()
        if isinstance(told, TopicGone):
            self._topic.note(str(told))
        else:
            self._topic.clear()

    def note_redis(self, error: Exception | None) -> None:
        """Redis took the worker's status, or why it did not. A user that may write counts and not this is no fault:
        where it may not write counts either, the partitions say so.
        """
        if error is not None and lacks_right(error):
            error = None
        refused = error is not None and is_refusal(error)
        if error is not None and not refused:
            self._redis.note(describe_redis(error))
        else:
            self._redis.clear()
            if error is not None:
                self._writes.note(describe_redis(error))
            else:
                self._writes.clear()
            self._metrics.redis_refuses_writes.set(refused)
        self._metrics.dependency_up.labels("redis").set(error is None or refused)

    def troubles(self) -> list[Trouble]:
        """What is away now; a single late answer is not."""
        watched = (
            (Cause.KAFKA, self._kafka),
            (Cause.TOPIC, self._topic),
            (Cause.REDIS, self._redis),
            (Cause.REDIS_WRITES, self._writes),
        )
        return [Trouble(cause, watch.told.words) for cause, watch in watched if watch.told is not None]

    def facts(self) -> dict[str, Any]:
        """The last fault of each, for `/readyz?verbose`; null where there was none."""
        watched = {"kafka": self._kafka, "topic": self._topic, "redis": self._redis, "redis_writes": self._writes}
        return {name: None if watch.fault is None else watch.fault.facts() for name, watch in watched.items()}
