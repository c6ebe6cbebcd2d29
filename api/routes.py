"""Maps each address to its endpoint: checks the caller, reads the parameters, chooses the format."""

import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any, Protocol

import msgspec

from api import formats, health
from api import wire as answers
from api.activities.cursor import revision_key
from api.activities.lines import activity_row
from api.activities.page import Activities
from api.cache import Memory
from api.formats import CONTENT_TYPES, Format
from api.http.auth import OPS_SCOPE, Authentication, Principal, forbidden
from api.http.problems import CODES, ProblemError
from api.http.request import CACHE_CONTROL, Answer, Header, Request, etag_matches
from api.http.static import StaticFiles
from api.live.access import Access
from api.live.hub import Hub
from api.manual import manual
from api.metrics import CONTENT_TYPE as METRICS_TYPE
from api.metrics import Metrics
from api.ops import operations
from api.query import question as query
from api.query.periods import now_quarter
from api.query.question import ActivityQuery, Parameters, Query, read_pairs
from api.query.zones import TZDATA_VERSION, aliases, zone, zone_names
from api.read.redis import Reader
from api.report import choices, user_stream
from api.report.known_names import KnownNames
from api.report.service import Reports, query_answer
from api.report.user_fold import ROWS_A_PIECE
from api.signals import Signals
from api.unchanged import Made, Questions, headers_of, json_answer, next_link
from stream.model.workspace import is_workspace
from stream.storage.row import Row

Endpoint = Callable[[Request], Awaitable[Answer]]


class Compute(Protocol):
    """Computes an answer about a workspace."""

    def __call__(self, workspace_id: str, query: Query) -> Awaitable[Any]: ...


@dataclass(frozen=True, slots=True)
class Component:
    """One resource of a workspace's report; the first format is the one given where all are accepted."""

    formats: tuple[Format, ...]
    parameters: tuple[str, ...]


JSON_ALONE = (Format.JSON,)
JSON_OR_CSV = (Format.JSON, Format.CSV)
_NO_FILE_NAME = re.compile(r"[^A-Za-z0-9._~@+-]")
"""What workspaces and zones may have in their names and files may not, on one system or another: `:` and `/`."""

_CSV_PARAMETERS = (*query.REPORT_PARAMETERS, "bom")

COMPONENTS = {
    "": Component(JSON_ALONE, query.REPORT_PARAMETERS),
    "summary": Component(JSON_OR_CSV, _CSV_PARAMETERS),
    "timeline": Component(JSON_OR_CSV, _CSV_PARAMETERS),
    "sources": Component(JSON_OR_CSV, _CSV_PARAMETERS),
    "users": Component(JSON_OR_CSV, _CSV_PARAMETERS),
    "activities": Component((Format.JSON, Format.CSV, Format.NDJSON), (*query.ACTIVITY_PARAMETERS, "bom")),
    "live": Component((Format.EVENTS,), query.LIVE_PARAMETERS),
    "filters": Component(JSON_ALONE, query.FILTERS_PARAMETERS),
}
"""By the last part of the address; the empty one is the whole report."""


