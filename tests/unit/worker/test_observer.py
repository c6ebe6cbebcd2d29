"""What is told of partitions, in metrics and to the probes, from the assignment to the end."""

import logging
from dataclasses import replace

import pytest

from stream.tables.batch import Batch
from stream.tables.rules import CountingRules
from stream.worker.attempts import STUCK_AFTER
from stream.worker.listener import Phase, Stage
from stream.worker.metrics import Metrics
from stream.worker.observer import Reporter
from tests.support.partition_log import batch, begun
from tests.support.records import ARRIVED, Received, event, milliseconds, received

OWNED = (
    "contacts_lag_records",
    "contacts_position",
    "contacts_owed_offsets",
    "contacts_last_projection_timestamp_seconds",
)


class Clock:
    seconds = 1

    def now_ms(self) -> int:
        return self.seconds * 1_000


def test_the_position_is_what_has_moved_and_not_the_commits_of_it_alone() -> None:
    metrics, clock = Metrics(), Clock()
    reporter = Reporter(metrics, clock)

    def told(name: str) -> float | None:
        return metrics.registry.get_sample_value(name, {"partition": "0"})

    # Given a partition that is recovered again and again at one offset, with events behind it
    reporter.note_phase(0, Phase.RECOVERING)
    assert told("contacts_stuck_offsets") == 0
    for clock.seconds in range(10, 60, 10):
        reporter.note_recovered(0, 3, 480, 0.1)
        reporter.end(0, 500)
        reporter.covered(0, 480)
    # Then its position moved when it was seen first
    moved = "contacts_position_moved_timestamp_seconds"
    assert told(moved) == 10
    reporter.note_attempts(0, STUCK_AFTER - 1)
    assert told("contacts_stuck_offsets") == 0
    reporter.note_attempts(0, STUCK_AFTER)
    assert told("contacts_stuck_offsets") == 1
    # When it is passed, or nothing waits, then it moves
    reporter.covered(0, 490)
    assert told(moved) == 50
    clock.seconds = 70
    reporter.end(0, 490)
    assert told(moved) == 70
    reporter.note_phase(0, Phase.ENDED)
    assert told(moved) is None
    assert told("contacts_stuck_offsets") is None


def test_nothing_is_said_of_a_partition_before_it_is_known_or_after_it_is_gone() -> None:
    metrics = Metrics()
    reporter = Reporter(metrics, Clock())

    def told() -> list[float | None]:
        return [metrics.registry.get_sample_value(name, {"partition": "0"}) for name in OWNED]

    # Given a partition that is read while the broker has told its end
    reporter.note_phase(0, Phase.RECOVERING)
    reporter.end(0, 500)
    assert metrics.registry.get_sample_value("contacts_lost_offsets_total", {"partition": "0"}) == 0
    assert metrics.registry.get_sample_value("contacts_lost_timestamp_seconds", {"partition": "0"}) is None
    # then nobody takes all of it for events that wait
    assert told() == [None, None, None, None]
    assert reporter.partitions() == {"0": {"phase": "recovering", "position": None, "lag": None}}
    # When it counts
    reporter.note_recovered(0, 3, 480, 0.1)
    reporter.note_phase(0, Phase.COUNTING)
    reporter.note_projected(0, 7)
    assert told() == [20, 480, 7, 1]
    assert reporter.partitions() == {"0": {"phase": "counting", "position": 480, "lag": 20}}
    # When it has gone to another worker, then that one speaks of it
    reporter.note_phase(0, Phase.ENDED)
    reporter.end(0, 600)
    assert told() == [None, None, None, None]
    assert reporter.partitions() == {}


def test_a_commit_is_readable_when_redis_shows_it() -> None:
    metrics, clock = Metrics(), Clock()
    reporter = Reporter(metrics, clock)
    reporter.note_phase(0, Phase.RECOVERING)
    value = metrics.registry.get_sample_value
    remaining = "contacts_recovery_remaining_records"
    reporter.note_reading(0, 200, 1000)
    assert value(remaining, {"partition": "0"}) == 800
    reporter.note_recovered(0, 900, 5, 0.1)
    assert value(remaining, {"partition": "0"}) == 0
    # Given a commit of an event,
    state = begun(CountingRules())
    state.apply(batch([received(event())], 0))
    commit = state.encode()
    taken = milliseconds(ARRIVED) // 1000
    clock.seconds = taken + 1
    reporter.note_committed(0, commit, 0.01)
    assert value("contacts_event_to_readable_seconds_count") == 0
    assert value("contacts_commit_bytes_total") == sum(len(key) + len(of or b"") for key, of in commit.table)
    assert (value("contacts_projection_bytes_total") or 0) > 0
    # when Redis shows it two seconds after the broker took it, and hears of the partition again later,
    clock.seconds = taken + 2
    reporter.note_projected(0, 0)
    clock.seconds = taken + 9
    reporter.note_projected(0, 0)
    # then it took two seconds.
    assert value("contacts_event_to_readable_seconds_count") == 1
    assert value("contacts_event_to_readable_seconds_sum") == 2


