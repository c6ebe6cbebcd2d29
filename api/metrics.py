"""Every metric of the API, declared once (docs/reading.md tells what each is for)."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
REQUEST_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)


class Metrics:
    """The metrics of one application."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "contacts_api_requests", "Answers by resource and status.", ["resource", "status"], registry=self.registry
        )
        self.request_seconds = Histogram(
            "contacts_api_request_seconds",
            "Seconds from a request to its answer, streams left out.",
            ["resource"],
            buckets=REQUEST_SECONDS,
            registry=self.registry,
        )
        self.redis_reads = Gauge("contacts_api_redis_reads", "Reads of Redis since the start.", registry=self.registry)
        self.cache_bytes = Gauge(
            "contacts_api_cache_bytes", "Bytes of days' sums that are remembered, estimated.", registry=self.registry
        )
        self.live_listeners = Gauge(
            "contacts_api_live_listeners", "Live streams that are open.", registry=self.registry
        )
        self.live_computations = Counter(
            "contacts_api_live_computations", "Reports computed for live streams.", registry=self.registry
        )
        self.live_dropped = Counter(
            "contacts_api_live_dropped",
            "Live streams that were closed because their reader was too slow.",
            registry=self.registry,
        )

    def text(self) -> bytes:
        return generate_latest(self.registry)
