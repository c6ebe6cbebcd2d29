"""Spans of a worker's commits and of the API's requests, for OpenTelemetry: where CONTACTS_TRACES asks for them.

Otherwise nothing of OpenTelemetry is imported here, and a span is one object that does nothing. Names of spans and
attributes stand in docs/operations.md; none holds what a publisher or a reader has sent: no workspace, no user, no
address.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from types import TracebackType
from typing import Any, Final, Protocol

from stream.version import VERSION

CLOSE_SECONDS: Final = 2.0
"""What a process that ends waits for its last spans to be sent."""

Value = str | int | float | bool


class TracesMissing(Exception):
    """OpenTelemetry is asked for and not installed."""


class Span(Protocol):
    """Something that takes time."""

    def note(self, **attributes: Value) -> None:
        """What is only known in its course."""

    def fail(self, why: str) -> None:
        """It did not do what it was for. `why` is one of few words."""


class Tracer(Protocol):
    def span(self, name: str, traceparent: str | None = None, **attributes: Value) -> AbstractContextManager[Span]:
        """A span until the end of the `with`, within the one that is open here; an exception fails it.

        `traceparent`: the header of that name (W3C) of a request, whose trace it goes on with.
        """
        ...

    def close(self) -> None:
        """Send what is left, in bounded time."""


class _NoSpan:
    def __enter__(self) -> _NoSpan:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        return None

    def note(self, **attributes: Value) -> None: ...

    def fail(self, why: str) -> None: ...


_NO_SPAN: Final = _NoSpan()


class _NoTracer:
    def span(self, *_: Any, **__: Any) -> _NoSpan:
        return _NO_SPAN

    def close(self) -> None: ...


NO_TRACER: Final[Tracer] = _NoTracer()


def open_tracer(wanted: bool, service: str) -> Tracer:
    """What sends spans by OTLP, as the variables OTEL_… say; without `wanted` what does nothing. `service` is the name
    of the process where OTEL_SERVICE_NAME gives none. Raises TracesMissing.
    """
    if not wanted:
        return NO_TRACER
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError as error:
        raise TracesMissing(
            "CONTACTS_TRACES asks for traces, and OpenTelemetry is not installed: pip install 'contacts-report[otel]'"
        ) from error
    return SentSpans(BatchSpanProcessor(OTLPSpanExporter()), service)


class SentSpans:
    """A Tracer whose spans OpenTelemetry processes."""

    def __init__(self, processor: Any, service: str) -> None:
        from opentelemetry.sdk.resources import OTELResourceDetector, Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        resource = Resource({"service.name": service, "service.version": VERSION}).merge(
            OTELResourceDetector().detect()
        )
        self._provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        self._provider.add_span_processor(processor)
        self._tracer = self._provider.get_tracer("contacts-report", VERSION)
        self._propagator = TraceContextTextMapPropagator()

    @contextmanager
    def span(self, name: str, traceparent: str | None = None, **attributes: Value) -> Iterator[Span]:
        context = None if traceparent is None else self._propagator.extract({"traceparent": traceparent})
        begun = self._tracer.start_as_current_span(
            name,
            context=context,
            attributes=_named(attributes),
            # An error's text may hold what a publisher or a reader has sent; its kind does not.
            record_exception=False,
            set_status_on_exception=False,
        )
        with begun as recording:
            span = _RecordedSpan(recording)
            try:
                yield span
            except BaseException as error:
                span.fail(type(error).__name__)
                raise

    def close(self) -> None:
        sending = threading.Thread(target=self._provider.shutdown, daemon=True)
        sending.start()
        sending.join(CLOSE_SECONDS)


class _RecordedSpan:
    def __init__(self, span: Any) -> None:
        self._span = span

    def note(self, **attributes: Value) -> None:
        self._span.set_attributes(_named(attributes))

    def fail(self, why: str) -> None:
        from opentelemetry.trace import Status, StatusCode

        self._span.set_status(Status(StatusCode.ERROR, why))
        self._span.set_attribute("error.type", why)


def _named(attributes: Mapping[str, Value]) -> dict[str, Value]:
    """Under the names that they have outside: of HTTP those of OpenTelemetry, all others ours."""
    return {HTTP_NAMES.get(name, f"contacts.{name}"): value for name, value in attributes.items()}


HTTP_NAMES: Final = {
    "method": "http.request.method",
    "route": "http.route",
    "status": "http.response.status_code",
}
