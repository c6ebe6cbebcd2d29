"""The API's metrics of what readers see: true at each scrape, whether anybody asks for a report or not."""

from __future__ import annotations

from math import isnan

from prometheus_client.parser import text_string_to_metric_families

from tests.integration.test_api_ops import tell
from tests.support.api import Api, api_over, own_redis, shared_redis
from tests.support.redis_server import RunningRedis

__all__ = ["own_redis", "shared_redis"]

NOW = 1_795_651_987.0
OF_READERS = (
    "contacts_api_answers",
    "contacts_api_as_of_age_seconds",
    "contacts_api_partitions_expected",
    "contacts_api_partitions_found",
    "contacts_api_partitions_unowned",
    "contacts_dependency_up",
)


async def scraped(api: Api) -> list[float | None]:
    """OF_READERS, with None for what is not known."""
    text = (await api.client.get("/metrics")).text
    values = {sample.name: sample.value for family in text_string_to_metric_families(text) for sample in family.samples}
    return [None if isnan(values[name]) else values[name] for name in OF_READERS]


async def test_each_scrape_tells_the_age_of_the_numbers_and_the_partitions(shared_redis: RunningRedis) -> None:
    async with api_over(shared_redis, NOW) as api:
        # Given a group of which nothing was ever written,
        assert await scraped(api) == [0, None, 0, 0, 0, 1]
        # when two partitions have their counts, and no worker tells of them,
        api.write([], as_of=NOW - 7, partitions=2)
        assert await scraped(api) == [1, 7, 2, 2, 2, 1]
        # and when a worker tells of both, or more partitions are needed than have counts,
        await tell(shared_redis, api.data.prefix.split(":")[1])
        assert await scraped(api) == [1, 7, 2, 2, 0, 1]
        api.data.client.hset(f"{api.data.prefix}positions", "partitions", "3")
        # then it says so.
        assert await scraped(api) == [0, None, 3, 2, 1, 1]


async def test_without_redis_the_scrape_says_that_it_is_away_and_nothing_that_is_not_known(
    own_redis: RunningRedis,
) -> None:
    async with api_over(own_redis, NOW, redis_timeout_seconds=1.0) as api:
        api.write([], as_of=NOW, partitions=2)
        assert await scraped(api) == [1, 0, 2, 2, 2, 1]
        own_redis.stop()
        assert await scraped(api) == [0, None, None, None, None, 0]


async def test_a_redis_that_is_full_answers_and_refuses(own_redis: RunningRedis) -> None:
    async with api_over(own_redis, NOW) as api:
        api.write([], as_of=NOW, partitions=2)
        # Given a Redis above its maxmemory, which takes no transaction, not even one that reads,
        api.data.client.config_set("maxmemory", "1")
        assert await scraped(api) == [0, None, None, None, None, 1]
        answer = await api.get("/summary")
        assert answer.status_code == 503
        assert answer.json()["detail"] == "Redis is full (maxmemory), and so refuses reads."
        # when it has room, then all is well.
        api.data.client.config_set("maxmemory", "0")
        assert await scraped(api) == [1, 0, 2, 2, 2, 1]


async def test_probes_and_scrapes_are_no_answers_to_readers(shared_redis: RunningRedis) -> None:
    async with api_over(shared_redis, NOW) as api:
        api.write([])
        for path in ("/livez", "/readyz", "/metrics"):
            await api.client.get(path)
        await api.get("/summary")
        text = (await api.client.get("/metrics")).text
        counted = [line for line in text.splitlines() if line.startswith("contacts_api_requests_total{")]
        assert counted == ['contacts_api_requests_total{resource="summary",status="200"} 1.0']
