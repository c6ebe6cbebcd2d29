"""Numbers the series of a day. A series is (activity, source, user), and its *kind* is what it is without the
user: one number of the activity and the source.

Source number 0 is "without a source", and i > 0 the i-th source that the day knows. Kinds are stored (format 1 of
stream/storage/day_parts.py), so another number of activities is another format: the recipe is in ARCHITECTURE.md.
"""

from collections.abc import Iterable
from typing import Final

from stream.model.activity import ACTIVITIES

ACTIVITIES_OF_FORMAT: Final = {1: 2}
"""By how many activities each format of packed days numbers its kinds."""

Kind = tuple[int, str | None]
"""A kind by what it means: (activity, source); None: without a source."""
Series = tuple[int, str | None, str | None]
"""(activity, source, user); None: without a source, without a user."""


def kinds_of(sources: Iterable[str]) -> tuple[Kind, ...]:
    """The kinds that a table of sources gives, by their number."""
    return tuple((activity, source) for source in (None, *sources) for activity in range(len(ACTIVITIES)))


def numbers_of_kinds(sources: Iterable[str]) -> dict[Kind, int]:
    """The number of each kind that a table of sources gives."""
    return {kind: number for number, kind in enumerate(kinds_of(sources))}
