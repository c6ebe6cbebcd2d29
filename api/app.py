"""The application: `create_app(config)` wires reader, reports, live streams and endpoints together. Importing it opens
nothing, and nothing is opened before the application starts."""

import logging
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, nullcontext
from typing import Any

from litestar import Litestar, Response
from litestar.config.cors import CORSConfig
from litestar.exceptions import HTTPException
from litestar.handlers import HTTPRouteHandler, route
from litestar.types import ASGIApp, Receive, Scope, Send

from api import manual
from api.cache import Memory
from api.documents import Documents
from api.errors import CountsMissing, Unavailable, ValidationErrors
from api.http.auth import Authentication
from api.http.gate import Gate
from api.http.problems import CODES, MEDIA_TYPE, ProblemError, encode, of_unavailable, problem_of_errors
from api.http.request import SECURITY_HEADERS, Answer, Request, respond
from api.http.static import PAGE, StaticFiles
from api.live.access import StreamLimits
from api.live.hub import Hub
from api.metrics import Metrics
from api.read.own_status import keep_listed
from api.read.redis import Reader
from api.report.form import choose_form
from api.report.service import Reports
from api.routes import COMPONENTS, Endpoint, Endpoints, not_found
from api.unchanged import Questions
from stream.settings.api import ApiConfig
from stream.tracing import NO_TRACER, Tracer
from stream.version import VERSION

log = logging.getLogger(__name__)

REPORTS = "/v1/workspaces/{workspace_id:str}/reports"
UNCOUNTED = frozenset({"health", "metrics"})
"""Resources that are no answers to readers: probes and scrapes would drown those."""
CORS_REQUEST_HEADERS = ("Authorization", "If-None-Match", "Last-Event-ID")
CORS_ANSWER_HEADERS = (
    "Contacts-As-Of",
    "Contacts-Lag-Seconds",
    "Content-Disposition",
    "ETag",
    "Link",
    "Retry-After",
    "WWW-Authenticate",
)


def create_app(
    config: ApiConfig,
    clock: Callable[[], float] = time.time,
    process: str | None = None,
    tracer: Tracer = NO_TRACER,
) -> Litestar:
    """The API as an ASGI application; `clock` gives seconds since 1970. It tells of itself in Redis under the name
    `process`, where there is one.

    `app.state.hub.close()` ends the live streams, which a server that stops should do first. Raises ValueError where
    the API would be open to other machines without authentication, and CoreMissingError where `config` wants the
    compiled core and there is none.
    """
    for name, reason in config.conflicts():
        raise ValueError(f"{name}: {reason}")
    form = choose_form(config.core)
    log.info("summing in the %s form: %s", form.name, form.why)
    metrics = Metrics(form.name)
    memory = Memory(config.cache_bytes)
    reader = Reader(config.redis, config.group, config.redis_timeout_seconds, config.positions_cache_ms, memory)
    reports = Reports(config, form, reader, memory, clock)
    hub = Hub(reports, reader, memory, metrics, StreamLimits(config.live_streams, config.live_streams_per_principal))
    authentication = Authentication(config, memory, clock)
    page = StaticFiles(PAGE, config.api_frame_ancestors)
    questions = Questions(reports, reader, authentication, memory)
    gate = Gate(metrics, bool(config.api_cors_origins), config.api_metrics_port, _problem_answer)
    endpoints = Endpoints(
        reports, reader, memory, authentication, hub, metrics, page, config.api_metrics_port, questions
    )
    documents = Documents(config.topic)
    started_ms = int(time.time() * 1000)

    def facts() -> dict[str, Any]:
        answers, failed = metrics.answers()
        told = {"version": VERSION, "started_ms": started_ms, "answers": answers, "failed": failed}
        return {**told, "streams": metrics.streams()}

    @asynccontextmanager
    async def lifespan(_app: Litestar) -> AsyncIterator[None]:
        authentication.open()
        async with nullcontext() if process is None else keep_listed(config.redis, reader.keys, process, facts):
            yield
        hub.close()
        authentication.close()
        await reader.close()

    routes: dict[str, tuple[str, Endpoint]] = {
        "/v1/workspaces": ("workspaces", endpoints.workspaces),
        "/v1/timezones": ("timezones", endpoints.timezones),
        "/v1/ops": ("ops", endpoints.ops),
        **{f"{REPORTS}/contacts{suffix}": ("report", endpoints.report) for suffix in ("", ".json", ".csv", ".ndjson")},
        f"{REPORTS}/contacts/{{component:str}}": ("component", endpoints.component),
        "/livez": ("health", endpoints.livez),
        "/readyz": ("health", endpoints.readyz),
        "/healthz": ("health", endpoints.readyz),
        "/metrics": ("metrics", endpoints.metrics),
        "/openapi.json": ("documents", documents.openapi),
        "/asyncapi.json": ("documents", documents.asyncapi),
        "/docs": ("documents", documents.docs),
        "/ops": ("page", endpoints.ops_page),
        manual.ADDRESS: ("documents", endpoints.manual),
        "/": ("page", endpoints.page),
        "/page/{file:path}": ("page", endpoints.page),
    }
    app = _Application(
        gate,
        metrics,
        reader,
        questions,
        tracer is not NO_TRACER,
        route_handlers=[
            _handler(path, _answer(path, name, endpoint, gate, reader, metrics, tracer))
            for path, (name, endpoint) in routes.items()
        ],
        openapi_config=None,
        cors_config=_cors(config.api_cors_origins),
        exception_handlers={HTTPException: _framework_problem, Exception: _framework_problem},
        lifespan=[lifespan],
        logging_config=None,
    )
    app.state.hub, app.state.metrics = hub, metrics
    app.state.reports, app.state.reader, app.state.memory = reports, reader, memory
    app.state.authentication = authentication
    return app


