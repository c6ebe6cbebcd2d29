"""How the series of a day are numbered; the numbers are stored."""

from stream.model.activity import ACTIVITIES, ADDED, DELETED
from stream.model.dimensions import activity_of, kind_count, kind_of, kinds_of, source_number_of, sources_of


def test_kinds_are_numbered_as_they_are_stored() -> None:
    # Given the format of packed days, of which there are values in changelogs and in Redis
    stored = {(0, ADDED): 0, (0, DELETED): 1, (1, ADDED): 2, (1, DELETED): 3, (7, DELETED): 15}
    # When kinds are numbered, they are those numbers, and are read back from them
    assert {numbers: kind_of(*numbers) for numbers in stored} == stored
    assert {kind: (source_number_of(kind), activity_of(kind)) for kind in stored.values()} == {
        kind: numbers for numbers, kind in stored.items()
    }


def test_a_table_of_sources_gives_all_kinds_by_their_number() -> None:
    sources = ["user", "contact_import"]
    kinds = kinds_of(sources)
    named = [None, *sources]
    assert list(kinds) == [(activity_of(kind), named[source_number_of(kind)]) for kind in range(kind_count(2))]
    assert len(kinds) == kind_count(2) == 3 * len(ACTIVITIES)
    assert sources_of(kinds) == (None, *sources)