class Endpoints:
    """The addresses of one application."""

    def __init__(
        self,
        reports: Reports,
        reader: Reader,
        memory: Memory,
        authentication: Authentication,
        hub: Hub,
        metrics: Metrics,
        page: StaticFiles,
        metrics_port: int | None,
        questions: Questions,
    ) -> None:
        self._metrics_port = metrics_port
        self._reports = reports
        self._reader = reader
        self._memory = memory
        self._names = KnownNames(reader, memory)
        self._activities = Activities(reports, reader)
        self._authentication = authentication
        self._hub = hub
        self._metrics = metrics
        self._signals = Signals(metrics, reports, reader)
        self._page = page
        self._questions = questions
        self._computed: dict[str, Compute] = {
            "": reports.report,
            "summary": reports.summary,
            "timeline": reports.timeline,
            "sources": reports.sources,
        }

    async def report(self, request: Request) -> Answer:
        """…/reports/contacts, also with a suffix."""
        return await self._component(request, "", request.path.rstrip("/").rpartition("/contacts")[2].lstrip("."))

    async def component(self, request: Request) -> Answer:
        """…/reports/contacts/<component>, also with a suffix."""
        name, _, suffix = request.parameters["component"].partition(".")
        return await self._component(request, name or "?", suffix)

    async def workspaces(self, request: Request) -> Answer:
        principal = await self._principal(request)
        _acceptable(request, "", JSON_ALONE)
        asked = choices.read_workspaces_query(_parameters(request, query.WORKSPACES_PARAMETERS))
        answer = await choices.workspaces(self._reader, principal, asked)
        return Answer(200, [CACHE_CONTROL], msgspec.json.encode(answer), "application/json")

    async def ops(self, request: Request) -> Answer:
        principal = await self._principal(request)
        if not principal.operates:
            raise forbidden(f"The token lacks the scope {OPS_SCOPE}.")
        _acceptable(request, "", JSON_ALONE)
        _parameters(request, ()).raise_errors()
        told = await operations(self._reports, self._reader)
        return Answer(200, [(b"cache-control", b"no-store")], msgspec.json.encode(told), "application/json")

    async def timezones(self, request: Request) -> Answer:
        _acceptable(request, "", JSON_ALONE)
        return Answer(200, [(b"cache-control", b"public, max-age=3600")], _timezones(), "application/json")

    async def livez(self, _request: Request) -> Answer:
        return health.live()

    async def readyz(self, request: Request) -> Answer:
        asked = any(name == "verbose" and value != "false" for name, value in read_pairs(request.query_string))
        verbose = asked and self._may_tell(request)
        return await health.ready(self._reports, self._reader, self._authentication, verbose)

    def _may_tell(self, request: Request) -> bool:
        """Whether what runs here may be told at this port."""
        return self._metrics_port is None or request.port == self._metrics_port

    async def metrics(self, request: Request) -> Answer:
        if not self._may_tell(request):
            raise not_found()
        await self._signals.measure()
        self._metrics.redis_reads.set(self._reader.reads)
        self._metrics.lost_reads.set(self._reader.lost_reads)
        self._metrics.cache_lookups.labels("hit").set(self._memory.hits)
        self._metrics.cache_lookups.labels("miss").set(self._memory.misses)
        self._metrics.cache_bytes.set(self._memory.bytes + self._memory.held_bytes)
        return Answer(200, [(b"cache-control", b"no-store")], self._metrics.text(), METRICS_TYPE)

    async def ops_page(self, request: Request) -> Answer:
        """Tells nothing by itself: it asks `ops`, with the reader's token."""
        answer = await self._page.answer(request, "ops/index.html")
        assert answer is not None, "the page is part of the package"
        return answer

    async def manual(self, request: Request) -> Answer:
        answer = manual(request)
        if answer is None:
            raise not_found()
        return answer

    async def page(self, request: Request) -> Answer:
        name = request.parameters.get("file", "index.html").lstrip("/")
        answer = await self._page.answer(request, name)
        if answer is None:
            raise not_found()
        return answer

    async def _principal(self, request: Request) -> Principal:
        return await self._authentication.principal(request.header(b"authorization"))

    async def _component(self, request: Request, name: str, suffix: str) -> Answer:
        principal = await self._principal(request)
        workspace_id: str = request.parameters["workspace_id"]
        component = COMPONENTS.get(name)
        if component is None or not is_workspace(workspace_id):
            raise not_found()
        if not principal.may_see(workspace_id):
            raise forbidden("The token is not for this workspace.")
        wanted = _acceptable(request, suffix, component.formats)
        match name:
            case "live":
                return await self._live(request, workspace_id, principal)
            case "filters":
                return await self._filters(request, workspace_id)
            case "activities":
                return await self._activity_table(request, workspace_id, wanted)
            case _:
                return await self._report(request, workspace_id, name, wanted)

    async def _report(self, request: Request, workspace_id: str, name: str, wanted: Format) -> Answer:
        if wanted is Format.JSON:
            question = self._questions.recall(request)
            if question is None:
                asked, _ = self._read_query(request, name)
                of_users = name == "users"
                make = partial(self._make_users, asked) if of_users else partial(self._computed[name], query=asked)
                question = self._questions.learn(request, name or "report", asked, make, keeps_bodies=not of_users)
            return await self._questions.answer(request, question, workspace_id)
        asked, bom = self._read_query(request, name)
        if name == "users":
            return await self._users_csv(workspace_id, asked, bom)
        answer = await self._computed[name](workspace_id, asked)
        rows = _CSV_ROWS[name](answer)
        headers = [*headers_of(answer.freshness), _attachment(name, workspace_id, answer.query, wanted)]
        return Answer(200, headers, _csv_bytes(formats.csv_lines(rows), bom), CONTENT_TYPES[wanted])

    def _read_query(self, request: Request, name: str) -> tuple[Query, bool]:
        """The query, and whether a byte order mark is wanted. Raises ValidationErrors."""
        parameters = _parameters(request, COMPONENTS[name].parameters)
        bom = parameters.flag("bom")
        return query.read_query(parameters, now_quarter(self._reports.clock())), bom

    def _read_activity_query(self, request: Request, wanted: Format) -> tuple[ActivityQuery, bool]:
        parameters = _parameters(request, COMPONENTS["activities"].parameters)
        if wanted is not Format.JSON and parameters.text("batches") is not None:
            parameters.add_error("batches", "works for JSON only; other formats have every row")
        bom = parameters.flag("bom")
        return query.read_activity_query(parameters, now_quarter(self._reports.clock())), bom

    async def _make_users(self, asked: Query, workspace_id: str) -> Made:
        reading = await self._reports.users(workspace_id, asked)
        body = user_stream.json_pieces(reading, user_stream.label_users(self._reports, workspace_id, reading))
        return Made(reading.stamp.freshness, await _whole_or_started(body, reading.users_count))

    async def _users_csv(self, workspace_id: str, asked: Query, bom: bool) -> Answer:
        reading = await self._reports.users(workspace_id, asked)
        of = query_answer(reading.stamp.view)
        headers = [*headers_of(reading.stamp.freshness), _attachment("users", workspace_id, of, Format.CSV)]
        body = user_stream.csv_pieces(user_stream.label_users(self._reports, workspace_id, reading), bom)
        started = await _whole_or_started(body, reading.users_count)
        return Answer(200, headers, started, CONTENT_TYPES[Format.CSV])

    async def _make_activities(self, asked: ActivityQuery, workspace_id: str) -> Made:
        page = await self._activities.page(workspace_id, asked)
        return Made(page.freshness, msgspec.json.encode(page), page.next_cursor)

    async def _filters(self, request: Request, workspace_id: str) -> Answer:
        asked = choices.read_filters_query(_parameters(request, query.FILTERS_PARAMETERS))
        answer = await choices.filters(self._reports, self._names, workspace_id, asked)
        if etag_matches(request.header(b"if-none-match"), answer.freshness.revision):
            return Answer(304, headers_of(answer.freshness, etag=True))
        return json_answer(request, answer.freshness, msgspec.json.encode(answer))

    async def _live(self, request: Request, workspace_id: str, principal: Principal) -> Answer:
        parameters = _parameters(request, query.LIVE_PARAMETERS)
        asked = query.read_query(parameters, now_quarter(self._reports.clock()))
        last = request.header(b"last-event-id") or parameters.text("last_event_id")
        headers = [(b"cache-control", b"no-store, no-transform"), (b"x-accel-buffering", b"no")]
        answer = Answer(200, headers, b"", CONTENT_TYPES[Format.EVENTS])
        if request.method != "HEAD":
            access = Access(self._authentication, request.header(b"authorization"), workspace_id, principal)
            answer.body = await self._hub.listen(workspace_id, asked, last, access)
        return answer

    async def _activity_table(self, request: Request, workspace_id: str, wanted: Format) -> Answer:
        question = self._questions.recall(request) if wanted is Format.JSON else None
        if question is not None:
            return await self._questions.answer(request, question, workspace_id)
        asked, bom = self._read_activity_query(request, wanted)
        if wanted is Format.NDJSON or (wanted is Format.CSV and asked.limit is None and asked.cursor is None):
            return await self._all_activities(workspace_id, asked, wanted, bom)
        if wanted is Format.JSON and asked.cursor is None:
            make, more = partial(self._make_activities, asked), revision_key(asked)
            question = self._questions.learn(request, "activities", asked.query, make, more=more)
            return await self._questions.answer(request, question, workspace_id)
        page = await self._activities.page(workspace_id, asked)
        if wanted is Format.JSON:
            answer = json_answer(request, page.freshness, msgspec.json.encode(page), page.next_cursor)
            known = etag_matches(request.header(b"if-none-match"), page.freshness.revision)
            return Answer(304, answer.headers) if known else answer
        link = [] if page.next_cursor is None else [next_link(request, page.next_cursor)]
        text = formats.csv_lines([formats.ACTIVITY_COLUMNS, *map(formats.activity_cells, page.activities)])
        headers = [*headers_of(page.freshness), _attachment("activities", workspace_id, page.query, wanted), *link]
        return Answer(200, headers, _csv_bytes(text, bom), CONTENT_TYPES[wanted])

    async def _all_activities(self, workspace_id: str, asked: ActivityQuery, wanted: Format, bom: bool) -> Answer:
        stamp, of, pieces = await self._activities.stream(workspace_id, asked)
        headers = [*headers_of(stamp.freshness), _attachment("activities", workspace_id, of, wanted)]
        body = _csv_pieces(pieces, asked, bom) if wanted is Format.CSV else _ndjson_pieces(pieces, asked)
        return Answer(200, headers, await _start(body), CONTENT_TYPES[wanted])


