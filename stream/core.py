"""Loads the compiled core, where it is chosen, installed and fits this version."""

from __future__ import annotations

import importlib
from enum import StrEnum
from types import ModuleType
from typing import Final

MODULE: Final = "contacts_core"
INTERFACE: Final = 11
"""What this version asks of the core: `INTERFACE` in core/src/python.rs."""


class CoreChoice(StrEnum):
    """Which form of the counting and of the sums runs; both give the same."""

    AUTO = "auto"
    """The compiled one where it is installed."""
    COMPILED = "compiled"
    PYTHON = "python"


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


def choose_core(choice: CoreChoice, without: str) -> tuple[ModuleType | None, str]:
    """The module `contacts_core`, or None where the form in Python is to run, and why, in words for the log and
    `contacts-report config`; `without` says what that costs.

    Raises CoreMissingError where the compiled core is asked for and not there.
    """
    if choice is CoreChoice.PYTHON:
        return None, "CONTACTS_CORE is python"
    try:
        core = load_core()
    except CoreMissingError as error:
        if choice is CoreChoice.COMPILED:
            raise CoreMissingError(f"CONTACTS_CORE is compiled, and {error}") from error
        return None, f"{error}; {without}"
    return core, f"contacts_core {core.__version__}"
