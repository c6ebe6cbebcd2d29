"""Spans of a worker that commits and projects, and of an API that answers: which there are, and all that they say."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis

from stream.tracing import SentSpans
from tests.integration.test_projection_guards import Site, until
from tests.support.api import api_over, own_redis, shared_redis
from tests.support.redis_server import RunningRedis
from tests.support.require import require

__all__ = ["own_redis", "shared_redis"]

NOW = 1_795_651_987.0
GUIDE = Path(__file__).parents[2] / "docs" / "operations.md"


class Kept:
    """A tracer, and what it has ended."""

    def __init__(self) -> None:
        require("otel", importlib.util.find_spec("opentelemetry") is not None, "./dev install brings it")
        from opentelemetry.sdk.trace.export import SimpleSpanProcessor
        from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

        self._exporter = InMemorySpanExporter()
        self.tracer = SentSpans(SimpleSpanProcessor(self._exporter), "test")

    @property
    def spans(self) -> Sequence[Any]:
        return self._exporter.get_finished_spans()

    def attributes(self, name: str) -> list[Mapping[str, Any]]:
        return [dict(span.attributes) for span in self.spans if span.name == name]


@pytest.fixture
def kept() -> Kept:
    return Kept()


def assert_documented(spans: Sequence[Any]) -> None:
    """Each name of a span and of an attribute stands in the guide."""
    guide = GUIDE.read_text()
    names = {span.name for span in spans} | {name for span in spans for name in span.attributes}
    assert {name for name in names if f"`{name}`" not in guide} == set()


async def test_a_commit_and_its_projection_are_spans_of_one_trace(shared_redis: RunningRedis, kept: Kept) -> None:
    # Given a partition that was begun
    async with Redis.from_url(shared_redis.url) as client:
        site = Site(client)
        owned = site.owner(tracer=kept.tracer)
        owned.start()
        await until(lambda: owned.counting)
        before = len(kept.spans)
        # When two events are counted
        site.topic.publish(2)
        site.feed(owned, 0)
        await until(lambda: "count" in {span.name for span in kept.spans})
        # Then one trace has their commit, and behind it their projection
        commit, project, count = kept.spans[before:]
        assert [span.name for span in (commit, project, count)] == ["commit", "project", "count"]
        assert {span.context.trace_id for span in (commit, project)} == {count.context.trace_id}
        assert {span.parent.span_id for span in (commit, project)} == {count.context.span_id}
        assert commit.end_time <= project.start_time
        of_both = {"contacts.partition": 0, "contacts.position": 2, "contacts.events": 2}
        assert [dict(span.attributes) for span in (commit, project)] == [of_both, of_both]
        assert dict(count.attributes) == {"contacts.partition": 0}
        assert_documented(kept.spans)
        # A commit of which nothing is known fails, by its kind.
        site.stores.failures = 1
        site.topic.publish(1)
        site.feed(owned, 2)
        await until(lambda: any("error.type" in span for span in kept.attributes("commit")))
        assert {span.get("error.type") for span in kept.attributes("commit")} == {None, "CommitFailed"}
        await owned.close()


async def test_a_request_is_a_span_that_tells_nothing_of_who_asks_for_what(
    shared_redis: RunningRedis, kept: Kept
) -> None:
    async with api_over(shared_redis, NOW, tracer=kept.tracer) as api:
        api.write([], as_of=NOW)
        # Given a reader whose request is part of a trace already, when it asks, and asks for what there is not
        trace, parent = 0x0AF7651916CD43DD8448EB211C80319C, 0xB7AD6B7169203331
        header = {"traceparent": f"00-{trace:032x}-{parent:016x}-01"}
        assert (await api.get("/summary", header, user="u_secret")).status_code == 200
        assert (await api.get("", None, period="never")).status_code == 400
        await api.client.get("/livez")
        await api.client.get("/metrics")
        # Then each is a span, the first in its trace; probes and scrapes are none
        route = "/v1/workspaces/{workspace_id}/reports/contacts"
        of_both = {"http.request.method": "GET"}
        assert kept.attributes("request") == [
            of_both
            | {
                "http.route": route + "/{component}",
                "contacts.resource": "summary",
                "http.response.status_code": 200,
            },
            of_both | {"http.route": route, "contacts.resource": "report", "http.response.status_code": 400},
        ]
        assert_documented(kept.spans)
        first, second = kept.spans
        assert (first.context.trace_id, first.parent.span_id) == (trace, parent)
        assert second.parent is None
        assert "u_secret" not in first.to_json() + second.to_json()


async def test_an_answer_that_is_not_there_is_a_failed_span(own_redis: RunningRedis, kept: Kept) -> None:
    async with api_over(own_redis, NOW, tracer=kept.tracer, redis_timeout_seconds=1.0) as api:
        own_redis.stop()
        assert (await api.get("/summary")).status_code == 503
        [span] = kept.spans
        assert (span.status.description, span.attributes["error.type"]) == ("503", "503")
