"""What readers see of a user and a source that came when a partition kept no more names. On a real Redis."""

from __future__ import annotations

from datetime import UTC, datetime

from tests.support.api import api_over, shared_redis
from tests.support.redis_data import Event
from tests.support.redis_server import RunningRedis

__all__ = ["shared_redis"]

NOW = datetime(2026, 11, 23, 13, 0, tzinfo=UTC).timestamp()
MOMENT = int(datetime(2026, 11, 23, 1, tzinfo=UTC).timestamp()) * 10**9


async def test_a_user_and_a_source_without_a_name_are_counted_listed_and_filtered_by(
    shared_redis: RunningRedis,
) -> None:
    async with api_over(shared_redis, NOW) as api:
        # Given a user and a source with a name, and others without
        api.write(
            [
                Event(MOMENT, "a", user="early", label="Ada", source="partner"),
                Event(MOMENT, "b", user="late", label="Bob", source="fair", offset=1),
            ]
        )
        assert api.data.client.hdel(f"{api.data.prefix}names:w", "u:late", "s:fair") == 2
        # When the report is read, then both are in every part of it, the late one by its id
        report = await api.json("", period="today")
        assert report["added"]["count"] == 2
        assert {source: n for source, n in report["sources"]["totals"].items() if n} == {"partner": 1, "fair": 1}
        assert [(user["user_id"], user["user_name"], user["added"]) for user in report["users"]] == [
            ("early", "Ada", 1),
            ("late", None, 1),
        ]
        # When it is filtered by one of them, then that is no unknown value
        for one in ({"user": "late"}, {"source": "fair"}, {"user": "late", "source": "fair"}):
            summary = await api.json("/summary", period="today", **one)
            assert (summary["added"]["count"], summary["warnings"]) == (1, []), one
        # When the range holds none of its events, or nobody has it, then it is
        for one, period in (("late", "yesterday"), ("nobody", "today")):
            summary = await api.json("/summary", period=period, user=one)
            assert [warning["code"] for warning in summary["warnings"]] == ["unknown_user"], one
        # And the choices are those with a name.
        choices = await api.json("/filters")
        assert [user["user_id"] for user in choices["users"]] == ["early"]
        assert "partner" in [source["source"] for source in choices["sources"]]
        assert "fair" not in [source["source"] for source in choices["sources"]]
