"""`/v1/ops`: how the deployment is, for who operates it and nobody else."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from httpx import ASGITransport, AsyncClient

from api.app import create_app
from cli.main import main
from stream.projection.worker_status import WorkerStatus
from stream.settings.api import ApiConfig
from stream.settings.redis import redis_client
from stream.storage.keys import Keys
from stream.version import VERSION
from tests.integration.test_api_auth import NOW, SETTINGS, token
from tests.support.api import Api, api_over, shared_redis
from tests.support.redis_data import Event
from tests.support.redis_server import RunningRedis

__all__ = ["shared_redis"]

OPS = "ops:read"
STATUS: dict[str, Any] = {
    "version": "1.2.3",
    "started_ms": int(NOW * 1000) - 60_000,
    "ready": False,
    "reason": "partition 1 is repairing",
    "counted": 12,
    "duplicates": 3,
    "rejected": {"not_json": {"count": 2, "partition": 1, "offset": 77}},
    "recent": {"events": 900, "rejected": 45},
    "partitions": {
        "0": {
            "phase": "counting",
            "lag": 0,
            "events_per_second": 4.5,
            "committed_ms": int(NOW * 1000),
            "failure": None,
        },
        "1": {"phase": "repairing", "lag": 9, "failure": "Redis is away"},
    },
    "redis_policy": "noeviction",
    "topics_differ": ["t: retention.ms is 1, wanted is 2"],
    "something": "that this API does not know",
}


async def tell(server: RunningRedis, group: str) -> None:
    """What a worker writes."""
    async with redis_client(server.url, timeout_seconds=5) as client:
        await WorkerStatus(client, Keys(group), "host:1", lambda: STATUS)._tell()


async def ops(api: Api, **claims: Any) -> tuple[int, Any]:
    headers = {"Authorization": f"Bearer {token(**claims)}"} if claims else {}
    answer = await api.client.get("/v1/ops", headers=headers)
    return answer.status_code, answer.json()


async def test_it_says_of_each_partition_and_worker_what_they_told(shared_redis: RunningRedis) -> None:
    async with api_over(shared_redis, NOW) as api:
        api.write([Event(int(NOW * 10**9), "e")], partitions=2)
        await tell(shared_redis, api.data.prefix.split(":")[1])
        status, answer = await ops(api)
        assert status == 200
        assert (answer["state"], answer["lag_seconds"]) == ("live", 0.0)
        assert (answer["partitions_expected"], answer["partitions_found"]) == (2, 2)
        first, second = answer["partitions"]
        assert (first["phase"], first["owner"], first["position"], first["events_per_second"]) == (
            "counting",
            "host:1",
            1000,
            4.5,
        )
        # What hinders is a failure.
        assert (first["failure"], second["failure"], second["lag"]) == (None, "Redis is away", 9)
        [worker] = answer["workers"]
        assert worker["rejected"] == {"not_json": {"count": 2, "partition": 1, "offset": 77}}
        assert (worker["reason"], worker["counted"], worker["duplicates"]) == ("partition 1 is repairing", 12, 3)
        assert answer["recent"] == {"events": 900, "rejected": 45, "too_many": False}
        assert (answer["redis_policy"], answer["topics_differ"], answer["apis"]) == (
            "noeviction",
            ["t: retention.ms is 1, wanted is 2"],
            [],
        )
        assert datetime.fromisoformat(worker["started_at"]) == datetime.fromtimestamp(NOW - 60, UTC)
        # A parameter that it does not have is named.
        assert (await api.client.get("/v1/ops?x=1")).status_code == 400


async def test_of_a_group_that_never_wrote_here_it_says_so(shared_redis: RunningRedis) -> None:
    async with api_over(shared_redis, NOW) as api:
        status, answer = await ops(api)
    assert status == 200
    assert (answer["state"], answer["partitions_expected"], answer["workers"]) == (None, 0, [])


async def test_a_status_goes_with_its_worker(shared_redis: RunningRedis) -> None:
    keys = Keys("gone")
    async with redis_client(shared_redis.url, timeout_seconds=5) as client:
        status = WorkerStatus(client, keys, "host:1", lambda: STATUS)
        await status._tell()
        assert 0 < await client.ttl(keys.ops_of("host:1")) <= 10
        await status.withdraw()
        assert [key async for key in client.scan_iter(match=f"*{keys.group}*")] == []
    # Where Redis is away nothing is raised.
    async with redis_client("redis://127.0.0.1:1/0", timeout_seconds=1, retries=0) as client:
        await WorkerStatus(client, keys, "host:1", lambda: STATUS).withdraw()


async def test_each_process_of_the_api_tells_of_itself_while_it_runs(shared_redis: RunningRedis) -> None:
    async with api_over(shared_redis, NOW) as api:
        group = api.data.prefix.split(":")[1]
        config = ApiConfig(redis=shared_redis.url, group=group)
        one = create_app(config, process="host:7")
        async with one.lifespan(), AsyncClient(transport=ASGITransport(one), base_url="http://one") as client:
            # Probes and metrics are no reader's.
            for path in ("/livez", "/metrics", "/v1/timezones", "/v1/timezones", "/nothing"):
                await client.get(path)
            listed: list[Any] = []
            while not listed or listed[0]["answers"] < 2:
                listed = (await ops(api))[1]["apis"]
                await asyncio.sleep(0.05)
        assert [(told["process"], told["version"], told["failed"], told["streams"]) for told in listed] == [
            ("host:7", VERSION, 0, 0)
        ]
        assert listed[0]["answers"] == 2
        assert (await ops(api))[1]["apis"] == []


async def test_a_process_that_may_not_write_is_not_listed_and_answers_all_the_same(shared_redis: RunningRedis) -> None:
    async with redis_client(shared_redis.url, timeout_seconds=5) as admin:
        await admin.execute_command("ACL", "SETUSER", "reader", "on", ">secret", "~*", "&*", "+@read", "+@transaction")
    url = shared_redis.url.replace("://", "://reader:secret@")
    app = create_app(ApiConfig(redis=url, group="readers"), process="host:8")
    async with app.lifespan(), AsyncClient(transport=ASGITransport(app), base_url="http://api") as client:
        answer = await client.get("/v1/ops")
    assert (answer.status_code, answer.json()["apis"]) == (200, [])


@pytest.mark.parametrize(
    ("claims", "expected"),
    [
        ({}, 401),
        ({"scope": "reports:read"}, 403),
        ({"scope": f"reports:read {OPS}"}, 200),
        ({"scope": [OPS]}, 200),
        ({"scope": "none"}, 403),
    ],
    ids=["none", "reports", "both", "ops", "neither"],
)
async def test_only_tokens_of_the_scope_are_told(
    shared_redis: RunningRedis, claims: dict[str, Any], expected: int
) -> None:
    async with api_over(shared_redis, NOW, **SETTINGS) as api:
        assert (await ops(api, **claims))[0] == expected


async def test_a_token_for_operations_alone_reads_no_report(shared_redis: RunningRedis) -> None:
    async with api_over(shared_redis, NOW, **SETTINGS) as api:
        api.write([Event(int(NOW * 10**9), "e")])
        headers = {"Authorization": f"Bearer {token(scope=OPS, workspaces='*')}"}
        assert (await api.get(headers=headers)).status_code == 403
        listed = await api.client.get("/v1/workspaces", headers=headers)
        assert listed.json()["workspaces"] == []


async def test_a_static_token_is_made_so(
    shared_redis: RunningRedis, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "tokens"

    def new(*words: str) -> str:
        assert main(["token", "new", "--tokens-file", str(file), "--json", *words], {}) == 0
        made: str = json.loads(capsys.readouterr().out)["token"]
        return made

    made = {
        "ops": new("--ops"),
        "both": new("--ops", "--workspace", "w"),
        "reports": new("--workspace", "w"),
    }
    assert main(["token", "new", "--tokens-file", str(file)], {}) == 2
    found = {}
    async with api_over(shared_redis, NOW, tokens_file=file) as api:
        api.write([Event(int(NOW * 10**9), "e")])
        for name, each in made.items():
            headers = {"Authorization": f"Bearer {each}"}
            told = await api.client.get("/v1/ops", headers=headers)
            found[name] = (told.status_code, (await api.get(headers=headers)).status_code)
    assert found == {"ops": (200, 403), "both": (200, 200), "reports": (403, 200)}


async def test_nothing_in_it_names_a_workspace_or_a_person(shared_redis: RunningRedis) -> None:
    async with api_over(shared_redis, NOW) as api:
        api.write([Event(int(NOW * 10**9), "e", workspace="wonderland", user="alice")])
        answer = await api.client.get("/v1/ops")
    assert "wonderland" not in answer.text
    assert "alice" not in answer.text


def test_the_group_is_what_redis_keys_say() -> None:
    assert Keys("g").ops == "cr1:g:{0}:ops"
    assert Keys("g").ops_of("host:1") == "cr1:g:{0}:ops:host:1"
    assert (Keys("g").apis, Keys("g").api_of("host:7")) == ("cr1:g:{0}:apis", "cr1:g:{0}:apis:host:7")
