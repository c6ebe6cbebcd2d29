"""What `contacts-report status` calls wrong: the cause first, in one line, with all partitions of which it is so."""

from __future__ import annotations

from typing import Any

from stream.audit.status import KafkaPart, wrong
from stream.kafka.groups import Member
from stream.projection.shown import RedisPart, ShownPartition

NOW = 1_790_000_000_000
LATE = NOW - 60_000


def member(name: str, *partitions: int) -> Member:
    return Member(name, "/10.0.0.7", {"t": partitions, "another": (0, 1)})


def of_kafka(**changed: Any) -> KafkaPart:
    told = {"members": [member("a", 0, 1)], "topic": "t", "ends": {0: 10, 1: 20}, "positions": {0: 10, 1: 20}}
    return KafkaPart(**(told | changed))


def of_redis(as_of_ms: int = NOW, owned: tuple[int, ...] = (0, 1), **changed: Any) -> RedisPart:
    partitions = {str(p): {"phase": "counting"} for p in owned}
    told = {
        "policy": "noeviction",
        "partitions": 2,
        "shown": {p: ShownPartition(10 * (p + 1), as_of_ms + p) for p in (0, 1)},
        "workers": [{"worker": "a worker", "partitions": partitions}],
    }
    return RedisPart(**(told | changed))


def texts(kafka: KafkaPart, redis: RedisPart) -> list[str]:
    return wrong(kafka, redis, NOW, 30_000)


def test_nothing_is_wrong() -> None:
    assert texts(of_kafka(), of_redis()) == []


def test_a_topic_that_is_gone_and_was_counted_is_not_to_be_created_again() -> None:
    [first, *_] = texts(of_kafka(ends={}, positions={}), of_redis())
    assert "is gone, and 20 of its offsets were counted: do not create it again" in first
    # while one of which nothing was counted is made by a command
    [first, *_] = texts(of_kafka(ends={}, positions={}), of_redis(shown={}))
    assert first == "there is no topic of activity: `contacts-report topics` makes what is needed"


def test_a_position_behind_the_end_names_a_topic_that_was_created_again() -> None:
    [first, *_] = texts(of_kafka(ends={0: 3, 1: 20}), of_redis())
    assert first.startswith("partition 0 was counted up to offset 10, and ends at 3: the topic was deleted")
    # Of several it is said once.
    [first] = texts(of_kafka(ends={0: 3, 1: 5}), of_redis())
    assert first.startswith("partition 0 was counted up to offset 10, and ends at 3 (likewise partition 1): the topic")


def test_a_redis_that_is_full_comes_before_what_follows_from_it() -> None:
    found = texts(of_kafka(), of_redis(LATE, above_limit=True))
    wanted = ["Redis is full and takes no writes", "partitions 0, 1"]
    assert [text.partition(":")[0] for text in found] == wanted
    # It takes no reports of workers either, and those that it has expire: nobody is gone, or reports to another one.
    expired = of_redis(LATE, above_limit=True, workers=[], gone={"host:7": NOW - 60_000})
    assert texts(of_kafka(), expired) == found


def test_a_redis_that_evicts_is_not_called_full() -> None:
    found = texts(of_kafka(), of_redis(above_limit=True, policy="allkeys-lru"))
    assert found == ["Redis evicts counts (maxmemory-policy allkeys-lru), so workers send it nothing: set noeviction"]
    # One that may evict only what expires refuses writes.
    assert texts(of_kafka(), of_redis(above_limit=True, policy="volatile-lru")) == [
        "Redis is full and takes no writes: raise its maxmemory"
    ]


def test_whatever_is_wrong_at_once_the_cause_comes_before_what_follows_from_it() -> None:
    reason = {"worker": "a worker", "partitions": {"0": {"phase": "repairing", "failure": "x"}}, "reason": "not ready"}
    redis = of_redis(LATE, above_limit=True, workers=[reason])
    assert [text.partition(":")[0] for text in texts(of_kafka(members=[], differences=["x: differs"]), redis)] == [
        "Redis is full and takes no writes",
        "no worker is in the group",
        "x",
        "partition 0",
        "partition 1",
        "partitions 0, 1",
        "worker a worker",
    ]
    first, second, *_ = texts(of_kafka(failure="cannot reach Kafka"), of_redis(failure="Redis does not answer"))
    assert (first, second) == ("Kafka: cannot reach Kafka", "Redis does not answer")


