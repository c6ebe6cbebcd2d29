"""Every metric of the API, declared once; docs/metrics.md is written from them."""

import time

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from stream.version import VERSION

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
COUNTED_TOGETHER = 100
"""Half a millisecond."""

REQUEST_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)


class Metrics:
    """The metrics of one application."""

    def __init__(self, core: str = "python") -> None:
        """`core`: the form that sums days."""
        self.registry = CollectorRegistry()
        self.build_info = Gauge(
            "contacts_build_info",
            "1, for the version that runs and the form that sums days: `compiled` or `python`.",
            ["version", "core"],
            registry=self.registry,
        )
        self.build_info.labels(VERSION, core).set(1)
        self.process_start = Gauge(
            "contacts_process_start_timestamp_seconds", "When the process began.", registry=self.registry
        )
        self.process_start.set(time.time())
        self.dependency_up = Gauge(
            "contacts_dependency_up",
            "1 while `redis` answers, 0 while it does not; asked at each scrape.",
            ["name"],
            registry=self.registry,
        )
        self.reports_answered = Gauge(
            "contacts_api_answers",
            "1 while reports are answered: Redis has the counts of every partition. Else readers get 503.",
            registry=self.registry,
        )
        self.as_of_age = Gauge(
            "contacts_api_as_of_age_seconds",
            "How old the numbers are that readers get: now, less `as_of`. NaN while reports are not answered.",
            registry=self.registry,
        )
        self.partitions_expected = Gauge(
            "contacts_api_partitions_expected",
            "Partitions that readers need, as Redis was told. NaN while it does not answer.",
            registry=self.registry,
        )
        self.partitions_found = Gauge(
            "contacts_api_partitions_found",
            "Those of them that have their counts in Redis. NaN while it does not answer.",
            registry=self.registry,
        )
        self.partitions_unowned = Gauge(
            "contacts_api_partitions_unowned",
            "Those of them that no worker has told of within 10 s. NaN while Redis does not answer.",
            registry=self.registry,
        )
        self.requests = Counter(
            "contacts_api_requests",
            "Answers, by resource and status; probes and scrapes are none.",
            ["resource", "status"],
            registry=self.registry,
        )
        self.request_seconds = Histogram(
            "contacts_api_request_seconds",
            "How long answers took; of streams: until they began.",
            ["resource"],
            buckets=REQUEST_SECONDS,
            registry=self.registry,
        )
        self._series: dict[tuple[str, int], tuple[Counter, Histogram]] = {}
        self._answered: list[tuple[str, int, float]] = []
        """Answers that are not in the metrics yet."""
        self.redis_reads = Gauge(
            "contacts_api_redis_reads",
            "Reads of Redis since the start: one an answer, a few where much changed, none where it was just read.",
            registry=self.registry,
        )
        self.lost_reads = Gauge(
            "contacts_api_lost_reads",
            "Reads since the start that missed keys in Redis, as after an eviction: answered with 503.",
            registry=self.registry,
        )
        self.cache_bytes = Gauge(
            "contacts_api_cache_bytes",
            "Bytes of what is remembered, estimated; at most CONTACTS_CACHE_BYTES.",
            registry=self.registry,
        )
        self.cache_lookups = Gauge(
            "contacts_api_cache_lookups",
            "Looks into what is remembered since the start, by result: `hit` or `miss`.",
            ["result"],
            registry=self.registry,
        )
        self.live_listeners = Gauge(
            "contacts_api_live_listeners", "Live streams that are open.", registry=self.registry
        )
        self.live_computations = Counter(
            "contacts_api_live_computations",
            "Reports computed for live streams; far fewer than listeners times changes.",
            registry=self.registry,
        )
        self.live_dropped = Counter(
            "contacts_api_live_dropped",
            "Live streams closed because their reader was too slow.",
            registry=self.registry,
        )

    def count(self, resource: str, status: int, seconds: float) -> None:
        """An answer, and how long it took. It comes into the metrics with others: a dozen calls of the library are
        dear where other processes have run meanwhile, and cheap in a row.
        """
        self._answered.append((resource, status, seconds))
        if len(self._answered) >= COUNTED_TOGETHER:
            self._note_answers()

    def _note_answers(self) -> None:
        answered, self._answered = self._answered, []
        for resource, status, seconds in answered:
            series = self._series.get((resource, status))
            if series is None:  # there are few
                series = self.requests.labels(resource, str(status)), self.request_seconds.labels(resource)
                self._series[resource, status] = series
            series[0].inc()
            series[1].observe(seconds)

    def answers(self) -> tuple[int, int]:
        """How many answers readers got, without probes and metrics; and how many of these were failures of ours."""
        self._note_answers()
        samples = [sample for metric in self.requests.collect() for sample in metric.samples]
        of_readers = [sample for sample in samples if sample.name.endswith("_total")]
        failed = (sample.value for sample in of_readers if sample.labels["status"] >= "500")
        return int(sum(sample.value for sample in of_readers)), int(sum(failed))

    def streams(self) -> int:
        """How many live streams are open."""
        return int(self.registry.get_sample_value("contacts_api_live_listeners") or 0)

    def text(self) -> bytes:
        self._note_answers()
        return generate_latest(self.registry)
