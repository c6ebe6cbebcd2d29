"""Ports for the servers of tests, which no other process of the run takes meanwhile.

They lie below those that the system gives to whoever names none, and each process of a run (tests/support/parallel.py)
takes from a part of its own: between the look whether a port is free and the server's start, seconds pass.
"""

import itertools
import os
import random
import socket

FIRST, END = 20_000, 32_000


def _own_part() -> range:
    number = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    size = (END - FIRST) // max(int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1")), number + 1)
    return range(FIRST + number * size, FIRST + (number + 1) * size)


def _from_anywhere(part: range) -> "itertools.cycle[int]":
    """Another run on this machine most likely begins elsewhere."""
    at = random.randrange(len(part))
    return itertools.cycle([*part[at:], *part[:at]])


_next = _from_anywhere(_own_part())


def free_port() -> int:
    """A port of 127.0.0.1 that nothing listens on, and that this process was not given before."""
    return next(port for port in _next if _is_free(port))


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as servers do: what a closed one leaves is free
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True
