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
            self._show(None, answers=self._reader.refuses)
        else:
            self._show(deployment, answers=True)

    def _show(self, deployment: Deployment | None, *, answers: bool) -> None:
        """`deployment`: None where it was not read; `answers`: whether Redis answers, be it with a refusal."""
        metrics, unknown = self._metrics, math.nan
        positions = None if deployment is None else deployment.positions
        complete = positions is not None and positions.complete
        metrics.dependency_up.labels("redis").set(answers)
        metrics.reports_answered.set(complete)
        metrics.as_of_age.set(lag_seconds(positions, self._reports.clock()) if positions and complete else unknown)
        metrics.partitions_expected.set(unknown if deployment is None else deployment.number)
        metrics.partitions_found.set(unknown if positions is None else len(positions.partitions))
        metrics.partitions_unowned.set(unknown if deployment is None else len(deployment.unowned))
