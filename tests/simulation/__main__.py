"""The command line of the simulation; see the package."""

import argparse
import logging
import os
import sys
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from cli import output
from tests.simulation import chosen_core
from tests.simulation.core_build import CoreNotBuilt, build_core_with_mutants
from tests.simulation.seeds import results_of

AT_ONCE = 25


def main() -> int:
    parser = argparse.ArgumentParser(prog="simulate", description="Prove exactness under faults, in virtual time.")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--seeds", type=int, metavar="N", help="run so many seeds")
    what.add_argument("--seed", type=int, metavar="N", help="run one seed, and print what happens")
    what.add_argument("--mutants", action="store_true", help="take each guard away in turn; each must turn a run red")
    parser.add_argument("--first", type=int, default=0, metavar="N", help="with --seeds: the first of them")
    parser.add_argument("--only", metavar="NAME", help="with --mutants: those whose name holds this text")
    parser.add_argument("--remember", action="store_true", help="with --mutants: note the seeds that turned red")
    parser.add_argument("--mutant", metavar="NAME", help="with --seed: with this guard taken away")
    parser.add_argument("--core", choices=("python", "compiled", "both"), default="python", help="which form counts")
    options = parser.parse_args()
    os.environ[chosen_core.FORM] = options.core  # no module of the product is imported yet: mutants change them
    if os.environ.get("PYTHONHASHSEED") != "0":
        # Sets of texts are gone through in one order: else a seed would not be one run.
        os.environ["PYTHONHASHSEED"] = "0"
        os.execv(sys.executable, [sys.executable, "-m", "tests.simulation", *sys.argv[1:]])
    logging.disable(logging.CRITICAL)
    if options.mutants:
        from tests.simulation import mutants

        return mutants.main(options.only, options.remember, core_with_mutants())
    if options.seed is not None:
        return one(options.seed, options.mutant)
    return many(options.first, options.seeds)


def core_with_mutants() -> Path | None:
    """The compiled core whose guards can be taken away; None where it cannot be built, which is said."""
    try:
        return build_core_with_mutants()
    except CoreNotBuilt as failure:
        print(f"without the guards of the compiled core: {failure}", flush=True)
        return None


def one(seed: int, mutant: str | None) -> int:
    profile = None
    if mutant is not None:
        from tests.simulation import mutants

        profile = mutants.take_away(mutant, seed)
    from tests.simulation.chance import draw
    from tests.simulation.run import run_seed

    print(profile or draw(seed))
    result = run_seed(seed, profile=profile, trace=print)
    print(result)
    return 0 if result.failure is None else 1


def many(first: int, number: int) -> int:
    started, failed, calls, commits, events, samples, longest = time.perf_counter(), [], 0, 0, 0, 0, 0
    stops: Counter[str] = Counter()
    parts = [range(at, min(at + AT_ONCE, first + number)) for at in range(first, first + number, AT_ONCE)]
    with ProcessPoolExecutor() as pool:
        for results in pool.map(results_of, parts):
            for result in results:
                calls, commits, events = calls + result.calls, commits + result.commits, events + result.events
                samples += result.samples
                stops.update(stop.split(":")[0] for stop in result.stops)
                if result.failure is not None:
                    failed.append(result.seed)
                    longest = max(longest, result.calls + result.commits)
                    print(
                        f"seed {result.seed} ({result.calls} calls, {result.commits} commits): {result.failure[:600]}",
                        flush=True,
                    )
    seconds = time.perf_counter() - started
    print(
        f"{number} seeds from {first}: {len(failed)} failed; {events} records, {commits} commits, {calls} calls, "
        f"{samples} samples; "
        f"{seconds:.1f} s, {number / seconds:.1f} seeds a second"
    )
    if failed:
        print(f"replay one with: ./dev simulate --seed {failed[0]}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(output.run(main))