class _Application(Litestar):
    """Litestar behind the gate: nothing of a request is looked at, or remembered, before it has passed. A question that
    is known is answered at once: to route it and call its handler takes Litestar as long as a whole 304 may take.
    """

    def __init__(
        self,
        gate: Gate,
        metrics: Metrics,
        reader: Reader,
        questions: Questions,
        traced: bool,
        **options: Any,
    ) -> None:
        """`traced`: whether every request is to go the way on which it becomes a span."""
        super().__init__(**options)
        self._gate = gate
        self._metrics = metrics
        self._reader = reader
        self._questions = questions
        self._traced = traced

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await super().__call__(scope, receive, send)
            return
        started = time.perf_counter()
        request = Request(scope)
        refused = self._gate.refuse(request)
        if refused is not None:
            # What was sent with the request is not looked at, its Accept-Encoding neither.
            await respond(Request({**scope, "headers": []}), refused, receive, send, self._gate.vary)
            return
        known = None
        if self._gate.origins and b"origin" in request.headers:
            scope["extensions"] = {}  # Litestar adds headers to what goes through `send`, for the origin
        elif not self._traced:
            known = self._questions.find(request)
        if known is None:
            await super().__call__(scope, receive, self._gate.complete(send))
            return
        answer = await _answer_or_problem(request, self._questions.answer(request, *known), self._reader)
        self._metrics.count(known[0].resource, answer.status, time.perf_counter() - started)
        await respond(request, answer, receive, send, self._gate.vary)


def _answer(
    path: str, name: str, endpoint: Endpoint, gate: Gate, reader: Reader, metrics: Metrics, tracer: Tracer
) -> ASGIApp:
    """What answers at an address."""
    shown = re.sub(r":\w+}", "}", path)
    if name in UNCOUNTED:
        tracer = NO_TRACER

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        started = time.perf_counter()
        request = Request(scope)
        traceparent = request.header(b"traceparent") or None
        with tracer.span("request", traceparent, method=request.method, route=shown) as span:
            answered = await _answer_or_problem(request, endpoint(request), reader)
            resource = _resource(name, request)
            span.note(resource=resource, status=answered.status)
            if answered.status >= 500:
                span.fail(str(answered.status))
        if resource not in UNCOUNTED:
            metrics.count(resource, answered.status, time.perf_counter() - started)
        await respond(request, answered, receive, send, gate.vary)

    return answer


def _handler(path: str, answer: ASGIApp) -> HTTPRouteHandler:
    @route(path, http_method=["GET", "HEAD"])
    async def handle() -> ASGIApp:
        return answer

    return handle


async def _answer_or_problem(request: Request, answer: Awaitable[Answer], reader: Reader) -> Answer:
    """The answer, or the problem that kept the API from it, whatever it is. To explain one may fail too."""
    try:
        try:
            return await answer
        except CountsMissing as missing:
            return _problem_answer(of_unavailable(await reader.explain(missing)))
    except ProblemError as error:
        return _problem_answer(error)
    except ValidationErrors as errors:
        return _problem_answer(problem_of_errors(errors))
    except Unavailable as unavailable:
        return _problem_answer(of_unavailable(unavailable))
    except Exception:
        log.exception("A request failed: %s", request.path)
        return _problem_answer(ProblemError("internal", "The API failed to answer this request."))


def _problem_answer(error: ProblemError) -> Answer:
    headers = [(name.lower().encode(), value.encode("latin-1")) for name, value in error.headers.items()]
    return Answer(error.problem.status, [(b"cache-control", b"no-store"), *headers], encode(error.problem), MEDIA_TYPE)


def _framework_problem(_request: Any, error: Exception) -> Response[bytes]:
    """What Litestar itself refuses: an address or a method that there is not, or a request that it cannot read."""
    status = getattr(error, "status_code", 500)
    if status == 404:
        refused = not_found()
    elif status == 405:
        refused = ProblemError("method_not_allowed", CODES["method_not_allowed"][1], {"Allow": "GET, HEAD"})
    elif 400 <= status < 500:
        refused = ProblemError("bad_request", CODES["bad_request"][1])
    else:
        log.error("A request failed", exc_info=error)
        refused = ProblemError("internal", "The API failed to answer this request.")
    answer = _problem_answer(refused)
    return Response(
        encode(refused.problem),
        status_code=answer.status,
        headers={name.decode(): value.decode("latin-1") for name, value in (*answer.headers, *SECURITY_HEADERS)},
        media_type=MEDIA_TYPE,
    )


def _resource(name: str, request: Request) -> str:
    """The resource in metrics: of the addresses' parts only those that are known, so there are few."""
    if name != "component":
        return name
    component = str(request.parameters.get("component", "")).partition(".")[0]
    return component if component in COMPONENTS else "unknown"


def _cors(origins: tuple[str, ...]) -> CORSConfig | None:
    if not origins:
        return None
    return CORSConfig(
        allow_origins=list(origins),
        allow_methods=["GET", "HEAD"],
        allow_headers=list(CORS_REQUEST_HEADERS),
        expose_headers=list(CORS_ANSWER_HEADERS),
    )
