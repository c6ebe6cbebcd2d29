"""Live streams over a real server and a real Redis: what is sent, when, and to whom."""

import asyncio
import json
import os
import signal
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import jwt
import pytest
import redis

from api.cache import Memory
from api.http import auth
from api.http.auth import EVERYONE, Authentication
from api.live import group, listener
from api.live import hub as live
from api.live.access import Access
from api.read import subscription
from cli.local.ports import listens
from stream.settings.api import ApiConfig
from tests.support.api import BASE, api_over, own_redis, serving, shared_redis
from tests.support.ports import free_port
from tests.support.redis_data import Event, Positions, RedisData
from tests.support.redis_server import RunningRedis

__all__ = ["own_redis", "shared_redis"]

NOW = datetime(2026, 11, 23, 13, 3, tzinfo=UTC).timestamp()
SECRET = "0123456789abcdef0123456789abcdef"


def events(number: int) -> list[Event]:
    return [Event(int(NOW - 3_600 * i) * 10**9, f"e{i}", offset=i) for i in range(number)]


class Stream:
    """The events of one stream, one after the other."""

    def __init__(self, answer: httpx.Response) -> None:
        self.answer = answer
        self._lines = answer.aiter_lines()

    async def next(self, name: str | None = None) -> dict[str, Any]:
        """The next event (of that name), with its data read."""
        while True:
            event: dict[str, Any] = {}
            async with asyncio.timeout(20):
                while line := await anext(self._lines):
                    field, _, value = line.partition(": ")
                    event[field] = value
            if "data" in event:
                event["data"] = json.loads(event["data"])
            if name is None or event.get("event") == name:
                return event

    async def ended(self) -> bool:
        async with asyncio.timeout(20):
            return [line async for line in self._lines] == []


@asynccontextmanager
async def listening(
    client: httpx.AsyncClient, headers: dict[str, str] | None = None, **asked: Any
) -> AsyncIterator[Stream]:
    async with client.stream("GET", f"{BASE}/live", params=asked, headers=headers) as answer:
        assert answer.status_code == 200
        assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
        stream = Stream(answer)
        assert await stream.next() == {"retry": "2000"}
        yield stream


async def eventually(check: Any) -> None:
    async with asyncio.timeout(20):
        while not check():
            await asyncio.sleep(0.01)


async def test_a_report_at_once_and_again_when_it_changed(shared_redis: RunningRedis) -> None:
    async with serving(shared_redis, NOW) as (api, client):
        api.write(events(1))
        async with listening(client, period="today") as stream:
            first = await stream.next()
            assert (first["event"], first["data"]["added"]["count"]) == ("report", 1)
            assert first["id"] == first["data"]["freshness"]["revision"]
            assert first["id"] == (await api.json(period="today"))["freshness"]["revision"]
            api.write(events(2))
            second = await stream.next("report")
            assert (second["data"]["added"]["count"], second["id"] != first["id"]) == (2, True)


async def test_many_listeners_share_one_computation(shared_redis: RunningRedis) -> None:
    async with serving(shared_redis, NOW) as (api, client):
        api.write(events(1))
        async with (
            listening(client, period="today") as one,
            listening(client, period="today") as two,
            listening(client, period="yesterday") as other,
        ):
            counts = [(await stream.next("report"))["data"]["added"]["count"] for stream in (one, two, other)]
            assert counts == [1, 1, 0]
            metrics = api.app.state.metrics
            # two of them, and again each when the subscription was there
            assert 2 <= metrics.live_computations._value.get() <= 4
            assert metrics.live_listeners._value.get() == 3
            for number in (2, 3, 4, 5):
                api.write(events(number))
            # what came within a second is one more report at most, behind the one that was due
            while (await one.next("report"))["data"]["added"]["count"] < 5:
                pass
            while (await two.next("report"))["data"]["added"]["count"] < 5:
                pass
            assert metrics.live_computations._value.get() <= 8
        await eventually(lambda: metrics.live_listeners._value.get() == 0)
        assert api.app.state.hub._groups == {}


