"""Two of the breakages of `./dev faults --alerts`, on real servers and with the shipped rules in a real Prometheus."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.faults.alerts import BREAKAGES, Night, try_breakage, watched
from tests.support.kafka import RunningKafka
from tests.support.require import require

QUICK = ("Redis is full", "a fifth of what is published is garbage")
"""A page that waits for half a minute, and a ticket that waits for nothing."""


@pytest.mark.timeout(900)
def test_each_breakage_fires_its_alert_and_no_other(kafka: RunningKafka, tmp_path: Path) -> None:
    require("prometheus", shutil.which("prometheus") is not None, "Debian has it in the package prometheus")
    breakages = [breakage for breakage in BREAKAGES if breakage.name in QUICK]
    assert [breakage.name for breakage in breakages] == list(QUICK)
    # Given a live deployment, watched more often than as shipped, to save time
    with watched(Night(tmp_path, kafka, every="1s")) as of:
        # When it is broken in one way after the other, then the alerts are right, each time
        assert [wrong for breakage in breakages for wrong in try_breakage(of, breakage)] == []
