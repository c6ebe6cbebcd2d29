"""Ports of this machine: one that is free, and whether something listens."""

import socket

LOCALHOST = "127.0.0.1"


def free_port() -> int:
    """A port of 127.0.0.1 that is free now; whoever wants it should take it soon."""
    with socket.socket() as probe:
        probe.bind((LOCALHOST, 0))
        return int(probe.getsockname()[1])


def listens(port: int, host: str = LOCALHOST) -> bool:
    """Whether a connection is taken."""
    try:
        with socket.create_connection((host, port), timeout=1):
            return True
    except OSError:
        return False
