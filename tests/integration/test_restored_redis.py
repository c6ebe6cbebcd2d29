"""A Redis that is restored from a backup, as docs/operations.md tells: it is soon as new as what is committed."""

from __future__ import annotations

from redis.asyncio import Redis

from tests.integration.test_projection_guards import until
from tests.integration.test_sampling import Sampling
from tests.support.redis_server import RunningRedis


async def backup(client: Redis) -> dict[bytes, bytes]:
    return {key: await client.dump(key) for key in await client.keys("*")}


async def restore(client: Redis, kept: dict[bytes, bytes]) -> None:
    await client.flushall()
    for key, value in kept.items():
        await client.restore(key, 0, value)


async def content(site: Sampling) -> dict[tuple[bytes, bytes], bytes | None]:
    """Every packed part of the days."""
    return {(key, field): await site.client.hget(key, field) for key, field in await site.fields()}


async def test_the_workers_send_what_a_restored_backup_lacks(own_redis: RunningRedis) -> None:
    async with Redis.from_url(own_redis.url) as client:
        site = Sampling(client)
        site.owned.start()
        await until(lambda: site.owned.counting)
        # Given a backup of some moment,
        site.count(200)
        await site.rest()
        kept = await backup(client)
        site.count(150)
        await site.rest()
        right = await content(site)
        # when it is restored later, while the worker runs,
        await restore(client, kept)
        assert await content(site) != right
        # then all that it lacks is sent as soon as anything is counted, or said (each second, in a worker).
        site.count(1, range(1))
        await site.rest()
        await site.owned.close()
        restored = await content(site)

        # It is what a Redis without a backup is filled with.
        await client.flushall()
        site.owned = site.owner()
        site.owned.start()
        await until(lambda: site.owned.counting)
        await site.rest()
        assert restored == await content(site)
        assert site.reasons == []
        await site.owned.close()
