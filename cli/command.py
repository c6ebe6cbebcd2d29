"""Defines a command: a module of `cli/` with these two functions, and a line in `cli.main.COMMANDS`."""

import argparse
from collections.abc import Mapping
from typing import Protocol

DONE = 0
WRONG = 1
"""Done, and something is wrong with what was looked at."""
NOT_DONE = 2
"""Not done: a wrong argument or setting, or a server that is not there."""
OUTPUT_LOST = 3
"""Done, but what was to be printed could not be written."""


class Command(Protocol):
    def add_arguments(self, parser: argparse.ArgumentParser) -> None: ...

    def run(self, args: argparse.Namespace, environ: Mapping[str, str]) -> int:
        """Carry the command out; returns DONE, WRONG or NOT_DONE. May raise CommandError and SettingsError."""


class CommandError(Exception):
    """A command could not be carried out, for a reason its user can act on; shown as its text, without a traceback."""
