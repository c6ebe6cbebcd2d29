"""What is answered as it was answered before is what would be made now, for whoever may have it."""

import json
import random
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from api.http.auth import token_hash
from api.read.redis import Reader
from api.report.service import Reports
from api.unchanged import Questions
from tests.integration.test_api_auth import SECRET, token
from tests.support.api import BASE, Api, api_over, each_sum_form, own_redis, shared_redis
from tests.support.redis_data import Event, Positions
from tests.support.redis_server import RunningRedis

__all__ = ["each_sum_form", "own_redis", "shared_redis"]

NOW = datetime(2026, 11, 23, 13, 0, tzinfo=UTC).timestamp()
HOUR = 3_600 * 10**9
PATHS = ("", "/summary", "/timeline", "/sources", "/users", "/activities")


def events(number: int = 3, **more: Any) -> list[Event]:
    made: dict[str, Any] = {"user": "u", "label": "Ada", "batch": "b"} | more
    return [Event(int(NOW * 10**9) - i * HOUR, f"e{i}", **made) for i in range(number)]


def without_freshness(answer: Any) -> Any:
    return {name: value for name, value in answer.items() if name != "freshness"}


@pytest.fixture
def computed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The workspace of each report that is read with its counts."""
    read, found = Reports.read, []

    async def noted(self: Reports, workspace_id: str, *given: Any, **more: Any) -> Any:
        found.append(workspace_id)
        return await read(self, workspace_id, *given, **more)

    monkeypatch.setattr(Reports, "read", noted)
    return found


# ---- bodies --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["", "/summary", "/timeline", "/sources", "/activities"])
async def test_what_was_made_twice_is_sent_again_with_the_freshness_of_now(
    shared_redis: RunningRedis, computed: list[str], path: str
) -> None:
    asked = {"user": ["u", 'a"freshness":{"state":"live"', "none"], "period": "today", "limit": 1}
    if path != "/activities":
        del asked["limit"]
    async with api_over(shared_redis, NOW) as api:
        api.write(events(name='"freshness":{"state":"live","as_of":', label='"freshness":'))
        first = await api.json(path, **asked)
        await api.get(path, **asked)
        del computed[:]
        # When time goes by, and the worker with it, then all of it is as it was but how fresh it is
        api.clock.now += 5
        api.data.positions(Positions(api.clock.now - 1))
        answer = await api.get(path, **asked)
        assert without_freshness(answer.json()) == without_freshness(first)
        fresh = {"as_of": "2026-11-23T13:00:04.000Z", "lag_seconds": 1.0, "state": "live"}
        assert answer.json()["freshness"] == fresh | {"revision": first["freshness"]["revision"]}
        assert (answer.headers["contacts-as-of"], answer.headers["contacts-lag-seconds"]) == (fresh["as_of"], "1.0")
        assert answer.headers["etag"] == f'W/"{first["freshness"]["revision"]}"'
        assert answer.headers["content-type"] == "application/json"
        assert answer.headers.get("link") == (await api.get(path, {"Accept": "*/*, a/b"}, **asked)).headers.get("link")
        assert ("link" in answer.headers) == (path == "/activities")
        assert computed == []
        # and it is compressed for whoever wants that
        packed = await api.get(path, {"Accept-Encoding": "gzip"}, **asked)
        assert packed.json() == answer.json()
        assert (await api.client.head(BASE + path, params=asked)).headers["etag"] == answer.headers["etag"]


async def test_a_body_is_of_its_question_alone(shared_redis: RunningRedis) -> None:
    async with api_over(shared_redis, NOW) as api:
        api.write([*events(), *events(2, workspace="other", source="user")])
        questions: list[tuple[str, dict[str, Any]]] = [
            (path, asked)
            for path in PATHS
            for asked in ({}, {"period": "today"}, {"user": "u"}, {"user": "x"}, {"timezone": "Asia/Kolkata"})
        ]
        questions += [
            ("/activities", {name: value}) for name, value in (("limit", 1), ("order", "asc"), ("batch", "b"))
        ]
        found = [[await api.json(path, **asked) for path, asked in questions] for _ in range(3)]
        assert found[0] == found[1] == found[2]
        texts = {
            json.dumps(without_freshness(answer) | {"path": path})
            for answer, (path, _) in zip(found[2], questions, strict=True)
        }
        assert len(texts) == len(questions)
        others = [(await api.client.get(BASE.replace("/w/", "/other/"))).json()["added"]["count"] for _ in range(3)]
        assert others == [2, 2, 2]


@pytest.mark.usefixtures("each_sum_form")
@pytest.mark.parametrize("seed", range(4))
async def test_whatever_happens_the_answer_is_that_of_an_api_that_remembers_nothing(
    shared_redis: RunningRedis, seed: int
) -> None:
    rng = random.Random(seed)
    async with api_over(shared_redis, NOW) as api, api_over(shared_redis, NOW, cache_bytes=0) as other:
        other.data.prefix = api.data.prefix
        other.app.state.reader.keys = api.app.state.reader.keys
        other.app.state.reader._ask_positions = api.app.state.reader._ask_positions
        api.write(events())
        tags: dict[Any, str] = {}
        for _ in range(60):
            match rng.randrange(6):
                case 0:
                    api.write(events(rng.randrange(1, 5), label=rng.choice(("Ada", "Eve"))))
                case 1:
                    api.clock.now += rng.choice((1, 60, 900, 7_200))
                case 2:
                    api.data.positions(Positions(api.clock.now - rng.choice((0, 1, 100))))
            other.clock.now = api.clock.now
            path, asked = rng.choice(PATHS), rng.choice(({}, {"period": "today"}, {"period": "all"}, {"user": "u"}))
            expected = await other.json(path, **asked)
            question = path, json.dumps(asked)
            headers = {"If-None-Match": tags[question]} if question in tags and rng.random() < 0.5 else {}
            answer = await api.get(path, headers, **asked)
            revision = expected["freshness"]["revision"]
            assert answer.headers["etag"] == f'W/"{revision}"'
            assert answer.headers["contacts-as-of"] == expected["freshness"]["as_of"]
            assert (answer.status_code == 304) == (headers.get("If-None-Match") == f'W/"{revision}"')
            if answer.status_code == 200:
                assert answer.json() == expected
            tags[question] = answer.headers["etag"]


async def test_a_body_is_of_now_whatever_was_read_a_moment_ago(shared_redis: RunningRedis) -> None:
    """Whoever has heard of a change, from another process perhaps, asks for what changed once."""
    async with api_over(shared_redis, NOW, positions_cache_ms=60_000) as api:
        for number in range(1, 4):
            api.write(events(number))
            for _ in range(3):
                assert (await api.json("/summary"))["added"]["count"] == number
                assert (await api.json("/activities"))["total"] == number


async def test_what_changes_each_time_is_asked_for_once(shared_redis: RunningRedis) -> None:
    """To look whether a body still holds is a read of Redis: not one for those that never do."""
    async with api_over(shared_redis, NOW) as api:
        reads = []
        for number in range(1, 6):
            api.write(events(number))
            await api.json("/summary")
            before = api.app.state.reader.reads
            api.write(events(number, label="Eve"))
            await api.json("/summary")
            reads.append(api.app.state.reader.reads - before)
        assert max(reads) == 2  # the days were read in one, and those that moved in the other
        # and one whose body holds is asked for once too
        await api.json("/summary")
        await api.json("/summary")
        before = api.app.state.reader.reads
        await api.json("/summary")
        assert api.app.state.reader.reads - before == 1


# ---- 304 at once ---------------------------------------------------------------------------------------------


async def unchanged(api: Api, path: str = "", token_: str | None = None) -> httpx.Response:
    """A request that was answered 304 twice, so that the next one may be at once."""
    headers = {} if token_ is None else {"Authorization": f"Bearer {token_}"}
    tag = (await api.get(path, headers)).headers["etag"]
    answers = [await api.get(path, headers | {"If-None-Match": tag}) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [304, 304]
    return answers[-1]


@pytest.fixture
def parsed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The path of each request that is left to its endpoint, and the workspace of each state that is read."""
    find, state, found = Questions.find, Reader.state, []

    def noted(self: Questions, request: Any) -> Any:
        known = find(self, request)
        if known is None and request.path.startswith(BASE):
            found.append(request.path)
        return known

    async def noted_state(self: Reader, workspace_id: str, **more: Any) -> Any:
        found.append(workspace_id)
        return await state(self, workspace_id, **more)

    monkeypatch.setattr(Questions, "find", noted)
    monkeypatch.setattr(Reader, "state", noted_state)
    return found


