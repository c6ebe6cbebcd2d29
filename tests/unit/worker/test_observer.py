"""What is told of partitions, in metrics and to the probes, from the assignment to the end."""

from stream.worker.listener import Phase
from stream.worker.metrics import Metrics
from stream.worker.observer import Reporter

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
    reporter.phase(0, Phase.RECOVERING)
    assert told("contacts_stuck_offsets") == 0
    for clock.seconds in range(10, 60, 10):
        reporter.recovered(0, 3, 480, 0.1)
        reporter.end(0, 500)
        reporter.covered(0, 480)
    # Then its position moved when it was seen first
    moved = "contacts_position_moved_timestamp_seconds"
    assert told(moved) == 10
    reporter.stuck(0, True)
    assert told("contacts_stuck_offsets") == 1
    # When it is passed, or nothing waits, then it moves
    reporter.covered(0, 490)
    assert told(moved) == 50
    clock.seconds = 70
    reporter.end(0, 490)
    assert told(moved) == 70
    reporter.phase(0, Phase.ENDED)
    assert told(moved) is None
    assert told("contacts_stuck_offsets") is None


def test_nothing_is_said_of_a_partition_before_it_is_known_or_after_it_is_gone() -> None:
    metrics = Metrics()
    reporter = Reporter(metrics, Clock())

    def told() -> list[float | None]:
        return [metrics.registry.get_sample_value(name, {"partition": "0"}) for name in OWNED]

    # Given a partition that is read while the broker has told its end
    reporter.phase(0, Phase.RECOVERING)
    reporter.end(0, 500)
    assert metrics.registry.get_sample_value("contacts_lost_offsets_total", {"partition": "0"}) == 0
    # then nobody takes all of it for events that wait
    assert told() == [None, None, None, None]
    assert reporter.partitions() == {"0": {"phase": "recovering", "position": None, "lag": None}}
    # When it counts
    reporter.recovered(0, 3, 480, 0.1)
    reporter.phase(0, Phase.COUNTING)
    reporter.projected(0, 7)
    assert told() == [20, 480, 7, 1]
    assert reporter.partitions() == {"0": {"phase": "counting", "position": 480, "lag": 20}}
    # When it has gone to another worker, then that one speaks of it
    reporter.phase(0, Phase.ENDED)
    reporter.end(0, 600)
    assert told() == [None, None, None, None]
    assert reporter.partitions() == {}
