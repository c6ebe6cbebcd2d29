"""Exports what readers see as metrics, measured at each scrape, so that they are true without any request."""

import math

from api.errors import Unavailable
from api.metrics import Metrics
from api.ops import Deployment, read_deployment
from api.read.freshness import lag_seconds
from api.read.redis import Reader
from api.report.service import Reports


class Signals:
    """Measures what readers see."""

    def __init__(self, metrics: Metrics, reports: Reports, reader: Reader) -> None:
        self._metrics, self._reports, self._reader = metrics, reports, reader

    async def measure(self) -> None:
        """Set the gauges to what is so now."""
        try:
            deployment = await read_deployment(self._reader)
        except Unavailable:
            self._show(None)
        else:
            self._show(deployment)

    def _show(self, deployment: Deployment | None) -> None:
        """None: Redis does not answer."""
        metrics, unknown = self._metrics, math.nan
        positions = None if deployment is None else deployment.positions
        answers = positions is not None and positions.complete
        metrics.dependency_up.labels("redis").set(deployment is not None)
        metrics.reports_answered.set(answers)
        metrics.as_of_age.set(lag_seconds(positions, self._reports.clock()) if positions and answers else unknown)
        metrics.partitions_expected.set(unknown if deployment is None else deployment.number)
        metrics.partitions_found.set(unknown if positions is None else len(positions.partitions))
        metrics.partitions_unowned.set(unknown if deployment is None else len(deployment.unowned))
