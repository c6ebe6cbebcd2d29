"""Exact under every fault: some seeds of the simulation (`./dev simulate` runs more), and each guard taken away."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.simulation.mutants import MUTANTS, Mutant, search_apart

SEEDS, AT_ONCE = 300, 25


def simulate(*words: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "tests.simulation", *words]
    return subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=False)


@pytest.mark.parametrize("first", range(0, SEEDS, AT_ONCE))
def test_every_seed_ends_equal_to_the_recount(first: int) -> None:
    # Given some seeds, when each has run its faults, then every one ended as it must
    done = simulate("--seeds", str(AT_ONCE), "--first", str(first))
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_every_guard_is_missed_where_it_is_taken_away(mutant: Mutant) -> None:
    # Given a guard taken away, when runs have the faults that it is for, then one turns red
    assert search_apart(mutant), f"{mutant.seeds} seeds, and nobody missed it"


def test_a_seed_is_one_run() -> None:
    # Given one seed, when it runs twice, then all that happens is the same
    once, again = (simulate("--seed", "5").stdout.rsplit("\n", 2)[0] for _ in range(2))
    assert len(once) > 1000
    assert once == again
