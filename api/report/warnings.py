"""Makes the warnings of an answer: sources and users that the workspace never had, and days whose counts are gone."""

from collections.abc import Iterator

from api import wire as answers
from api.query.periods import Period
from api.query.question import Query, View
from api.read.snapshot import Snapshot
from api.report.form import KindFold
from stream.model.activity import KNOWN_SOURCES, NONE
from stream.model.time import QUARTERS_A_DAY, date_of
from stream.storage.keys import Keys


def _unknowable(query: Query) -> tuple[list[str], list[str]]:
    """Sources and users of the query that may be unknown in the workspace."""
    known = {NONE, *KNOWN_SOURCES}
    return (
        [source for source in query.sources or () if source not in known],
        [user for user in query.users or () if user != NONE],
    )


def filter_fields(query: Query) -> list[str]:
    """The fields of `names` that tell whether what the query names is known."""
    sources, users = _unknowable(query)
    return [*map(Keys.source_field, sources), *map(Keys.user_field, users)]


def warnings_of(of: View, snapshot: Snapshot, kinds: KindFold) -> list[answers.Warning]:
    """Where the fold counts something, that is of the one source, or user, that was asked for: where no name of it is
    kept (CONTACTS_NAME_LIMIT), it is known all the same.
    """
    query, kept_from = of.query, snapshot.state.positions.counts_from
    found: list[answers.Warning] = []
    if query.sources is not None or query.users is not None:
        added, deleted, _, _ = kinds.totals()
        found.extend(_unknown_values(query, snapshot, anything=added + deleted > 0))
    if kept_from is not None and query.period is not Period.ALL:
        found.extend(_before_retention(of, kept_from))
    return found


def _unknown_values(query: Query, snapshot: Snapshot, *, anything: bool) -> Iterator[answers.Warning]:
    sources, users = _unknowable(query)
    if anything and len(query.sources or ()) == 1:
        sources = []
    if anything and len(query.users or ()) == 1:
        users = []
    names = snapshot.names()
    for source in sources:
        if names[Keys.source_field(source)] is None:
            yield answers.Warning("unknown_source", "source", source, _unknown_source(source))
    for user in users:
        if names[Keys.user_field(user)] is None:
            yield answers.Warning("unknown_user", "user", user, "No event of this workspace has this user.")


def _unknown_source(source: str) -> str:
    message = "No event of this workspace has this source."
    lower = source.lower()
    return message if lower == source else f"{message} Sources are in lower case: is {lower} meant?"


def _before_retention(of: View, kept_from: int) -> Iterator[answers.Warning]:
    message = f"Counts before {date_of(kept_from)} (UTC) are no longer kept."
    if of.start < kept_from * QUARTERS_A_DAY:
        period = of.query.period
        parameter, value = ("period", str(period)) if period else ("from", of.dates.first.isoformat())
        yield answers.Warning("before_retention", parameter, value, message)
    if of.earlier is not None and of.earlier.start < kept_from * QUARTERS_A_DAY:
        yield answers.Warning("before_retention", "compare", str(of.earlier.mode), message)