def test_a_worker_that_fell_silent_is_gone_and_how_its_partitions_fare_is_said() -> None:
    gone = {"host:7": NOW - 139_000, "host:8": NOW - 9_000}
    seen = "(docs/runbook.md, A worker that was killed without a line)"
    said = "worker host:7 is gone: it reported last 139 s ago, and did not say that it stops"
    assert texts(of_kafka(), of_redis(gone=gone)) == [f"{said}; others count all partitions {seen}"]
    first, second = texts(of_kafka(), of_redis(gone=gone, owned=(0,)))
    assert first == f"{said}; partition 1 not counted {seen}"
    assert second == "partition 1: not owned by a worker that reports to this Redis"


def test_another_record_where_one_was_counted_names_a_topic_that_was_created_again() -> None:
    first, second, *_ = texts(of_kafka(others={0: 7, 1: 9}, members=[]), of_redis())
    assert first.startswith("partition 0 has another record at offset 7 than the one that was counted (likewise ")
    assert second == "no worker is in the group: nothing is counted"


def test_a_worker_that_another_has_replaced_is_not_called_gone() -> None:
    gone = {"host:7": NOW - 139_000, "host:8": NOW - 60_000}
    workers = [{"worker": "old", "started_ms": NOW - 999_000, "partitions": {p: {"phase": "counting"} for p in "01"}}]
    assert len(texts(of_kafka(), of_redis(gone=gone, workers=workers))) == 2
    workers.append({"worker": "new", "started_ms": NOW - 100_000, "partitions": {}})
    [said] = texts(of_kafka(), of_redis(gone=gone, workers=workers))
    assert said.startswith("worker host:8 is gone")
    workers.append({"worker": "newer", "started_ms": NOW - 50_000, "partitions": {}})
    assert texts(of_kafka(), of_redis(gone=gone, workers=workers)) == []


def test_one_thing_is_said_once_for_all_partitions() -> None:
    found = texts(of_kafka(), of_redis(LATE, owned=()))
    assert found == [
        "partitions 0, 1: not owned by a worker that reports to this Redis",
        "partitions 0, 1: readers' numbers stand still since 2026-09-21T14:12:20Z",
    ]


def test_a_topic_that_differs_comes_before_the_partitions() -> None:
    found = texts(of_kafka(differences=["x: partitions is 4, wanted is 5"]), of_redis(owned=(0,)))
    assert found == ["x: partitions is 4, wanted is 5", "partition 1: not owned by a worker that reports to this Redis"]


def test_a_member_that_reports_to_another_redis_is_named_with_its_partitions() -> None:
    # Given a worker of the same group that counts into another Redis: of its partitions nobody here reports anything
    kafka = of_kafka(members=[member("a", 0), member("b", 1)])
    [first, second] = texts(kafka, of_redis(LATE, owned=(0,)))
    assert first.startswith(
        "1 of 2 members of the group reports nothing to this Redis, and partition 1 went to b at /10.0.0.7: "
        "CONTACTS_REDIS is another one there, does not let it in (its log says so), or"
    )
    assert second.startswith("partitions 0, 1: readers' numbers stand still")
    # or one that has none,
    [first] = texts(of_kafka(members=[member("a", 0, 1), member("b")]), of_redis())
    assert first.startswith("1 of 2 members of the group reports nothing to this Redis: CONTACTS_REDIS")
    # or all of them.
    [first, empty] = texts(kafka, of_redis(owned=(), workers=[], shown={}, partitions=0))
    assert empty.startswith("this Redis has nothing of the group")
    assert first.startswith("2 of 2 members of the group report nothing to this Redis, and partitions 0, 1 went to a ")


def test_a_partition_that_changes_hands_between_workers_that_report_is_nobody_elses() -> None:
    workers = [{"worker": name, "partitions": {"0": {"phase": "counting"}} if name == "a" else {}} for name in "ab"]
    kafka = of_kafka(members=[member("a", 0), member("b", 1)])
    assert texts(kafka, of_redis(workers=workers)) == ["partition 1: not owned by a worker that reports to this Redis"]


def test_rejects_are_wrong_where_their_alert_fires() -> None:
    def said(*recent: tuple[int, int]) -> list[str]:
        [worker] = of_redis().workers
        workers = [worker | {"recent": {"events": events, "rejected": rejected}} for events, rejected in recent]
        kafka = of_kafka(members=[member(str(at)) for at, _ in enumerate(workers)])
        return texts(kafka, of_redis(workers=workers))

    # A share is too much, unless it is of a few; and a number, whatever its share. All workers are summed.
    assert said((200, 10)) == []
    assert said((10, 10)) == []
    assert said((1_000_000, 500)) == []
    [share] = said((100, 5), (100, 6))
    assert share == (
        "publishers send what cannot be counted: 11 of 200 events of the last 10 minutes were rejected (6%); "
        "`contacts-report dlq ls --counts` says why, and of which keys"
    )
    assert len(said((1_000_000, 501))) == 1
