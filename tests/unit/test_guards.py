"""The list of guards in the documentation is that of the mutants, and each mutant still fits the code."""

from pathlib import Path

import pytest

from tests.simulation.mutants import MUTANTS, PAGE, ROOT, Mutant, in_page


def test_the_page_lists_the_guards() -> None:
    # Given the page, when the list is written into it, then nothing changes
    page = Path(PAGE).read_text()
    assert in_page(page) == page, "run: python -m tests.simulation --page"


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
