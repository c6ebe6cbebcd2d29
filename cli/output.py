"""Standard output and standard error that cannot stop a command in the middle of its work.

A pipe that closes, a full disk and a closed descriptor raise wherever a line happens to be written, or nowhere at all.
Here what cannot be written is dropped and remembered, the work goes on, and the process ends non-zero where its output
was lost. Standard error holds remarks: where it alone is lost, all of the work is done all the same.
"""

import io
import os
import select
import sys
from collections.abc import Callable
from typing import Any

from cli.command import OUTPUT_LOST

STDIN, STDOUT, STDERR = 0, 1, 2


class Descriptor(io.RawIOBase):
    """A descriptor to write to; `failure` is the first error, after which nothing is written any more."""

    def __init__(self, number: int) -> None:
        self.failure: OSError | None = None
        self._number = number

    def fileno(self) -> int:
        return self._number

    def isatty(self) -> bool:
        return os.isatty(self._number)

    def writable(self) -> bool:
        return True

    def write(self, data: Any, /) -> int:
        """Write all of it, or as much as goes; never raises OSError."""
        rest = memoryview(data).cast("B")
        size = len(rest)
        while rest and self.failure is None:
            try:
                rest = rest[os.write(self._number, rest) :]
            except BlockingIOError:  # whoever shares the pipe has set it so
                select.select([], [self._number], [])
            except OSError as error:
                self.failure = error
        return size


def run(command: Callable[[], int]) -> int:
    """The exit code of a command that prints: its own, or OUTPUT_LOST where all was well but that.

    For the whole process: the standard streams stay guarded, for what is printed while the interpreter ends.
    """
    output, _ = guard()
    try:
        code = command()
    except SystemExit as end:  # --help, or a wrong argument
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    sys.stdout.flush()
    if output.failure is None:
        return code
    if not isinstance(output.failure, BrokenPipeError):  # whose reader (head, less) has seen enough, and is gone
        print(f"The output could not be written: {output.failure.strerror}", file=sys.stderr)
    return code or OUTPUT_LOST


def guard() -> tuple[Descriptor, Descriptor]:
    """Guard the standard streams of this process; returns those of output and error."""
    keep_numbers()
    guarded = [Descriptor(number) for number in (STDOUT, STDERR)]
    for name, one in zip(("stdout", "stderr"), guarded, strict=True):
        before = getattr(sys, name)
        stream = io.TextIOWrapper(
            io.BufferedWriter(one),
            encoding=getattr(before, "encoding", None) or "utf-8",
            errors="backslashreplace" if one.fileno() == STDERR else getattr(before, "errors", None),
            line_buffering=True,
        )
        setattr(sys, name, stream)
    return guarded[0], guarded[1]


def keep_numbers() -> None:
    """Keep the numbers of closed standard streams from the next file or socket, which then were written into.

    What takes their place can be neither read (input) nor written (output, error), also by processes that inherit it.
    """
    for number, flags in ((STDIN, os.O_WRONLY), (STDOUT, os.O_RDONLY), (STDERR, os.O_RDONLY)):
        try:
            os.fstat(number)
        except OSError:
            found = os.open(os.devnull, flags)  # the lowest number that is free, which is this one
            assert found == number
            os.set_inheritable(number, True)
