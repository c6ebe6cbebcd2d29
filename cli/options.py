"""The settings of a configuration as a command's flags, and the configuration that comes of them."""

import argparse
import sys
import tomllib
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TypeVar

from stream.settings.api import ApiConfig
from stream.settings.declare import FILE_VARIABLE, Config, Problem, Reading, SettingsError, Sources, read, settings_of
from stream.settings.worker import WorkerConfig

C = TypeVar("C", bound=Config)

CONFIGS: tuple[type[Config], ...] = (WorkerConfig, ApiConfig)
"""All that share one environment and one file."""


def add_settings(
    parser: argparse.ArgumentParser, *config_types: type[Config], only: Collection[str] | None = None
) -> None:
    """Add --config FILE, and a flag for each setting of the configurations, or for those named in `only`."""
    group = parser.add_argument_group("settings", "Each may also come from the environment or a TOML file.")
    group.add_argument("--config", metavar="FILE", help=f"the TOML file (default: ${FILE_VARIABLE})")
    settings = {one.name: one for each in config_types for one in settings_of(each)}
    for one in settings.values():
        if one.flag is not None and (only is None or one.name in only):
            text = f"{one.meaning} Default: {one.show(one.default)}".replace("%", "%%")
            group.add_argument(one.flag, dest=one.name, metavar="VALUE", help=text)


def configuration(config_type: type[C], args: argparse.Namespace, environ: Mapping[str, str]) -> C:
    """The configuration of a command; its warnings go to stderr. Raises SettingsError with all that is wrong."""
    reading = read_settings(config_type, args, environ)
    config = reading.config()
    for warning in reading.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    return config


def read_settings(config_type: type[C], args: argparse.Namespace, environ: Mapping[str, str]) -> Reading[C]:
    """The configuration with the origin of each value. Raises SettingsError where the file itself cannot be read."""
    flags = {one.name: getattr(args, one.name, None) for one in settings_of(config_type)}
    name, origin = args.config, "flag --config"
    if name is None:
        name, origin = environ.get(FILE_VARIABLE) or None, "environment"
    file = {} if name is None else _file(name, origin)
    return read(config_type, Sources(flags, environ, file, name or ""), CONFIGS)


def _file(name: str, origin: str) -> dict[str, object]:
    try:
        with Path(name).expanduser().open("rb") as file:
            return tomllib.load(file)
    except OSError as error:
        reason = error.strerror or str(error)
        raise SettingsError([Problem(FILE_VARIABLE, f"'{name}'", origin, f"expected a TOML file ({reason})")]) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError([Problem(FILE_VARIABLE, f"'{name}'", origin, f"expected TOML ({error})")]) from None
