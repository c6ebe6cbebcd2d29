"""docs/metrics.md, written from the metrics themselves."""

from collections.abc import Iterator

from prometheus_client import CollectorRegistry

from api.metrics import Metrics as ApiMetrics
from stream.worker.metrics import Metrics as WorkerMetrics

INTRODUCTION = """# Metrics

In the text format of Prometheus, at `/metrics`: of a worker on port 8081, of the API on port 8080. Metrics with the
label `partition` are told by the worker that owns the partition, from when it knows them until it loses it.

[Alerts](../ops/prometheus/rules/contacts-report.yml) and a [dashboard](../ops/grafana/dashboards/contacts-report.json)
come with `docker compose --profile metrics up`; what to do when one fires is in [operations](operations.md).

This page is generated from the code (`./dev docs`); a test fails where the two differ.
"""


def page() -> str:
    """The whole page."""
    return "\n".join([INTRODUCTION, *_part("Worker", WorkerMetrics().registry), *_part("API", ApiMetrics().registry)])


def names(registry: CollectorRegistry) -> set[str]:
    """What can stand in a query: a counter's name ends in `_total`, a histogram has three."""
    found: set[str] = set()
    for metric in registry.collect():
        endings = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count")}.get(metric.type, ("",))
        found |= {metric.name + ending for ending in endings}
    return found


def _part(title: str, registry: CollectorRegistry) -> Iterator[str]:
    yield f"## {title}\n"
    yield "| name | kind | labels | what it says |\n| --- | --- | --- | --- |"
    for collector in registry._collector_to_names:
        labels: tuple[str, ...] = getattr(collector, "_labelnames", ())
        for metric in collector.collect():
            name = metric.name + ("_total" if metric.type == "counter" else "")
            yield f"| `{name}` | {metric.type} | {', '.join(labels) or '-'} | {metric.documentation} |"
    yield ""
