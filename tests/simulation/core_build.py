"""Builds the compiled core with the feature `mutants`: not optimised, and an overflow is an error in it."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

CORE = Path(__file__).parents[2] / "core"
TARGET = CORE.parent / ".cache" / "core"
"""As in `./dev`: what is built for the core's own tests serves here, too."""


class CoreNotBuilt(Exception):
    """There is no such core, in words."""


def build_core_with_mutants() -> Path:
    """The file of it. Raises CoreNotBuilt."""
    if shutil.which("cargo") is None:
        raise CoreNotBuilt("there is no cargo on PATH")
    command = ["cargo", "build", "--quiet", "--lib", "--features", "mutants"]
    environ = os.environ | {"CARGO_TARGET_DIR": str(TARGET), "PYO3_PYTHON": sys.executable}
    done = subprocess.run(command, cwd=CORE, env=environ, capture_output=True, text=True, check=False)
    if done.returncode:
        raise CoreNotBuilt(done.stderr[-2000:])
    suffix = "dylib" if sys.platform == "darwin" else "so"
    built = TARGET / "debug" / f"libcontacts_core.{suffix}"
    # Another build writes over it: each process that asks has what it asked for.
    kept = TARGET / "with-mutants.so"
    copy = kept.with_suffix(f".{os.getpid()}")
    shutil.copyfile(built, copy)
    copy.replace(kept)
    return kept
