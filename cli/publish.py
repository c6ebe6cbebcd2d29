"""`contacts-report publish FILE`: events from a file of NDJSON to the topic, bad lines named and left out."""

import argparse
import asyncio
import contextlib
import json
import os
import stat
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import IO, Protocol

import msgspec

from cli.bulk import BulkError, BulkProducer, KeyedValue, open_bulk
from cli.command import DONE, WRONG, CommandError
from cli.options import add_settings, configuration
from stream.ingest.event import EventRules, Reason, Rejected, parse
from stream.model.activity import ContactActivity
from stream.settings.worker import ACCESS_SETTINGS, EVENT_SETTINGS, WorkerConfig

SETTINGS = (*ACCESS_SETTINGS, "topic", *EVENT_SETTINGS)
COMPRESSIONS = ("none", "gzip", "snappy", "lz4", "zstd")
LONGEST_LINE_BYTES = 8 * 1024 * 1024
"""What follows in a longer line is read away; the line is too large for any topic of ours anyway."""
CHUNK_BYTES = 256 * 1024
PAUSE_SECONDS = 0.1
"""Send what has come once nothing more comes for this long."""
PROGRESS_SECONDS = 0.1
BAR_CHARACTERS = 24


class RawFile(Protocol):
    """A file without a buffer: `read` returns what is there, up to `size` bytes; nothing at the end; None where nothing
    is there yet, as a descriptor that does not wait may say.
    """

    def read(self, size: int, /) -> bytes | None: ...


def chunk_of(file: RawFile) -> bytes:
    """What comes next, waited for; nothing at the end. Raises CommandError."""
    try:
        while (chunk := file.read(CHUNK_BYTES)) is None:
            time.sleep(PAUSE_SECONDS)
    except OSError as error:
        raise CommandError(f"the file cannot be read any further: {error.strerror or error}") from error
    return chunk


class KeyTemplate(StrEnum):
    """What the key of a record is made from: copies of an event must carry the same key."""

    WORKSPACE = "workspace"
    CONTACT = "workspace/contact"


@dataclass(frozen=True, slots=True)
class BadLine:
    number: int
    """The first line of the file is 1."""
    reason: str
    message: str

    def __str__(self) -> str:
        return f"line {self.number}: {self.reason}: {self.message}"


@dataclass(slots=True)
class Tally:
    """How far the reading of a file is."""

    number: int = 0
    """Of the last line that was read."""
    good: int = 0
    bad: int = 0
    """Blank lines are neither good nor bad."""
    bytes: int = 0


class Lines:
    """Cuts what is read of a file into lines."""

    def __init__(self, longest_bytes: int) -> None:
        self._longest_bytes = longest_bytes
        self._rest = b""

    def feed(self, chunk: bytes) -> list[bytes]:
        """The lines that end in this chunk, without their ends; empty ones too, so that they can be numbered."""
        first, *others = chunk.split(b"\n")
        # The end of a line that is too long is dropped as it comes, so that no file can take all of the memory.
        self._rest += first[: max(0, self._longest_bytes - len(self._rest))]
        if not others:
            return []
        lines = [self._rest, *others[:-1]]
        self._rest = others[-1][: self._longest_bytes]
        return lines

    def end(self) -> list[bytes]:
        """A last line without a line end."""
        return [self._rest] if self._rest else []


