"""Kills what a parent leaves behind, where the kernel does not do it (macOS): `python reaper.py`, fed by a pipe.

Each line of stdin is `+PID` for a process group that lives, `-PID` for one that has ended. At the end of stdin, which
comes with the parent's end, whatever that was, the groups still alive are killed.
"""

import contextlib
import os
import signal
import sys


def main() -> None:
    alive: set[int] = set()
    for line in sys.stdin:
        group = int(line[1:])
        if line.startswith("+"):
            alive.add(group)
        else:
            alive.discard(group)
    for group in alive:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(group, signal.SIGKILL)


if __name__ == "__main__":
    main()
