"""What the API says, to readers and in its log, of a Redis that it cannot read or that lacks counts: what is wrong, and
which setting leads there.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from api.errors import CountsMissing
from tests.integration.test_api_ops import tell
from tests.support.api import BASE, Api, api_over, own_redis, shared_redis
from tests.support.authority import Authority
from tests.support.redis_data import Event
from tests.support.redis_server import RunningRedis
from tests.support.tls_redis import TlsRedis

__all__ = ["own_redis", "shared_redis"]

NOW = 1_795_651_987.0


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Lines above INFO, and those of faults that are over, since it was asked last."""
    lines = [record.getMessage() for record in caplog.records if record.name == "stream.faults"]
    caplog.clear()
    return lines


async def refusal(server: RunningRedis, url: str, caplog: pytest.LogCaptureFixture) -> tuple[str, str]:
    """What the log and the 503 say where the API reads this address."""
    caplog.set_level(logging.INFO)
    async with api_over(server, NOW, redis=url, redis_timeout_seconds=2.0) as api:
        answers = [await api.get("/summary") for _ in range(2)]
        assert [answer.status_code for answer in answers] == [503, 503]
        assert {answer.json()["code"] for answer in answers} == {"redis_unavailable"}
        [line] = said(caplog)  # of both
        return line, answers[-1].json()["detail"]


@pytest.mark.parametrize(
    ("user", "database", "says"),
    [
        ("reader:another@", 0, "Redis refuses our name or password (CONTACTS_REDIS)"),
        ("nobody:secret@", 0, "Redis refuses our name or password (CONTACTS_REDIS)"),
        ("", 0, "Redis wants a password, and CONTACTS_REDIS has none"),
        ("limited:secret@", 0, "Redis does not allow a command to our user (its ACL; CONTACTS_REDIS names the user)"),
        ("reader:secret@", 99, "Redis has no database of that number (the end of CONTACTS_REDIS)"),
    ],
)
async def test_a_redis_that_does_not_let_us_in_is_told_with_the_setting(
    own_redis: RunningRedis, caplog: pytest.LogCaptureFixture, user: str, database: int, says: str
) -> None:
    async with api_over(own_redis, NOW) as api:
        for name, rule in (("reader", "+@all"), ("limited", "-@all")):
            api.data.client.execute_command("ACL", "SETUSER", name, "on", ">secret", "~*", "&*", rule)
        api.data.client.config_set("requirepass", "of another")
        line, detail = await refusal(own_redis, f"redis://{user}127.0.0.1:{own_redis.port}/{database}", caplog)
    assert line.startswith(f"{says} (")
    assert line.endswith("; readers get 503")
    # Readers are told the same, without the server's own words, which may name users.
    assert detail == f"{says}."
    assert "secret" not in line


@pytest.mark.parametrize(
    "rule", ["-zscore", "~cr1:*:positions ~cr1:*:workspaces", "-hmget +hgetall"], ids=["command", "keys", "most"]
)
async def test_a_right_that_is_missing_is_said_once_however_often_other_reads_are_answered(
    own_redis: RunningRedis, caplog: pytest.LogCaptureFixture, rule: str
) -> None:
    caplog.set_level(logging.INFO)
    url = f"redis://limited:secret@127.0.0.1:{own_redis.port}/0"
    async with api_over(own_redis, NOW, redis=url) as api:
        api.write([Event(int(NOW) * 10**9, "e")])
        admin = api.data.client
        keys = [] if "~" in rule else ["~*"]
        admin.execute_command("ACL", "SETUSER", "limited", "on", ">secret", *keys, "&*", "+@all", *rule.split())
        # When reads that Redis refuses alternate with others, then the log says so once
        for _ in range(3):
            answer = await api.get("/summary")
            assert (answer.status_code, answer.json()["code"]) == (503, "redis_unavailable")
            await api.client.get("/readyz")
            await api.client.get("/v1/workspaces")
        [line] = said(caplog)
        assert line.startswith("Redis does not allow a command to our user (its ACL; CONTACTS_REDIS names the user) (")
        # and again when it is over: once what was refused is taken
        admin.execute_command("ACL", "SETUSER", "limited", "~*", "+@all")
        assert (await api.get("/summary")).status_code == 200
        [over] = said(caplog)
        assert over.startswith("Redis allows our user what it refused after ")


