"""Runs seeds one after the other. Imports the product when it is called: mutants change it before it is loaded."""

import logging
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.simulation.run import Result


def results_of(seeds: range) -> "list[Result]":
    logging.disable(logging.CRITICAL)
    from tests.simulation.run import run_seed

    return [run_seed(seed) for seed in seeds]


def run_seeds(first: int, number: int) -> int:
    """Print each seed that is red; the exit code of a process that does nothing else."""
    failed = [result for result in results_of(range(first, first + number)) if result.failure is not None]
    for result in failed:
        print(f"seed {result.seed}: {(result.failure or '')[:600]}")
    return 1 if failed else 0
