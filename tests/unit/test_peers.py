"""What `./dev bench peers` makes of what it measured: progress, the measured part, differences, delays, the table."""

from typing import Any

import orjson
import pytest

from benchmarks.datasets import Dataset, records
from benchmarks.peers.installing import POM, dependency
from benchmarks.peers.jobs.cells import cell_of
from benchmarks.peers.results import (
    OURS,
    Count,
    Difference,
    Stretch,
    Usage,
    delays_as_json,
    difference,
    measured_stretch,
    progress,
    table,
    usage_at,
    where_behind,
)
from benchmarks.worker import END


def written(*counts: tuple[int, str, int]) -> list[Count]:
    """(ms, cell, count), all in one partition, in order."""
    return [Count(0, offset, at, cell, counted) for offset, (at, cell, counted) in enumerate(counts)]


def result(system: str, **figures: Any) -> dict[str, Any]:
    same = {
        "events_per_second": 1_000,
        "cpu_us_per_event": 10.0,
        "cores": 1.0,
        "servers_cpu_us_per_event": 5.0,
        "peak_memory_mb": 100,
        "p50_ms": 50.0,
        "p99_ms": 100.0,
        "load_cores": 0.1,
        "recovered_after_seconds": 11.0,
    }
    return {"system": system, **same, "promise": "exactly once", "after_crash": "exact", **figures}


def test_progress_sums_what_each_count_adds_in_order_of_time() -> None:
    # Given the counts of two partitions, of which the second wrote earlier
    first = written((1_000, "a", 1), (3_000, "a", 4), (3_000, "b", 2))
    second = [Count(1, 0, 500, "c", 10), Count(1, 1, 2_000, "c", 11)]
    # Then each time has all that was counted until then: a count replaces the last one of its cell
    assert progress([*first, *second]) == [(0.5, 10), (1.0, 11), (2.0, 12), (3.0, 17)]


def test_the_first_quarter_is_not_measured_and_the_cpu_runs_until_the_commit() -> None:
    # Given 100 events, 10 of them a second, and CPU that grows by 1 and 2 s a second
    seen = [(float(at), at * 10) for at in range(1, 11)]
    usages = [Usage(float(at), float(at), 2.0 * at) for at in range(13)]
    # When the first progress beyond a quarter is at 3 s, with 30 events, and the last was committed at 11 s
    stretch = measured_stretch(seen, usages, 100, done=11.0)
    # Then 70 events took 7 s, and their CPU is that of 8 s
    assert stretch == Stretch(events=70, seconds=7.0, system=8.0, servers=16.0)
    assert stretch.as_json() == {
        "events_per_second": 10,
        "cpu_us_per_event": 114_285.71,
        "cores": 1.14,
        "servers_cpu_us_per_event": 228_571.43,
    }


@pytest.mark.parametrize(("at", "system"), [(0.0, 1.0), (1.0, 1.0), (1.5, 2.0), (2.0, 3.0), (9.0, 3.0)], ids=str)
def test_cpu_between_two_samples_is_in_proportion(at: float, system: float) -> None:
    usages = [Usage(1.0, 1.0, 0.0), Usage(2.0, 3.0, 0.0)]
    assert usage_at(usages, at).system == system


def test_a_difference_names_what_is_missing_and_what_is_counted_twice() -> None:
    # Given a cell that is right in the end though it went back, one that lacks 2, one 3 too many, and one not there
    counts = written((1, "right", 2), (2, "right", 1), (3, "right", 2), (4, "less", 3), (5, "more", 8))
    wanted = {"right": 2, "less": 5, "more": 5, "absent": 4}
    assert difference(wanted, counts) == Difference(missing=6, extra=3, backwards=1)


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (Difference(0, 0, 0), "exact"),
        (Difference(0, 0, 1_200), "exact, 1,200 counts went back meanwhile"),
        (Difference(6, 0, 0), "6 missing"),
        (Difference(6, 3_000, 9), "6 missing, 3,000 twice"),
    ],
    ids=str,
)
def test_a_difference_in_words(found: Difference, words: str) -> None:
    assert found.in_words() == words


def test_delays_are_their_median_and_99th_percentile_and_how_many_were_lost() -> None:
    assert delays_as_json([float(n) for n in range(1, 102)], probes=103) == {
        "p50_ms": 51.0,
        "p99_ms": 100.0,
        "probes_lost": 2,
    }
    assert delays_as_json([5.0], probes=3) == {"p50_ms": None, "p99_ms": None, "probes_lost": 2}


def test_the_table_has_a_row_a_system_and_the_reason_of_who_is_not_there() -> None:
    results = [
        result(OURS, events_per_second=120_000),
        {"system": "flink", "skipped": "there is no JDK on PATH"},
        {"system": "quix", "failed": "quix ended"},
        result("bytewax", p50_ms=None, after_crash="3 twice"),
    ]
    assert table(results).splitlines() == [
        "| system | events/s | CPU us an event | cores | servers' CPU us an event | peak memory MB | p50 ms | p99 ms "
        "| cores at 2,000/s | back after s | promises after a crash | seen after kill -9 |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
        f"| {OURS} | 120,000 | 10.0 | 1.0 | 5.0 | 100 | 50.0 | 100.0 | 0.1 | 11.0 | exactly once | exact |",
        "| flink | there is no JDK on PATH |  |  |  |  |  |  |  |  |  |  |",
        "| quix | quix ended |  |  |  |  |  |  |  |  |  |  |",
        "| bytewax | 1,000 | 10.0 | 1.0 | 5.0 | 100 | – | 100.0 | 0.1 | 11.0 | exactly once | 3 twice |",
    ]


def test_where_this_product_is_behind_is_named_figure_by_figure() -> None:
    # Given one that is better in two figures, and equal in the others; our other form; and one that was skipped
    results = [
        result(OURS),
        result("contacts-report (python)", cpu_us_per_event=1.0),
        result("flink", events_per_second=2_000, p99_ms=99.0, cores=2.0),
        result("quix", p50_ms=None, cpu_us_per_event=99.0),
        {"system": "pathway", "skipped": "there is no wheel"},
    ]
    assert where_behind(results) == [
        "behind flink: 1,000 instead of 2,000 events/s",
        "behind flink: 100.0 instead of 99.0 ms to readable at p99",
    ]
    assert where_behind(results[1:]) == []


def test_a_cell_is_the_workspace_the_day_the_activity_the_source_and_the_user() -> None:
    assert (
        cell_of({"workspace_id": "w", "occurred_at": "2026-11-23T23:59:59Z", "type": "contact.added", "user_id": "u"})
        == "w|2026-11-23|contact.added||u"
    )
    # And every event of the benchmark is of its UTC day by its first ten characters
    for _, value in records(Dataset.REAL, 2_000, end=END):
        assert orjson.loads(value)["occurred_at"].endswith("Z")


def test_the_pom_names_each_artifact() -> None:
    pom = POM.format(dependencies=dependency("org.slf4j:slf4j-simple:1.7.36"))
    line = "<groupId>org.slf4j</groupId><artifactId>slf4j-simple</artifactId><version>1.7.36</version>"
    assert f"    <dependency>{line}</dependency>\n  </dependencies>" in pom