def test_where_an_events_time_goes() -> None:
    metrics, clock = Metrics(), Clock()
    reporter = Reporter(metrics, clock)
    clock.seconds = 100
    # Given a batch that the broker took at 98 s, fetched a second later and applied now, and one that publishers timed,
    by_broker = [Received(b"{}", timestamp=98_000)]
    reporter.note_applied(Batch(by_broker, 0, 1, fetched_at_ms=99_000))
    by_publisher = [Received(b"{}", timestamp=1_000, timestamp_type=0)]
    reporter.note_applied(Batch(by_publisher, 1, 2, fetched_at_ms=99_500))
    # when it has waited for its commit, and Redis has it,
    reporter.note_stage(Stage.WAITED, 0.25)
    reporter.note_stage(Stage.PROJECTED, 0.125)
    # then each stage has its own time; what the broker did not time says nothing of the way from it.
    value = metrics.registry.get_sample_value
    told = {
        stage.value: tuple(value(f"contacts_stage_seconds_{of}", {"stage": stage.value}) for of in ("sum", "count"))
        for stage in Stage
    }
    assert told == {"fetched": (1, 1), "applied": (1.5, 2), "waited": (0.25, 1), "projected": (0.125, 1)}


def test_a_failure_has_a_beginning_and_an_end() -> None:
    metrics, clock = Metrics(), Clock()
    reporter = Reporter(metrics, clock)
    reporter.note_phase(0, Phase.REPAIRING)
    reporter.note_failed(0, "Redis does not answer")
    clock.seconds = 8
    reporter.note_failed(0, "Redis is full")
    failure = {"text": "Redis is full", "since": "1970-01-01T00:00:01.000Z", "over": None}
    assert reporter.partitions()["0"]["failure"] == failure
    assert reporter.lasting(0) is not None
    reporter.note_phase(0, Phase.COUNTING)
    assert reporter.partitions()["0"]["failure"] == failure | {"over": "1970-01-01T00:00:08.000Z"}
    assert reporter.lasting(0) is None


def test_a_partition_that_cannot_commit_is_not_said_to_count_again(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    reporter = Reporter(Metrics(), Clock())
    # Given an event that cannot be committed, so that the partition is recovered, counts, and fails again,
    for failures in (1, 2, 3):
        reporter.note_phase(0, Phase.RECOVERING)
        reporter.note_phase(0, Phase.COUNTING)
        reporter.note_attempts(0, failures)
        reporter.note_failed(0, "the dead letter of offset 7 is too large")
    # then it is told once, and is no end of it,
    assert [record.getMessage() for record in caplog.records] == [
        "partition 0: the dead letter of offset 7 is too large; retrying"
    ]
    reporter.note_phase(0, Phase.RECOVERING)
    reporter.note_phase(0, Phase.COUNTING)
    assert reporter.lasting(0) is not None
    # until it is committed.
    reporter.note_attempts(0, 0)
    assert reporter.lasting(0) is None
    assert caplog.records[-1].getMessage() == "partition 0: counting again after 0.0 s"


def test_late_events_add_up_over_commits_and_partitions() -> None:
    metrics = Metrics()
    reporter = Reporter(metrics, Clock())
    # Given a commit of an event that came after 2.588 s, and of another partition two commits: after an hour, a day
    for partition, spans in ((0, ["2026-11-23T01:13:07.412Z"]), (1, ["2026-11-23T00:13:10Z", "2026-11-22T01:13:10Z"])):
        state = begun(CountingRules())
        for offset, happened in enumerate(spans):
            record = received(event(id=happened, occurred_at=happened))
            state.apply(batch([replace(record, offset=offset)], offset))
            reporter.note_committed(partition, state.encode(), 0.01)
    # Then each bucket has what is late by at most so much
    value, name = metrics.registry.get_sample_value, "contacts_event_lateness_seconds"
    bounds = ("1.0", "10.0", "900.0", "3600.0", "21600.0", "86400.0", "+Inf")
    assert [value(f"{name}_bucket", {"le": bound}) for bound in bounds] == [0, 1, 1, 2, 2, 3, 3]
    assert (value(f"{name}_count"), value(f"{name}_sum")) == (3, 2.588 + 3_600 + 86_400)


def test_a_loss_is_told_with_its_time() -> None:
    metrics, clock = Metrics(), Clock()
    reporter = Reporter(metrics, clock)
    clock.seconds = 50
    reporter.note_phase(0, Phase.RECOVERING)
    reporter.note_lost(0, 7)
    # It stays when the partition goes: a loss is over for nobody.
    reporter.note_phase(0, Phase.ENDED)
    assert metrics.registry.get_sample_value("contacts_lost_offsets_total", {"partition": "0"}) == 7
    assert metrics.registry.get_sample_value("contacts_lost_timestamp_seconds", {"partition": "0"}) == 50
