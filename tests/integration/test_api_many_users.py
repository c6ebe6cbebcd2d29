"""Workspaces of many users: names are read in pieces and kept, and the list of all users comes in pieces."""

import asyncio
import csv
import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import hiredis
import pytest

from api.report import compiled, known_names, user_fold
from stream import slices
from stream.settings.redis import Command
from tests.support.api import BASE, Api, api_over, each_sum_form, shared_redis
from tests.support.redis_data import DAY, Event
from tests.support.redis_server import RunningRedis

__all__ = ["each_sum_form", "shared_redis"]

pytestmark = pytest.mark.usefixtures("each_sum_form")

NOW = datetime(2026, 11, 23, 13, 0, tzinfo=UTC).timestamp()
MOMENT = int(datetime(2026, 11, 23, 1, tzinfo=UTC).timestamp()) * 10**9
MANY = 4_500
ASKED = {"period": "today"}


def events(users: int = MANY) -> list[Event]:
    """User i has i % 3 + 1 contacts added; every other one has a label."""
    return [
        Event(MOMENT, f"{i}.{n}", user=f"u{i:05d}", label=f"Name {i % 977}" if i % 2 else None, offset=3 * i + n)
        for i in range(users)
        for n in range(i % 3 + 1)
    ]


def commands_of(api: Api, monkeypatch: pytest.MonkeyPatch) -> list[Sequence[Any]]:
    """All that is sent to Redis from now on, as words."""
    reader, sent = api.app.state.reader, []
    transaction = reader._connection.transaction

    async def noting(commands: Sequence[Command]) -> Any:
        some = list(commands)
        sent.extend(words_of(command) if isinstance(command, bytes) else command for command in some)
        return await transaction(some)

    monkeypatch.setattr(reader._connection, "transaction", noting)
    return sent


def words_of(command: bytes) -> list[bytes]:
    """As a server reads it."""
    reader = hiredis.Reader()
    reader.feed(command)
    words: list[bytes] = reader.gets()
    return words


def scans(sent: list[Sequence[Any]]) -> int:
    return sum(command[0] == "HSCAN" for command in sent)


