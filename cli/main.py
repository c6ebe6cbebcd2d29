"""`contacts-report COMMAND …`: finds the command's file and runs it.

Only the chosen command's module is imported, and only here is the process's environment read.
"""

import argparse
import importlib
import os
import sys
from collections.abc import Mapping, Sequence
from typing import cast

from cli import output
from cli.command import NOT_DONE, Command, CommandError
from stream.settings.declare import SettingsError
from stream.version import VERSION

COMMANDS: Mapping[str, tuple[str, str]] = {
    "run": ("cli.run", "everything on this machine, with sample events"),
    "worker": ("cli.worker", "the worker that counts"),
    "api": ("cli.api", "the report's API and page"),
    "config": ("cli.config", "each setting's value, and where it came from"),
    "publish": ("cli.publish", "events from a file of NDJSON to the topic"),
    "topics": ("cli.topics", "creates the topics, or says what differs"),
    "status": ("cli.status", "how the deployment is, on one screen"),
    "doctor": ("cli.doctor", "looks for what is set wrong"),
    "trace": ("cli.trace", "what became of an event"),
    "dlq": ("cli.dlq", "the dead letters: lists, shows, replays them"),
    "verify": ("cli.verify", "recounts from the topic, and compares"),
    "skip": ("cli.skip", "passes over one offset, while no worker runs"),
    "rebuild-redis": ("cli.rebuild_redis", "empties Redis; the workers send everything again"),
    "token": ("cli.token", "makes tokens for readers of the API"),
}
"""Name -> module and one line of help, in the order of the help."""


def main(argv: Sequence[str] | None = None, environ: Mapping[str, str] | None = None) -> int:
    """Run one command; `argv` is without the program's name, None in a process of its own. Returns its exit code."""
    if argv is None:
        return output.run(lambda: _run(sys.argv[1:], os.environ))
    return _run(argv, os.environ if environ is None else environ)


def _run(words: Sequence[str], variables: Mapping[str, str]) -> int:
    chosen = next((word for word in words if not word.startswith("-")), "")
    parser, command = _parser(chosen)
    args = parser.parse_args(words)
    if command is None:
        parser.print_help()
        return NOT_DONE
    try:
        return command.run(args, variables)
    except (SettingsError, CommandError) as error:
        for line in str(error).splitlines():
            print(f"contacts-report {chosen}: {line}", file=sys.stderr)
        return NOT_DONE
    except KeyboardInterrupt:
        return 130


def _parser(chosen: str) -> tuple[argparse.ArgumentParser, Command | None]:
    parser = argparse.ArgumentParser(prog="contacts-report", description="Counts contact activity, and reports it.")
    parser.add_argument("--version", action="version", version=f"contacts-report {VERSION}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")
    found: Command | None = None
    for name, (module, help_line) in COMMANDS.items():
        command_parser = commands.add_parser(name, help=help_line, description=help_line, allow_abbrev=False)
        if name == chosen:
            found = cast("Command", importlib.import_module(module))
            found.add_arguments(command_parser)
    return parser, found


if __name__ == "__main__":
    sys.exit(main())
