"""Lists what reports can be filtered by: the sources and users of a workspace, and the workspaces themselves."""

import asyncio
from base64 import urlsafe_b64decode, urlsafe_b64encode

import msgspec

from api import wire as answers
from api.http.auth import Principal
from api.query.question import Parameters
from api.read.redis import Reader
from api.report.known_names import KnownNames
from api.report.names import Names, User, found_in, users_of
from api.report.service import Reports
from stream.model.activity import KNOWN_SOURCES, NO_SOURCE_LABEL, NONE, SOURCE_LABELS

MAX_USERS = 5_000
DEFAULT_USERS = 500
MAX_WORKSPACES = 1_000
DEFAULT_WORKSPACES = 100
WORKSPACES_A_READ = 1_000
BLOCKS_BETWEEN_YIELDS = 32
"""A search takes some 50 us a block where much is found."""

LABELS = {**SOURCE_LABELS, NONE: NO_SOURCE_LABEL}


class FiltersQuery(msgspec.Struct, frozen=True):
    """`q`: part of a label or an id, in any case of letters."""

    q: str | None
    limit: int


class WorkspacesQuery(msgspec.Struct, frozen=True):
    """`after`: the last id of the page before; empty: from the first."""

    q: str | None
    limit: int
    after: str


def read_filters_query(parameters: Parameters) -> FiltersQuery:
    """Raises ValidationErrors."""
    limit = parameters.number("limit", MAX_USERS, DEFAULT_USERS)
    parameters.raise_errors()
    return FiltersQuery(parameters.text("q"), limit or DEFAULT_USERS)


def read_workspaces_query(parameters: Parameters) -> WorkspacesQuery:
    """Raises ValidationErrors."""
    limit = parameters.number("limit", MAX_WORKSPACES, DEFAULT_WORKSPACES)
    q, cursor = parameters.text("q"), parameters.text("cursor")
    after = "" if cursor is None else _read_cursor(parameters, cursor, q)
    parameters.raise_errors()
    return WorkspacesQuery(q, limit or DEFAULT_WORKSPACES, after)


async def filters(
    reports: Reports, known_names: KnownNames, workspace_id: str, query: FiltersQuery
) -> answers.FiltersAnswer:
    """The known sources, others that were seen, `none` where it was; users by label, then id."""
    known, names = await known_names.of(workspace_id)
    fresh = reports.plain_freshness(known, filters_key(query))
    seen = names.sources
    sources = [*KNOWN_SOURCES, *sorted(seen - {"", *KNOWN_SOURCES}), *([NONE] if "" in seen else [])]
    wanted = (query.q or "").casefold()
    users, number = await _users(names, wanted, query.limit)
    return answers.FiltersAnswer(
        [
            answers.SourceChoice(source, LABELS.get(source, source))
            for source in sources
            if wanted in source.casefold() or wanted in LABELS.get(source, source).casefold()
        ],
        [answers.UserChoice(user_id, name) for user_id, name in users],
        answers.OmittedChoices(number - len(users)),
        fresh,
    )


async def _users(names: Names, wanted: str, limit: int) -> tuple[list[User], int]:
    """The first users whose label or id holds the folded text, and how many there are in all."""
    users: list[User] = []
    number = 0
    for done, block in enumerate(names.blocks, 1):
        places = found_in(block, wanted)
        if places and len(users) < limit:
            shown = users_of(block)
            users.extend(shown[place] for place in places[: limit - len(users)])
        number += len(places)
        if wanted and done % BLOCKS_BETWEEN_YIELDS == 0:
            await asyncio.sleep(0)
    return users, number


async def workspaces(reader: Reader, principal: Principal, query: WorkspacesQuery) -> answers.WorkspacesAnswer:
    """A page of the workspaces that have events and that the caller may see."""
    found: list[str] = []
    if principal.workspaces is not None:
        allowed = sorted((w for w in principal.workspaces if w > query.after and _matches(w, query.q)), key=str.encode)
        found = (await reader.known_workspaces(allowed))[: query.limit + 1]
    else:
        after = query.after
        while len(found) <= query.limit:
            some = await reader.workspaces(after, WORKSPACES_A_READ)
            found.extend(w for w in some if _matches(w, query.q))
            if len(some) < WORKSPACES_A_READ:
                break
            after = some[-1]
    page = found[: query.limit]
    more = len(found) > query.limit
    return answers.WorkspacesAnswer(
        [answers.WorkspaceAnswer(name) for name in page], _write_cursor(query.q, page[-1]) if more else None
    )


def filters_key(query: FiltersQuery) -> bytes:
    return msgspec.json.encode(query)


def _matches(workspace_id: str, q: str | None) -> bool:
    return q is None or q.casefold() in workspace_id.casefold()


def _write_cursor(q: str | None, last: str) -> str:
    return urlsafe_b64encode(msgspec.json.encode((q, last))).decode().rstrip("=")


def _read_cursor(parameters: Parameters, cursor: str, q: str | None) -> str:
    try:
        packed = urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
        of, last = msgspec.json.decode(packed, type=tuple[str | None, str])
    except (ValueError, msgspec.DecodeError):
        parameters.add_error("cursor", "is not a cursor of an earlier answer")
        return ""
    if of != q:
        parameters.add_error("cursor", "belongs to other parameters")
    return last