@dataclass(frozen=True, slots=True)
class LineReader:
    """Reads lines as events, and says what is wrong with them."""

    rules: EventRules
    key: KeyTemplate
    on_bad: Callable[[BadLine], None]
    lint: bool = True
    """False: a bad line is passed on as it is, and becomes a dead letter."""
    takes: Callable[[bytes | None, bytes], bool] = lambda _key, _value: True
    """Whether a record is small enough for the topic; even without lint a line that is not is left out."""
    tally: Tally = field(default_factory=Tally)

    def lines(self) -> Lines:
        return Lines(max(LONGEST_LINE_BYTES, self.rules.max_event_bytes + 1))

    def records(self, lines: Iterable[bytes]) -> Iterator[KeyedValue]:
        """The records to send, in the order of the lines."""
        record = _Line()
        tally = self.tally
        for line in lines:
            tally.number += 1
            value = line.removesuffix(b"\r")
            if not value or value.isspace():
                continue
            record.value = value
            record.timestamp = time.time_ns() // 1_000_000
            read = parse(record, self.rules)
            bad = BadLine(tally.number, read.reason, read.message) if isinstance(read, Rejected) else None
            key = _key(read, self.key) if isinstance(read, ContactActivity) else _key_of_bad(value, self.key)
            if not self.takes(key, value):
                bad = BadLine(tally.number, Reason.TOO_LARGE, f"the topic takes no record of {len(value)} bytes")
            elif bad is None or not self.lint:
                tally.good += 1
                yield key, value
                continue
            tally.bad += 1
            self.on_bad(bad)


class _Line(msgspec.Struct):
    """A line in the form of the record that it will be."""

    value: bytes | None = None
    timestamp: int = 0
    timestamp_type: int = 0
    offset: int = 0
    key: bytes | None = None
    headers: tuple[tuple[str, bytes], ...] = ()


def _key(activity: ContactActivity, template: KeyTemplate) -> bytes:
    if template is KeyTemplate.WORKSPACE:
        return activity.workspace_id.encode()
    return f"{activity.workspace_id}/{activity.contact_id}".encode()


def _key_of_bad(value: bytes, template: KeyTemplate) -> bytes | None:
    """The key that the line would have, as far as it can be read; None spreads such lines."""
    try:
        event = json.loads(value)
    except (ValueError, RecursionError):
        return None
    workspace = event.get("workspace_id") if isinstance(event, dict) else None
    if not isinstance(workspace, str):
        return None
    contact = event.get("contact_id")
    text = workspace if template is KeyTemplate.WORKSPACE else f"{workspace}/{contact}"
    return text.encode("utf-8", "replace")


def check(reader: LineReader, file: RawFile, progress: Callable[[], None]) -> None:
    """Read a whole file without sending it."""
    lines = reader.lines()
    while chunk := chunk_of(file):
        reader.tally.bytes += len(chunk)
        deque(reader.records(lines.feed(chunk)), maxlen=0)
        progress()
    deque(reader.records(lines.end()), maxlen=0)


async def publish(
    bulk: BulkProducer, reader: LineReader, file: RawFile, progress: Callable[[], None] = lambda: None
) -> None:
    """Send the lines of a file, and return when all are acknowledged. Raises BulkError and CommandError.

    Where the file makes a pause, as a pipe may, what has come is sent at once.
    """
    lines = reader.lines()
    while True:
        reading = asyncio.ensure_future(_read(file))
        try:
            done, _ = await asyncio.wait([reading], timeout=PAUSE_SECONDS)
            if not done:
                await bulk.flush()
            chunk = await reading
        finally:
            reading.cancel()
        if not chunk:
            break
        reader.tally.bytes += len(chunk)
        await bulk.put_all(reader.records(lines.feed(chunk)))
        progress()
    await bulk.put_all(reader.records(lines.end()))
    await bulk.flush()


async def _read(file: RawFile) -> bytes:
    """The next chunk, read by a thread that nobody waits for: a terminal may never answer, and ctrl-c must end us."""
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[bytes] = loop.create_future()

    def tell(chunk: bytes, error: CommandError | None) -> None:
        if answer.done():
            return
        if error is None:
            answer.set_result(chunk)
        else:
            answer.set_exception(error)

    def read() -> None:
        chunk, fault = b"", None
        try:
            chunk = chunk_of(file)
        except CommandError as error:
            fault = error
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(tell, chunk, fault)

    threading.Thread(target=read, daemon=True).start()
    return await answer


