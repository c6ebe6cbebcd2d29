"""The compiled core, built from core/ where cargo is on PATH; skipped with the reason where it cannot be built."""

import importlib.machinery
import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.require import require

CORE = Path(__file__).parents[2] / "core"
SUFFIX = "dylib" if sys.platform == "darwin" else "so"
LIBRARY = CORE / "target" / "release" / f"libcontacts_core.{SUFFIX}"
BUILD_SECONDS = 900


def build() -> str | None:
    """Build the core in its own folder, where cargo finds what it built before; returns why that failed, or None."""
    if shutil.which("cargo") is None:
        return "there is no cargo on PATH"
    command = ["cargo", "build", "--release", "--quiet"]
    done = subprocess.run(command, cwd=CORE, capture_output=True, text=True, timeout=BUILD_SECONDS, check=False)
    return f"cargo build failed: {done.stderr[-500:]}" if done.returncode else None


@pytest.fixture(scope="session")
def core() -> Any:
    """The module `contacts_core`."""
    failure = build()
    require("core", failure is None, failure or "")
    loader = importlib.machinery.ExtensionFileLoader("contacts_core", str(LIBRARY))
    spec = importlib.util.spec_from_loader("contacts_core", loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module
