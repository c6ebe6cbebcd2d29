"""The log of a worker tells of what is wrong, and of nothing else: a line of WARNING or ERROR is worth an alert."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from stream.version import VERSION
from tests.flow.test_worker_stops import Site
from tests.support.kafka import KafkaCluster, RunningKafka
from tests.support.stack import Worker, eventually


@contextmanager
def site_at(folder: Path, bootstrap: str) -> Iterator[Site]:
    made = Site(folder, bootstrap)
    try:
        yield made
    finally:
        made.close()


def loud(worker: Worker) -> list[str]:
    """Every line of its log that is not of INFO, those of tracebacks included."""
    return [line for line in worker.tail(1_000_000).splitlines() if line and " INFO " not in line]


def test_from_its_start_to_its_stop_a_healthy_worker_says_nothing_loud(kafka: RunningKafka, tmp_path: Path) -> None:
    with site_at(tmp_path, kafka.bootstrap) as site:
        worker = site.worker_that_counted(20)
        # When another takes some of its partitions, and gives them back,
        other = site.worker()
        eventually("shared", lambda: len(worker.facts()["partitions"]) == 1 and other.ready())
        assert other.stop() == 0
        eventually("all its own again", lambda: len((worker.ready() or {"partitions": {}})["partitions"]) == 2)
        site.publish(20)
        eventually("counted", lambda: site.projected() == 40)
        assert worker.stop() == 0
        # then both have nothing to tell but what they are and which partitions they have.
        assert (loud(worker), loud(other)) == ([], [])
        said = worker.tail(1_000_000)
        assert (
            f" starts: version {VERSION}, group {site.group}, topic {site.topic}, Kafka {kafka.bootstrap}"
            in (said.splitlines()[0])
        )
        hands = [line.partition("this worker has ")[2] for line in said.splitlines() if "this worker has " in line]
        assert hands[0] == "0, 1; given 0, 1; taken away none"
        assert [line for line in hands if line.endswith(("; given none; taken away 0", "; given none; taken away 1"))]
        assert hands[-1] in ("0, 1; given 0; taken away none", "0, 1; given 1; taken away none")


def test_a_worker_that_is_stopped_while_kafka_is_away_ends_in_time_without_a_traceback(
    kafka_cluster: Callable[..., KafkaCluster], tmp_path: Path
) -> None:
    cluster = kafka_cluster()
    with site_at(tmp_path, cluster.bootstrap) as site:
        worker = site.worker_that_counted(20)
        cluster.nodes[0].kill()
        eventually("said so", lambda: "so `as_of` does not advance" in worker.tail())
        began = time.monotonic()
        assert worker.stop() == 0
        # Its time for a stop is 8 s; one that uses it up says that it did.
        assert time.monotonic() - began < 15
        told = [line for line in loud(worker) if " WARNING stream." not in line or "were released within" in line]
        assert told == []
