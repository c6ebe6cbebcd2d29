"""The compiled core, as `./dev` builds it where cargo is on PATH; skipped with the reason where it cannot be built."""

from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from stream.core import load_core
from tests.support.require import require

ROOT = Path(__file__).parents[2]


def dev_script() -> ModuleType:
    loader = SourceFileLoader("dev_script", str(ROOT / "dev"))
    spec = spec_from_loader("dev_script", loader)
    assert spec is not None
    module = module_from_spec(spec)
    loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def core() -> Any:
    """The module `contacts_core`, of the sources that are there."""
    dev = dev_script()
    try:
        failure = dev.build_core()
    except dev.Failed as error:
        failure = str(error)
    require("core", failure is None, failure or "")
    return load_core()
