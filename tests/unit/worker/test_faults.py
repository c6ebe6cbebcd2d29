"""What the log and the probes tell of a fault: its beginning, once a minute, and its end with how long it took."""

from __future__ import annotations

import logging

import pytest
from redis.exceptions import AuthenticationError, NoPermissionError, OutOfMemoryError, ReadOnlyError
from redis.exceptions import ConnectionError as RedisConnectionError

from stream.causes import rank
from stream.faults import FaultWatch
from stream.ports import KafkaAway, TopicGone
from stream.worker.dependencies import Dependencies
from stream.worker.metrics import Metrics


class Clock:
    ms = 1_000_000

    def now_ms(self) -> int:
        return self.ms


def said(caplog: pytest.LogCaptureFixture) -> list[tuple[str, str]]:
    """Levels and lines since it was asked last."""
    lines = [(record.levelname, record.getMessage()) for record in caplog.records]
    caplog.clear()
    return lines


def test_a_fault_is_told_when_it_begins_once_a_minute_and_at_its_end(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    clock = Clock()
    watch = FaultWatch(subject="partition 1: ", over="counting again", now_ms=clock.now_ms)
    watch.clear()
    assert (said(caplog), watch.fault) == ([], None)
    # Given a fault of 150 s, of which a sign comes each second,
    for _ in range(151):
        watch.note("Redis is full")
        clock.ms += 1_000
    watch.clear()
    # then four lines tell of it,
    assert said(caplog) == [
        ("WARNING", "partition 1: Redis is full; retrying"),
        ("WARNING", "partition 1: Redis is full; retrying for 60 s now"),
        ("WARNING", "partition 1: Redis is full; retrying for 120 s now"),
        ("INFO", "partition 1: counting again after 151.0 s"),
    ]
    # and it is kept, with when it was over.
    assert watch.lasting is None
    assert watch.fault is not None
    assert watch.fault.facts() == {
        "text": "Redis is full",
        "since": "1970-01-01T00:16:40.000Z",
        "over": "1970-01-01T00:19:11.000Z",
    }
    # And the next one begins anew.
    watch.note("Redis does not answer")
    assert said(caplog) == [("WARNING", "partition 1: Redis does not answer; retrying")]
    assert watch.fault.facts()["over"] is None


def test_a_single_late_answer_is_not_told_where_patience_is_asked_for(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    watch = FaultWatch(over="Kafka answers again", patience=2, now_ms=Clock().now_ms)
    for _ in range(3):
        watch.note("Kafka did not answer")
        watch.clear()
    assert said(caplog) == []
    watch.note("Kafka did not answer")
    watch.note("Kafka did not answer")
    watch.clear()
    assert [line for _, line in said(caplog)] == [
        "Kafka did not answer; retrying",
        "Kafka answers again after 0.0 s",
    ]


def test_what_is_away_full_or_gone_is_told_apart() -> None:
    metrics = Metrics()
    dependencies = Dependencies(metrics, Clock())

    def shown() -> tuple[float | None, ...]:
        """Kafka answers, Redis answers, Redis refuses writes."""
        value = metrics.registry.get_sample_value
        up = "contacts_dependency_up"
        refuses = value("contacts_redis_refuses_writes")
        return value(up, {"name": "kafka"}), value(up, {"name": "redis"}), refuses

    dependencies.note_kafka(4)
    dependencies.note_redis(None)
    assert shown() == (1, 1, 0)
    dependencies.note_kafka(KafkaAway("Kafka did not answer"))
    assert shown() == (0, 1, 0)
    # A Kafka without the topic answers.
    dependencies.note_kafka(TopicGone("there is no topic contacts"))
    assert shown() == (1, 1, 0)
    dependencies.note_kafka(4)
    for full in (OutOfMemoryError("used memory > 'maxmemory'"), ReadOnlyError("READONLY")):
        dependencies.note_redis(full)
        assert shown() == (1, 1, 1)
    # Of a Redis that does not answer it is not known whether it would take writes.
    for away in (RedisConnectionError("refused"), AuthenticationError("WRONGPASS"), TimeoutError()):
        dependencies.note_redis(None)
        dependencies.note_redis(away)
        assert shown() == (1, 0, 0)
    facts = dependencies.facts()
    assert (facts["kafka"]["text"], facts["redis_writes"]["text"]) == (
        "Kafka did not answer",
        "Redis is a read-only replica and takes no writes: CONTACTS_REDIS must lead to the primary",
    )


def test_a_user_that_may_not_write_the_status_is_no_fault() -> None:
    watched = Dependencies(Metrics(), Clock())
    for _ in range(3):
        watched.note_redis(NoPermissionError("NOPERM this user has no permissions to access one of the keys"))
    assert watched.troubles() == []


def test_what_hinders_is_told_with_its_beginning_causes_first_and_not_for_a_single_late_answer() -> None:
    dependencies = Dependencies(Metrics(), Clock())
    since = "(since 1970-01-01T00:16:40.000Z)"
    dependencies.note_redis(OutOfMemoryError("used memory > 'maxmemory'"))
    dependencies.note_kafka(KafkaAway("Kafka did not answer"))
    assert rank(dependencies.troubles()) == []
    dependencies.note_redis(OutOfMemoryError("used memory > 'maxmemory'"))
    dependencies.note_kafka(KafkaAway("Kafka did not answer"))
    assert rank(dependencies.troubles()) == [
        f"Kafka did not answer {since}",
        f"Redis is full (maxmemory) and takes no writes {since}",
    ]
    dependencies.note_redis(None)
    for _ in range(2):
        dependencies.note_kafka(TopicGone("there is no topic contacts"))
        dependencies.note_redis(RedisConnectionError("refused"))
    assert rank(dependencies.troubles()) == [
        f"there is no topic contacts {since}",
        f"Redis does not answer (ConnectionError: refused) {since}",
    ]
    dependencies.note_kafka(4)
    dependencies.note_redis(None)
    assert rank(dependencies.troubles()) == []
