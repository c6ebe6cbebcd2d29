"""Each mutant still fits the code."""

import pytest

from tests.simulation.mutants import MUTANTS, ROOT, Mutant


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_each_guard_is_still_where_its_mutant_takes_it_away(mutant: Mutant) -> None:
    # Given a mutant's replacements
    for path, old, new in mutant.replace:
        source = (ROOT / path).read_text()
        # When they are made, then each fits once, and what comes out is a program
        assert source.count(old) == 1, f"{path} has {source.count(old)} times: {old}"
        compile(source.replace(old, new), path, "exec")


def test_names_are_unique() -> None:
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS)
