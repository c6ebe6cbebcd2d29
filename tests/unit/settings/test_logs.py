"""What of the libraries' own words comes into the log."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator

import pytest

from stream.settings.logs import QUIET, configure

FORGED = [
    "/a\n2026-11-23 13:00:00,000 ERROR   contacts: forged",
    "/a\r\nforged",
    "/a\x1b[2Kforged",
    "/a\x85forged",
    "/a\u2028forged",
    "/a\u202eforged",
    "/a\x00\x0b\x0cforged",
    "/a\ud800forged",
]


@pytest.fixture
def root_logger() -> Iterator[logging.Logger]:
    root = logging.getLogger()
    before = root.level, root.handlers
    yield root
    root.setLevel(before[0])
    root.handlers = before[1]
    for name in QUIET:
        logging.getLogger(name).setLevel(logging.NOTSET)


@pytest.mark.parametrize("log_format", ["text", "json"])
@pytest.mark.parametrize("path", FORGED)
def test_no_text_of_others_makes_a_line_of_the_log(
    log_format: str, path: str, root_logger: logging.Logger, capfd: pytest.CaptureFixture[str]
) -> None:
    configure(log_format, "info")
    logging.getLogger("api.app").error("A request failed: %s", path)
    try:
        raise ValueError(path)
    except ValueError:
        logging.getLogger("api.app").exception("It failed")
    first, second, *traceback = capfd.readouterr().err.split("\n")
    if log_format == "json":
        assert (json.loads(first)["level"], json.loads(second)["level"], traceback) == ("error", "error", [""])
        return
    assert " ERROR   api.app: A request failed: /a\\" in first
    assert second.endswith(" ERROR   api.app: It failed")
    assert all(line.startswith("    ") for line in traceback[:-1])
    assert traceback[-1] == ""
    assert all(ord(" ") <= ord(letter) < 127 for line in (first, *traceback) for letter in line)


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_of_aiokafka_only_what_it_did_not_foresee_is_logged(
    log_format: str, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.root, "handlers", [])
    aiokafka, ours = logging.getLogger("aiokafka.consumer.fetcher"), logging.getLogger("stream.worker.process")
    before = logging.root.level
    try:
        configure(log_format, "info")
        aiokafka.error("a broker is away, as now and then")
        try:
            raise RuntimeError("unable to perform operation")
        except RuntimeError:
            aiokafka.exception("Unexpected error in fetcher routine")
        ours.error("the worker ends")
    finally:
        logging.root.setLevel(before)
        for name in QUIET:
            logging.getLogger(name).setLevel(logging.NOTSET)
    said = capfd.readouterr().err
    assert "a broker is away" not in said
    assert "Unexpected error in fetcher routine" in said
    assert "unable to perform operation" in said
    assert "the worker ends" in said
