"""The first requests of a process, which does not know yet how many partitions there are."""

import asyncio
from datetime import UTC, datetime

from tests.support.api import api_over, own_redis, shared_redis
from tests.support.redis_data import Event
from tests.support.redis_server import RunningRedis

__all__ = ["own_redis", "shared_redis"]

NOW = datetime(2026, 11, 23, 1, 13, tzinfo=UTC).timestamp()


async def test_requests_that_come_together_are_all_answered(shared_redis: RunningRedis) -> None:
    # Given counts of two partitions, and an API that was asked nothing yet
    async with api_over(shared_redis, NOW) as api:
        api.write([Event(int(NOW - 60) * 10**9, "a", partition=1)], partitions=2)
        # When a page asks for everything at once
        answers = await asyncio.gather(
            *(api.get(path) for path in ("", "/summary", "/timeline", "/activities", "/filters"))
        )
    # Then none fails for what another one learned meanwhile
    assert [answer.status_code for answer in answers] == [200] * 5
