"""The embedded broker for tests, one for the session: use topics and groups of your own."""

import os
import tempfile
import time
from collections.abc import Iterator

import pytest

from cli.local.broker import NoBroker, broker_command
from cli.local.ports import listens
from tests.support.kafka import RunningKafka, spawn
from tests.support.ports import free_port
from tests.support.require import require

START_TIMEOUT_SECONDS = 20.0


@pytest.fixture(scope="session")
def embedded_kafka() -> Iterator[RunningKafka]:
    """The broker of `./dev run`; its data goes with the session."""
    port = free_port()
    try:
        command = [os.fspath(word) for word in broker_command(port)]
    except NoBroker as error:
        require("embedded", False, str(error))
        return
    with tempfile.TemporaryFile() as output:
        process = spawn(command, output)
        try:
            deadline = time.monotonic() + START_TIMEOUT_SECONDS
            while not listens(port):
                if process.poll() is not None or time.monotonic() > deadline:
                    output.seek(0)
                    pytest.fail(f"the embedded broker did not start: {output.read().decode(errors='replace')}")
                time.sleep(0.05)
            yield RunningKafka(f"127.0.0.1:{port}")
        finally:
            process.kill()
            process.wait()
