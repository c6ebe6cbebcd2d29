"""A real Redis that evicts: nothing is counted into it, what went is sent again, and no reader takes it for a zero."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime

import pytest
from redis.asyncio import Redis

from stream.ports import ReplicaAway, WorkerMustStop
from stream.projection.evictions import UNKNOWN, Evictions
from stream.projection.replica import RedisReplica
from stream.storage.keys import Keys
from tests.support.api import Api, api_over
from tests.support.kafka import unique_name
from tests.support.redis_data import Event
from tests.support.redis_server import RunningRedis

NOW = datetime(2026, 11, 23, 1, 13, 7, 412_000, tzinfo=UTC).timestamp()
DAY = 20_780
QUARTER = 900 * 10**9
RANGE = {"from": "2026-11-22", "to": "2026-11-23"}


class Server:
    """A Redis that a test sets as it likes, with a deployment of one partition that has its position."""

    def __init__(self, client: Redis) -> None:
        self.client, self.keys = client, Keys(unique_name("group"))
        self.noticed: list[tuple[bool, bool]] = []
        self.evictions = Evictions(client, self.keys, lambda may, did: self.noticed.append((may, did)))

    async def show(self) -> None:
        shown = {"partitions": 1, "0.history": "aa", "0.token": "t", "0.number": 1, "0.position": 5, "0.as_of": 7}
        await self.client.hset(self.keys.positions, mapping=shown)

    async def shown(self) -> bool:
        return bool(await self.client.hexists(self.keys.positions, "0.position"))

    async def evict(self, policy: str) -> None:
        """Have the server evict for real: keys of others that take too much, by this policy."""
        before = (await self.client.info())["evicted_keys"]
        await self.client.config_set("maxmemory-policy", policy)
        used = (await self.client.info("memory"))["used_memory"]
        await self.client.config_set("maxmemory", used + 300_000)
        n = 0
        while (await self.client.info())["evicted_keys"] == before:
            await self.client.set(f"other:{n}", "x" * 50_000, ex=10_000)
            n += 1
        await self.client.config_set("maxmemory", 0)


@pytest.fixture
async def server(own_redis: RunningRedis) -> AsyncIterator[Server]:
    client = Redis.from_url(own_redis.url)
    yield Server(client)
    await client.aclose()


async def test_while_the_policy_may_evict_counts_nothing_is_sent_and_a_worker_does_not_start(server: Server) -> None:
    replica = RedisReplica(server.client, server.keys, server.evictions)
    for policy in ("allkeys-lru", "allkeys-lfu", "allkeys-random"):
        # Given such a policy
        await server.client.config_set("maxmemory-policy", policy)
        # When it is looked at, then a start and each call are refused with it as the reason
        with pytest.raises(WorkerMustStop, match=policy):
            await server.evictions.refuse_at_start()
        with pytest.raises(ReplicaAway, match=policy):
            await replica.claim(0, b"\xaa", "t")
    # When it is set back, then the next look lets calls through
    await server.client.config_set("maxmemory-policy", "noeviction")
    await server.evictions.refuse_at_start()
    assert (await replica.claim(0, b"\xaa", "t")).position is None
    assert server.noticed == [(True, False)] * 3 + [(False, False)]


async def test_what_was_evicted_since_the_last_look_is_sent_again_once(server: Server) -> None:
    await server.show()
    await server.evictions.look()
    assert await server.shown()
    # Given keys that went between two looks, by a policy that is not there any more at the second
    await server.evict("allkeys-random")
    await server.client.config_set("maxmemory-policy", "noeviction")
    # When it is looked at, then the positions go, and stay once they are there again
    await server.evictions.look()
    assert not await server.shown()
    await server.show()
    await server.evictions.look()
    assert await server.shown()
    # And so it is for a worker that begins now
    await Evictions(server.client, server.keys).look()
    assert await server.shown()
    assert server.noticed == [(False, False), (False, False), (False, True), (False, False)]


async def test_keys_of_others_that_expire_may_be_evicted(server: Server) -> None:
    # Given a policy that takes only keys that expire, as no key with counts does
    await server.client.config_set("maxmemory-policy", "volatile-lru")
    await server.show()
    await server.evictions.refuse_at_start()
    await server.evict("volatile-lru")
    # When it is looked at, then nothing is refused and nothing is sent again
    await server.evictions.look()
    assert server.evictions.refusal is None
    assert await server.shown()


async def test_after_a_policy_that_took_ours_one_that_does_not_has_all_sent_again(server: Server) -> None:
    await server.show()
    await server.client.config_set("maxmemory-policy", "allkeys-lru")
    await server.evictions.look()
    assert await server.shown()
    await server.evict("allkeys-lru")
    await server.client.config_set("maxmemory-policy", "volatile-lru")
    await server.evictions.look()
    assert not await server.shown()


async def test_a_policy_that_took_ours_between_two_looks_has_all_sent_again(server: Server) -> None:
    # Given a look that saw nothing wrong, and ours evicted since, by a policy that is gone again
    await server.show()
    await server.evictions.look()
    await server.evict("allkeys-lru")
    await server.client.config_set("maxmemory-policy", "volatile-lru")
    # When the next look sees a policy that takes keys of others alone
    await server.evictions.look()
    # Then it does not believe that it was there all the time
    assert not await server.shown()


@pytest.mark.parametrize(
    ("forbidden", "policy"), [(["-config"], True), (["-info"], True), (["-config", "-info"], None)]
)
async def test_a_user_who_may_not_ask_one_way_asks_the_other(
    server: Server, own_redis: RunningRedis, forbidden: list[str], policy: bool | None
) -> None:
    # Given a user of Redis who may not run one of the commands, or both
    await server.client.config_set("maxmemory-policy", "allkeys-lru")
    rules = ["on", ">secret", "~*", "&*", "+@all", *forbidden]
    await server.client.execute_command("ACL", "SETUSER", "worker", *rules)
    async with Redis(port=own_redis.port, username="worker", password="secret") as client:
        evictions = Evictions(client, server.keys)
        await evictions.look()
    # Then the policy is known all the same, where there is any way
    assert (evictions.refusal is not None) is (policy is True)
    assert ("allkeys-lru" if policy else UNKNOWN) == evictions._policy


def events() -> list[Event]:
    """On two days, in two partitions."""
    at = DAY * 96 * QUARTER
    return [Event(at - QUARTER, "a", partition=0), Event(at, "b", partition=1, offset=1), Event(at, "c", offset=2)]


async def test_a_workspace_without_its_days_is_a_503_and_a_resync(own_redis: RunningRedis) -> None:
    async with api_over(own_redis, NOW) as api:
        api.write(events(), partitions=2)
        assert (await api.json("/summary", **RANGE))["added"]["count"] == 3
        # When its days are evicted
        api.data.client.delete(api.data.prefix + "days:w")
        # Then no answer shows a zero, neither now nor until the positions are back
        await assert_lost(api)
        for path in ("", "/summary", "/activities", "/filters"):
            assert (await api.get(path)).status_code == 503, path
        # And a workspace that never was is an empty report
        api.write(events(), partitions=2)
        assert (await api.client.get("/v1/workspaces/x/reports/contacts/summary")).json()["added"]["count"] == 0


@pytest.mark.parametrize("path", ["/summary", "/filters"])
async def test_a_process_that_never_read_the_workspace_misses_its_days_too(own_redis: RunningRedis, path: str) -> None:
    async with api_over(own_redis, NOW) as api:
        api.write(events(), partitions=2)
        api.data.client.delete(api.data.prefix + "days:w")
        await assert_lost(api, path)


async def test_whoever_has_the_empty_report_is_not_told_that_it_holds(own_redis: RunningRedis) -> None:
    """For a reader who names a revision, the state alone is read, and no day."""
    async with api_over(own_redis, NOW) as api:
        # Given a reader of a workspace that had no events
        api.write([], partitions=2)
        empty = await api.get("/summary", **RANGE)
        headers = {"If-None-Match": empty.headers["etag"]}
        assert (await api.get("/summary", headers, **RANGE)).status_code == 304
        # When it has some, and its days are evicted
        api.write(events(), partitions=2)
        api.data.client.delete(api.data.prefix + "days:w")
        # Then the reader's zero is not the present answer
        answer = await api.get("/summary", headers, **RANGE)
        assert (answer.status_code, answer.json()["code"]) == (503, "no_position")
        await assert_lost(api)


@pytest.mark.parametrize("seed", range(6))
async def test_a_day_without_its_cells_is_a_503_and_a_resync(own_redis: RunningRedis, seed: int) -> None:
    # Given days of which some have bases and some a delta alone
    async with api_over(own_redis, NOW) as api:
        api.data.random.seed(seed)
        api.write(events(), partitions=2)
        # When their cells are evicted
        assert api.data.client.delete(api.data.prefix + f"cells:w:{DAY // 32}")
        # Then
        await assert_lost(api)


async def test_a_reader_that_may_not_write_answers_503_all_the_same(own_redis: RunningRedis) -> None:
    with_rights = Redis.from_url(own_redis.url)
    await with_rights.execute_command("ACL", "SETUSER", "reader", "on", ">secret", "~*", "&*", "+@all", "-@write")
    url = own_redis.url.replace("redis://", "redis://reader:secret@")
    async with api_over(own_redis, NOW, redis=url) as api:
        api.write(events(), partitions=2)
        api.data.client.delete(api.data.prefix + "days:w")
        for _ in range(2):
            answer = await api.get("/summary", **RANGE)
            assert (answer.status_code, answer.json()["code"]) == (503, "no_position")
        assert api.data.client.hexists(api.data.prefix + "positions", "0.position")
    await with_rights.aclose()


async def assert_lost(api: Api, path: str = "/summary") -> None:
    asked = RANGE if path == "/summary" else {}
    answer = await api.get(path, **asked)
    assert (answer.status_code, answer.json()["code"]) == (503, "no_position")
    assert answer.headers["retry-after"]
    held = api.data.client.hgetall(api.data.prefix + "positions")
    assert [f for f in held if f.endswith((b".position", b".token"))] == []
    answer = await api.get(path, **asked)
    assert (answer.status_code, answer.json()["code"]) == (503, "no_position")
    metrics = (await api.client.get("/metrics")).text
    assert "contacts_api_lost_reads 1.0" in metrics