async def test_who_has_the_present_report_is_sent_none(
    shared_redis: RunningRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(group, "FRESHNESS_SECONDS", 0.3)
    async with serving(shared_redis, NOW) as (api, client):
        api.write(events(1))
        revision = (await api.json())["freshness"]["revision"]
        for in_header in (True, False):
            headers = {"Last-Event-ID": revision} if in_header else {}
            asked = {} if in_header else {"last_event_id": revision}
            async with listening(client, headers, **asked) as stream:
                event = await stream.next()
                assert (event["event"], event["data"]["revision"]) == ("freshness", revision)
                # who comes without it is sent the report
                async with listening(client) as other:
                    assert (await other.next())["id"] == revision
                api.write(events(2))
                assert (await stream.next("report"))["data"]["added"]["count"] == 2
                revision = (await api.json())["freshness"]["revision"]
        async with listening(client, {"Last-Event-ID": "older"}) as stream:
            assert (await stream.next())["event"] == "report"


async def test_freshness_is_told_again_and_again(shared_redis: RunningRedis, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(group, "FRESHNESS_SECONDS", 0.2)
    async with serving(shared_redis, NOW) as (api, client):
        api.write(events(1))
        async with listening(client) as stream:
            report = await stream.next("report")
            told = await stream.next()
            assert (told["event"], told["data"]) == ("freshness", report["data"]["freshness"])
            assert "id" not in told
            api.data.positions(Positions(NOW - 3))
            while (await stream.next("freshness"))["data"]["lag_seconds"] != 3.0:
                pass


@pytest.mark.parametrize(
    ("asked", "later"),
    [
        ({"period": "today"}, "2026-11-24T00:00:00+00:00"),
        ({"period": "last_7_days", "timezone": "Asia/Kathmandu"}, "2026-11-23T18:15:00+00:00"),
        ({"period": "today", "compare": "previous_period"}, "2026-11-23T13:15:00+00:00"),
        ({"from": "2026-11-23", "to": "2026-11-24", "interval": "hour"}, "2026-11-23T14:00:00+00:00"),
    ],
)
async def test_time_alone_changes_a_report(shared_redis: RunningRedis, asked: dict[str, str], later: str) -> None:
    async with serving(shared_redis, NOW) as (api, client):
        api.write(events(1))
        async with listening(client, **asked) as stream:
            first = await stream.next("report")
            api.clock.now = datetime.fromisoformat(later).timestamp()
            api.data.positions(Positions(api.clock.now))
            second = await stream.next("report")
            assert second["id"] != first["id"]
            assert second["data"]["query"] == (await api.json(**asked))["query"]


async def test_a_stream_ends_with_its_token(shared_redis: RunningRedis) -> None:
    async with serving(shared_redis, NOW, jwt_secret=SECRET) as (api, client):
        api.write(events(1))
        claims = {"exp": NOW + 1, "workspaces": "*", "scope": "reports:read"}
        headers = {"Authorization": f"Bearer {jwt.encode(claims, SECRET)}"}
        async with listening(client, headers) as stream:
            await stream.next("report")
            api.clock.now += 2
            assert await stream.ended()
        assert (await client.get(f"{BASE}/live")).status_code == 401


async def test_a_stream_ends_when_its_token_is_taken_out_of_the_file(
    shared_redis: RunningRedis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listener, "RENEW_SECONDS", 0.2)
    monkeypatch.setattr(auth, "FILE_CHECK_SECONDS", 0.0)
    path = tmp_path / "tokens"
    lines = [
        json.dumps({"sha256": auth.token_hash(name), "workspaces": workspaces})
        for name, workspaces in (("one", ["w"]), ("two", ["w"]), ("three", "*"))
    ]
    path.write_text("\n".join(lines))
    async with serving(shared_redis, NOW, tokens_file=path) as (api, client):
        api.write(events(1))
        async with (
            listening(client, {"Authorization": "Bearer one"}) as one,
            listening(client, {"Authorization": "Bearer two"}) as two,
            listening(client, {"Authorization": "Bearer three"}) as three,
        ):
            for stream in (one, two, three):
                await stream.next("report")
            # When one is taken out, and another one is for another workspace from now on
            path.write_text("\n".join([lines[1].replace('"w"', '"v"'), lines[2]]))
            # Then both streams end, and the third goes on
            assert await one.ended()
            assert await two.ended()
            api.write(events(2))
            assert (await three.next("report"))["data"]["added"]["count"] == 2


async def test_a_principal_and_a_process_have_only_so_many_streams(shared_redis: RunningRedis) -> None:
    def bearer(**claims: Any) -> dict[str, str]:
        made = {"exp": NOW + 60, "workspaces": "*", "scope": "reports:read"} | claims
        return {"Authorization": f"Bearer {jwt.encode(made, SECRET)}"}

    async def refused(client: httpx.AsyncClient, headers: dict[str, str]) -> tuple[int, str]:
        answer = await client.get(f"{BASE}/live", headers=headers)
        assert int(answer.headers["retry-after"]) > 0
        return answer.status_code, answer.json()["code"]

    limits = {"live_streams": 4, "live_streams_per_principal": 2}
    async with serving(shared_redis, NOW, jwt_secret=SECRET, **limits) as (api, client):
        api.write(events(1))
        ada = [bearer(sub="ada", jti=str(number)) for number in range(3)]
        async with listening(client, ada[0]), listening(client, ada[1]):
            # another token of the same subject is refused; others are not
            assert await refused(client, ada[2]) == (429, "too_many_streams")
            async with listening(client, bearer(sub="bob")):
                async with listening(client, bearer()):
                    assert await refused(client, bearer(sub="eve")) == (503, "streams_full")
                    # all else is answered
                    assert (await client.get(BASE, headers=ada[2])).status_code == 200
                    assert (await client.get("/livez")).status_code == 200
                await eventually(lambda: api.app.state.metrics.live_listeners._value.get() == 3)
                async with listening(client, bearer(sub="eve")):
                    pass
        await eventually(lambda: api.app.state.metrics.live_listeners._value.get() == 0)
        async with listening(client, ada[2]):
            pass


async def test_reports_of_streams_are_held_within_the_limit_of_memory(
    shared_redis: RunningRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "LEAST_HELD_BYTES", 10_000)
    async with serving(shared_redis, NOW, cache_bytes=100_000) as (api, client):
        api.write(events(1))
        memory = api.app.state.memory
        asked = {"from": "2026-10-01", "to": "2026-11-10", "interval": "hour"}
        async with listening(client, **asked) as stream:
            await stream.next("report")
            # Given a report of a thousand hours, which takes all the memory that there is
            assert memory.held_bytes > 100_000
            # Then another one is refused, and one more reader of the same one is not
            answer = await client.get(f"{BASE}/live", params={"period": "yesterday"})
            assert (answer.status_code, answer.json()["code"]) == (503, "streams_full")
            async with listening(client, **asked) as same:
                await same.next("report")
        await eventually(lambda: memory.held_bytes == 0)
        async with listening(client, period="yesterday") as other:
            await other.next("report")


async def test_a_subscription_that_falls_silent_is_made_again(
    shared_redis: RunningRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(group, "FRESHNESS_SECONDS", 3_600.0)
    monkeypatch.setattr(subscription, "KEEP_ALIVE_SECONDS", 0.3)
    async with forgetful_proxy(shared_redis.port) as proxy:
        proxied = {"redis": f"redis://127.0.0.1:{proxy.port}/0", "redis_timeout_seconds": 1.0}
        async with serving(shared_redis, NOW, **proxied) as (api, client):
            api.write(events(1))
            async with listening(client) as stream:
                await stream.next("report")
                await eventually(lambda: api.app.state.hub._subscribed)
                # Given connections that take and give nothing any more, without being closed
                proxy.forget()
                # When something changes, then it is heard all the same, by a new connection
                api.write(events(2))
                assert (await stream.next("report"))["data"]["added"]["count"] == 2
                api.write(events(3))
                assert (await stream.next("report"))["data"]["added"]["count"] == 3


class Proxy:
    """Passes connections on to a port of this machine, until it forgets those that there are."""

    def __init__(self, to_port: int) -> None:
        self.port = 0
        self._to_port = to_port
        self._relays: list[asyncio.Task[None]] = []

    def forget(self) -> None:
        for relay in self._relays:
            relay.cancel()

    async def serve(self, from_them: asyncio.StreamReader, to_them: asyncio.StreamWriter) -> None:
        from_server, to_server = await asyncio.open_connection("127.0.0.1", self._to_port)
        for source, target in ((from_them, to_server), (from_server, to_them)):
            self._relays.append(asyncio.create_task(self._relay(source, target)))

    async def _relay(self, source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        while piece := await source.read(65_536):
            target.write(piece)


@asynccontextmanager
async def forgetful_proxy(to_port: int) -> AsyncIterator[Proxy]:
    proxy = Proxy(to_port)
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
    proxy.port = server.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        proxy.forget()
        server.close()


@pytest.mark.parametrize("payload", [b"\xff\xfe", b"", b"no workspace", b"\n" * 1_000])
async def test_whatever_is_published_does_not_end_the_subscription(
    shared_redis: RunningRedis, payload: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(group, "FRESHNESS_SECONDS", 3_600.0)
    async with serving(shared_redis, NOW) as (api, client):
        api.write(events(1))
        async with listening(client) as stream:
            await stream.next("report")
            await eventually(lambda: api.app.state.hub._subscribed)
            api.data.client.publish(api.data.prefix + "changes", payload)
            api.write(events(2))
            assert (await stream.next("report"))["data"]["added"]["count"] == 2


async def test_what_goes_wrong_while_changes_are_heard_is_logged_and_they_are_heard_again(
    shared_redis: RunningRedis, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(group, "FRESHNESS_SECONDS", 3_600.0)
    async with serving(shared_redis, NOW) as (api, client):
        api.write(events(1))
        hub = api.app.state.hub
        async with listening(client) as stream:
            await stream.next("report")
            await eventually(lambda: hub._subscribed)
            with monkeypatch.context() as broken:
                broken.setattr(hub, "_by_workspace", None)
                api.write(events(2))
                await eventually(lambda: "subscribed to again" in caplog.text)
            assert (await stream.next("report"))["data"]["added"]["count"] == 2
            # so does the clock of the streams
            await eventually(lambda: hub._subscribed)
            with monkeypatch.context() as broken:
                broken.setattr(api.app.state.reader, "ping", None)
                await eventually(lambda: "clock of live reports stumbled" in caplog.text)
            api.clock.now += 86_400
            api.data.positions(Positions(api.clock.now))
            assert (await stream.next("report"))["data"]["query"]["to"] == "2026-11-24"


async def test_a_report_that_cannot_be_made_ends_its_streams_with_a_word(
    shared_redis: RunningRedis, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with serving(shared_redis, NOW) as (api, client):
        api.write(events(1))
        async with listening(client) as stream:
            await stream.next("report")
            monkeypatch.setattr(api.app.state.reports, "stamp_report", None)
            api.write(events(2))
            assert await stream.ended()
        assert "The live report of w ends" in caplog.text


async def test_a_stream_outlives_redis(own_redis: RunningRedis, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(group, "FRESHNESS_SECONDS", 0.5)
    async with serving(own_redis, NOW) as (api, client):
        api.write(events(1))
        async with listening(client) as stream:
            await stream.next("report")
            own_redis.stop()
            assert (await client.get(f"{BASE}/live")).status_code == 503
            own_redis.start()
            api.write(events(3))
            assert (await stream.next("report"))["data"]["added"]["count"] == 3
            # and its subscription is there again
            api.write(events(4))
            assert (await stream.next("report"))["data"]["added"]["count"] == 4


async def test_closing_ends_every_stream(shared_redis: RunningRedis) -> None:
    async with serving(shared_redis, NOW) as (api, client):
        api.write(events(1))
        async with listening(client) as stream:
            await stream.next("report")
            api.app.state.hub.close()
            assert await stream.ended()


async def test_a_reader_that_is_too_slow_is_dropped(
    shared_redis: RunningRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listener, "SEND_SECONDS", 0.2)
    async with api_over(shared_redis, NOW) as api:
        api.write(events(1))
        answer = await api.app.state.hub.listen(
            "w", _query(), None, Access(Authentication(ApiConfig(), Memory(0)), None, "w", EVERYONE)
        )

        async def receive() -> dict[str, Any]:
            await asyncio.Event().wait()
            return {}

        async def send(_message: Any) -> None:
            await asyncio.Event().wait()

        async with asyncio.timeout(20):
            await answer.run(receive, send)
        assert api.app.state.metrics.live_dropped._value.get() == 1
        assert api.app.state.hub._groups == {}


async def test_wrong_questions_are_problems(shared_redis: RunningRedis) -> None:
    async with api_over(shared_redis, NOW) as api:
        api.write([Event(10**18, "first", offset=1)])
        for asked in ({"perid": "today"}, {"period": "all", "interval": "day"}):
            answer = await api.get("/live", **asked)
            assert (answer.status_code, answer.json()["code"]) == (400, "bad_parameter")
        assert api.app.state.hub._groups == {}


def _query() -> Any:
    from api.query.question import LIVE_PARAMETERS, Parameters, read_query

    return read_query(Parameters([], LIVE_PARAMETERS), int(NOW) // 900)


async def test_a_process_that_is_told_to_stop_ends_its_streams(shared_redis: RunningRedis) -> None:
    data = RedisData(redis.Redis.from_url(shared_redis.url), "stopping")
    data.positions(Positions(time.time()))
    data.write(events(1))
    port = free_port()
    environ = os.environ | {
        "CONTACTS_REDIS": shared_redis.url,
        "CONTACTS_GROUP": "stopping",
        "CONTACTS_API_PORT": str(port),
    }
    process = await asyncio.create_subprocess_exec(sys.executable, "-m", "cli.main", "api", env=environ)
    try:
        await eventually(lambda: listens(port))
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=30) as client:
            async with listening(client) as stream:
                await stream.next("report")
                process.send_signal(signal.SIGTERM)
                assert await stream.ended()
        async with asyncio.timeout(30):
            assert await process.wait() in (0, -signal.SIGTERM)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def test_what_changed_just_before_is_not_missed(
    shared_redis: RunningRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody listened to it yet when it was published, and the state that is remembered does not have it."""
    monkeypatch.setattr(group, "FRESHNESS_SECONDS", 3_600.0)
    async with serving(shared_redis, NOW, positions_cache_ms=60_000) as (api, client):
        api.write(events(1))
        async with listening(client, period="yesterday") as other:
            await other.next("report")
            await eventually(lambda: api.app.state.hub._subscribed)
            revision = (await api.json())["freshness"]["revision"]
            api.write(events(2))
            async with listening(client, {"Last-Event-ID": revision}) as stream:
                assert (await stream.next())["data"]["added"]["count"] == 2


async def test_who_has_a_newer_report_than_the_group_is_not_sent_the_older_one(
    shared_redis: RunningRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(group, "INTERVAL_SECONDS", 3.0)
    async with serving(shared_redis, NOW) as (api, client):
        api.write(events(1))
        async with listening(client) as first:
            await first.next("report")
            api.write(events(2))
            revision = (await api.json())["freshness"]["revision"]
            async with listening(client, {"Last-Event-ID": revision}) as stream:
                assert (await stream.next("report"))["data"]["added"]["count"] == 2


async def test_a_range_that_grows_too_long_ends_its_own_stream_and_no_other(shared_redis: RunningRedis) -> None:
    # Given the last day on which this year has few enough hours
    last_day = datetime(2026, 2, 19, 12, tzinfo=UTC).timestamp()
    async with serving(shared_redis, last_day) as (api, client):
        api.write([])
        async with (
            listening(client, period="this_year", interval="hour") as growing,
            listening(client, period="today") as other,
        ):
            await growing.next("report")
            assert (await other.next("report"))["data"]["query"]["to"] == "2026-02-19"
            # When the next one comes
            api.clock.now += 86_400
            api.data.positions(Positions(api.clock.now))
            # Then that stream ends, and asking again is answered; the other goes on
            assert await growing.ended()
            assert (await other.next("report"))["data"]["query"]["to"] == "2026-02-20"
        answer = await client.get(f"{BASE}/live", params={"period": "this_year", "interval": "hour"})
        assert answer.status_code == 400
