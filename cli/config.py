"""`contacts-report config`: each setting's value and where it came from, secrets masked."""

import argparse
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from cli.options import add_settings, read_settings
from stream.core import CoreChoice
from stream.settings.api import ApiConfig
from stream.settings.declare import Config, Reading, Value
from stream.settings.worker import WorkerConfig


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="one JSON object")
    add_settings(parser, WorkerConfig, ApiConfig)


def run(args: argparse.Namespace, environ: Mapping[str, str]) -> int:
    """Print all settings, also the faulty ones; exits with 1 where a configuration would be refused."""
    readings: dict[str, Reading[Config]] = {
        "worker": read_settings(WorkerConfig, args, environ),
        "api": read_settings(ApiConfig, args, environ),
    }
    lines = _lines(readings)
    problems = _once(str(problem) for reading in readings.values() for problem in reading.problems)
    warnings = _once(warning for reading in readings.values() for warning in reading.warnings)
    core = _core(readings["worker"])
    if args.json:
        _print_json(lines, problems, warnings, core)
    else:
        _print_table(lines, problems, warnings)
        print(f"core: {core}")
    return 1 if problems else 0


@dataclass(frozen=True, slots=True)
class _Line:
    value: Value
    read_by: tuple[str, ...]


def _lines(readings: Mapping[str, Reading[Config]]) -> list[_Line]:
    values: dict[str, Value] = {}
    readers: dict[str, list[str]] = {}
    for reader, reading in readings.items():
        for value in reading.values:
            values.setdefault(value.setting.name, value)
            readers.setdefault(value.setting.name, []).append(reader)
    return [_Line(value, tuple(readers[name])) for name, value in values.items()]


def _once(texts: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(texts))


def _core(reading: Reading[Config]) -> str:
    """Which form of the counting a worker would have here, and why."""
    from stream.ports import WorkerMustStop
    from stream.storage.keys import Keys
    from stream.worker.form import choose_form

    choice = next(value.shown for value in reading.values if value.setting.name == "core")
    try:
        form = choose_form(CoreChoice(choice), Keys(""))
    except (ValueError, WorkerMustStop) as error:
        return f"none: {error}"
    return f"{form.name} ({form.why})"


def _print_json(lines: Sequence[_Line], problems: Sequence[str], warnings: Sequence[str], core: str) -> None:
    settings = [
        {
            "setting": line.value.setting.variable,
            "value": line.value.shown,
            "origin": line.value.origin,
            "read_by": list(line.read_by),
        }
        for line in lines
    ]
    print(
        json.dumps(
            {"settings": settings, "problems": list(problems), "warnings": list(warnings), "core": core}, indent=2
        )
    )


def _print_table(lines: Sequence[_Line], problems: Sequence[str], warnings: Sequence[str]) -> None:
    rows = [
        (line.value.setting.variable, line.value.shown, line.value.origin, ", ".join(line.read_by)) for line in lines
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=False)]
        print("  ".join([*cells, f"({row[3]})"]))
    for warning in warnings:
        print(f"warning: {warning}", file=sys.stderr)
    for problem in problems:
        print(f"problem: {problem}", file=sys.stderr)
