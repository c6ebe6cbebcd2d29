"""Decides whether a worker is ready: whether it counts all that it owns, and if not, what it waits for.

Ready means more than alive: a supervisor that replaces workers one by one goes on to the next as soon as this one is.
So a worker is not ready before its group has given it partitions (or, to a spare worker, none), nor while one that it
was given is not counting.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol


class Assignment(Protocol):
    """What is known of the worker's partitions."""

    assigned: bool
    """Whether the group has ever told this worker which partitions are its own."""

    def numbers(self) -> set[int]:
        """The partitions that are begun."""


class Readiness:
    """What the process waits for, as it goes through its start."""

    def __init__(self) -> None:
        self.waits_for: str | None = "the worker starts"
        """In words, for the person on call; None once the consumer group is joined."""

    def reason(
        self, owned: Assignment | None, given: set[int], partitions: Mapping[str, Mapping[str, Any]]
    ) -> str | None:
        """Why the worker is not ready; None where it is.

        `given`: what Kafka has assigned to it. `partitions`: the facts of each partition that is begun.
        """
        if self.waits_for is not None:
            return self.waits_for
        if owned is None or not owned.assigned:
            return "the consumer group has given this worker no assignment yet"
        unbegun = sorted(given - owned.numbers())
        if unbegun:
            return f"partition {unbegun[0]} was given to this worker, and is not begun yet"
        for partition, facts in partitions.items():
            failure = facts.get("failure")
            lasting = f": {failure['text']} (since {failure['since']})" if failure and not failure["over"] else ""
            if facts["phase"] != "counting":
                return f"partition {partition} is {facts['phase']}{lasting}"
            if lasting:  # it counts until it comes to what cannot be committed
                return f"partition {partition}{lasting}"
            if facts.get("waiting"):
                return f"partition {partition} waits: {facts['waiting']}"
        return None
