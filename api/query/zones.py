"""Knows the time zones and their rules: those of the pinned `tzdata` package, whatever the system has."""

from collections.abc import Mapping
from functools import cache
from importlib import resources
from types import MappingProxyType
from zoneinfo import ZoneInfo

import tzdata  # type: ignore[import-untyped]

TZDATA_VERSION = f"{tzdata.IANA_VERSION} ({tzdata.__version__})"
"""Names the rules that every answer was cut by; part of each revision."""

NOT_OFFERED = frozenset({"Factory", "localtime", "posixrules"})
"""Names in the tz database that are no place's time. (`right/…` and `posix/…` are not in the package at all.)"""


@cache
def zone_names() -> frozenset[str]:
    """Every name that a query may carry, aliases too."""
    return frozenset(resources.files("tzdata").joinpath("zones").read_text("utf-8").split()) - NOT_OFFERED


@cache
def aliases() -> Mapping[str, str]:
    """Alias -> the name that it stands for, both of `zone_names`. `UTC` is a name, `Etc/UTC` an alias of it: the other
    way round than the tz database has it, and as everybody writes."""
    lines = resources.files("tzdata.zoneinfo").joinpath("tzdata.zi").read_text("utf-8").splitlines()
    links = {alias: target for kind, target, alias in (line.split() for line in lines if line.startswith("L "))}
    found = {alias: _last(links, target) for alias, target in links.items() if alias in zone_names()}
    found = {alias: "UTC" if target == "Etc/UTC" else target for alias, target in found.items()}
    del found["UTC"]
    return MappingProxyType(dict(sorted({**found, "Etc/UTC": "UTC"}.items())))


@cache
def zone(name: str) -> ZoneInfo:
    """The zone of a name of `zone_names`; raises KeyError for any other.

    `ZoneInfo(name)` would prefer the system's files, which another machine has in another version.
    """
    if name not in zone_names():
        raise KeyError(name)
    with resources.files("tzdata.zoneinfo").joinpath(name).open("rb") as file:
        return ZoneInfo.from_file(file, key=name)


def _last(links: Mapping[str, str], name: str) -> str:
    while name in links:
        name = links[name]
    return name
