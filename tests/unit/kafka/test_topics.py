"""Which topics a deployment needs, and what counts as a difference."""

import pytest

from stream.kafka.topics import ActualTopic, Difference, Role, WantedTopic, find_differences, wanted_topics
from stream.settings.worker import WorkerConfig


def test_the_three_topics_in_the_order_in_which_they_are_made() -> None:
    assert wanted_topics(WorkerConfig(topic="t", group="g")) == (
        WantedTopic(
            "g-state-changelog",
            Role.CHANGELOG,
            1,
            {
                "cleanup.policy": "compact",
                "message.timestamp.type": "LogAppendTime",
                "max.message.bytes": "4194304",
                "segment.bytes": "33554432",
                "segment.ms": "21600000",
                "min.cleanable.dirty.ratio": "0.2",
                "delete.retention.ms": "86400000",
                "min.insync.replicas": "1",
                "unclean.leader.election.enable": "false",
            },
        ),
        WantedTopic(
            "t.dlq",
            Role.DEAD_LETTERS,
            1,
            {
                "cleanup.policy": "delete",
                "message.timestamp.type": "LogAppendTime",
                "retention.ms": "1209600000",
                "max.message.bytes": "2097164",
                "min.insync.replicas": "1",
                "unclean.leader.election.enable": "false",
            },
        ),
        WantedTopic(
            "t",
            Role.ACTIVITY,
            1,
            {
                "cleanup.policy": "delete",
                "message.timestamp.type": "LogAppendTime",
                "retention.ms": "-1",
                "retention.bytes": "-1",
                "max.message.bytes": "1048588",
                "min.insync.replicas": "1",
                "unclean.leader.election.enable": "false",
            },
        ),
    )


@pytest.mark.parametrize(("replicas", "in_sync"), [(1, "1"), (2, "1"), (3, "2"), (4, "3"), (5, "3")])
def test_a_write_needs_a_majority_of_three_or_more_copies(replicas: int, in_sync: str) -> None:
    for topic in wanted_topics(WorkerConfig(replication_factor=replicas)):
        assert (topic.replicas, topic.settings["min.insync.replicas"]) == (replicas, in_sync)


def test_retentions_and_large_events_are_settings() -> None:
    config = WorkerConfig(topic_retention_ms=1, dlq_retention_ms=-1, max_event_bytes=5_000_000)
    _, dead_letters, activity = wanted_topics(config)
    assert (activity.settings["retention.ms"], dead_letters.settings["retention.ms"]) == ("1", "-1")
    # What is read as an event fits the topic with its headers, and a dead letter has room for more of them.
    assert int(activity.settings["max.message.bytes"]) > 5_000_000
    assert int(dead_letters.settings["max.message.bytes"]) > int(activity.settings["max.message.bytes"])


TOPIC = WantedTopic("t", Role.ACTIVITY, 2, {"retention.ms": "-1", "max.message.bytes": "100", "ratio": "0.20"})
AS_WANTED = {"retention.ms": "-1", "max.message.bytes": "100", "ratio": "0.2", "other": "5"}


def differing(partitions: int = 4, replicas: int = 2, **settings: str) -> tuple[Difference, ...]:
    actual = ActualTopic("t", partitions, replicas, AS_WANTED | {k.replace("_", "."): v for k, v in settings.items()})
    return find_differences([TOPIC], {"t": actual}, 4)


def test_a_topic_as_wanted_does_not_differ() -> None:
    assert differing() == ()


def test_every_difference_is_told() -> None:
    assert differing(3, 1, retention_ms="0", max_message_bytes="99", ratio="0.5") == (
        Difference("t", "partitions", "4", "3"),
        Difference("t", "replication.factor", "2", "1"),
        Difference("t", "retention.ms", "-1", "0"),
        Difference("t", "max.message.bytes", "100", "99"),
        Difference("t", "ratio", "0.20", "0.5"),
    )


def test_more_partitions_than_the_activity_topic_are_a_difference_and_larger_limits_are_none() -> None:
    assert differing(5, 3, max_message_bytes="101") == (Difference("t", "partitions", "4", "5"),)


def test_what_the_broker_does_not_tell_is_no_difference() -> None:
    assert find_differences([TOPIC], {"t": ActualTopic("t", 4, 2, {})}, 4) == ()


def test_a_missing_topic_is_no_difference() -> None:
    assert find_differences([TOPIC], {}, 4) == ()


def test_a_difference_reads_as_a_sentence() -> None:
    assert str(Difference("t", "retention.ms", "-1", "5")) == "t: retention.ms is 5, wanted is -1"
    assert str(Difference("t", "max.message.bytes", "9", "5")) == "t: max.message.bytes is 5, wanted is at least 9"
