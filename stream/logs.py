"""How the log is written: lines for people, or one JSON object a line."""

from __future__ import annotations

import logging
import sys
from datetime import UTC, datetime

import orjson

# Libraries that tell at INFO what is nobody's business, and at WARNING what our own lines say better.
QUIET = {
    "aiokafka": logging.ERROR,
    "kafka": logging.ERROR,
    "aiohttp": logging.WARNING,
    # Faust's services tell of themselves under the names of the modules that subclass them.
    **dict.fromkeys(("faust", "mode", "abc", "stream.app", "stream.transport", "stream.tables.state"), logging.WARNING),
}


def is_told(record: logging.LogRecord) -> bool:
    """Of aiokafka's errors only those that it did not foresee: they come with a traceback, and end a task of it."""
    return record.exc_info is not None or not record.name.startswith("aiokafka")


class JsonLines(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return orjson.dumps(line).decode()


def configure(log_format: str, level: str) -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        JsonLines() if log_format == "json" else logging.Formatter("%(asctime)s %(levelname)-7s %(name)s: %(message)s")
    )
    if level != "debug":
        handler.addFilter(is_told)
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    if level != "debug":
        for name, least in QUIET.items():
            logging.getLogger(name).setLevel(least)
