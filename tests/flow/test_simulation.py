"""Exact under every fault: some seeds of the simulation (`./dev simulate` runs more), and each guard taken away."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from tests.simulation import chosen_core
from tests.simulation.apart import seeds_forked
from tests.simulation.core_build import CoreNotBuilt, build_core_with_mutants
from tests.simulation.mutants import IN_CORE, MUTANTS, Mutant, search_apart
from tests.support.require import require

SEEDS, AT_ONCE = 300, 25
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def core_with_mutants() -> Path:
    """The file of a compiled core whose guards can be taken away."""
    path, failure = None, ""
    try:
        path = build_core_with_mutants()
    except CoreNotBuilt as error:
        failure = str(error)
    require("core", path is not None, failure)
    assert path is not None
    return path


def simulate(*words: str, **environ: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "tests.simulation", *words]
    return subprocess.run(command, cwd=ROOT, env=os.environ | environ, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("first", range(0, SEEDS, AT_ONCE))
def test_every_seed_ends_equal_to_the_recount(first: int) -> None:
    # Given some seeds, when each has run its faults, then every one ended as it must
    done = seeds_forked(first, AT_ONCE)
    assert done.code == 0, done.stdout + done.stderr


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_every_guard_is_missed_where_it_is_taken_away(mutant: Mutant) -> None:
    # Given a guard taken away, when runs have the faults that it is for, then one turns red
    assert search_apart(mutant), f"{mutant.seeds} seeds, and nobody missed it"


def test_a_search_that_fails_is_not_taken_for_a_green_one() -> None:
    with pytest.raises(RuntimeError, match=r"nobody: exit code \d: [\s\S]*StopIteration"):
        search_apart(replace(MUTANTS[0], name="nobody"))
    # and the next one is told its own result
    assert search_apart(MUTANTS[0])


@pytest.mark.timeout(900)  # the first one builds the core
@pytest.mark.parametrize("mutant", IN_CORE, ids=lambda mutant: mutant.name)
def test_every_guard_of_the_core_is_missed_where_it_is_taken_away(mutant: Mutant, core_with_mutants: Path) -> None:
    # Given a guard of the core taken away, when the core alone counts, then a run turns red
    assert search_apart(mutant, core_with_mutants), f"{mutant.seeds} seeds, and nobody missed it"


@pytest.mark.timeout(900)
def test_with_all_its_guards_the_same_core_is_green(core_with_mutants: Path) -> None:
    # Given the core that the mutants are made of, in which an overflow is an error, when no guard is taken away
    done = simulate("--seeds", "50", "--core", "both", **{chosen_core.FILE: str(core_with_mutants)})
    # Then it is not red by itself
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.timeout(900)
def test_each_guard_that_the_core_can_go_without_has_its_mutant(core_with_mutants: Path) -> None:
    code = "from tests.simulation.chosen_core import load_core_file; print(*load_core_file().GUARDS)"
    environ = os.environ | {chosen_core.FILE: str(core_with_mutants)}
    told = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environ, capture_output=True, text=True, check=True
    )
    assert told.stdout.split() == sorted(mutant.name for mutant in IN_CORE)


def test_a_seed_is_one_run() -> None:
    # Given one seed, when it runs twice, then all that happens is the same
    once, again = (simulate("--seed", "5").stdout.rsplit("\n", 2)[0] for _ in range(2))
    assert len(once) > 1000
    assert once == again