@asynccontextmanager
async def answering(words: bytes) -> AsyncIterator[str]:
    """The address of a server that is no Redis: it answers this to whatever comes, and closes."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(100)
        writer.write(words)
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        yield f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}/0"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (
            b"HTTP/1.1 400 Bad Request\r\n\r\n",
            "what listens there is no Redis, or wants TLS (rediss:// in CONTACTS_REDIS)",
        ),
        # As Kafka does.
        (b"", "Redis closed the connection: it stopped, or what listens there is no Redis or wants TLS (rediss://"),
    ],
)
async def test_a_port_of_something_else_is_told(
    shared_redis: RunningRedis, caplog: pytest.LogCaptureFixture, words: bytes, says: str
) -> None:
    async with answering(words) as url:
        line, detail = await refusal(shared_redis, url, caplog)
    assert line.startswith(says)
    assert detail.startswith(says)


async def test_tls_that_does_not_fit_is_told(
    own_redis: RunningRedis, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    (tmp_path / "others").mkdir()
    server = TlsRedis(tmp_path, Authority(tmp_path))
    try:
        server.wait()
        # Without TLS at a port with it,
        line, _ = await refusal(own_redis, f"redis://127.0.0.1:{server.port}/0", caplog)
        assert "wants TLS (rediss:// in CONTACTS_REDIS)" in line
        # with a certificate of somebody whom we do not trust,
        others = Authority(tmp_path / "others").file
        line, _ = await refusal(own_redis, f"rediss://127.0.0.1:{server.port}/0?ssl_ca_certs={others}", caplog)
        assert line.startswith("the certificate of Redis is not to be trusted (ssl_ca_certs in CONTACTS_REDIS) (")
    finally:
        server.stop()
    # and with TLS at a port without.
    line, _ = await refusal(own_redis, f"rediss://127.0.0.1:{own_redis.port}/0", caplog)
    assert line.startswith(
        "Redis does not answer in time: perhaps its port is one without TLS, and CONTACTS_REDIS says"
    )


async def test_another_group_than_the_workers_is_in_the_log_too(
    shared_redis: RunningRedis, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    async with api_over(shared_redis, NOW) as api:
        group = api.data.prefix.split(":")[1]
        # Given a group of which nothing was ever written here,
        details = [(await api.get(path)).json()["detail"] for path in ("/summary", "/users")]
        details.append((await api.client.get("/readyz?verbose")).json()["reason"])
        says = (
            "Redis holds nothing of this group, and no worker of this group reports to this Redis: none runs, or none "
            "reaches it. Emptied just now, it is filled again within seconds. Are CONTACTS_GROUP and CONTACTS_REDIS "
            "those of the workers? `contacts-report status` shows the workers"
        )
        assert details == [f"{says}."] * 3
        # then the log says it once, with which group and where,
        assert said(caplog) == [f"group {group} in {shared_redis.url}: {says}; readers get 503"]
        # and when the counts are there, that too.
        api.write([])
        await api.json("/summary")
        [line] = said(caplog)
        assert line.startswith(f"group {group} in {shared_redis.url}: readers get the counts again after ")


async def detail(api: Api) -> str:
    api.app.state.reader._workers_at = float("-inf")  # it is remembered for a second
    answer = await api.get("/summary")
    assert (answer.status_code, answer.json()["code"]) == (503, "no_position")
    told: str = answer.json()["detail"]
    return told


async def test_that_workers_send_the_counts_is_said_only_where_one_lives(shared_redis: RunningRedis) -> None:
    async with api_over(shared_redis, NOW) as api:
        group = api.data.prefix.split(":")[1]
        api.write([], partitions=2, fields={"1.position": None})
        nobody = (
            ", and no worker of this group reports to this Redis: none runs, or none reaches it. "
            "`contacts-report status` shows the workers."
        )
        assert await detail(api) == f"The counts of partition 1 of 2 are not in Redis{nobody}"
        # When a worker tells of itself,
        await tell(shared_redis, group)
        assert await detail(api) == "The counts of partition 1 of 2 are not in Redis yet; the workers are sending them."
        api.data.client.delete(f"{api.data.prefix}positions")
        assert await detail(api) == "Redis holds nothing of this group yet; its workers are sending everything."
        # and when it is gone without a word, which its place in the list outlives.
        api.data.client.delete(f"{api.data.prefix}ops:host:1")
        assert (await detail(api)).startswith(
            "Redis holds nothing of this group, and no worker of this group reports to this Redis"
        )


async def test_a_name_that_is_no_text_is_no_worker(shared_redis: RunningRedis) -> None:
    async with api_over(shared_redis, NOW) as api:
        # Given counts that are missing, and something among the workers' names that none of them wrote
        api.data.client.zadd(f"{api.data.prefix}ops", {b"\xff": 1})
        # Then readers and the page of operations are told what is missing
        assert (await detail(api)).startswith("Redis holds nothing of this group, and no worker")
        assert (await api.client.get("/v1/ops")).status_code == 200


@pytest.mark.parametrize("address", [f"{BASE}/summary", "/readyz"])
async def test_a_fault_while_a_problem_is_explained_is_a_problem_too(
    shared_redis: RunningRedis, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    async def fails(_missing: CountsMissing) -> CountsMissing:
        raise RuntimeError("a bug")

    async with api_over(shared_redis, NOW) as api:
        monkeypatch.setattr(api.app.state.reader, "explain", fails)
        answer = await api.client.get(address)
        assert (answer.status_code, answer.json()["code"]) == (500, "internal")
        assert answer.headers["content-type"] == "application/problem+json"
        [line] = [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR]
        assert line == f"A request failed: {address}"
