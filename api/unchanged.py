"""Answers what was asked before: what an address asks for is known without routing and reading it, whoever has the
present answer gets 304, and all others the body that was sent before where its revision holds, else what is made now.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import NamedTuple, Protocol
from urllib.parse import quote, urlencode

import msgspec

from api import wire as answers
from api.cache import Memory
from api.http.auth import Authentication
from api.http.request import CACHE_CONTROL, REMEMBERED_CHARACTERS, Answer, Header, Request, etag_matches
from api.query.periods import Period, now_quarter
from api.query.question import Query, View, read_pairs
from api.read.redis import Reader
from api.read.snapshot import require_complete
from api.report.service import Reports, size_of_query, size_of_view
from stream.model.time import QUARTER_SECONDS
from stream.model.workspace import is_workspace

REMEMBERED_QUERY_BYTES = 1_024
"""A longer one is read each time: a hundred values take 0.1 ms."""

BODY_BYTES = 1_000
"""What a body takes beside itself and its question: its revision, and the names of both."""

WORKSPACES = "/v1/workspaces/"
PLAIN_METHODS = frozenset({"GET", "HEAD"})


class WithFreshness(Protocol):
    """An answer that says how fresh it is."""

    @property
    def freshness(self) -> answers.Freshness: ...


class Made(NamedTuple):
    """What was made for an answer."""

    fresh: answers.Freshness
    body: bytes | AsyncIterator[bytes]
    next_cursor: str | None = None


class Question(NamedTuple):
    """What an address asks for in JSON, as it was read in a quarter-hour; of any workspace."""

    resource: str
    """Its name in the metrics."""
    query: Query
    more: bytes
    """What the answer depends on beside the query."""
    make: Callable[[str], Awaitable[Made | WithFreshness]]
    """Makes the answer about a workspace: `Made` where its body is written already, else what is to be written as JSON.
    """
    keeps_bodies: bool
    key: bytes
    """Equal for equal questions, in any quarter-hour."""
    view: View | None
    """In that quarter-hour; None: of `period=all`, whose dates are known by reading alone."""
    begins: int
    """That quarter-hour, in seconds since 1970."""
    ends: int


class Questions:
    """The questions of a process. What an address asked for in this quarter-hour is not routed and not read again;
    whoever asks is looked at as always. Whatever is not plain is left to the router and the endpoints.
    """

    def __init__(self, reports: Reports, reader: Reader, authentication: Authentication, memory: Memory) -> None:
        self._reports = reports
        self._reader = reader
        self._authentication = authentication
        self._memory = memory
        self._bodies = Bodies(memory)

    def find(self, request: Request) -> tuple[Question, str] | None:
        """The question of a plain request, and its workspace, where the caller may have the answer."""
        if request.method not in PLAIN_METHODS or request.root_path:
            return None
        question = self.recall(request)
        if question is None:
            return None
        workspace_id = request.path[len(WORKSPACES) :].partition("/")[0]
        principal = self._authentication.known_principal(request.header(b"authorization"))
        if principal is None or not principal.may_see(workspace_id) or not is_workspace(workspace_id):
            return None
        return question, workspace_id

    def recall(self, request: Request) -> Question | None:
        """The question of an address that was read in this quarter-hour."""
        if not request.path.startswith(WORKSPACES):
            return None
        question: Question | None = self._memory.get(_key(request))
        if question is None or not question.begins <= self._reports.clock() < question.ends:
            return None
        return question

    def learn(
        self,
        request: Request,
        resource: str,
        query: Query,
        make: Callable[[str], Awaitable[Made | WithFreshness]],
        *,
        more: bytes = b"",
        keeps_bodies: bool = True,
    ) -> Question:
        """An address was read, as `Question` has it."""
        quarter = now_quarter(self._reports.clock())
        of = None if query.period is Period.ALL else self._reports.view_at(query, quarter)
        key = msgspec.json.encode((resource, query)) + more
        begins, ends = quarter * QUARTER_SECONDS, (quarter + 1) * QUARTER_SECONDS
        question = Question(resource, query, more, make, keeps_bodies, key, of, begins, ends)
        if len(request.query_string) <= REMEMBERED_QUERY_BYTES and len(request.accept) <= REMEMBERED_CHARACTERS:
            size = 800 + len(request.query_string) + len(key) + len(more)
            self._memory.put(_key(request), question, size + (size_of_query(query) if of is None else size_of_view(of)))
        return question

    async def answer(self, request: Request, question: Question, workspace_id: str) -> Answer:
        """304 where the caller has the present answer, else the body that was sent before where it is that, else what
        is made. Raises Unavailable, ValidationErrors.
        """
        if_none_match = request.headers.get(b"if-none-match")
        kept = None if if_none_match or not question.keeps_bodies else self._bodies.find(question, workspace_id)
        if if_none_match or kept is not None:
            # A body is of now, as one that is made; whoever was told of a change asks once.
            known = None if kept is not None else self._reader.known_state(workspace_id)
            if known is None or not known.positions.complete:
                known = require_complete(await self._reader.state(workspace_id, fresh=True))
            reports = self._reports
            now = reports.clock()
            if question.view is None or not question.begins <= now < question.ends:
                fresh = (await reports.stamp(workspace_id, question.query, question.more, known=known)).freshness
            else:
                fresh = reports.stamp_view(question.view, known, now, question.more).freshness
            if if_none_match:
                if etag_matches(if_none_match.decode("latin-1"), fresh.revision):
                    return Answer(304, headers_of(fresh, etag=True))
            elif kept is not None and kept.revision == fresh.revision:
                return json_answer(request, fresh, kept.renew(fresh), kept.next_cursor)
        answer = await question.make(workspace_id)
        made = answer if isinstance(answer, Made) else Made(answer.freshness, msgspec.json.encode(answer))
        if question.keeps_bodies:
            self._bodies.learn(question, workspace_id, made)
        return json_answer(request, *made)


def _key(request: Request) -> tuple[str, str, bytes, bytes | None]:
    """All of a request below WORKSPACES that its question depends on, beside the time."""
    _, _, behind = request.path[len(WORKSPACES) :].partition("/")
    return "question", behind, request.query_string, request.headers.get(b"accept")


@dataclass(slots=True)
class Body:
    """What was sent of one revision, without its freshness; of one that was made once nothing but its revision."""

    revision: str
    before: bytes = b""
    after: bytes = b""
    next_cursor: str | None = None

    def renew(self, fresh: answers.Freshness) -> bytes:
        """The same with the freshness of now."""
        return b"".join((self.before, msgspec.json.encode(fresh), self.after))


class Bodies:
    """Bodies by question. One is kept once it was made twice of the same revision, so that what changes from one
    request to the next is neither kept nor looked for.
    """

    def __init__(self, memory: Memory) -> None:
        self._memory = memory

    def find(self, question: Question, workspace_id: str) -> Body | None:
        """The body that was made last, if it is kept. It is good for its revision alone."""
        found: Body | None = self._memory.get(("body", workspace_id, question.key))
        return found if found is not None and found.before else None

    def learn(self, question: Question, workspace_id: str, made: Made) -> None:
        """A body was made."""
        assert isinstance(made.body, bytes), "it is kept whole"
        key, revision = ("body", workspace_id, question.key), made.fresh.revision
        last: Body | None = self._memory.get(key)
        if last is not None and last.revision == revision:
            # Texts of readers have no such quotes: within a text they are escaped.
            before, name, after = made.body.partition(_FRESHNESS + msgspec.json.encode(made.fresh))
            assert name, "each answer says how fresh it is"
            kept = Body(revision, before + _FRESHNESS, after, made.next_cursor)
            self._memory.put(key, kept, BODY_BYTES + len(question.key) + len(made.body))
        elif last is not None and not last.before:
            last.revision = revision
        else:
            self._memory.put(key, Body(revision), BODY_BYTES + len(question.key))


_FRESHNESS = b'"freshness":'


def json_answer(
    request: Request,
    fresh: answers.Freshness,
    body: bytes | AsyncIterator[bytes],
    next_cursor: str | None = None,
) -> Answer:
    headers = headers_of(fresh, etag=True)
    if next_cursor is not None:
        headers.append(next_link(request, next_cursor))
    return Answer(200, headers, body, "application/json")


def next_link(request: Request, cursor: str) -> Header:
    """The header that leads to the next page."""
    # One without a value is as if absent, whatever its name.
    pairs = [(name, value) for name, value in read_pairs(request.query_string) if value and name != "cursor"]
    path = quote(request.root_path + request.path, safe="/:@~")
    return b"link", f'<{path}?{urlencode([*pairs, ("cursor", cursor)])}>; rel="next"'.encode()


def headers_of(fresh: answers.Freshness, etag: bool = False) -> list[Header]:
    """What every answer about a workspace says of its freshness."""
    headers = [
        CACHE_CONTROL,
        (b"contacts-as-of", fresh.as_of.encode()),
        (b"contacts-lag-seconds", str(fresh.lag_seconds).encode()),
    ]
    if etag:
        headers.append((b"etag", b'W/"%s"' % fresh.revision.encode()))
    return headers