def not_found() -> ProblemError:
    return ProblemError("not_found", CODES["not_found"][1])


def _parameters(request: Request, known: tuple[str, ...]) -> Parameters:
    return Parameters(read_pairs(request.query_string), known)


def _acceptable(request: Request, suffix: str, offered: tuple[Format, ...]) -> Format:
    """The format: of the suffix, where there is one, else what the Accept header likes best."""
    wanted = formats.negotiate(request.accept, offered) if not suffix else _by_suffix(suffix)
    if wanted is None or wanted not in offered:
        there_is = ", ".join(formats.MEDIA_TYPES[of] for of in offered)
        raise ProblemError("not_acceptable", f"The answer is available only as {there_is}.")
    return wanted


def _by_suffix(suffix: str) -> Format:
    if suffix in ("json", "csv", "ndjson"):
        return Format(suffix)
    raise not_found()


def _attachment(name: str, workspace_id: str, of: answers.QueryAnswer, wanted: Format) -> Header:
    file = f"contacts-{name}_{workspace_id}_{of.from_}_{of.to}_{of.timezone}"
    return b"content-disposition", f'attachment; filename="{_NO_FILE_NAME.sub("-", file)}.{wanted}"'.encode()


def _csv_bytes(text: str, bom: bool) -> bytes:
    return ((formats.BYTE_ORDER_MARK if bom else "") + text).encode()