@pytest.mark.parametrize("path", PATHS)
async def test_a_304_at_once_is_the_304_that_the_endpoint_gives(
    shared_redis: RunningRedis, parsed: list[str], path: str
) -> None:
    async with api_over(shared_redis, NOW, positions_cache_ms=60_000) as api:
        api.write(events())
        tag = (await api.get(path)).headers["etag"]
        first = await api.get(path, {"If-None-Match": tag})
        del parsed[:]
        for condition in (tag, f'"x", {tag}', tag.removeprefix("W/"), "*"):
            answer = await api.get(path, {"If-None-Match": condition})
            assert (answer.status_code, answer.content, answer.headers) == (304, b"", first.headers)
        assert (await api.client.head(BASE + path, headers={"If-None-Match": tag})).headers == first.headers
        assert parsed == []
        # how fresh it is, is said anew
        api.clock.now += 2
        assert (await api.get(path, {"If-None-Match": tag})).headers["contacts-lag-seconds"] == "2.0"
        # They are counted as any other
        resource = path.strip("/") or "report"
        assert (
            f'contacts_api_requests_total{{resource="{resource}",status="304"}} 7.0'
            in (await api.client.get("/metrics")).text
        )
        assert parsed == []
        # Whoever has another one gets the present one
        assert (await api.get(path, {"If-None-Match": 'W/"another"'})).status_code == 200


async def test_a_304_at_once_is_no_older_than_what_is_remembered(shared_redis: RunningRedis) -> None:
    async with api_over(shared_redis, NOW, positions_cache_ms=1) as api:
        api.write(events())
        tag = (await unchanged(api)).headers["etag"]
        api.write(events(4))
        while (answer := await api.get("", {"If-None-Match": tag})).status_code == 304:
            pass
        assert answer.json()["added"]["count"] == 4