# ---- the command ---------------------------------------------------------------------------------------------------


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Publishes events from a file of NDJSON, one event a line. A line that would be rejected is named by its "
        "number, with the reason, and left out; the exit code is then 1."
    )
    parser.add_argument("file", metavar="FILE", help="the file, or - for standard input")
    lint = parser.add_mutually_exclusive_group()
    lint.add_argument("--dry-run", action="store_true", help="only name the bad lines; publish nothing")
    lint.add_argument(
        "--no-lint", action="store_true", help="publish bad lines too, as they are: the worker makes them dead letters"
    )
    parser.add_argument(
        "--key",
        choices=[*KeyTemplate],
        default=KeyTemplate.WORKSPACE,
        type=KeyTemplate,
        help="what each record's key is made of; must never change for a topic (default: workspace)",
    )
    parser.add_argument(
        "--compression", choices=COMPRESSIONS, default="none", help="how batches are compressed (default: none)"
    )
    add_settings(parser, WorkerConfig, only=SETTINGS)


def run(args: argparse.Namespace, environ: Mapping[str, str]) -> int:
    """Publish or lint; returns WRONG where a line was bad."""
    config = configuration(WorkerConfig, args, environ)
    rules = EventRules(config.max_event_bytes, config.future_tolerance_seconds, config.retention_days)
    with _open(args.file) as (file, size):
        bar = ProgressBar(sys.stderr, size)
        reader = LineReader(rules, args.key, on_bad=bar.say, lint=not args.no_lint)
        if args.dry_run:
            check(reader, file, lambda: bar.show(reader.tally))
            bar.clear()
            print(f"{_events(reader.tally.good)} good, {reader.tally.bad:,} bad; nothing was published")
        else:
            compression = None if args.compression == "none" else args.compression
            asyncio.run(_publish(config, reader, file, bar, compression))
    return WRONG if reader.tally.bad else DONE


async def _publish(
    config: WorkerConfig, reader: LineReader, file: RawFile, bar: "ProgressBar", compression: str | None
) -> None:
    started = time.monotonic()
    try:
        async with open_bulk(config.access, config.topic, compression=compression) as bulk:
            try:
                fitting = replace(reader, takes=bulk.takes)
                await publish(bulk, fitting, file, lambda: bar.show(reader.tally))
            finally:
                bar.clear()
                print(
                    f"{_events(bulk.acknowledged)} published to {config.topic} in {time.monotonic() - started:.1f} s, "
                    f"{reader.tally.bad:,} bad"
                )
    except BulkError as error:
        raise CommandError(str(error)) from error


def _events(count: int) -> str:
    return f"{count:,} event" if count == 1 else f"{count:,} events"


@contextlib.contextmanager
def _open(name: str) -> Iterator[tuple[RawFile, int | None]]:
    """The file without a buffer, whose lock a thread that still reads would hold; and its size where it has one."""
    standard_input = name == "-"
    try:
        file = open(0 if standard_input else name, "rb", buffering=0, closefd=not standard_input)  # noqa: SIM115
    except OSError as error:
        raise CommandError(f"cannot read {name}: {error.strerror}") from error
    with file:
        found = os.fstat(file.fileno())
        yield file, found.st_size if stat.S_ISREG(found.st_mode) else None


class ProgressBar:
    """One line on a terminal that says how far a file is; on anything but a terminal only the bad lines are written."""

    def __init__(self, out: IO[str], size: int | None) -> None:
        self._out = out
        self._size = size
        self._terminal = out.isatty()
        self._next = 0.0
        self._width = 0

    def show(self, tally: Tally) -> None:
        if not self._terminal or time.monotonic() < self._next:
            return
        self._next = time.monotonic() + PROGRESS_SECONDS
        text = f"{_events(tally.good)}, {tally.bad:,} bad"
        if self._size:
            share = min(1.0, tally.bytes / self._size)
            filled = round(share * BAR_CHARACTERS)
            text = f"[{'#' * filled}{'.' * (BAR_CHARACTERS - filled)}] {share:4.0%}  {text}"
        self._out.write("\r" + text.ljust(self._width))
        self._out.flush()
        self._width = len(text)

    def say(self, bad: BadLine) -> None:
        self.clear()
        self._out.write(f"{bad}\n")

    def clear(self) -> None:
        if self._width:
            self._out.write("\r" + " " * self._width + "\r")
            self._out.flush()
            self._width = 0
