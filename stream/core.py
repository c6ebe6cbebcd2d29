"""Loads the compiled core, where it is installed and fits this version."""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import Final

MODULE: Final = "contacts_core"
INTERFACE: Final = 6
"""What this version asks of the core: `INTERFACE` in core/src/python.rs."""


class CoreMissingError(Exception):
    """There is no compiled core, in words."""


class CoreFailed(Exception):
    """A bug in the compiled core. What it knows of a partition is not to be used any more: the worker stops."""


def load_core() -> ModuleType:
    """The module `contacts_core`. Raises CoreMissingError."""
    try:
        core = importlib.import_module(MODULE)
    except ImportError as error:
        raise CoreMissingError("the compiled core is not installed (./dev builds it where cargo is)") from error
    found = getattr(core, "INTERFACE", 0)
    if found != INTERFACE:
        raise CoreMissingError(f"the compiled core that is installed is of another version ({found}, not {INTERFACE})")
    return core
