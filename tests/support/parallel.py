"""How `./dev test` is spread over processes: how many, what stays together, what begins first.

    -m quick     the unit tests, but those marked `slow`: no server, no browser, a minute
    -n 0         one process, the tests in the order of their files

Each process has a Redis and a Chromium of its own; Kafka is shared (tests/support/shared_kafka.py).
"""

import os
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling

TESTS = Path(__file__).parents[1]
PROCESSES_A_CORE = 2  # tests of servers wait more than they compute
FOLDERS = ("flow", "browser", "contract", "integration", "unit")
"""In the order in which they begin: the longest tests and files first, so that all cores are busy to the end."""
COMPUTING = ("tests/browser/", "tests/unit/", "tests/flow/test_simulation.py")
"""What needs a core all the time. The other tests wait for servers half of their time: begun in all processes at once,
they left the cores idle for a quarter of a whole run.
"""
WHOLE_FILES = ("integration", "contract", "unit")
"""Folders whose files stay in one process each: their tests are short and share servers, or what a module sets up."""


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "quick: a unit test that is not slow; given by the folder")
    config.addinivalue_line("markers", "slow: a unit test that takes seconds")


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    if config.args and all("::" in word for word in config.args):
        return 0  # a few tests end before more processes have begun
    return PROCESSES_A_CORE * (os.cpu_count() or 1)


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """With `-m quick`, leave out the folders without such tests: to import them takes as long as to run those."""
    others = set(FOLDERS) - {"unit"}
    return True if config.option.markexpr == "quick" and folder_of(collection_path) in others else None


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> Generator[None]:
    for item in items:
        if folder_of(item.path) == "unit" and not is_slow(item):
            item.add_marker("quick")
    yield  # pytest leaves out what was not chosen, by these marks too
    if hasattr(config, "workerinput"):
        items.sort(key=rank)


def is_slow(item: pytest.Item) -> bool:
    built = "core" in getattr(item, "fixturenames", ())  # the compiler takes longer than all quick tests
    return built or item.get_closest_marker("slow") is not None


def rank(item: pytest.Item) -> tuple[int, bool, float]:
    """Folders in their order; in each what is slow first, and the tests with the most time."""
    limits = [float(mark.args[0]) for mark in item.iter_markers("timeout")] or [float(item.config.getini("timeout"))]
    folder = folder_of(item.path)
    return FOLDERS.index(folder) if folder in FOLDERS else len(FOLDERS), not is_slow(item), -limits[0]


def folder_of(path: Path) -> str:
    """The folder of tests/ that holds this."""
    return path.relative_to(TESTS).parts[0] if path != TESTS and path.is_relative_to(TESTS) else ""


def computes(scope: str) -> bool:
    return scope.startswith(COMPUTING)


class Scheduler(LoadScopeScheduling):
    """Gives files or single tests in their order to whichever process is free: to every other one those that compute as
    long as there are any, to the others those that wait.
    """

    def _assign_work_unit(self, node: Any) -> None:
        takes_computing = int(node.gateway.id.removeprefix("gw")) % 2 == 1
        chosen = next((scope for scope in self.workqueue if computes(scope) is takes_computing), None)
        if chosen is not None:
            self.workqueue.move_to_end(chosen, last=False)
        super()._assign_work_unit(node)

    def _split_scope(self, nodeid: str) -> str:
        whole = nodeid.startswith(tuple(f"tests/{folder}/" for folder in WHOLE_FILES))
        return nodeid.split("::")[0] if whole else nodeid


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Scheduler:
    config.option.loadscopereorder = False
    return Scheduler(config, log)
