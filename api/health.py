"""Answers the probes: whether the process is alive, and whether it can answer reports."""

from typing import Any

import msgspec

from api.errors import Unavailable, no_position
from api.http.auth import Authentication
from api.http.problems import ProblemError
from api.http.request import Answer
from api.query.zones import TZDATA_VERSION
from api.read.freshness import as_of_text, lag_seconds
from api.read.redis import Reader
from api.report.service import Reports
from stream.version import VERSION

NO_STORE = (b"cache-control", b"no-store")


class Readiness(msgspec.Struct, omit_defaults=True):
    """What /readyz says; all but `status` only with `?verbose`."""

    status: str
    redis: str | None = None
    projection: str | None = None
    reason: str | None = None
    group: str | None = None
    partitions: int | None = None
    state: str | None = None
    as_of: str | None = None
    lag_seconds: float | None = None
    authentication: str | None = None
    version: str | None = None
    tzdata: str | None = None


def live() -> Answer:
    """The process answers, whatever Redis does."""
    return _answer(200, Readiness("ok"))


async def ready(reports: Reports, reader: Reader, authentication: Authentication, verbose: bool) -> Answer:
    """Redis answers, and every partition's counts are there. Raises ProblemError unless `verbose`."""
    told = Readiness(
        "ready",
        redis="ok",
        projection="ok",
        authentication="on" if authentication.required else "off",
        group=reader.keys.group,
        version=VERSION,
        tzdata=TZDATA_VERSION,
    )
    try:
        positions = await reader.ping()
    except Unavailable as unavailable:
        return _not_ready(told, "redis", unavailable.code, unavailable.detail, verbose)
    told.partitions = len(positions.partitions)
    if not positions.complete:
        why = await reader.explain(no_position(positions.missing, positions.number))
        return _not_ready(told, "projection", why.code, why.detail, verbose)
    now = reports.clock()
    told.state = reports.word(positions, now)
    told.as_of, told.lag_seconds = as_of_text(positions, now), lag_seconds(positions, now)
    return _answer(200, told if verbose else Readiness("ready"))


def _not_ready(told: Readiness, what: str, code: str, detail: str, verbose: bool) -> Answer:
    if not verbose:
        raise ProblemError(code, detail, {"Retry-After": "1"})
    told.status, told.reason = "not ready", detail
    setattr(told, what, code)
    if what == "redis":
        told.projection = None
    answer = _answer(503, told)
    answer.headers.append((b"retry-after", b"1"))
    return answer


def _answer(status: int, told: Any) -> Answer:
    return Answer(status, [NO_STORE], msgspec.json.encode(told), "application/json")
