"""Runs a command that dies with its parent, however that ends: `python exec_wrapper.py PARENT COMMAND …`.

Linux only: the kernel sends SIGKILL when the thread that started us ends, and keeps to it over exec. Run as a file with
`-I -S`, so that it costs some 20 ms; started without a shell, so that COMMAND keeps our process id.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def main(parent: int, command: list[str]) -> None:
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    # The parent may have ended before the line above.
    if os.getppid() != parent:
        sys.exit(1)
    try:
        os.execvp(command[0], command)
    except OSError as error:
        sys.exit(f"{command[0]}: {error.strerror}")


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
