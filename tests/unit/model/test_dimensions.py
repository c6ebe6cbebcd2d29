"""How the series of a day are numbered; the numbers are stored."""

from stream.model.activity import ADDED, DELETED
from stream.model.dimensions import kinds_of, numbers_of_kinds


def test_kinds_are_numbered_as_they_are_stored() -> None:
    # Given the format of packed days, of which there are values in changelogs and in Redis
    stored = {
        (ADDED, None): 0,
        (DELETED, None): 1,
        (ADDED, "user"): 2,
        (DELETED, "user"): 3,
        (ADDED, "contact_import"): 4,
        (DELETED, "contact_import"): 5,
    }
    # When the kinds of a table of sources are numbered, they are those numbers, and are read back from them
    sources = ["user", "contact_import"]
    assert numbers_of_kinds(sources) == stored
    assert {kind: number for number, kind in enumerate(kinds_of(sources))} == stored
