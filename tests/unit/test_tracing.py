"""Traces: off they cost nothing; on, spans leave as OpenTelemetry's own variables say, and tell of nobody."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from cli.main import main
from stream.tracing import CLOSE_SECONDS, NO_TRACER, SentSpans, TracesMissing, open_tracer
from tests.support.require import require

EXPORTER = "opentelemetry.exporter.otlp.proto.http.trace_exporter"
OFF = """
import sys
import cli.api, cli.worker, stream.agents.app, stream.worker.process
from api.app import create_app
from stream.settings.api import ApiConfig
create_app(ApiConfig())
ours = ("opentelemetry.exporter", "opentelemetry.sdk.trace", "opentelemetry.trace.propagation.tracecontext")
print([name for name in sys.modules if name.startswith(ours)])
"""
"""redis-py imports parts of OpenTelemetry that are not ours, where it is installed: its metrics."""

AWAY = """
import time
from stream.tracing import open_tracer
tracer = open_tracer(True, "service")
with tracer.span("commit"):
    pass
begun = time.monotonic()
tracer.close()
print(time.monotonic() - begun)
"""


@pytest.fixture
def opentelemetry() -> None:
    require("otel", importlib.util.find_spec("opentelemetry") is not None, "./dev install brings requirements/otel.txt")


@pytest.mark.parametrize("installed", [True, False])
def test_without_traces_opentelemetry_is_not_imported(installed: bool) -> None:
    # Given a process with or without the extra, when worker and API are made, then nothing of it is imported for spans
    hidden = "" if installed else "import sys; sys.modules['opentelemetry'] = None\n"
    done = subprocess.run([sys.executable, "-c", hidden + OFF], capture_output=True, text=True, check=True, timeout=240)
    assert done.stdout == "[]\n"


def test_without_traces_a_span_is_one_object_that_does_nothing() -> None:
    tracer = open_tracer(False, "service")
    assert tracer is NO_TRACER
    with tracer.span("commit", partition=3) as span:
        span.note(events=5)
        span.fail("TimeoutError")
    assert tracer.span("commit") is tracer.span("project", partition=1)
    with pytest.raises(ValueError, match="as it was"), tracer.span("commit"):
        raise ValueError("as it was")


def test_what_is_asked_for_and_not_installed_is_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, EXPORTER, None)
    with pytest.raises(TracesMissing):
        open_tracer(True, "service")
    for command in ("api", "worker"):
        assert main([command], {"CONTACTS_TRACES": "otlp"}) == 2
        assert "pip install 'contacts-report[otel]'" in capsys.readouterr().err


@contextmanager
def collector() -> Iterator[tuple[str, list[Any]]]:
    """A collector's address, and the spans that it was sent, as (service, span)."""
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    sent: list[Any] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            assert self.path == "/v1/traces"
            for of in ExportTraceServiceRequest.FromString(body).resource_spans:
                told = {one.key: one.value.string_value for one in of.resource.attributes}
                sent.extend((told["service.name"], span) for scope in of.scope_spans for span in scope.spans)
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: Any) -> None: ...

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", sent
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.mark.parametrize("named", [None, "ours"])
def test_spans_are_sent_where_the_variables_of_opentelemetry_say(
    opentelemetry: None, monkeypatch: pytest.MonkeyPatch, named: str | None
) -> None:
    with collector() as (address, sent):
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", address)
        if named is not None:
            monkeypatch.setenv("OTEL_SERVICE_NAME", named)
        tracer = open_tracer(True, "contacts-report-worker")
        with tracer.span("count", partition=3), tracer.span("commit", partition=3):
            pass
        tracer.close()
    assert [(service, span.name) for service, span in sent] == [
        (named or "contacts-report-worker", name) for name in ("commit", "count")
    ]
    assert sent[0][1].parent_span_id == sent[1][1].span_id


def test_a_collector_that_is_away_does_not_keep_a_process_from_its_end(opentelemetry: None) -> None:
    environ = os.environ | {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"}
    command = [sys.executable, "-c", AWAY]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=True, timeout=240)
    assert float(done.stdout) < 10 * CLOSE_SECONDS


def test_a_failure_is_told_by_its_kind_alone(opentelemetry: None) -> None:
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    kept = InMemorySpanExporter()
    tracer = SentSpans(SimpleSpanProcessor(kept), "service")
    with pytest.raises(ValueError, match="ada@example"), tracer.span("request", method="GET", route="/v1/{x}"):
        raise ValueError("no contact ada@example.org")
    [span] = kept.get_finished_spans()
    assert dict(span.attributes or {}) == {
        "http.request.method": "GET",
        "http.route": "/v1/{x}",
        "error.type": "ValueError",
    }
    assert (span.status.description, span.events) == ("ValueError", ())
