"""The simulation's loop: asyncio over a clock that jumps."""

import asyncio

import pytest

from tests.simulation.loop import DeadlockError, VirtualLoop, run


def test_an_hour_takes_no_time_and_order_is_kept() -> None:
    # Given two tasks that sleep
    seen: list[tuple[str, float]] = []
    loop = VirtualLoop()

    async def sleeper(name: str, seconds: float) -> None:
        await asyncio.sleep(seconds)
        seen.append((name, loop.time()))

    async def main() -> None:
        await asyncio.gather(sleeper("late", 3600.0), sleeper("soon", 1.5))

    # When both have ended
    run(loop, main())
    # Then each woke at its moment
    assert seen == [("soon", 1.5), ("late", 3600.0)]


def test_waiting_for_nothing_is_an_error() -> None:
    # Given something that waits for what nobody will do
    loop = VirtualLoop()

    async def main() -> None:
        await loop.create_future()

    # When it is run, then it is told
    with pytest.raises(DeadlockError):
        run(loop, main())
