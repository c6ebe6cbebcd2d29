"""A client of Kafka is closed in bounded time, and what it says on leaving stays with it."""

from __future__ import annotations

import asyncio

import pytest

from stream import kafka_clients
from stream.kafka_clients import close_in_bounded_time


class Leaving:
    """A service that leaves in its own way."""

    def __init__(self, way: BaseException | None) -> None:
        self._way = way
        self.left = False

    async def stop(self) -> None:
        if self._way is None:
            await asyncio.sleep(3600)
        else:
            self.left = True
            raise self._way


@pytest.mark.parametrize("way", [asyncio.CancelledError(), RuntimeError("closed"), OSError()])
async def test_what_it_says_on_leaving_is_not_ours(way: BaseException) -> None:
    service = Leaving(way)
    await close_in_bounded_time(service)
    assert service.left


async def test_one_that_hangs_is_left_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kafka_clients, "CLOSE_SECONDS", 0.01)
    async with asyncio.timeout(10):
        await close_in_bounded_time(Leaving(None))


async def test_our_own_cancel_goes_through() -> None:
    closing = asyncio.create_task(close_in_bounded_time(Leaving(None)))
    await asyncio.sleep(0)
    closing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await closing
