"""Marks of direction in a cell of CSV end in that cell."""

import csv
import io

import pytest

from api.formats import csv_lines

LRE, RLE, PDF, LRO, RLO = "\u202a", "\u202b", "\u202c", "\u202d", "\u202e"
LRI, RLI, FSI, PDI = "\u2066", "\u2067", "\u2068", "\u2069"


@pytest.mark.parametrize(
    ("name", "ends"),
    [
        pytest.param("Ada", "", id="no mark"),
        pytest.param("\u200fمحمد", "", id="a mark that reaches nothing"),
        pytest.param(f"{RLO}evE", PDF, id="an override"),
        pytest.param(f"{RLE}محمد{PDF}", "", id="an embedding that ends"),
        pytest.param(f"{LRO}a{RLI}b", PDI + PDF, id="inner ends first"),
        pytest.param(f"{FSI}a{RLE}b{PDI}", "", id="the end of an isolate ends what is open in it"),
        pytest.param(f"{LRI}a{PDF}", PDI, id="an isolate is not ended by the end of an embedding"),
        pytest.param(f"{PDI}{PDF}a{LRE}", PDF, id="ends of nothing"),
    ],
)
def test_what_turns_direction_ends_in_its_cell(name: str, ends: str) -> None:
    [row] = csv.reader(io.StringIO(csv_lines([("u_1", name, 12, 3)])))

    assert row == ["u_1", name + ends, "12", "3"]
