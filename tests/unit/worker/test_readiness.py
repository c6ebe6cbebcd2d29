"""A worker is ready when all that it was given is counting, and says what it waits for until then."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from stream.worker.readiness import Readiness

FAILURE = {"text": "Kafka did not answer", "since": "2026-11-23T09:00:00.000Z", "over": None}
OVER = {"failure": FAILURE | {"over": "2026-11-23T09:00:07.000Z"}}
COUNTING, RECOVERING = {"phase": "counting"}, {"phase": "recovering", "failure": FAILURE}


@pytest.mark.parametrize(
    ("waits_for", "assigned", "given", "partitions", "reason"),
    [
        ("cannot reach Kafka", False, set(), {}, "cannot reach Kafka"),
        (None, False, set(), {}, "the consumer group has given this worker no assignment yet"),
        # A spare worker is given an empty assignment, and is ready.
        (None, True, set(), {}, None),
        (None, True, {0, 1}, {"0": COUNTING}, "partition 1 was given to this worker, and is not begun yet"),
        (
            None,
            True,
            {0},
            {"0": RECOVERING},
            "partition 0 is recovering: Kafka did not answer (since 2026-11-23T09:00:00.000Z)",
        ),
        # What is over hinders nothing.
        (None, True, {0}, {"0": RECOVERING | OVER}, "partition 0 is recovering"),
        (None, True, {0}, {"0": COUNTING | OVER}, None),
        (None, True, {0}, {"0": {"phase": "repairing"}}, "partition 0 is repairing"),
        (None, True, {0}, {"0": COUNTING | {"waiting": "the clocks differ"}}, "partition 0 waits: the clocks differ"),
        (None, True, {0, 1}, {"0": COUNTING, "1": COUNTING | {"waiting": None}}, None),
        # One that counts until it comes to what cannot be committed is not ready.
        (
            None,
            True,
            {0},
            {"0": COUNTING | {"failure": FAILURE}},
            "partition 0: Kafka did not answer (since 2026-11-23T09:00:00.000Z)",
        ),
        # In the middle of a rebalance Kafka has taken all, and what is still here counts on.
        (None, True, set(), {"0": COUNTING}, None),
    ],
)
def test_what_is_not_there_yet_is_said(
    waits_for: str | None, assigned: bool, given: set[int], partitions: dict[str, Any], reason: str | None
) -> None:
    readiness = Readiness()
    readiness.waits_for = waits_for
    owned = SimpleNamespace(assigned=assigned, numbers=lambda: {int(partition) for partition in partitions})
    assert readiness.reason(owned, given, partitions) == reason


def test_at_first_it_is_not_ready() -> None:
    assert Readiness().reason(None, set(), {}) == "the worker starts"
