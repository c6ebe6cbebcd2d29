"""What sends the spans of a process, by its settings."""

from cli.command import CommandError
from stream.settings.worker import SharedConfig, Traces
from stream.tracing import Tracer, TracesMissing, open_tracer


def tracer_of(config: SharedConfig, service: str) -> Tracer:
    """Raises CommandError where traces are wanted and OpenTelemetry is not installed."""
    try:
        return open_tracer(config.traces is Traces.OTLP, service)
    except TracesMissing as error:
        raise CommandError(str(error)) from None