async def test_all_users_come_in_pieces_with_their_labels(
    shared_redis: RunningRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given more users than are labelled at once
    async with api_over(shared_redis, NOW) as api:
        api.write([*events(), Event(MOMENT, "none", "deleted", offset=10**6)])
        sent = commands_of(api, monkeypatch)
        # When all of them are asked for
        answer = await api.get("/users", **ASKED)
        # Then each is there once, in order, with the latest label, and no read asks for them all
        users = [
            {
                "user_id": f"u{i:05d}",
                "user_name": f"Name {i % 977}" if i % 2 else None,
                "added": i % 3 + 1,
                "deleted": 0,
            }
            for i in range(MANY)
        ]
        users.sort(key=lambda user: (-user["added"], user["user_id"]))  # type: ignore[operator]
        users.append({"user_id": None, "user_name": None, "added": 0, "deleted": 1})
        body = answer.json()
        assert body["users"] == users
        assert list(body) == ["query", "freshness", "users", "warnings"]
        assert max(len(command) for command in sent) < 2_100
        # ... as CSV too, and the revision is the answer's
        table = (await api.get("/users.csv", **ASKED)).text
        rows = [["" if cell is None else str(cell) for cell in user.values()] for user in users]
        assert list(csv.reader(table.splitlines())) == [["user_id", "user_name", "added", "deleted"], *rows]
        assert answer.headers["etag"] == f'W/"{body["freshness"]["revision"]}"'
        assert (await api.get("/users", {"If-None-Match": answer.headers["etag"]}, **ASKED)).status_code == 304
        head = await api.client.head(f"{BASE}/users", params=ASKED)
        assert (head.status_code, head.content) == (200, b"")


async def test_users_in_pieces_warn_and_filter_like_few(shared_redis: RunningRedis) -> None:
    async with api_over(shared_redis, NOW) as api:
        api.write(events())
        body = json.loads((await api.get("/users", **ASKED, source="none,web")).content)
        assert len(body["users"]) == MANY
        assert [(warning["code"], warning["value"]) for warning in body["warnings"]] == [("unknown_source", "web")]
        few = (await api.json("/users", **ASKED, user="u00007,nobody"))["users"]
        assert few == [{"user_id": "u00007", "user_name": "Name 7", "added": 2, "deleted": 0}]


async def test_names_are_read_in_pieces_and_again_only_where_something_changed(
    shared_redis: RunningRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with api_over(shared_redis, NOW) as api:
        api.write(events())
        sent = commands_of(api, monkeypatch)
        first = await api.json("/filters")
        assert scans(sent) > 1
        assert first["users"][0] == {"user_id": "u00977", "user_name": "Name 0"}
        assert first["users_omitted"] == {"count": MANY - 500}
        # While nothing changes, they are known, whatever is looked for
        sent.clear()
        assert (await api.json("/filters", limit=5_000, q="NAME 7"))["users_omitted"] == {"count": 0}
        assert await api.json("/filters") == first
        assert scans(sent) == 0
        # When a label changes, and a user comes, then both are there
        api.write([*events(), Event(MOMENT, "a", user="u00977", label="Aa", offset=10**6),
                   Event(MOMENT, "b", user="new", source="web", offset=10**6 + 1)])  # fmt: skip
        after = await api.json("/filters")
        assert after["users"][0] == {"user_id": "u00977", "user_name": "Aa"}
        assert after["users_omitted"] == {"count": MANY + 1 - 500}
        assert "web" in [source["source"] for source in after["sources"]]
        assert (await api.json("/filters", q="new"))["users"] == [{"user_id": "new", "user_name": None}]
        assert scans(sent) > 1


async def test_names_of_many_users_may_be_some_seconds_old_and_say_so(
    shared_redis: RunningRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given names that are known, of more users than are read at every change
    monkeypatch.setattr(known_names, "MANY_USERS", 100)
    async with api_over(shared_redis, NOW) as api:
        api.write(events(200), as_of=NOW - 4)
        first = await api.json("/filters")
        # When something changed, then the answer is of then, and its freshness too
        api.write([*events(200), Event(MOMENT, "b", user="new", offset=10**6)], as_of=NOW - 1)
        assert await api.json("/filters") == first
        assert first["freshness"]["lag_seconds"] == 4.0
        # ... for some seconds
        monkeypatch.setattr(known_names, "KNOWN_SECONDS", 0.0)
        after = await api.json("/filters")
        assert (len(after["users"]), after["freshness"]["lag_seconds"]) == (201, 1.0)


async def test_names_take_no_more_memory_than_the_limit(shared_redis: RunningRedis) -> None:
    async with api_over(shared_redis, NOW, cache_bytes=50_000) as api:
        api.write(events())
        assert len((await api.json("/filters"))["users"]) == 500
        assert api.app.state.memory.bytes <= 50_000


async def test_who_asks_for_what_is_being_folded_waits_for_it_and_others_are_answered(
    shared_redis: RunningRedis, monkeypatch: pytest.MonkeyPatch, each_sum_form: str
) -> None:
    # Given a day that is folded in pieces (by the core in few), each followed by a turn of the others
    monkeypatch.setattr(slices, "SLICE_SECONDS", 0.0)
    monkeypatch.setattr(user_fold, "USERS_A_PIECE", 100)
    unpacked = unpackings(monkeypatch)
    async with api_over(shared_redis, NOW) as api:
        api.write(events())
        turns = 0

        async def take_turns() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        beside = asyncio.create_task(take_turns())
        # When it is asked for several times at once, then it is folded once, and all have the same answer
        answers = await asyncio.gather(*(api.json("", **ASKED) for _ in range(4)))
        beside.cancel()
        assert len(unpacked) == 1
        assert all(answer == answers[0] for answer in answers)
        assert answers[0]["added"]["count"] == sum(i % 3 + 1 for i in range(MANY))
        assert turns > (MANY / 100 / 3 if each_sum_form == "python" else 0)
        # ... and each answer is of one version, whatever comes meanwhile
        api.write([*events(), Event(MOMENT, "b", user="u00000", offset=10**6)])
        for answer in await asyncio.gather(*(api.json("", **ASKED) for _ in range(4))):
            listed = sum(user["added"] for user in answer["users"]) + answer["users_omitted"]["added"]
            assert listed == answer["added"]["count"] == answers[0]["added"]["count"] + 1
        assert len(unpacked) == 2


async def test_a_fold_of_many_users_is_kept_in_some_hundred_bytes_a_user(
    shared_redis: RunningRedis, monkeypatch: pytest.MonkeyPatch, each_sum_form: str
) -> None:
    unpacked = unpackings(monkeypatch)
    limit_bytes = (900 if each_sum_form == "python" else 600) * MANY
    async with api_over(shared_redis, NOW, cache_bytes=limit_bytes) as api:
        api.write(events())
        first = await api.json("", **ASKED)
        assert await api.json("", **ASKED) == first
        await api.json("", **ASKED, interval="hour", timezone="Asia/Kolkata")  # another range: the same table of users
        assert await api.json("", **ASKED) == first
        assert len(unpacked) == 2
        assert api.app.state.memory.bytes <= limit_bytes


async def test_users_that_several_folds_number_at_once_count_once(
    shared_redis: RunningRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slices, "SLICE_SECONDS", 0.0)
    monkeypatch.setattr(compiled, "STEP_BYTES", 3_000)
    async with api_over(shared_redis, NOW) as api:
        api.write(events())
        # When folds are made at once that number the same users, one after the other having its turn
        periods = ("last_7_days", "last_30_days", "last_90_days", "this_month")
        await asyncio.gather(*(api.json(period=period) for period in periods))
        # Then the memory is told of them what they take
        memory = api.app.state.memory
        tables = {id(fold.table): fold.table for fold, _, _ in memory._entries.values() if hasattr(fold, "table")}
        assert [memory._shared[of][1] for of in tables] == [table.size_bytes for table in tables.values()]
        assert len(tables) == 1


def unpackings(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The days that are unpacked for their users from now on."""
    unpacked: list[Any] = []

    def note(unpack: Any) -> Any:
        def noting(fold: Any, manifests: Any, gone: Any, known: Any, plan: Any, parts: Any, sources: Any) -> Any:
            unpacked.extend(parts)
            return unpack(fold, manifests, gone, known, plan, parts, sources)

        return noting

    for fold in (user_fold.UserFold, compiled.UserFold):
        monkeypatch.setattr(fold, "exchange", note(fold.exchange))
    return unpacked


async def test_days_are_remembered_together(shared_redis: RunningRedis) -> None:
    # Given thirty days, and what is remembered after a report of one
    async with api_over(shared_redis, NOW) as api:
        days = [Event(MOMENT - day * DAY, str(day), user=f"u{day}", offset=day) for day in range(30)]
        api.write(days)
        await api.json("", **ASKED)
        before = len(api.app.state.memory)
        # When a report has all of them, then what is remembered has become more by its folds and not by its days
        answer = await api.json("", period="last_30_days")
        assert answer["added"]["count"] == 30
        assert len(api.app.state.memory) - before < 10
