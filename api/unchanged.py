"""What is answered as it was answered before, since its revision holds: 304 at once to whoever has it, and bodies that
were sent before, to all others.
"""

from collections.abc import Hashable
from typing import Any, NamedTuple

import msgspec

from api import wire as answers
from api.cache import Memory
from api.http.auth import Authentication
from api.http.request import CACHE_CONTROL, REMEMBERED_CHARACTERS, Answer, Request, etag_matches
from api.query.periods import Period, now_quarter
from api.query.question import Query, View
from api.read.snapshot import State
from api.report.service import Reports, Stamp, size_of_query, size_of_view

REMEMBERED_QUERY_BYTES = 1_024
"""A longer one is read each time: a hundred values take 0.1 ms."""

BODY_BYTES = 1_000
"""What a body takes beside itself and its query: its revision, and the names of both."""


class Question(NamedTuple):
    """What an address asks for, as it was read in a quarter-hour. `resource` is its name in the metrics."""

    resource: str
    workspace_id: str
    view: View
    more: bytes
    quarter: int


class Questions:
    """Answers 304 to a request that came before: it is not routed, its parameters are not read, and Redis is not asked
    where that was just done. Whoever asks is looked at as always. Whatever is not plain is left to the endpoints.
    """

    def __init__(self, reports: Reports, authentication: Authentication, memory: Memory) -> None:
        self._reports = reports
        self._authentication = authentication
        self._memory = memory

    def learn(self, request: Request, resource: str, workspace_id: str, stamp: Stamp, more: bytes) -> None:
        """A request was answered 304. Of `period=all` the dates are known by reading alone."""
        short = len(request.query_string) <= REMEMBERED_QUERY_BYTES and len(request.accept) <= REMEMBERED_CHARACTERS
        if not short or stamp.view.query.period is Period.ALL:
            return
        question = Question(resource, workspace_id, stamp.view, more, now_quarter(stamp.now))
        size = 500 + len(request.path) + len(request.query_string) + len(more) + size_of_view(stamp.view)
        key = _key(request.root_path, request.path, request.query_string, request.accept)
        self._memory.put(key, question, size)

    def find(self, scope: Any) -> "Known | None":
        """The question of a plain request of a caller who may have its answer, where both are known."""
        found: dict[bytes, bytes] = {}
        for name, value in scope["headers"]:
            if name in _LOOKED_AT:
                if name in found or name == b"origin":
                    return None
                found[name] = value
        if_none_match = found.get(b"if-none-match")
        if not if_none_match or scope["method"] not in ("GET", "HEAD"):
            return None
        accept = found.get(b"accept", b"").decode("latin-1") or "*/*"
        key = _key(scope.get("root_path", ""), scope["path"], scope.get("query_string", b""), accept)
        question: Question | None = self._memory.get(key)
        if question is None:
            return None
        principal = self._authentication.known_principal(found.get(b"authorization", b"").decode("latin-1"))
        if principal is None or not principal.may_see(question.workspace_id):
            return None
        return Known(self._reports, question, if_none_match.decode("latin-1"))


class Known(NamedTuple):
    """A question of which the caller has an answer."""

    reports: Reports
    question: Question
    if_none_match: str

    def answer(self) -> Answer | None:
        """304, if that is so by a state that was read a moment ago."""
        return self._compare(self.reports.known_state(self.question.workspace_id))

    async def ask(self, request: Request) -> Answer | None:
        """304, if that is so by a state that is read now; else the request takes that along. Raises Unavailable."""
        request.scope[STATE] = state = await self.reports.ask_state(self.question.workspace_id)
        return self._compare(state)

    def _compare(self, state: State | None) -> Answer | None:
        of = self.question
        stamp = None if state is None else self.reports.stamp_in_quarter(of.view, state, of.quarter, of.more)
        if stamp is None or not etag_matches(self.if_none_match, stamp.revision):
            return None
        return Answer(304, headers_of(stamp, etag=True))


STATE = "contacts_report.state"
"""In the scope of a request: the state that was read for it already."""

_LOOKED_AT = frozenset({b"accept", b"authorization", b"if-none-match", b"origin"})


def _key(root_path: str, path: str, query_string: bytes, accept: str) -> Hashable:
    """All of a request that its question depends on, beside the time."""
    return "question", root_path, path, query_string, accept


class Asked(NamedTuple):
    """What a body answers. `more`: what it depends on beside the report's query."""

    component: str
    workspace_id: str
    query: Query
    more: bytes


class Body(NamedTuple):
    """What was sent of one revision, without its freshness."""

    revision: str
    before: bytes
    after: bytes
    next_cursor: str | None

    def renew(self, fresh: answers.Freshness) -> bytes:
        """The same with the freshness of now."""
        return b"".join((self.before, msgspec.json.encode(fresh), self.after))


class Bodies:
    """Bodies by question. One is kept once it was made twice of the same revision, so that what changes from one
    request to the next is neither kept nor looked for.
    """

    def __init__(self, memory: Memory) -> None:
        self._memory = memory

    def find(self, question: Asked) -> Body | None:
        """The body that was made last, if it is kept. It is good for its revision alone."""
        found: Body | None = self._memory.get(("body", question))
        return found if found is not None and found.before else None

    def learn(self, question: Asked, fresh: answers.Freshness, body: bytes, next_cursor: str | None) -> None:
        """A body was made."""
        key = ("body", question)
        last: Body | None = self._memory.get(key)
        made = Body(fresh.revision, b"", b"", None)
        if last is not None and last.revision == fresh.revision:
            # Texts of readers have no such quotes: within a text they are escaped.
            before, name, after = body.partition(_FRESHNESS + msgspec.json.encode(fresh))
            assert name, "each answer says how fresh it is"
            made = Body(fresh.revision, before + _FRESHNESS, after, next_cursor)
        size = BODY_BYTES + size_of_query(question.query) + len(question.more)
        self._memory.put(key, made, size + len(body) if made.before else size)


_FRESHNESS = b'"freshness":'


def headers_of(fresh: answers.Freshness | Stamp, etag: bool = False) -> list[tuple[str, str]]:
    """What every answer about a workspace says of its freshness."""
    headers = [
        CACHE_CONTROL,
        ("Contacts-As-Of", fresh.as_of),
        ("Contacts-Lag-Seconds", str(fresh.lag_seconds)),
    ]
    return [*headers, ("ETag", f'W/"{fresh.revision}"')] if etag else headers
