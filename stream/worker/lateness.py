"""A histogram of Prometheus that takes many events at once, as a commit has counted them."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import accumulate
from typing import Final

from prometheus_client.core import HistogramMetricFamily
from prometheus_client.registry import Collector, CollectorRegistry

from stream.tables.lateness import BOUNDS_SECONDS, Lateness

ENDS: Final = (*(str(float(bound)) for bound in BOUNDS_SECONDS), "+Inf")


class LatenessHistogram(Collector):
    """By how much later than they happened events came."""

    def __init__(self, name: str, documentation: str, *, registry: CollectorRegistry) -> None:
        self._name, self._documentation = name, documentation
        self._counts = [0] * len(ENDS)
        self._total_ms = 0
        registry.register(self)

    def add(self, some: Lateness) -> None:
        self._counts = [had + came for had, came in zip(self._counts, some.counts, strict=True)]
        self._total_ms += some.total_ms

    def collect(self) -> Iterator[HistogramMetricFamily]:
        buckets = list(zip(ENDS, accumulate(self._counts), strict=True))
        yield HistogramMetricFamily(self._name, self._documentation, buckets, self._total_ms / 1000)
