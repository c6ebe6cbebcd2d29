"""What a test needs that a machine may lack: skipped here with its reason, failed where it was promised."""

import os

import pytest


def required(name: str) -> bool:
    """Whether the comma-separated variable `REQUIRE` promises that `name` is there."""
    return name in {word.strip() for word in os.environ.get("REQUIRE", "").split(",")}


def require(name: str, available: bool, reason: str) -> None:
    """Go on where `name` is available; else skip the test with `reason`, or fail it where `REQUIRE` names it."""
    if available:
        return
    if required(name):
        pytest.fail(f"REQUIRE names {name}, but {reason}", pytrace=False)
    pytest.skip(f"needs {name}: {reason}")
