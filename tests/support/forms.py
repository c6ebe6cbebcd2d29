"""Both forms of the counting, for the tests of what each must do."""

import pytest

from stream.tables.compiled import CompiledState
from tests.support import counting, partition_log

NAME = "PartitionState"
ONLY_PYTHON = pytest.mark.parametrize("each_form", ["python"], indirect=True)
"""Of a test that looks into the tables of the Python form, or uses what only `contacts-report skip` does."""


@pytest.fixture(params=["python", pytest.param("compiled", marks=pytest.mark.slow)])
def each_form(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Runs a test once with each form: in its module and in what it has from tests/support, `PartitionState` is it."""
    form: str = request.param
    if form == "compiled":
        request.getfixturevalue("core")
        for module in (request.module, partition_log, counting):
            if hasattr(module, NAME):
                monkeypatch.setattr(module, NAME, CompiledState)
    return form
