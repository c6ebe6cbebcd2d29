"""One Apache Kafka for all processes of a run (tests/support/parallel.py).

The process that began the run starts it when the first of the others asks, and ends it with the run: a process that had
started it could be done before the others are.
"""

import contextlib
import threading
from multiprocessing.connection import Listener
from typing import Any

import pytest

from tests.support.kafka import KafkaCluster, KafkaUnavailableError

_HOST = pytest.StashKey["KafkaHost"]()


class KafkaHost:
    """Answers each connection with the address of the one Kafka, or with why there is none."""

    def __init__(self) -> None:
        self._listener = Listener(family="AF_UNIX")
        self.door = str(self._listener.address)
        self._servers = contextlib.ExitStack()
        self._answer: dict[str, str] = {}
        threading.Thread(target=self._serve, daemon=True).start()

    def close(self) -> None:
        self._servers.close()

    def _serve(self) -> None:
        while True:
            with self._listener.accept() as asked, contextlib.suppress(OSError):  # who asked has gone
                asked.send(self._answer or self._start())

    def _start(self) -> dict[str, str]:
        try:
            self._answer = {"address": self._servers.enter_context(KafkaCluster()).bootstrap}
        except (OSError, RuntimeError, KafkaUnavailableError) as error:
            self._answer = {"error": str(error)}
        return self._answer


def pytest_configure_node(node: Any) -> None:
    """Called where the run began, for each process that it starts."""
    if _HOST not in node.config.stash:
        node.config.stash[_HOST] = KafkaHost()
    node.workerinput["kafka_host"] = node.config.stash[_HOST].door


def pytest_unconfigure(config: pytest.Config) -> None:
    if _HOST in config.stash:
        config.stash[_HOST].close()
