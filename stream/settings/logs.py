"""Configures the log: lines for people, or one JSON object a line."""

from __future__ import annotations

import logging
import re
import sys
from datetime import UTC, datetime
from typing import Any

import orjson

# Noisy libraries; our own log lines cover the same events.
QUIET = {
    "aiokafka": logging.ERROR,
    "kafka": logging.ERROR,
    "aiohttp": logging.WARNING,
    # Faust's services tell of themselves under the names of the modules that subclass them.
    **dict.fromkeys(
        ("faust", "mode", "abc", "stream.agents.app", "stream.agents.transport", "stream.agents.changelog_table"),
        logging.WARNING,
    ),
}


_CONTROLS = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def is_told(record: logging.LogRecord) -> bool:
    """Of aiokafka's errors only those that it did not foresee: they come with a traceback, and end a task of it."""
    return record.exc_info is not None or not record.name.startswith("aiokafka")


class JsonLines(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": _encodable(record.getMessage()),
        }
        if record.exc_info:
            line["exception"] = _encodable(self.formatException(record.exc_info))
        if record.stack_info:
            line["stack"] = _encodable(record.stack_info)
        return orjson.dumps(line).decode()


class TextLines(logging.Formatter):
    """One line a record, whatever its texts hold: paths, ids and names of events come from others. The lines of a
    traceback, whose messages may hold them too, are indented, so that none looks like a record.
    """

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)-7s %(name)s: %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - the library's name
        return escape_controls(super().formatMessage(record))

    def formatException(self, ei: Any) -> str:  # noqa: N802
        return _indent(super().formatException(ei))

    def formatStack(self, stack_info: str) -> str:  # noqa: N802
        return _indent(super().formatStack(stack_info))


def escape_controls(text: str) -> str:
    """The text with each character that ends a line, moves a cursor or turns the direction of writing as its escape."""
    return _CONTROLS.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def _encodable(text: str) -> str:
    """Without lone surrogates, for which there is no JSON, and the line would be lost."""
    return text.encode("utf-8", "backslashreplace").decode()


def _indent(text: str) -> str:
    return "\n".join("    " + escape_controls(line) for line in text.split("\n"))


def configure(log_format: str, level: str) -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines() if log_format == "json" else TextLines())
    if level != "debug":
        handler.addFilter(is_told)
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    if level != "debug":
        for name, least in QUIET.items():
            logging.getLogger(name).setLevel(least)