async def _csv_pieces(pieces: AsyncIterator[list[Row]], asked: ActivityQuery, bom: bool) -> AsyncIterator[bytes]:
    yield _csv_bytes(formats.csv_lines([formats.ACTIVITY_COLUMNS]), bom)
    async for rows in pieces:
        yield formats.csv_lines(map(formats.activity_cells, _wire_rows(rows, asked))).encode()


async def _ndjson_pieces(pieces: AsyncIterator[list[Row]], asked: ActivityQuery) -> AsyncIterator[bytes]:
    async for rows in pieces:
        yield formats.ndjson_lines(_wire_rows(rows, asked))


def _wire_rows(rows: Iterable[Row], asked: ActivityQuery) -> list[answers.ActivityRow]:
    here = zone(asked.query.timezone)
    return [activity_row(row, here) for row in rows]


async def _whole_or_started(pieces: AsyncIterator[bytes], users: int) -> bytes | AsyncIterator[bytes]:
    """The body of so many users: whole where they are one piece."""
    return await _start(pieces) if users > ROWS_A_PIECE else b"".join([piece async for piece in pieces])


async def _start(pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The same pieces, the first of which is there: what fails before it is still answered as a problem."""
    first = await anext(pieces, b"")

    async def all_pieces() -> AsyncIterator[bytes]:
        yield first
        async for piece in pieces:
            yield piece

    return all_pieces()


@lru_cache(maxsize=1)
def _timezones() -> bytes:
    names = sorted(zone_names() - aliases().keys())
    return msgspec.json.encode(answers.TimezonesAnswer(names, dict(aliases()), TZDATA_VERSION))


_CSV_ROWS: dict[str, Callable[[Any], Iterable[Any]]] = {
    "summary": formats.summary_rows,
    "timeline": formats.timeline_rows,
    "sources": formats.sources_rows,
}
