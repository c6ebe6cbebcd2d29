"""How the tests are spread over processes: those that wait for servers run beside those that compute."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

from xdist.remote import Producer

from tests.support.parallel import COMPUTING, Scheduler

ROOT = Path(__file__).parents[2]


class Process:
    """One process of a run, as the scheduler sees it."""

    shutting_down = False

    def __init__(self, number: int, tests: list[str]) -> None:
        self.gateway = SimpleNamespace(id=f"gw{number}")
        self.tests, self.given = tests, list[str]()

    def send_runtest_some(self, indices: list[int]) -> None:
        self.given += [self.tests[index] for index in indices]

    def shutdown(self) -> None:
        self.shutting_down = True


def spread(tests: list[str]) -> list[Process]:
    """Two processes that have done what they were given, in turns, until nothing was left."""
    config: Any = SimpleNamespace(
        getvalue=lambda name: ["2*popen"], option=SimpleNamespace(loadscopereorder=False, maxprocesses=None)
    )
    scheduler = Scheduler(config, Producer("test", enabled=False))
    processes = [Process(number, tests) for number in range(2)]
    for process in processes:
        scheduler.add_node(process)  # type: ignore[arg-type]
        scheduler.add_node_collection(process, tests)  # type: ignore[arg-type]
    scheduler.schedule()
    done = [0, 0]
    while any(number < len(process.given) for number, process in zip(done, processes, strict=True)):
        for place, process in enumerate(processes):
            if done[place] < len(process.given):
                scheduler.mark_test_complete(process, tests.index(process.given[done[place]]))  # type: ignore[arg-type]
                done[place] += 1
    return processes


def test_what_waits_and_what_computes_begin_in_processes_of_their_own() -> None:
    waiting = [f"tests/flow/test_run.py::test_{number}" for number in range(5)]
    computing = [f"tests/browser/test_table.py::test_{number}" for number in range(5)]
    one, other = spread([*waiting, *computing])
    assert (one.given, other.given) == (waiting, computing)


def test_a_process_that_has_nothing_of_its_kind_left_helps_the_others() -> None:
    waiting = ["tests/flow/test_run.py::test_0"]
    computing = [f"tests/browser/test_table.py::test_{number}" for number in range(20)]
    one, other = spread([*computing, *waiting])
    assert one.given[0] == waiting[0]
    assert sorted(one.given[1:] + other.given) == sorted(computing)
    assert len(one.given) > 5


def test_what_is_said_to_compute_is_there() -> None:
    assert [path for path in COMPUTING if not (ROOT / path).exists()] == []
