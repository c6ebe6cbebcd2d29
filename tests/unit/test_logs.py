"""What of the libraries' own words comes into the log."""

from __future__ import annotations

import logging

import pytest

from stream.logs import QUIET, configure


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_of_aiokafka_only_what_it_did_not_foresee_is_logged(
    log_format: str, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.root, "handlers", [])
    aiokafka, ours = logging.getLogger("aiokafka.consumer.fetcher"), logging.getLogger("stream.worker")
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
