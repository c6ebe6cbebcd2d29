"""Exact under every fault: some seeds of the simulation (`./dev simulate` runs more), and all guards taken away."""

import subprocess
import sys
from pathlib import Path

import pytest

SEEDS = 300


@pytest.mark.timeout(600)
def test_every_seed_ends_equal_to_the_recount() -> None:
    # Given so many seeds, when each has run its faults, then every one ended as it must
    done = subprocess.run(
        [sys.executable, "-m", "tests.simulation", "--seeds", str(SEEDS)],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.timeout(1_200)
def test_every_guard_is_missed_where_it_is_taken_away() -> None:
    # Given each guard of the list taken away in turn, when runs have the faults that it is for, then one turns red
    done = subprocess.run(
        [sys.executable, "-m", "tests.simulation", "--mutants"],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_seed_is_one_run() -> None:
    # Given one seed, when it runs twice, then all that happens is the same
    once, again = (
        subprocess.run(
            [sys.executable, "-m", "tests.simulation", "--seed", "5"],
            cwd=Path(__file__).parents[2],
            capture_output=True,
            check=False,
        ).stdout.rsplit(b"\n", 2)[0]
        for _ in range(2)
    )
    assert len(once) > 1000
    assert once == again