async def test_a_304_that_redis_is_asked_for_is_asked_for_once(own_redis: RunningRedis) -> None:
    async with api_over(own_redis, NOW) as api:
        api.write(events())
        tag = (await unchanged(api)).headers["etag"]

        async def ask() -> tuple[int, int]:
            """The status of an answer, and the reads of Redis that it took."""
            before = api.app.state.reader.reads
            answer = await api.get("", {"If-None-Match": tag})
            if answer.status_code == 503:
                problem = answer.json()
                assert (problem["code"], answer.headers["content-type"]) == (code, "application/problem+json")
                assert answer.headers["vary"] == "Accept, Accept-Encoding, Authorization"
            return answer.status_code, api.app.state.reader.reads - before

        assert await ask() == (304, 1)
        api.write(events(4))
        assert await ask() == (200, 3)  # the state, the days, and those that moved
        code = "no_position"
        tag = (await unchanged(api)).headers["etag"]
        api.data.positions(Positions(NOW, fields={"partitions": 2}))
        status, _ = await ask()
        assert status == 503
        code = "redis_unavailable"
        own_redis.stop()
        assert await ask() == (503, 1)
        assert (
            'contacts_api_requests_total{resource="report",status="503"} 2.0' in api.app.state.metrics.text().decode()
        )


async def test_half_of_the_counts_are_no_reason_for_a_304(shared_redis: RunningRedis) -> None:
    async with api_over(shared_redis, NOW, positions_cache_ms=60_000) as api:
        api.write(events())
        tag = (await unchanged(api)).headers["etag"]
        api.data.positions(Positions(NOW, fields={"partitions": 2}))
        api.app.state.memory.forget(("known", "w"))
        for _ in range(2):  # the second time, the state is known
            assert (await api.get("", {"If-None-Match": tag})).status_code == 503


async def test_time_alone_may_end_a_304(shared_redis: RunningRedis) -> None:
    async with api_over(shared_redis, NOW, positions_cache_ms=60_000, stalled_after_seconds=60) as api:
        api.write(events())
        for seconds in (30, 100, 900, 40_000):  # behind, stalled, the next quarter-hour, the next day
            tag = (await unchanged(api)).headers["etag"]
            api.clock.now += seconds
            headers = {"If-None-Match": tag}
            assert (await api.get("", headers)).status_code == 200, seconds


async def test_who_may_not_have_it_gets_no_304(shared_redis: RunningRedis, tmp_path: Path) -> None:
    static = "s" * 43
    tokens = tmp_path / "tokens"
    tokens.write_text(json.dumps({"sha256": token_hash(static), "workspaces": ["w"]}))
    settings: dict[str, Any] = {"jwt_secret": SECRET, "tokens_file": tokens, "positions_cache_ms": 60_000}
    async with api_over(shared_redis, NOW, **settings) as api:
        api.write(events())
        good = token(exp=NOW + 5)
        tag = (await unchanged(api, token_=good)).headers["etag"]

        async def status(token_: str | None, path: str = "") -> int:
            headers = {"If-None-Match": tag} | ({} if token_ is None else {"Authorization": f"Bearer {token_}"})
            return (await api.client.get(BASE + path, headers=headers)).status_code

        for _ in range(2):  # the second time, who asks is known
            assert [await status(one) for one in (None, "", "x", good + "x")] == [401] * 4
            assert await status(token(workspaces=["other"])) == 403
        assert [await status(token(scope="other")), await status(static), await status(good)] == [403, 304, 304]
        # A parameter or a format that is wrong is told, whatever the caller has
        assert [await status(good, "?period=x"), await status(good, ".xml"), await status(good, "?bom=1")] == [
            400,
            404,
            400,
        ]
        assert (
            await api.get("", {"If-None-Match": tag, "Authorization": f"Bearer {good}", "Accept": "a/b"})
        ).status_code == 406
        # and a token that has expired, or was taken out of the file, opens nothing any more
        api.clock.now = NOW + 5
        assert await status(good) == 401
        assert await status(static) == 304
        tokens.write_text("")
        api.app.state.authentication._tokens._checked_at = 0
        assert await status(static) == 401


async def test_what_is_odd_is_left_to_the_endpoints(shared_redis: RunningRedis) -> None:
    origin = "https://app.example"
    async with api_over(shared_redis, NOW, positions_cache_ms=60_000, api_cors_origins=(origin,)) as api:
        api.write(events())
        tag = (await unchanged(api)).headers["etag"]
        answer = await api.get("", {"If-None-Match": tag, "Origin": origin})
        assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (304, origin)
        twice = httpx.Headers([("If-None-Match", '"x"'), ("If-None-Match", tag)])
        assert (await api.client.get(BASE, headers=twice)).status_code == 304
        assert (await api.client.post(BASE, headers={"If-None-Match": tag})).status_code == 405
        assert (await api.get("", {"If-None-Match": tag, "Host": "a b"})).status_code == 400
