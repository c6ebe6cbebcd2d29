"""What one thread's loop finds arrives in another's, each thing once and in order, and never more than a few ahead."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Coroutine
from concurrent.futures import Future
from typing import Any

import pytest_asyncio

from stream.agents.handover import Handover

LIMIT = 2


class Giver:
    """A loop in a thread of its own, and the wakes of both threads."""

    def __init__(self) -> None:
        self.loop, self.taker = asyncio.new_event_loop(), asyncio.get_running_loop()
        self.wakes = {"giver": 0, "taker": 0}
        self.handover: Handover[int] = Handover(self.counted("giver"), self.counted("taker"), LIMIT)
        self.given: list[int] = []
        self._thread = threading.Thread(target=self.loop.run_forever)
        self._thread.start()

    def counted(self, name: str) -> Any:
        """The loop of that name, whose wakes from another thread are counted."""
        loop, wakes = {"giver": self.loop, "taker": self.taker}[name], self.wakes

        class Counted:
            create_future, call_later = loop.create_future, loop.call_later

            def call_soon_threadsafe(self, *words: Any) -> None:
                wakes[name] += 1
                loop.call_soon_threadsafe(*words)

        return Counted()

    def run(self, work: Coroutine[Any, Any, None]) -> Future[None]:
        return asyncio.run_coroutine_threadsafe(work, self.loop)

    async def give(self, things: range) -> None:
        for thing in things:
            await self.handover.wait_for_room()
            self.given.append(thing)
            self.handover.give(thing)

    def stop(self) -> None:
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        self.loop.close()


@pytest_asyncio.fixture
async def giver() -> AsyncIterator[Giver]:
    made = Giver()
    yield made
    made.stop()


async def test_each_arrives_once_and_in_order(giver: Giver) -> None:
    giving = giver.run(giver.give(range(5_000)))
    taken = [await giver.handover.take(60.0) for _ in range(5_000)]
    await asyncio.wrap_future(giving)
    assert taken == list(range(5_000))
    assert await giver.handover.take(0.0) is None


async def test_the_giver_is_a_few_ahead_and_goes_on_once_there_is_room(giver: Giver) -> None:
    giving = giver.run(giver.give(range(5)))
    for number in range(5):
        ahead = min(number + LIMIT, 5)
        while len(giver.given) < ahead:
            await asyncio.sleep(0.001)
        await asyncio.sleep(0.01)
        assert len(giver.given) == ahead
        assert await giver.handover.take(60.0) == number
    await asyncio.wrap_future(giving)


async def test_a_taker_that_keeps_up_wakes_no_thread(giver: Giver) -> None:
    for number in range(20):
        await asyncio.wrap_future(giver.run(giver.give(range(number, number + 1))))
        assert await giver.handover.take(60.0) == number
    assert giver.wakes == {"giver": 0, "taker": 20}


async def test_a_taker_that_is_cancelled_loses_nothing(giver: Giver) -> None:
    taking = asyncio.create_task(giver.handover.take(60.0))
    await asyncio.sleep(0)
    taking.cancel()
    await asyncio.wait([taking])
    await asyncio.wrap_future(giver.run(giver.give(range(2))))
    assert [await giver.handover.take(60.0) for _ in range(2)] == [0, 1]
