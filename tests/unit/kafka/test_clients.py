"""A client of Kafka is closed in bounded time, and what it says on leaving stays with it."""

from __future__ import annotations

import asyncio
import gc

import pytest
from aiokafka.errors import KafkaConnectionError, TransactionalIdAuthorizationFailed

from stream.kafka import clients as kafka_clients
from stream.kafka.clients import close_in_bounded_time, describe, mute_unread_failures


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


@pytest.mark.parametrize(
    ("error", "told"), [(KafkaConnectionError("closed"), False), (ValueError("ours"), True)], ids=["Kafka's", "ours"]
)
async def test_an_error_of_kafka_that_nobody_awaits_is_no_line_of_the_log(
    caplog: pytest.LogCaptureFixture, error: Exception, told: bool
) -> None:
    loop = asyncio.get_running_loop()
    mute_unread_failures(loop)
    # Given a future that fails and that nobody awaits, as aiokafka keeps some beside the one that it answers with
    loop.create_future().set_exception(error)
    gc.collect()
    assert any("never retrieved" in record.getMessage() for record in caplog.records) is told


async def test_a_task_that_fails_unseen_is_told_whatever_it_raised(caplog: pytest.LogCaptureFixture) -> None:
    async def fail() -> None:
        raise KafkaConnectionError("closed")

    mute_unread_failures(asyncio.get_running_loop())
    await asyncio.wait([asyncio.create_task(fail())])
    gc.collect()
    assert any("never retrieved" in record.getMessage() for record in caplog.records)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (TimeoutError(), "TimeoutError"),
        (OSError("broken"), "OSError: broken"),
        # aiokafka's say their own names.
        (KafkaConnectionError("closed"), "KafkaConnectionError: closed"),
        (
            KafkaConnectionError("Unable to bootstrap from [('a', 9092, <AddressFamily.AF_INET: 2>), ('b', 1, 2)]"),
            "cannot connect to a:9092, b:1",
        ),
        (
            TransactionalIdAuthorizationFailed("code 53"),
            "Kafka does not allow it (TransactionalIdAuthorizationFailed): `contacts-report doctor` names the right "
            "that is missing",
        ),
    ],
)
def test_what_a_client_says_in_words(error: BaseException, words: str) -> None:
    assert describe(error) == words
