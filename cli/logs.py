"""How a process logs: lines for people, or one JSON object a line, on stderr."""

import json
import logging
import sys
from datetime import UTC, datetime

from stream.config import LogFormat, SharedConfig


def set_up(config: SharedConfig) -> None:
    """Send all logging of this process to stderr, in the form and from the level that the configuration names."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines() if config.log_format is LogFormat.JSON else PlainLines())
    logging.basicConfig(handlers=[handler], level=config.log_level.upper(), force=True)


class PlainLines(logging.Formatter):
    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)-7s %(name)s: %(message)s")

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:  # noqa: N802, ARG002
        return _time(record)


class JsonLines(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": _time(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)


def _time(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
